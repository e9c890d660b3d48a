"""Errors that a user can cause or mend: one sentence saying what is wrong, where, and what to do.

Everything that is not one of these is a defect and crashes loudly.
"""


class UserError(Exception):
    """Bad input, a missing file, a refused format. Shown without a traceback; exit code 1."""

    exit_code = 1


class NeedsNetwork(UserError):
    """Something must be downloaded and the network is off or out of reach; exit code 3."""

    exit_code = 3

"""Errors that a user can cause or mend. The message is one sentence: what is wrong, where, and what to do.

Every other exception is a defect of the program and ends it with a traceback.
"""


class UserError(Exception):
    """Bad input, a missing file, an unsupported format. Shown without a traceback; exit code 1."""

    exit_code = 1


class NeedsNetwork(UserError):
    """Something must be downloaded, and the network is switched off or cannot be reached; exit code 3."""

    exit_code = 3

"""Access to the endpoint: what it says before a request, and that it stays closed."""

from __future__ import annotations

import pytest

from edge_app.cloud.access import CloudAccess
from edge_app.settings import Settings
from edge_app.system import paths
from router.types import Reason

CONFIGURED = Settings(cloud_url="http://127.0.0.1:9/v1", cloud_model="big-model")


def test_without_an_endpoint_the_reason_is_that_none_is_set_up() -> None:
    access = CloudAccess(Settings())
    standing = access.standing((), None, allow_cloud=True)
    assert (access.state, standing.is_open, standing.closed_because) == ("none", False, Reason("no_cloud"))


def test_half_an_endpoint_is_an_obstacle() -> None:
    standing = CloudAccess(Settings(cloud_model="big-model")).standing((), None, allow_cloud=True)
    assert standing.closed_because is not None
    assert standing.closed_because.kind == "cloud_misconfigured"


def test_closed_access_does_not_open_the_database_again() -> None:
    access = CloudAccess(CONFIGURED)
    access.close()
    assert access.state == "none"
    for use in (lambda: access.decisions, lambda: access.standing((), None, allow_cloud=True)):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    assert not paths.sessions_file().exists()

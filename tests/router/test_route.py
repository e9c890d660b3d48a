"""The policy does as it is told, and says so."""

from __future__ import annotations

import pytest

from models.errors import UserError
from router.route import route


def test_an_adapter_that_was_named_is_used() -> None:
    chosen = route(adapter="medical", mode="auto", allow_cloud=False, installed=("medical", "shapes"))
    assert (chosen.adapter, chosen.place) == ("medical", "local")
    assert "as asked" in chosen.reason


def test_auto_uses_none_and_says_why() -> None:
    nothing = route(adapter="auto", mode="auto", allow_cloud=False, installed=())
    assert (nothing.adapter, nothing.reason) == (None, "no adapter is installed")
    some = route(adapter="auto", mode="auto", allow_cloud=False, installed=("shapes",))
    assert some.adapter is None
    assert "only when named" in some.reason


def test_an_unknown_adapter_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'medcal' \(installed: medical, shapes\)"):
        route(adapter="medcal", mode="auto", allow_cloud=False, installed=("shapes", "medical"))
    with pytest.raises(UserError, match=r"installed: none"):
        route(adapter="x", mode="auto", allow_cloud=False, installed=())


@pytest.mark.parametrize(("mode", "allow_cloud"), [("quality", False), ("auto", True)])
def test_a_cloud_that_is_not_there_is_never_passed_over_in_silence(mode: str, allow_cloud: bool) -> None:
    chosen = route(adapter="none", mode=mode, allow_cloud=allow_cloud, installed=())
    assert chosen.place == "local"
    assert "no cloud model is configured" in chosen.reason


@pytest.mark.parametrize("mode", ["auto", "fast", "eco"])
def test_other_modes_do_not_mention_it(mode: str) -> None:
    assert "cloud" not in route(adapter="none", mode=mode, allow_cloud=False, installed=()).reason


@pytest.mark.parametrize("mode", ["fast", "eco"])
def test_a_mode_that_changes_nothing_says_so(mode: str) -> None:
    chosen = route(adapter="none", mode=mode, allow_cloud=False, installed=())
    assert f"mode {mode} makes no difference" in chosen.reason
    assert "mode" not in route(adapter="none", mode="auto", allow_cloud=False, installed=()).reason

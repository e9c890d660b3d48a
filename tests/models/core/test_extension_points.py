"""Implementations are found by name, built in or in installed distributions, and conflicts are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.core.errors import UserError
from models.core.extension_points import ExtensionPoint
from tests.distributions import install

GROUP = "edge_app.tests"


@pytest.fixture
def point() -> ExtensionPoint[object]:
    return ExtensionPoint(GROUP, {"loads": "json:loads"})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_what_is_built_in_is_found(point: ExtensionPoint[object]) -> None:
    assert point.load("loads") is json.loads
    assert point.load("others") is None
    assert point.names() == ("loads",)


def test_what_another_distribution_registers_is_found(point: ExtensionPoint[object], site: Path) -> None:
    install(site, "another", {GROUP: {"dumps": "json:dumps"}})
    assert point.load("dumps") is json.dumps
    assert point.names() == ("dumps", "loads")


def test_no_distribution_replaces_what_is_built_in(point: ExtensionPoint[object], site: Path) -> None:
    install(site, "another", {GROUP: {"loads": "json:dumps"}})
    assert point.load("loads") is json.loads


def test_two_distributions_with_one_name_are_refused_by_name(
    point: ExtensionPoint[object], site: Path
) -> None:
    for name in ("first", "second"):
        install(site, name, {GROUP: {"dumps": "json:dumps"}})
    with pytest.raises(UserError, match=r"first and second both register 'dumps'"):
        point.load("dumps")


@pytest.mark.parametrize("value", ["no_such_module:load", "json:no_such_function"])
def test_what_cannot_be_imported_is_refused_with_its_distribution(
    point: ExtensionPoint[object], site: Path, value: str
) -> None:
    install(site, "broken", {GROUP: {"other": value}})
    with pytest.raises(UserError, match="cannot be loaded from the distribution broken"):
        point.load("other")

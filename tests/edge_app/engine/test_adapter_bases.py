"""An adapter runs on the weights that it was trained for, under whichever of their names the user chose."""

from __future__ import annotations

from contextlib import suppress

import pytest

from adapters.store.adapter_store import AdapterStore
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.system import paths
from models.core.errors import UserError
from models.hub.store import ModelStore
from tests.edge_app.engine.test_engine_pool import describe_models, put_for

SIZES = {"first": 100, "second": 100, "other": 100}
SAME = {"first": "weights", "second": "weights"}


def bases() -> AdapterBases:
    return AdapterBases(AdapterStore(paths.adapters_directory()))


def digest(name: str) -> str:
    return ModelStore(paths.models_directory()).base_digests(name).current


@pytest.fixture(params=[True, False], ids=["declared", "not declared"])
def adapter(request: pytest.FixtureRequest) -> str:
    """An adapter of the first of two copies of one model."""
    describe_models(SIZES, weights=SAME)
    put_for("plants", "first", digest("first") if request.param else "")
    return "plants"


@pytest.mark.parametrize(("chosen", "runs"), [("first", "first"), ("second", "second"), ("other", "first")])
def test_an_adapter_runs_on_the_chosen_one_of_two_copies(adapter: str, chosen: str, runs: str) -> None:
    found = bases()
    assert found.of(adapter, chosen) == runs
    assert found.usable([adapter], chosen) == (adapter,)
    copies = ("second", "first") if chosen == "second" else ("first", "second")
    assert found.runs_on([adapter], chosen)[adapter] == copies


def test_adapters_of_two_copies_are_added(adapter: str) -> None:
    put_for("trees", "second", digest("second"))
    for chosen, runs in (("first", "first"), ("second", "second"), ("other", "first")):
        assert bases().of(f"{adapter},trees", chosen) == runs


def test_an_adapter_runs_on_the_copy_that_is_left() -> None:
    describe_models(SIZES, weights=SAME)
    put_for("plants", "first", digest("first"))
    describe_models({"second": 100, "other": 100}, weights=SAME)
    assert bases().of("plants", "other") == "second"
    describe_models({"other": 100})
    assert bases().usable(["plants"], "other") == ()
    with pytest.raises(UserError, match="first, which is not on this machine"):
        bases().of("plants", "other")


def test_a_copy_that_is_not_on_this_machine_is_not_chosen(adapter: str) -> None:
    with suppress(FileNotFoundError):
        (paths.models_directory() / "second" / "model.json").unlink()
    assert bases().runs_on([adapter], "first")[adapter] == ("first",)
    assert bases().runs_on([adapter], "other")[adapter] == ("first",)
    assert bases().runs_on([adapter], "second")[adapter] == ("second", "first"), (
        "the chosen one is pulled when needed"
    )


def test_other_weights_are_no_copy() -> None:
    describe_models(SIZES)
    put_for("plants", "first", digest("first"))
    assert bases().runs_on(["plants"], "second")["plants"] == ("first",)

"""Adapters in turns: the choice, and the lease of one while it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.store.manifest import (
    MANIFEST_FILE,
    REQUIRED_FILES,
    AdapterManifest,
    policy_digest,
    write_manifest,
)
from edge_app.assistant import Assistant, Turn
from edge_app.evaluation.confidence import write_own
from edge_app.events import Failed, ImageEncoded, Progress, Routed, TurnSaved
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.adapter_weights import read_adapter
from models.core.errors import UserError
from models.language.copying.policy import CopyPolicy
from router.confidence.rule import BLIND, FEATURES, AdapterOffset
from tests.adapters.folders import put, remove
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeRouter, ask, final
from tests.edge_app.turns.conftest import leases


def test_a_named_adapter_reaches_the_engine_and_the_answer_says_so(
    assistant: Assistant, engine: FakeEngine
) -> None:
    answer = ask(assistant, adapter="receipts")
    assert answer.adapter == "receipts"
    assert engine.calls[0].adapter is not None
    assert engine.calls[0].adapter.name == "receipts"
    assert ask(assistant, adapter="none").adapter is None
    assert engine.calls[1].adapter is None


def test_adapters_can_be_summed(assistant: Assistant, engine: FakeEngine) -> None:
    answer = ask(assistant, adapter="receipts:0.50, medical:0.5")
    assert answer.adapter == "receipts:0.5,medical:0.5"
    assert engine.calls[0].adapter is not None
    assert (engine.calls[0].adapter.name, engine.calls[0].adapter.lora.rank) == (
        "receipts:0.5,medical:0.5",
        32,
    )


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ("recipts", "There is no adapter named 'recipts'; did you mean receipts?"),
        ("receipts:0.5,medicine:0.5", "There is no adapter named 'medicine'; did you mean medical?"),
        (
            "receipts:much",
            "'receipts:much' gives receipts the scale 'much'; a number from -10 to 10 is needed.",
        ),
    ],
)
def test_a_mistake_in_the_adapter_is_one_sentence_and_nothing_is_saved(
    assistant: Assistant, store: SessionStore, adapter: str, sentence: str
) -> None:
    assert list(assistant.answer(Turn("?", adapter=adapter))) == [Failed(sentence, 1)]
    assert store.recent() == ()


def test_auto_takes_what_the_router_chooses_once_the_image_was_looked_at(
    assistant: Assistant, router: FakeRouter, engine: FakeEngine
) -> None:
    events = list(assistant.answer(Turn("How many?", images=(png(),))))
    kinds = [type(event) for event in events if not isinstance(event, Progress)]
    assert kinds[:3] == [TurnSaved, ImageEncoded, Routed]
    (routed,) = [event for event in events if isinstance(event, Routed)]
    assert (routed.route.adapter, routed.route.probability) == ("medical", 0.9)
    assert routed.milliseconds > 0
    answer = final(events)
    assert (answer.adapter, "it looks like its examples" in answer.reason) == ("medical", True)
    assert engine.calls[0].adapter is not None
    ((query, installed),) = router.asked
    assert (query.question, query.image is not None) == ("How many?", True)
    assert tuple(installed) == ("medical", "receipts")


def test_auto_may_find_that_none_fits(assistant: Assistant, router: FakeRouter, engine: FakeEngine) -> None:
    router.adapter = None
    assert ask(assistant).adapter is None
    assert engine.calls[0].adapter is None


def test_a_later_question_is_routed_by_the_image_shown_last(assistant: Assistant, router: FakeRouter) -> None:
    session = ask(assistant, images=(png(),)).session
    ask(assistant, "And the date?", session=session)
    assert [query.image is not None for query, _ in router.asked] == [True, True]


def test_a_follow_up_is_routed_with_the_turn_that_it_follows(
    assistant: Assistant, router: FakeRouter
) -> None:
    session = ask(assistant, "How many?", images=(png("red"),)).session
    ask(assistant, "And its colour?", session=session)
    ask(assistant, "And these?", images=(png("blue"),), session=session)
    followed = [(query.previous_question, query.previous_adapter) for query, _ in router.asked]
    assert followed == [(None, None), ("How many?", "medical"), (None, None)]


def test_a_blind_turn_is_routed_blindly(assistant: Assistant, router: FakeRouter) -> None:
    ask(assistant, images=(png(),), see_images=False)
    assert [query.image is None for query, _ in router.asked] == [True]


def test_without_adapters_nothing_is_looked_for(
    assistant: Assistant, router: FakeRouter, directory: Path
) -> None:
    remove(directory, "medical")
    remove(directory, "receipts")
    events = list(assistant.answer(Turn("?", images=(png(),))))
    assert [type(event) for event in events[:2]] == [TurnSaved, Routed]
    assert router.asked == []


def test_route_only_says_what_would_be_chosen(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    (routed,) = assistant.route(Turn("?", images=(png(),)))
    assert isinstance(routed, Routed)
    assert routed.route.adapter == "medical"
    (named,) = assistant.route(Turn("?", adapter="receipts"))
    assert isinstance(named, Routed)
    assert named.route.adapter == "receipts"
    assert isinstance(next(assistant.route(Turn("?", adapter="nobody"))), Failed)
    assert engine.calls == []
    assert store.recent() == ()


# -- while it is in use -----------------------------------------------------------------------------------


def test_an_adapter_removed_while_it_answers_answers_on(
    assistant: Assistant, engine: FakeEngine, directory: Path
) -> None:
    engine.before_token = lambda number: remove(directory, "receipts") if number == 1 else None
    assert ask(assistant, adapter="receipts").text == "A cat."
    (failed,) = assistant.answer(Turn("?", adapter="receipts"))
    assert isinstance(failed, Failed)
    assert "'receipts'" in failed.message
    assert leases(assistant) == 0


def test_an_adapter_replaced_while_it_answers_is_the_new_one_for_the_next_turn(
    assistant: Assistant, engine: FakeEngine, directory: Path
) -> None:
    def replace(number: int) -> None:
        if number == 1:
            put(directory, "receipts", 9)

    engine.before_token = replace
    ask(assistant, adapter="receipts")
    engine.before_token = lambda _: None
    ask(assistant, adapter="receipts")
    first, second = (call.adapter for call in engine.calls)
    assert first is not None and second is not None
    assert first.generation != second.generation


def test_a_damaged_adapter_is_one_sentence(
    assistant: Assistant, directory: Path, store: SessionStore
) -> None:
    (directory / "receipts" / "adapter_model.safetensors").write_bytes(b"damaged")
    last = list(assistant.answer(Turn("?", adapter="receipts")))[-1]
    assert isinstance(last, Failed)
    assert "adapter_model.safetensors" in last.message
    assert store.get(store.latest()).turns[0].error == last.message
    assert leases(assistant) == 0


def test_a_fit_does_not_count_after_the_margin_of_copies_was_changed(
    assistant: Assistant, directory: Path
) -> None:
    def manifest(margin: float) -> AdapterManifest:
        return AdapterManifest(
            "receipts",
            "1.0",
            "A test.",
            "edge-vlm-135m",
            "",
            files=dict.fromkeys(REQUIRED_FILES, "0" * 64),
            copies=CopyPolicy(("Not on the page.",), margin),
        )

    folder = directory / "receipts"
    fitted = manifest(-0.5)
    generation, policy = (
        read_adapter(folder, "receipts").generation,
        policy_digest(fitted.reads, fitted.copies),
    )
    offset = AdapterOffset(generation, 0.0, (0.0,) * len(FEATURES), 50, 40, policy)
    write_own(paths.confidence_file(), {f"receipts{BLIND}": offset})
    calibrated = []
    for margin in (-0.5, 2.0, -0.5):
        (folder / MANIFEST_FILE).write_bytes(write_manifest(manifest(margin)))
        calibrated.append(ask(assistant, adapter="receipts").calibrated)
    assert calibrated == [True, False, True]


@pytest.mark.parametrize("way", ["cancel", "mistake", "defect", "leave"])
def test_however_an_answer_ends_its_adapter_is_released(
    assistant: Assistant, engine: FakeEngine, way: str
) -> None:
    def happens(number: int) -> None:
        if number == 1:
            assert leases(assistant) == 1
            if way == "cancel":
                assistant.cancel()
            elif way != "leave":
                raise UserError("The disk is full.") if way == "mistake" else ZeroDivisionError

    engine.before_token = happens
    events = assistant.answer(Turn("?", adapter="receipts"))
    if way == "leave":
        next(events)
        events.close()
    elif way == "defect":
        with pytest.raises(ZeroDivisionError):
            list(events)
    else:
        list(events)
    assert leases(assistant) == 0


def test_prefetching_loads_the_adapter_and_reports_no_errors(assistant: Assistant) -> None:
    assistant.prefetch("receipts")  # there is no engine yet
    ask(assistant, adapter="none")
    for adapter in ("auto", "none", "nobody", "a,,b"):
        assistant.prefetch(adapter)
    assistant.prefetch("receipts")
    (resident,) = assistant._pool.residents().values()
    bank = resident.bank
    bank.close()  # waits for what is under way
    assert [each.spec for each in bank.residents()] == ["receipts"]

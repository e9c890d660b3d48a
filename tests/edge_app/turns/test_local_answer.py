"""A local answer by itself: computed in one job or in two, or stopped before any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.store.adapter_store import AdapterStore
from edge_app.answer import Answer
from edge_app.cloud.access import CloudAccess
from edge_app.costs.averages import CostAverages
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.engine.bundled_adapters import BundledAdapters
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import InferenceThread, Job
from edge_app.events import Event, Failed, Routed, TokenText, Turn
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.turns.adapter_choice import AdapterChooser
from edge_app.turns.images.image_text import ImageTexts
from edge_app.turns.local_answer import LocalAnswer, LocalResources
from edge_app.turns.planner import PlannedTurn, Planner
from edge_app.turns.recorder import TurnRecorder
from models.core.errors import UserError
from router.confidence.rule import Confidence, Evidence, bundled_rule
from router.place_policy import FirstPlace
from router.scope import TaskScope
from tests.adapters.folders import put
from tests.edge_app.fakes import FakeEngine, FakeRouter

WORDS = ("One ", "two ", "three ", "four ", "five.")


class Hopeless(Confidence):
    """Finds every beginning hopeless."""

    def __init__(self) -> None:
        super().__init__(bundled_rule())

    def hopeless(self, evidence_so_far: Evidence, threshold: float) -> bool:
        del evidence_so_far, threshold
        return True


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(words=WORDS)


@pytest.fixture
def thread() -> Iterator[InferenceThread]:
    thread = InferenceThread()
    yield thread
    thread.close(lambda: None)


@pytest.fixture
def adapters(home: Path) -> AdapterStore:
    put(home / "data" / "adapters", "medical", 1)
    return AdapterStore(home / "data" / "adapters")


@pytest.fixture
def pool(thread: InferenceThread, adapters: AdapterStore, engine: FakeEngine) -> EnginePool:
    return EnginePool(Settings(), adapters, AdapterBases(adapters), engine.load, thread.broadcast)


@pytest.fixture
def resources(pool: EnginePool, adapters: AdapterStore) -> LocalResources:
    scope = TaskScope(adapters.directory, None)
    texts = ImageTexts()
    bundled = BundledAdapters(Settings(), pool, pool.bases, wanted=False)
    chooser = AdapterChooser(pool, adapters, bundled, scope, FakeRouter("medical"), texts)
    return LocalResources(pool, chooser, texts, Hopeless)


@pytest.fixture
def planned(store: SessionStore, adapters: AdapterStore) -> PlannedTurn:
    settings = Settings()
    costs = CostAverages(settings, learns=False)
    planner = Planner(
        settings, store, adapters, AdapterBases(adapters), CloudAccess(settings), costs, lambda _: ()
    )
    return planner.plan(Turn("How many?"))


@pytest.fixture
def answer(planned: PlannedTurn, resources: LocalResources, store: SessionStore) -> LocalAnswer:
    return LocalAnswer(planned, FirstPlace("local"), resources, TurnRecorder.begin(store, planned))


def done(thread: InferenceThread, work: Callable[[Job], None]) -> list[Event]:
    return list(thread.submit(work, lambda _: None))


def saved(store: SessionStore) -> tuple[str, str]:
    turn = store.get(store.latest()).turns[-1]
    return turn.status, turn.answer


def leases(pool: EnginePool) -> int:
    (resident,) = pool.residents().values()
    return sum(each.leases for each in resident.bank.residents())


def test_one_job_computes_the_whole_answer_and_saves_it(
    answer: LocalAnswer, thread: InferenceThread, store: SessionStore, pool: EnginePool
) -> None:
    events = done(thread, answer.compute)
    assert isinstance(answer.outcome, Answer)
    assert (answer.outcome.text, answer.outcome.stop_reason) == ("".join(WORDS), "stop")
    assert answer.outcome.adapter == "medical"
    assert [type(event) for event in events if isinstance(event, Routed | TokenText)] == [
        Routed,
        *[TokenText] * len(WORDS),
    ]
    assert saved(store) == ("complete", "".join(WORDS))
    assert (answer.is_paused, leases(pool)) == (False, 0)


def test_a_paused_answer_holds_its_adapter_and_is_continued_by_a_second_job(
    answer: LocalAnswer, thread: InferenceThread, store: SessionStore, pool: EnginePool
) -> None:
    beginning = "".join(WORDS[:4])
    done(thread, lambda job: answer.compute(job, pause_below=0.5))
    assert (answer.is_paused, answer.outcome, answer.draft.text) == (True, None, beginning)
    assert saved(store) == ("answering", beginning)
    assert leases(pool) == 1
    events = done(thread, answer.compute)
    assert events == [TokenText(WORDS[4])]
    assert isinstance(answer.outcome, Answer)
    assert (answer.is_paused, saved(store), leases(pool)) == (False, ("complete", "".join(WORDS)), 0)


def test_a_paused_answer_can_be_released_more_than_once(
    answer: LocalAnswer, thread: InferenceThread, pool: EnginePool
) -> None:
    done(thread, lambda job: answer.compute(job, pause_below=0.5))
    answer.release()
    answer.release()
    assert leases(pool) == 0


def test_an_answer_that_is_stopped_before_its_job_is_saved_as_stopped(
    answer: LocalAnswer, store: SessionStore, engine: FakeEngine
) -> None:
    answer.stop()
    assert isinstance(answer.outcome, Answer)
    assert (answer.outcome.text, answer.outcome.stop_reason, answer.outcome.reason_kind) == (
        "",
        "cancelled",
        "not_routed",
    )
    assert (saved(store), engine.calls) == (("stopped", ""), [])


def test_an_error_of_the_user_s_is_the_outcome_and_keeps_the_text(
    answer: LocalAnswer, thread: InferenceThread, store: SessionStore, engine: FakeEngine, pool: EnginePool
) -> None:
    def fails(number: int) -> None:
        if number == 2:
            raise UserError("The model is damaged.")

    engine.before_token = fails
    done(thread, answer.compute)
    assert answer.outcome == Failed("The model is damaged.", 1)
    assert (saved(store), leases(pool)) == (("failed", "One two "), 0)


def test_a_defect_is_raised_and_releases_the_adapter(
    answer: LocalAnswer, thread: InferenceThread, store: SessionStore, engine: FakeEngine, pool: EnginePool
) -> None:
    def fails(number: int) -> None:
        if number == 2:
            raise ZeroDivisionError

    engine.before_token = fails
    with pytest.raises(ZeroDivisionError):
        done(thread, answer.compute)
    assert (answer.outcome, answer.is_paused, leases(pool)) == (None, False, 0)
    assert saved(store) == ("failed", "One two ")

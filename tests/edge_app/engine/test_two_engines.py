"""Two real engines in one pool answer as each does alone, however they take turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.store.adapter_store import AdapterStore
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import Job
from edge_app.settings import Settings
from edge_app.system import paths
from models.compiled_engine import CompiledEngine
from models.core.types import Message, Progress, Sampling, no_progress
from models.engine import Engine
from models.hub.store import ModelFiles
from tests.edge_app.engine.test_engine_pool import describe_models
from tests.models import tiny_directory

NAMES = ("a", "b")
GREEDY = Sampling(max_tokens=12)
QUESTIONS = ("What is it?", "And why?", "Count the words of this question, please.")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFiles]:
    """Two models of one shape with other weights."""
    folder = tmp_path_factory.mktemp("two")
    return {
        name: tiny_directory.model_files(
            tiny_directory.write_directory(folder / name, seed=5 + number), name=name
        )
        for number, name in enumerate(NAMES)
    }


@pytest.fixture
def pool(files: dict[str, ModelFiles], engine_cache: Path) -> Iterator[EnginePool]:
    def load(settings: Settings, progress: Progress) -> Engine:
        return CompiledEngine.load(
            files[settings.model], cache_dir=engine_cache, threads=1, progress=progress
        )

    describe_models({"a": 300, "b": 300})
    adapters = AdapterStore(paths.adapters_directory())
    pool = EnginePool(
        Settings(model="a", model_memory=700), adapters, AdapterBases(adapters), load, lambda _: None
    )
    yield pool
    pool.close()


def answer(engine: Engine, *questions: str) -> list[tuple[int, float]]:
    """Ids and log-probabilities of the answer to the last question of a conversation."""
    messages = [Message("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(questions)]
    return [
        (token.id, token.logprob)
        for token in engine.generate(messages, GREEDY, texts={}, progress=no_progress)
    ]


def job() -> Job:
    return Job(lambda _: None, lambda _: None)


def test_engines_that_take_turns_answer_as_each_does_alone(
    pool: EnginePool, files: dict[str, ModelFiles], engine_cache: Path
) -> None:
    alone = {}
    for name in NAMES:
        engine = CompiledEngine.load(files[name], cache_dir=engine_cache, threads=1)
        alone[name] = [answer(engine, question) for question in QUESTIONS]
        engine.close()
    assert alone["a"] != alone["b"]
    for number, question in enumerate(QUESTIONS):
        for name in (*NAMES, *NAMES):
            assert answer(pool.engine(name, job()), question) == alone[name][number]


def test_a_conversation_goes_on_in_the_cache_of_its_engine(pool: EnginePool) -> None:
    first = pool.engine("a", job())
    answer(first, QUESTIONS[0])
    answer(pool.engine("b", job()), QUESTIONS[0])
    messages = [Message("user", QUESTIONS[0]), Message("assistant", "It is."), Message("user", QUESTIONS[1])]
    stream = pool.engine("a", job()).generate(messages, GREEDY, texts={}, progress=no_progress)
    list(stream)
    assert pool.engine("a", job()) is first
    assert stream.cached_tokens > 0

"""The scope of installed adapters: their declared examples, changes of them, and the cache on disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from adapters.store.adapter_store import BUNDLED as ADAPTERS
from adapters.store.manifest import (
    MANIFEST_FILE,
    NOT_DECLARED,
    REQUIRED_FILES,
    AdapterManifest,
    Example,
    write_manifest,
)
from models.question_encoder.scope import ScopeModel, Tasks, TaskVectors
from router.scope import (
    BUNDLED,
    MOST_EXAMPLES,
    MOST_QUESTIONS,
    OF_MODEL,
    UNKNOWN_BORDER,
    TaskScope,
    _file_name,
    bundled_adjustments,
    bundled_scope_model,
    bundled_tasks,
    declared_tasks,
    is_follow_up,
)


def declare(directory: Path, name: str, examples: tuple[Example, ...]) -> Path:
    tasks = tuple(dict.fromkeys(example.task for example in examples if example.task))
    files = dict.fromkeys(REQUIRED_FILES, "0" * 64)
    manifest = AdapterManifest(name, "1.0", "Made up.", "m", NOT_DECLARED, tasks, examples, files=files)
    (directory / name).mkdir(exist_ok=True)
    path = directory / name / MANIFEST_FILE
    path.write_bytes(write_manifest(manifest))
    return path


@dataclass
class CountingModel:
    """A model whose log-odds are 1 for an example itself and -1 for everything else."""

    identity: str = "00"
    encoded: list[list[str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def encode(self, tasks: Tasks) -> TaskVectors:
        texts = [text for examples in tasks.values() for text in examples]
        self.encoded.append(texts)
        return TaskVectors(
            np.array([[hash_of(text)] for text in texts], np.float32), tuple(map(len, tasks.values()))
        )

    def vector(self, question: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        self.asked.append(question)
        return np.array([hash_of(question)], np.float32)

    def logit(self, question: np.ndarray[tuple[int], np.dtype[np.float32]], tasks: TaskVectors) -> float:
        return 1.0 if question[0] in tasks.examples else -1.0


def hash_of(text: str) -> float:
    return float(sum(number * ord(letter) for number, letter in enumerate(text, 1)))


def scope_over(directory: Path, cache: Path | None, model: CountingModel) -> TaskScope:
    def load() -> ScopeModel:
        return model  # type: ignore[return-value]

    return TaskScope(directory, cache, load)


def test_questions_that_are_asked_again_are_encoded_once_as_far_as_they_are_kept(tmp_path: Path) -> None:
    declare(tmp_path, "receipts", (Example("total", "What is the total?", "9.90"),))
    model = CountingModel()
    scope = scope_over(tmp_path, None, model)
    for _ in range(3):
        for question in ("What is the total?", "Who sold it?"):
            scope.of_adapter(question, "receipts")
    assert model.asked == ["What is the total?", "Who sold it?"]
    for number in range(MOST_QUESTIONS):
        scope.of_adapter(f"Question {number}?", "receipts")
    scope.of_adapter("What is the total?", "receipts")
    assert model.asked.count("What is the total?") == 2


def test_examples_are_grouped_by_task_once_each(tmp_path: Path) -> None:
    examples = (
        Example("How many?", "3", "count"),
        Example("Which colour?", "red", "colour"),
        Example("How many?", "4", "count"),
        *(Example(f"Is it {number}?", "", "") for number in range(40)),
    )
    tasks = declared_tasks(declare(tmp_path, "shapes", examples))
    assert tasks["count"] == ["How many?"]
    assert tasks["colour"] == ["Which colour?"]
    assert len(tasks[""]) == MOST_EXAMPLES


def test_an_adapter_without_examples_or_manifest_has_no_scope(tmp_path: Path) -> None:
    declare(tmp_path, "bare", ())
    scope = scope_over(tmp_path, None, CountingModel())
    assert scope.of_adapter("How many?", "bare") is None
    assert scope.of_adapter("How many?", "missing") is None
    (tmp_path / "bare" / MANIFEST_FILE).write_text("not toml [")
    assert scope.of_adapter("How many?", "bare") is None


def test_a_sum_has_the_scope_of_its_best_part(tmp_path: Path) -> None:
    declare(tmp_path, "one", (Example("First?"),))
    declare(tmp_path, "two", (Example("Second?"),))
    scope = scope_over(tmp_path, None, CountingModel())
    assert scope.of_adapter("Second?", "one") == -1
    assert scope.of_adapter("Second?", "one:0.5,two:0.5") == 1


def test_examples_are_encoded_once_and_again_when_they_change(tmp_path: Path) -> None:
    adapters, cache = tmp_path / "adapters", tmp_path / "cache"
    adapters.mkdir()
    declare(adapters, "one", (Example("First?"),))
    model = CountingModel()
    for _ in range(2):
        scope = scope_over(adapters, cache, model)
        assert scope.of_adapter("First?", "one") == 1
        assert scope.of_adapter("Other?", "one") == -1
    assert model.encoded == [["First?"]], "the second scope reads the cache"
    declare(adapters, "one", (Example("First, and longer?"),))
    assert scope.of_adapter("First?", "one") == -1
    assert scope_over(adapters, cache, CountingModel("01")).of_adapter("First, and longer?", "one") == 1


def test_a_damaged_cache_file_is_made_again(tmp_path: Path) -> None:
    adapters, cache = tmp_path / "adapters", tmp_path / "cache"
    adapters.mkdir()
    declare(adapters, "one", (Example("First?"),))
    scope_over(adapters, cache, CountingModel()).of_adapter("First?", "one")
    (file,) = (cache / "tasks").iterdir()
    file.write_bytes(b"damaged")
    assert scope_over(adapters, cache, CountingModel()).of_adapter("First?", "one") == 1


@pytest.mark.parametrize(
    "question", ["why?", "Why is that?", "and its colour?", "Are you sure?", "n now?", "really?"]
)
def test_short_questions_that_rely_on_the_turn_before_are_follow_ups(question: str) -> None:
    assert is_follow_up(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the total?",
        "Whyever",
        "And what would you say is the most common kind of tree in this valley?",
    ],
)
def test_complete_questions_are_no_follow_ups(question: str) -> None:
    assert not is_follow_up(question)


def test_the_examples_that_come_with_the_app_are_encoded_already() -> None:
    names = {file.name for file in BUNDLED.glob("*.npy")}
    wanted = {_file_name(bundled_scope_model().identity, tasks) for tasks in bundled_tasks()}
    assert wanted == names, "run `python -m router.scope`"


def test_bundled_adapters_and_the_default_model_have_adjustments_of_their_own() -> None:
    names = {path.parent.name for path in ADAPTERS.glob(f"*/{MANIFEST_FILE}")}
    assert set(bundled_adjustments()) == {*names, OF_MODEL}


def test_a_bundled_adapter_is_judged_with_its_adjustment(tmp_path: Path) -> None:
    (tmp_path / "receipts").mkdir()
    manifest = (ADAPTERS / "receipts" / MANIFEST_FILE).read_bytes()
    (tmp_path / "receipts" / MANIFEST_FILE).write_bytes(manifest)
    model, question = bundled_scope_model(), "How much is it altogether?"
    tasks = model.encode(declared_tasks(tmp_path / "receipts" / MANIFEST_FILE))
    weight, border = bundled_adjustments()["receipts"]
    expected = model.logit(model.vector(question), replace(tasks, weight=weight, border=border))
    assert TaskScope(tmp_path, None).of_adapter(question, "receipts") == pytest.approx(expected, abs=0.05)


def test_another_adapter_is_judged_more_strictly_whatever_its_name(tmp_path: Path) -> None:
    examples = (Example("How many coins are there?", task="count"), Example("Count the coins.", task="count"))
    model, question = bundled_scope_model(), "How many coins do you see?"
    tasks = model.encode({"count": [example.question for example in examples]})
    expected = model.logit(model.vector(question), tasks) - UNKNOWN_BORDER
    for name in ("coins", "receipts", OF_MODEL):
        declare(tmp_path, name, examples)
        assert TaskScope(tmp_path, None).of_adapter(question, name) == pytest.approx(expected, abs=0.05)

"""What holds for every router over prototypes, on made-up features: the choice, no choice, and the independence of
adapters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.prototypes import PROTOTYPES_FILE, prototypes_of, write_prototypes
from router.choice import Candidate, Router
from router.routers.adapter_file_cache import AdapterFileCache
from router.routers.background import likeness
from router.routers.prototypes import PrototypeRouter
from router.routers.ridge_heads import HeadRouter
from router.types import Reason
from tests.router.made_up import (
    ALL,
    BACKGROUND,
    HIDDEN,
    KINDS,
    MadeUpScope,
    around,
    ask,
    install,
)

Make = Callable[[Path], Router]

MAKERS: dict[str, Make] = {
    "prototypes": lambda directory: PrototypeRouter(directory, BACKGROUND),
    "heads": lambda directory: HeadRouter(directory, MadeUpScope(directory), BACKGROUND),
}


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, kind in KINDS.items():
        install(tmp_path, name, kind)
    return tmp_path


@pytest.fixture
def router(make: Make, directory: Path) -> Router:
    return make(directory)


@pytest.mark.parametrize("name", ALL)
def test_the_adapter_with_the_nearest_examples_is_chosen_and_the_reason_says_so(
    router: Router, name: str
) -> None:
    choice = ask(router, ALL, KINDS[name], KINDS[name])
    best = choice.candidates[0]
    assert choice.adapter == best.adapter == name
    assert choice.probability > 0.9
    assert choice.reason == Reason(
        "adapter_suits", {"adapter": name, "image": best.image, "question": best.question}
    )
    assert {candidate.adapter for candidate in choice.candidates} == set(ALL)


def test_a_generic_question_leaves_the_choice_to_the_image(router: Router) -> None:
    assert ask(router, ALL, KINDS["cells"], 104).adapter == "cells"


def test_plain_chat_under_an_image_is_no_question_about_it(router: Router) -> None:
    assert ask(router, ALL, KINDS["cells"], 290).adapter is None


def test_ordinary_images_get_no_adapter_and_the_reason_names_the_nearest(router: Router) -> None:
    choice = ask(router, ALL, 107, 104)
    assert choice.adapter is None
    assert choice.probability > 0.7
    assert choice.reason.kind == "no_adapter_suits"
    assert choice.reason.fields["adapter"] == choice.candidates[0].adapter


def test_images_unlike_anything_known_get_no_adapter(router: Router) -> None:
    for kind in range(500, 520):
        assert ask(router, ALL, kind, kind).adapter is None


def test_without_an_image_adapters_for_images_are_out_of_the_question(router: Router) -> None:
    choice = ask(router, ALL, None, KINDS["receipts"])
    assert (choice.adapter, choice.candidates) == (None, ())
    assert choice.reason.kind == "adapters_need_image"


def test_an_adapter_with_questions_alone_is_chosen_by_them_with_and_without_an_image(
    make: Make, directory: Path
) -> None:
    install(directory, "poems", 7, images=0)
    router = make(directory)
    installed = (*ALL, "poems")
    assert ask(router, installed, None, 7).adapter == "poems"
    assert ask(router, installed, 107, 7).adapter == "poems"
    assert ask(router, installed, None, 104).adapter is None
    assert ask(router, installed, KINDS["cells"], 104).adapter == "cells"


def test_scores_do_not_depend_on_what_else_is_installed(make: Make, directory: Path) -> None:
    questions = [(image, question) for image in (1, 2, 3, 107) for question in (1, 2, 3, 104)]

    def scores() -> list[dict[str, Candidate]]:
        router = make(directory)
        installed = tuple(path.name for path in directory.iterdir())
        return [{c.adapter: c for c in ask(router, installed, *each).candidates} for each in questions]

    before = scores()
    install(directory, "more", 4)
    after = scores()
    for old, new in zip(before, after, strict=True):
        assert {name: new[name] for name in old} == old
    shutil.rmtree(directory / "aerial")
    for old, new in zip(before, scores(), strict=True):
        assert {name: old[name] for name in new if name in old} == {n: c for n, c in new.items() if n in old}


def test_installing_updating_and_removing_count_from_the_next_choice_on(make: Make, directory: Path) -> None:
    router = make(directory)
    assert ask(router, ALL, 4, 4).adapter is None
    install(directory, "new", 4)
    assert ask(router, (*ALL, "new"), 4, 4).adapter == "new"
    install(directory, "new", 5)
    assert ask(router, (*ALL, "new"), 4, 4).adapter is None
    assert ask(router, (*ALL, "new"), 5, 5).adapter == "new"
    shutil.rmtree(directory / "new")
    assert ask(router, (*ALL, "new"), 5, 5).adapter is None


def test_files_of_other_adapters_are_never_written(make: Make, directory: Path) -> None:
    before = {path: path.stat() for path in directory.rglob("*")}
    router = make(directory)
    ask(router, ALL, 1, 1)
    install(directory, "more", 4)
    ask(router, (*ALL, "more"), 4, 4)
    assert {path: path.stat().st_mtime_ns for path in before if path.is_file()} == {
        path: status.st_mtime_ns for path, status in before.items() if path.is_file()
    }


def test_adapters_without_prototypes_are_never_chosen(make: Make, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    router = make(tmp_path)
    choice = ask(router, ("bare",), 1, 1)
    assert choice.adapter is None
    assert choice.reason.kind == "adapters_without_examples"
    assert ask(router, (), 1, 1).reason.kind == "no_adapter_installed"


def test_a_damaged_file_takes_only_its_own_adapter_out(make: Make, directory: Path) -> None:
    (directory / "cells" / PROTOTYPES_FILE).write_bytes(b"damaged")
    router = make(directory)
    assert ask(router, ALL, 1, 1).adapter == "aerial"
    assert ask(router, ALL, 2, 2).adapter is None
    assert str(directory / "cells") in str(ask(router, ("cells",), 2, 2).reason.fields["message"])


def test_prototypes_of_another_language_model_say_so(make: Make, directory: Path) -> None:
    folder = directory / "other"
    folder.mkdir()
    write_prototypes(folder, prototypes_of([], list(around(1, HIDDEN + 1, 2))))
    choice = ask(make(directory), ("other",), None, 1)
    assert choice.reason.kind == "adapters_unreadable"
    assert "another model" in str(choice.reason.fields["message"])


def test_probabilities_of_near_equals_are_shared(make: Make, directory: Path) -> None:
    install(directory, "twin", KINDS["cells"])
    choice = ask(make(directory), (*ALL, "twin"), 2, 2)
    assert choice.adapter in ("cells", "twin")
    assert choice.probability == pytest.approx(0.5, abs=0.05)


def test_likeness_is_the_mean_of_the_nearest() -> None:
    assert likeness(np.array([0.1, 0.9, 0.3, 0.6], np.float32), 3) == pytest.approx(0.6)
    assert likeness(np.array([[0.2, 0.4]], np.float32), 3) == pytest.approx([0.3])
    assert likeness(np.array([0.1, 0.9], np.float32), 1) == pytest.approx(0.9)


def test_each_adapter_is_read_once_and_again_only_when_it_changed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "one", 1)
    content = (tmp_path / "one" / PROTOTYPES_FILE).read_bytes()
    names = [f"adapter{number:04}" for number in range(100)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / PROTOTYPES_FILE).write_bytes(content)
        (tmp_path / name / "kind").write_text("1 20")
    read: list[str] = []
    make_of = AdapterFileCache._read

    def noted(registry: AdapterFileCache[Any], path: Path) -> Any:
        read.append(path.parent.name)
        return make_of(registry, path)

    monkeypatch.setattr(AdapterFileCache, "_read", noted)
    router = make(tmp_path)
    ask(router, tuple(names), 1, 1)
    assert sorted(read) == names
    ask(router, tuple(names), 1, 2)
    assert sorted(read) == names
    install(tmp_path, names[3], 2)
    ask(router, tuple(names), 1, 1)
    assert read[100:] == [names[3]]

"""Ridge heads on made-up features: the closed form equals the primal solution and true leave-one-out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters.store.manifest import MANIFEST_FILE, REQUIRED_FILES, AdapterManifest, write_manifest
from router.choice import Query
from router.routers.background import FeatureBackground
from router.routers.ridge_heads import RIDGE, RIVAL, HeadFit, HeadRouter
from tests.router.made_up import (
    ALL,
    BACKGROUND,
    GENERIC,
    HIDDEN,
    IMAGE_SIZE,
    KINDS,
    MadeUpScope,
    around,
    ask,
    install,
    near,
    query,
)


def explicit(own: NDArray[np.float32], ordinary: FeatureBackground) -> tuple[NDArray[np.float64], float]:
    """Weight and bias of weighted ridge regression in the primal form, for targets -1 and +1."""
    inputs = np.concatenate([own, ordinary.examples]).astype(np.float64)
    share = np.concatenate([np.full(len(own), 0.5 / len(own)), 0.5 * ordinary.share])
    wanted = np.concatenate([np.ones(len(own)), -np.ones(len(ordinary.examples))])
    mean = share @ inputs
    apart = inputs - mean
    squares = apart.T @ (apart * share[:, None]) + RIDGE * np.eye(inputs.shape[1])
    weight = np.linalg.solve(squares, apart.T @ (share * wanted))
    return weight, float(-weight @ mean)


@settings(max_examples=20)
@given(st.integers(2, 30), st.integers(0, 1000))
def test_a_head_ranks_images_as_ridge_regression_does(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = (rng.standard_normal((count, 40)) + 1).astype(np.float32)
    photos, pictures = (rng.standard_normal((number, 40)).astype(np.float32) for number in (40, 20))
    ordinary = FeatureBackground.of(np.zeros(40, np.float32), photos, pictures)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    weight, bias = HeadFit(ordinary).head(own)
    wanted, at = explicit(own, ordinary)
    images = rng.standard_normal((50, 40)).astype(np.float32)
    measured, expected = images @ weight + bias, images @ wanted + at
    slope, offset = np.polyfit(expected, measured, 1)
    assert slope > 0
    assert measured == pytest.approx(slope * expected + offset, abs=1e-3 * float(np.abs(measured).max()))


def test_one_background_serves_heads_of_any_number_of_examples() -> None:
    shared = HeadFit(BACKGROUND.image)
    for count in (1, 7, 64):
        own = BACKGROUND.image.centred(around(3, IMAGE_SIZE, count))
        (weight, bias), (alone, own_bias) = shared.head(own), HeadFit(BACKGROUND.image).head(own)
        assert np.array_equal(weight, alone)
        assert bias == own_bias


def test_every_group_of_ordinary_images_has_the_same_weight() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.standard_normal((number, 8)).astype(np.float32) for number in (3, 12)]
    background = FeatureBackground.of(np.zeros(8, np.float32), *groups)
    assert background.examples.shape == (15, 8)
    assert background.share[:3].sum() == pytest.approx(0.5)
    assert background.share[3:].sum() == pytest.approx(0.5)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 200))
def test_any_number_of_examples_gives_a_finite_head(count: int, kind: int) -> None:
    weight, bias = HeadFit(BACKGROUND.image).head(BACKGROUND.image.centred(around(kind, IMAGE_SIZE, count)))
    assert np.isfinite(weight).all()
    assert np.isfinite(bias)


def test_copies_of_one_image_give_a_head_that_knows_it() -> None:
    own = BACKGROUND.image.centred(around(1, IMAGE_SIZE, 1))
    weight, bias = HeadFit(BACKGROUND.image).head(np.repeat(own, 5, axis=0))
    assert float(own[0] @ weight) + bias > 0
    assert (BACKGROUND.image.examples @ weight + bias < 0).mean() > 0.95


@pytest.mark.parametrize("count", [3, 20, 64])
def test_few_examples_do(tmp_path: Path, count: int) -> None:
    for name, kind in KINDS.items():
        install(tmp_path, name, kind, images=count)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    for name, kind in KINDS.items():
        assert ask(router, ALL, kind, 104).adapter == name
    assert ask(router, ALL, 107, 104).adapter is None
    assert ask(router, ALL, 600, 104).adapter is None, "an image of a kind that nobody knows"


def test_a_question_that_is_none_of_the_tasks_gets_no_adapter_whatever_the_image(tmp_path: Path) -> None:
    install(tmp_path, "cells", 2)
    install(tmp_path, "receipts", 3)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    for question in (3, 290, 170):
        choice = ask(router, ("cells", "receipts"), 2, question)
        assert choice.adapter is None
        assert choice.reason.kind == "question_out_of_scope"
        assert choice.reason.fields["adapter"] == "cells"


def test_an_adapter_without_declared_tasks_is_not_chosen(tmp_path: Path) -> None:
    install(tmp_path, "cells", 2)
    (tmp_path / "cells" / "kind").unlink()
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    assert ask(router, ("cells",), 2, 2).reason.kind == "adapters_without_examples"


@pytest.mark.parametrize("question", ["Why? 170 1", "and 170 1", "are you sure? 170 1"])
def test_a_follow_up_stays_with_the_adapter_of_the_turn_before(tmp_path: Path, question: str) -> None:
    install(tmp_path, "cells", 2)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    first = query(2, 2)
    follows = replace(first, question=question, previous_question=first.question, previous_adapter="cells")
    assert router.choose(follows, ("cells",)).adapter == "cells"
    assert router.choose(replace(follows, previous_adapter=None), ("cells",)).adapter is None
    other_image = replace(follows, image=query(107, 2).image)
    assert router.choose(other_image, ("cells",)).adapter is None


def test_an_installation_counts_at_once_and_leaves_every_other_decision_as_it_was(tmp_path: Path) -> None:
    for name, kind in KINDS.items():
        install(tmp_path, name, kind, images=64)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    queries = [query(image, question) for image in (1, 2, 3, 107, None) for question in (1, 2, 104, 290)]

    def decisions(installed: Collection[str]) -> list[str | None]:
        return [router.choose(each, installed).adapter for each in queries]

    before = decisions(ALL)
    install(tmp_path, "maps", 4, images=64)
    assert router.choose(query(4, 104), (*ALL, "maps")).adapter == "maps"
    assert decisions((*ALL, "maps")) == before
    install(tmp_path, "maps", 5, images=64)
    assert router.choose(query(5, 104), (*ALL, "maps")).adapter == "maps"
    assert router.choose(query(4, 104), (*ALL, "maps")).adapter is None
    assert decisions((*ALL, "maps")) == before
    assert decisions(ALL) == before


def test_a_candidate_that_its_scope_rules_out_says_how_its_image_looked(tmp_path: Path) -> None:
    install(tmp_path, "cells", 2)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    (candidate,) = ask(router, ("cells",), 2, 290).candidates
    assert candidate.score < 0
    assert candidate.image is not None
    assert candidate.image > 0


def test_vectors_of_another_language_model_get_no_adapter_and_the_reason_says_so(tmp_path: Path) -> None:
    install(tmp_path, "cells", 2)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)
    other = Query("What?", np.ones(HIDDEN + 1, np.float32), near(2, IMAGE_SIZE, 999))
    assert router.choose(other, ("cells",)).reason.kind == "other_language_model"


def install_for_any_page(directory: Path, images: int, questions: int) -> None:
    """An adapter "pages" with images of one kind, whose tasks are questions of another."""
    install(directory, "pages", images)
    (directory / "pages" / "kind").write_text(f"{questions} 20")
    manifest = AdapterManifest(
        "pages", "1", "Any page.", "made-up", "", files=dict.fromkeys(REQUIRED_FILES, "0" * 64), any_page=True
    )
    (directory / "pages" / MANIFEST_FILE).write_bytes(write_manifest(manifest))


def test_an_adapter_for_any_page_answers_what_no_more_special_one_does(tmp_path: Path) -> None:
    install(tmp_path, "receipts", 3)
    install_for_any_page(tmp_path, images=3, questions=5)
    router = HeadRouter(tmp_path, MadeUpScope(tmp_path), BACKGROUND)

    assert ask(router, ("receipts", "pages"), 3, GENERIC).adapter == "receipts"
    assert ask(router, ("receipts", "pages"), 3, 5).adapter == "pages"
    assert ask(router, ("pages",), 3, GENERIC).adapter == "pages"
    assert ask(router, ("receipts", "pages"), 3, 170).adapter is None
    assert ask(router, ("receipts", "pages"), 107, 5).adapter is None


def test_an_adapter_for_any_page_is_no_rival_of_a_special_one(tmp_path: Path) -> None:
    """Its head is surer of pages, because it is fitted without those of the background."""
    photos = np.stack([near(100 + number, IMAGE_SIZE, number) for number in range(60)])
    page = around(3, IMAGE_SIZE, 60) + 0.3 * around(6, IMAGE_SIZE, 60)
    page /= np.linalg.norm(page, axis=1, keepdims=True)
    mean = np.concatenate([photos, page]).mean(axis=0)
    background = replace(
        BACKGROUND,
        image=FeatureBackground.of(mean, photos, page),
        no_pages=FeatureBackground.of(mean, photos),
    )
    install(tmp_path, "receipts", 3)
    install_for_any_page(tmp_path, images=3, questions=3)
    choice = ask(HeadRouter(tmp_path, MadeUpScope(tmp_path), background), ("receipts", "pages"), 3, GENERIC)

    image = {each.adapter: each.image or 0.0 for each in choice.candidates}
    assert image["receipts"] > 0
    assert image["pages"] > image["receipts"] + RIVAL
    assert choice.adapter == "receipts"


def test_pages_of_the_background_do_not_count_against_an_adapter_for_any_page(tmp_path: Path) -> None:
    page = around(6, IMAGE_SIZE, 60)
    photos = np.stack([near(100 + number, IMAGE_SIZE, number) for number in range(60)])
    mean = np.concatenate([photos, page]).mean(axis=0)
    background = replace(
        BACKGROUND,
        image=FeatureBackground.of(mean, photos, page),
        no_pages=FeatureBackground.of(mean, photos),
    )
    install_for_any_page(tmp_path, images=6, questions=6)
    without = replace(background, image=background.no_pages)

    scores = [
        ask(HeadRouter(tmp_path, MadeUpScope(tmp_path), each), ("pages",), 6, 6).candidates[0].image
        for each in (background, without)
    ]

    assert scores[0] == scores[1]
    assert scores[0] is not None
    assert scores[0] > 0

"""Own heads: which facts become one, that they see what is there to be seen, and that guesses are dropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="training needs the extra [train]: pip install -e '.[train]'")

from adapters.training.data import TrainingRow
from adapters.training.options import recipe_of
from adapters.training.own_heads import fitting, heads
from adapters.training.own_heads.fitting import View, fit, stack
from adapters.training.own_heads.heads import cross_fit, find_facts, make_heads, word_tokens
from adapters.training.own_heads.heads_cache import keep_heads, kept_heads
from models.language.tokenizer import Tokenizer
from models.vision.projector.heads import ProjectorHead
from models.vision.projector.pooling import feature
from models.vision.projector.projector import head_inputs
from models.vision.tower import TowerFeatures

pytestmark = pytest.mark.train


def row(image: int, question: str, answer: str, kind: str, **labels: str) -> TrainingRow:
    return TrainingRow(Path("x.png"), f"{image}", question, answer, kind, "train", "x, line 1", "x", labels)


def seen(image: int, *, red: bool, spots: int) -> TowerFeatures:
    """Its colours tell red or not; bright spots on its s8 map, anywhere, are to be counted."""
    rng = np.random.default_rng(image)
    colour = np.zeros(128, np.float32)
    colour[3 if red else 90] += 0.8
    fine = rng.normal(0, 1e-4, (1089, 48)).astype(np.float32)
    fine[rng.choice(1089, spots, replace=False), 7] += 4
    coarse = np.zeros((289, 120), np.float32)
    pool = np.full(1280, 0.1, np.float32)
    return TowerFeatures(pool, np.zeros((0, 1280), np.float32), colour, {"s8": fine, "s16": coarse})


COUNT = 72
ROWS = [
    each
    for image in range(COUNT)
    for each in (
        row(
            image,
            "Which colour?",
            "red" if image % 2 else "blue",
            "colour",
            mood="good" if image % 5 < 3 else "bad",
        ),
        row(image, "How many spots?", str(image % 3), "spots"),
        row(image, "Is it red?" if image % 3 else "Is it blue?", "yes" if image % 4 else "no", "yes_no"),
        row(image, "What is its number?", f"number {image}", "open"),
    )
]
FEATURES = {f"{image}": seen(image, red=bool(image % 2), spots=6 * (image % 3)) for image in range(COUNT)}


@pytest.fixture(scope="module")
def tokenizer(model_files) -> Tokenizer:  # type: ignore[no-untyped-def]
    from models.formats.gguf.gguf_file import GgufFile

    return Tokenizer.from_gguf(GgufFile(model_files.files["language_model"]))


def test_closed_answers_that_follow_from_the_image_become_facts() -> None:
    facts = {each.name: each for each in find_facts(ROWS)}
    assert list(facts) == ["colour", "mood", "spots"]  # not the open one, nor yes and no to several questions
    assert facts["spots"].words == ("0", "1", "2")
    assert facts["colour"].majority == 0.5
    both = [row(0, "Which colour?", "red", "colour"), row(0, "Another colour?", "blue", "colour")]
    said = find_facts([*both, *(each for each in ROWS if each.type == "colour")])
    assert "colour" not in {each.name for each in said}


def test_heads_see_what_is_there_and_guesses_are_dropped(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MOST_SEEN", 2000)
    monkeypatch.setattr(heads, "VIEWS", (heads.VIEWS[0], heads.VIEWS[2]))
    said: list[str] = []
    results = {
        each.name: each for each in make_heads(find_facts(ROWS), FEATURES, tokenizer, "auto", 1, said.append)
    }
    assert results["colour"].accuracy == 1.0
    assert results["colour"].head is not None
    assert results["colour"].head.labels == ("blue", "red")
    assert results["spots"].accuracy > results["spots"].majority + 0.2
    assert results["spots"].head is not None
    assert results["spots"].head.places is not None
    assert results["mood"].head is None
    assert any("mood: dropped" in line for line in said)
    assert set(results["colour"].shares) == set(FEATURES)
    for digest, shares in results["colour"].shares.items():
        assert shares.sum() == pytest.approx(1, abs=1e-4)
        assert shares.argmax() == int(digest) % 2


def test_one_small_thing_among_many_places_is_seen_by_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """What speckles the whole image adds up to more than the one thing: a mean cannot tell, a peak can."""
    monkeypatch.setattr(fitting, "MOST_SEEN", 2400)
    present = np.arange(80) % 2
    images = [one_thing(image, there=bool(there)) for image, there in enumerate(present)]
    view = heads.VIEWS[-1]
    assert view.pooling == "peaks"
    words, truth = [2], present[:, None]
    (by_peaks,) = cross_fit(view, images, truth, words, 0)
    (by_means,) = cross_fit(replace(view, pooling="mean", cells=1), images, truth, words, 0)
    assert (by_peaks.argmax(1) == present).mean() > 0.9
    assert (by_means.argmax(1) == present).mean() < 0.75


def one_thing(image: int, *, there: bool) -> TowerFeatures:
    """A channel that is a little alive everywhere, more in some images, and strong at one place in half of them."""
    rng = np.random.default_rng(100 + image)
    coarse = rng.normal(0, 1e-4, (289, 120)).astype(np.float32)
    coarse[:, 5] += rng.normal(0, 1, 289) + rng.uniform(0, 1)
    if there:
        coarse[rng.integers(289), 5] += 10
    return replace(FEATURES["0"], stages={"s8": FEATURES["0"].stages["s8"], "s16": coarse})


def test_a_view_that_is_right_but_too_sure_beats_one_that_knows_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is wrong it is so sure of it that by likelihood alone a shrug would win."""
    facts = [each for each in find_facts(ROWS) if each.name == "spots"]
    sure, shrug = heads.VIEWS[:2]
    monkeypatch.setattr(heads, "VIEWS", (sure, shrug))

    def fitted(
        view: View, _: object, truth: NDArray[np.int64], words: list[int], _seed: int
    ) -> list[NDArray[np.float32]]:
        shares = np.full((len(truth), words[0]), 1 / words[0], np.float32)
        if view is sure:
            said = np.where(np.arange(len(truth)) % 2, truth[:, 0], (truth[:, 0] + 1) % words[0])
            shares = np.eye(words[0], dtype=np.float32)[said] * 0.999998 + 1e-6
        return [shares]

    monkeypatch.setattr(heads, "cross_fit", fitted)
    (result,) = make_heads(facts, FEATURES, tokenizer, "auto", 1, lambda _: None)
    assert (result.view, result.accuracy) == (sure.name, pytest.approx(0.5))
    assert result.head is not None


def test_no_head_is_made_unless_wanted_and_every_one_if_so(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "VIEWS", heads.VIEWS[:1])
    facts = find_facts(ROWS)
    assert make_heads(facts, FEATURES, tokenizer, "no", 1, lambda _: None) == []
    assert all(each.head for each in make_heads(facts, FEATURES, tokenizer, "yes", 1, lambda _: None))


@pytest.mark.parametrize(
    "view",
    [
        View("plain", ("pool", "s8.max2")),
        View("places", ("colour",), "s16", 3),
        View("peaks", ("colour",), "s8", 5, "peaks"),
    ],
)
def test_what_was_fitted_is_what_the_runtime_computes(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_SEEN", 100)
    images = list(FEATURES.values())[:24]
    truth = np.stack([np.arange(24) % 3, np.arange(24) % 2], axis=1)
    truth[5, 1] = fitting.UNKNOWN
    inputs = stack(view, images)
    for fitted, words in zip(fit(view, inputs, truth, [3, 2], 0), (3, 2), strict=True):
        named = ProjectorHead("h", view.features, 1.0, ("w",) * words, fitted.weight, fitted.bias,
                           np.zeros((words, 1), np.int32), fitted.places)  # fmt: skip
        z = np.stack(
            [named.weight @ np.concatenate(head_inputs(named, each)) + named.bias for each in images]
        )
        expected = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        np.testing.assert_allclose(fitted.shares(inputs), expected, atol=1e-4)
    assert inputs.whole.shape[1] == sum(len(feature(images[0], name)) for name in view.features)


def test_only_mixtures_that_could_not_be_read_are_sharpened() -> None:
    sure, unsure = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.4], [0.4, 0.6]])
    assert heads._sharpness(sure.astype(np.float32)) == 1.0
    sharpness = heads._sharpness(unsure.astype(np.float32))
    assert sharpness == 4.0
    weights = heads.sharpened(unsure.astype(np.float32), sharpness)
    assert weights.max(1).mean() >= heads.READABLE
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert heads._sharpness(np.full((3, 5), 0.2, np.float32)) == heads.SHARPNESS[-1]


def test_words_take_the_tokens_they_have_in_a_sentence(tokenizer: Tokenizer) -> None:
    tokens = word_tokens(tokenizer, ("industrial area", "forest", "12"))
    assert [tokenizer.decode([int(t) for t in ids]) for ids in tokens] == [
        " industrial area",
        " forest.",
        "12",
    ]


def test_kept_heads_come_back_whole_and_only_for_the_same_recipe(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fitting, "MOST_SEEN", 100)
    monkeypatch.setattr(heads, "VIEWS", heads.VIEWS[-1:])
    made = make_heads(find_facts(ROWS), FEATURES, tokenizer, "yes", 1, lambda _: None)
    made.append(replace(made[0], name="dropped", head=None, shares={}))
    keep_heads(tmp_path / "heads.npz", "a recipe", made)
    read = kept_heads(tmp_path / "heads.npz", "a recipe")
    assert read is not None
    for one, two in zip(made, read, strict=True):
        assert (one.name, one.view, one.accuracy, one.majority) == (
            two.name,
            two.view,
            two.accuracy,
            two.majority,
        )
        assert (one.head is None) == (two.head is None)
        if one.head and two.head:
            assert (one.head.labels, one.head.features) == (two.head.labels, two.head.features)
            assert (one.head.sharpness, one.head.temperature) == (two.head.sharpness, two.head.temperature)
            assert np.array_equal(one.head.weight, two.head.weight)
            assert one.head.places is not None and two.head.places is not None
            assert np.array_equal(one.head.places.weight, two.head.places.weight)
            assert one.head.places.pooling == two.head.places.pooling == "peaks"
            assert all(np.array_equal(one.shares[digest], two.shares[digest]) for digest in one.shares)
    assert kept_heads(tmp_path / "heads.npz", "another") is None
    assert kept_heads(tmp_path / "nothing.npz", "a recipe") is None


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_kept_heads_in_a_file_that_was_cut_are_fitted_again(tmp_path: Path, share: float) -> None:
    file = tmp_path / "heads.npz"
    keep_heads(file, "a recipe", [])
    assert kept_heads(file, "a recipe") == []
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert kept_heads(file, "a recipe") is None


def test_kept_heads_of_another_form_are_fitted_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "heads.npz", described=np.array("[1]"))
    assert kept_heads(tmp_path / "heads.npz", "a recipe") is None


def test_other_labels_are_another_recipe() -> None:
    """Heads are fitted to labels, so those that were kept are of no use when labels have changed."""
    renamed = [
        replace(each, labels={f"not_{name}": word for name, word in each.labels.items()}) for each in ROWS
    ]
    assert recipe_of(ROWS, "choices") == recipe_of(list(ROWS), "choices")
    assert recipe_of(renamed, "choices") != recipe_of(ROWS, "choices")

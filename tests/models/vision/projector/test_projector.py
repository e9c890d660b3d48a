"""The projector: heads become mixtures of word embeddings, as numpy says; LoRA is a run-time argument."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.compiler.cpu import KernelPath
from models.core.errors import UserError
from models.formats.llama_weights import LlamaConfig
from models.formats.quantization import quantise
from models.packing.llama_shape import LlamaShape
from models.packing.packed_model import PackedModel
from models.packing.tiles import pack_matrix
from models.vision.projector.heads import Places, ProjectorHead, ProjectorPart
from models.vision.projector.pooling import Pooling
from models.vision.projector.projector import ImageTokens, Projector, packed_embedding
from models.vision.tower import TowerFeatures
from tests.models.vision.vision_cases import PATHS, compiled_dir

VOCAB, HIDDEN = 500, 96
RANDOM = np.random.default_rng(11)
EMBEDDING = RANDOM.normal(0, 0.1, (VOCAB, HIDDEN)).astype(np.float32)
FEATURES = TowerFeatures(
    pool=RANDOM.gamma(1, 0.5, 1280).astype(np.float32),
    grid=np.zeros((81, 1280), np.float32),
    colour=RANDOM.dirichlet(np.ones(128)).astype(np.float32),
    stages={
        "s8": RANDOM.normal(0, 1, (1089, 48)).astype(np.float32),
        "s16": RANDOM.normal(0, 1, (289, 120)).astype(np.float32),
    },
)


def make_head(
    name: str, features: tuple[str, ...], words: int, slots: int, temperature: float
) -> ProjectorHead:
    inputs = sum({"pool": 1280, "colour": 128}[feature] for feature in features)
    tokens = RANDOM.integers(-1, VOCAB, (words, slots)).astype(np.int32)
    return ProjectorHead(
        name=name,
        features=features,
        temperature=temperature,
        labels=tuple(f"{name} {word}" for word in range(words)),
        weight=RANDOM.normal(0, 0.05, (words, inputs)).astype(np.float32),
        bias=RANDOM.normal(0, 1, words).astype(np.float32),
        tokens=tokens,
    )


HEADS = (
    make_head("object", ("pool",), 100, 3, 1.0),
    make_head("setting", ("pool", "colour"), 7, 1, 0.5),
    make_head("colour", ("colour",), 33, 2, 2.5),
)


def expected(head: ProjectorHead, lora: dict[str, NDArray[np.float32]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities [words] and tokens [slots, hidden] in float64, straight from the definition."""
    feature = np.concatenate([getattr(FEATURES, name) for name in head.features]).astype(np.float64)
    z = head.weight.astype(np.float64) @ feature + head.bias
    if f"heads.{head.name}.A" in lora:
        z += lora[f"heads.{head.name}.B"].astype(np.float64) @ (lora[f"heads.{head.name}.A"] @ feature)
    shares = np.exp((z - z.max()) / head.temperature)
    shares /= shares.sum()
    rows = np.where(head.tokens[:, :, None] < 0, 0, EMBEDDING[head.tokens])
    return shares, np.einsum("w,wsh->sh", shares, rows)


def assert_as_defined(made: ImageTokens, lora: dict[str, NDArray[np.float32]]) -> None:
    wanted = [expected(head, lora) for head in HEADS]
    assert made.embeddings.dtype == np.float32
    np.testing.assert_allclose(made.embeddings, np.concatenate([rows for _, rows in wanted]), atol=2e-6)
    for head, (shares, _) in zip(HEADS, wanted, strict=True):
        order = np.argsort(-shares)[:10]
        assert [label for label, _ in made.heads[head.name]] == [head.labels[index] for index in order]
        np.testing.assert_allclose([share for _, share in made.heads[head.name]], shares[order], rtol=1e-4)
    assert made.guesses == made.heads["object"]
    assert made.probability == made.guesses[0][1]


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with the same random numbers, whichever test ran before."""
    monkeypatch.setattr(sys.modules[__name__], "RANDOM", np.random.default_rng(12))


def projector(path: KernelPath) -> Projector:
    return Projector.load(HEADS, lambda ids: EMBEDDING[ids], VOCAB, path, compiled_dir(), 2)


@pytest.fixture(scope="module")
def fastest() -> Projector:
    return projector(PATHS[0])


@pytest.mark.parametrize("path", PATHS)
def test_every_kernel_path_computes_the_definition(path: KernelPath) -> None:
    made = projector(path)
    assert made.length == 6
    assert_as_defined(made.tokens(FEATURES), {})


def random_lora(name: str, rank: int) -> dict[str, NDArray[np.float32]]:
    (head,) = (head for head in HEADS if head.name == name)
    words, inputs = head.weight.shape
    return {
        f"heads.{name}.A": RANDOM.normal(0, 0.05, (rank, inputs)).astype(np.float32),
        f"heads.{name}.B": RANDOM.normal(0, 0.5, (words, rank)).astype(np.float32),
    }


@pytest.mark.parametrize("rank", [1, 5, 16, 128])
def test_lora_changes_the_heads_it_names_as_numpy_says(fastest: Projector, rank: int) -> None:
    lora = random_lora("object", rank) | random_lora("setting", rank)
    made, plain = fastest.tokens(FEATURES, ProjectorPart(lora=lora)), fastest.tokens(FEATURES)
    assert_as_defined(made, lora)
    assert_as_defined(plain, {})
    assert np.abs(made.embeddings[:4] - plain.embeddings[:4]).max() > 1e-4  # far more than rounding
    assert np.array_equal(made.embeddings[4:], plain.embeddings[4:])


def test_a_sharp_head_s_tokens_lean_to_the_likeliest_word_and_its_guesses_are_as_before(
    fastest: Projector,
) -> None:
    plain = own_head("count", "s16", 5, 2, "peaks")
    before = fastest.tokens(FEATURES, ProjectorPart(keep=(), heads=(plain,)))
    sharp = replace(plain, sharpness=3.0)
    made = fastest.tokens(FEATURES, ProjectorPart(keep=(), heads=(sharp,)))
    shares = np.array([dict(before.guesses)[label] for label in plain.labels])
    weights = shares**3 / (shares**3).sum()
    np.testing.assert_allclose(
        made.embeddings, np.einsum("w,wsh->sh", weights, EMBEDDING[plain.tokens]), atol=1e-4
    )
    for (label, share), (other, other_share) in zip(made.guesses, before.guesses, strict=True):
        assert label == other
        assert share == pytest.approx(other_share, abs=1e-4)


def test_results_are_not_overwritten_by_the_next_call(fastest: Projector) -> None:
    first = fastest.tokens(FEATURES)
    kept = first.embeddings.copy()
    fastest.tokens(FEATURES, ProjectorPart(lora=random_lora("object", 4)))
    assert np.array_equal(first.embeddings, kept)


def test_a_lora_that_does_not_fit_is_refused(fastest: Projector) -> None:
    lora = random_lora("object", 4)
    cases = [
        {"heads.shape.A": lora["heads.object.A"]},
        {"heads.object.A": lora["heads.object.A"]},
        {"heads.object.A": lora["heads.object.A"][:, :-1], "heads.object.B": lora["heads.object.B"]},
        {"heads.object.A": lora["heads.object.A"], "heads.object.B": lora["heads.object.B"][:, :-1]},
        {"heads.object.A": lora["heads.object.A"] * np.nan, "heads.object.B": lora["heads.object.B"]},
        random_lora("object", 129),
    ]
    for case in cases:
        with pytest.raises(UserError):
            fastest.tokens(FEATURES, ProjectorPart(lora=case))


def own_head(name: str, map_name: str, cells: int, slots: int, pooling: Pooling = "mean") -> ProjectorHead:
    """A head over colours, pooled maps and a hidden layer at every place of a map."""
    channels = {"s8": 48, "s16": 120}[map_name]
    hidden, words = 5, 4
    pooled = hidden * (2 if pooling == "peaks" else cells**2)
    return ProjectorHead(
        name=name,
        features=("colour", "s8.max2", "s16.mean1"),
        temperature=0.7,
        labels=tuple("abcd"),
        weight=RANDOM.normal(0, 0.1, (words, 128 + 4 * 48 + 120 + pooled)).astype(np.float32),
        bias=RANDOM.normal(0, 1, words).astype(np.float32),
        tokens=RANDOM.integers(0, VOCAB, (words, slots)).astype(np.int32),
        places=Places(
            map_name,
            cells,
            RANDOM.normal(0, 0.3, (hidden, channels)).astype(np.float32),
            RANDOM.normal(0, 0.3, hidden).astype(np.float32),
            pooling,
        ),
    )


def by_place(values: NDArray[np.float32], division: int, how: str) -> NDArray[np.float64]:
    """Cells of a map, one after the other, as their definition says it."""
    side = round(len(values) ** 0.5)
    square = values.reshape(side, side, -1).astype(np.float64)
    edges = [side * cell // division for cell in range(division + 1)]
    parts = [
        getattr(square[edges[i] : edges[i + 1], edges[j] : edges[j + 1]].reshape(-1, square.shape[2]), how)(0)
        for i in range(division)
        for j in range(division)
    ]
    return np.concatenate(parts)


def expected_of_own(head: ProjectorHead) -> NDArray[np.float64]:
    """Tokens [slots, hidden] of a head that own_head made."""
    assert head.places is not None
    s8, s16 = FEATURES.stages["s8"], FEATURES.stages["s16"]
    hidden = np.maximum(FEATURES.stages[head.places.map] @ head.places.weight.T + head.places.bias, 0)
    highest = by_place(hidden, head.places.cells, "max").reshape(-1, hidden.shape[1])
    pooled = {
        "mean": [by_place(hidden, head.places.cells, "mean")],
        "peaks": [hidden.max(0), highest.mean(0)],
    }[head.places.pooling]
    parts: list[NDArray[Any]] = [
        FEATURES.colour,
        by_place(s8, 2, "max"),
        by_place(s16, 1, "mean"),
        *pooled,
    ]
    z = (head.weight @ np.concatenate(parts) + head.bias) / head.temperature
    shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    tokens: NDArray[np.float64] = np.einsum("w,wsh->sh", shares, EMBEDDING[head.tokens])
    return tokens


@pytest.mark.parametrize(
    ("map_name", "cells", "pooling"),
    [("s8", 1, "mean"), ("s8", 4, "mean"), ("s16", 3, "mean"), ("s8", 1, "peaks"), ("s16", 5, "peaks")],
)
def test_an_adapter_s_own_heads_see_places_and_come_after_the_kept_ones(
    fastest: Projector, map_name: str, cells: int, pooling: Pooling
) -> None:
    own = own_head("count", map_name, cells, 2, pooling)
    made = fastest.tokens(FEATURES, ProjectorPart(keep=("colour", "object"), heads=(own,)))
    plain = fastest.tokens(FEATURES)
    assert np.array_equal(made.embeddings[:2], plain.embeddings[4:])
    assert np.array_equal(made.embeddings[2:5], plain.embeddings[:3])
    np.testing.assert_allclose(made.embeddings[5:], expected_of_own(own), atol=2e-5)
    assert list(made.heads) == ["colour", "object", "count"]
    alone = fastest.tokens(FEATURES, ProjectorPart(keep=(), heads=(own,)))
    assert np.array_equal(alone.embeddings, made.embeddings[5:])
    assert alone.guesses == made.heads["count"]


def test_the_least_sure_of_an_adapter_s_own_heads_tells_how_sure_they_are(fastest: Projector) -> None:
    first, second = own_head("first", "s8", 1, 1), own_head("second", "s16", 3, 1)
    made = fastest.tokens(FEATURES, ProjectorPart(keep=("object",), heads=(first, second)))
    assert made.probability == min(made.heads["first"][0][1], made.heads["second"][0][1])


def test_many_adapters_parts_take_turns_without_mixing(fastest: Projector) -> None:
    parts = [ProjectorPart(keep=(), heads=(own_head("own", "s8", 1, 1),)) for _ in range(12)]
    for _ in range(2):
        for part in parts:
            made = fastest.tokens(FEATURES, part).embeddings
            np.testing.assert_allclose(made, expected_of_own(part.heads[0]), atol=2e-5)


def test_a_part_for_another_projector_is_refused(fastest: Projector) -> None:
    own = own_head("own", "s8", 1, 1)
    beyond = ProjectorHead(**{**vars(own), "tokens": np.full((4, 1), VOCAB, np.int32)})
    for part in (
        ProjectorPart(keep=("shape",)),
        ProjectorPart(heads=(ProjectorHead(**{**vars(own), "name": "colour"}),)),
        ProjectorPart(keep=(), heads=(beyond,)),
        ProjectorPart(keep=("colour",), lora=random_lora("object", 4)),
    ):
        with pytest.raises(UserError, match="adapter"):
            fastest.tokens(FEATURES, part)


def test_embedding_rows_of_a_packed_model_are_the_matrix_s() -> None:
    matrix = quantise(EMBEDDING, 8)
    config = LlamaConfig(HIDDEN, 64, 1, 3, 1, 32, VOCAB, 1e-5, 1e4, 64, True)
    bits = {f"{role}_bits": 4 for role in ("q", "k", "v", "o", "gate", "up", "down")}
    shape = LlamaShape(HIDDEN, 64, 1, 3, 1, 32, VOCAB, 1e-5, **bits, head_bits=0)
    packed = PackedModel(config, shape, "digest", {"embedding": pack_matrix(matrix).reshape(-1)})
    ids = np.array([0, 499, 17, 17, 16, 15, 250])
    assert np.array_equal(packed_embedding(packed)(ids), matrix.dequantise()[ids])

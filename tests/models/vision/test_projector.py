"""The projector: heads become mixtures of word embeddings, as numpy says; LoRA is a run-time argument."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.compiler.cpu import KernelPath
from models.core.errors import UserError
from models.formats.llama_weights import LlamaConfig
from models.formats.quantization import quantise
from models.formats.safetensors_file import SafetensorsFile
from models.packing.packed_model import LlamaShape, PackedModel, pack_matrix
from models.vision.efficientnet import PackedTower, pack_tower
from models.vision.pooling import Pooling
from models.vision.projector import ImageTokens, Projector, packed_embedding
from models.vision.projector_file import (
    Places,
    ProjectorHead,
    ProjectorPart,
    read_projector,
    read_projector_part,
    write_projector_part,
)
from models.vision.tower import TowerFeatures
from tests.models.vision.vision_cases import PATHS, compiled_dir, random_checkpoint

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


# ---- the file


@pytest.fixture(scope="module")
def tower() -> PackedTower:
    return pack_tower(random_checkpoint(0))


def contents() -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Metadata and tensors of HEADS, and of one head that is the tower's classifier."""
    entries: list[dict[str, Any]] = []
    tensors: dict[str, NDArray[Any]] = {}
    for head in HEADS:
        entries.append(
            {
                "name": head.name,
                "features": list(head.features),
                "temperature": head.temperature,
                "labels": list(head.labels),
                "weights": "own",
            }
        )
        tensors |= {
            f"heads.{head.name}.weight": head.weight,
            f"heads.{head.name}.bias": head.bias,
            f"heads.{head.name}.tokens": head.tokens,
        }
    labels = [f"class {number}" for number in range(1000)]
    entries.append({"name": "class", "features": ["pool"], "labels": labels, "weights": "tower.classifier"})
    tensors["heads.class.tokens"] = np.zeros((1000, 1), np.int32)
    return entries, tensors


def write(path: Path, entries: Any, tensors: dict[str, NDArray[Any]], **metadata: str) -> Path:
    heads = json.dumps(entries)
    save_file(tensors, path, {"format": "edge-app-projector", "version": "1", "heads": heads} | metadata)
    return path


def test_a_file_reads_back_as_its_heads(tmp_path: Path, tower: PackedTower) -> None:
    *own, classifier = read_projector(write(tmp_path / "p.safetensors", *contents()), tower, VOCAB)
    assert len(own) == len(HEADS)
    for read, head in zip(own, HEADS, strict=True):
        assert (read.name, read.features, read.labels) == (head.name, head.features, head.labels)
        assert read.temperature == head.temperature
        assert np.array_equal(read.weight, head.weight)
        assert np.array_equal(read.tokens, head.tokens)
    assert classifier.weight is tower.classifier
    assert classifier.bias is tower.classifier_bias
    assert classifier.temperature == 1


def test_half_precision_weights_are_read(tmp_path: Path, tower: PackedTower) -> None:
    entries, tensors = contents()
    tensors["heads.colour.weight"] = tensors["heads.colour.weight"].astype(np.float16)
    heads = read_projector(write(tmp_path / "p.safetensors", entries, tensors), tower, VOCAB)
    assert heads[2].weight.dtype == np.float32
    np.testing.assert_allclose(heads[2].weight, HEADS[2].weight, atol=1e-3)


def change(tensor: str, value: NDArray[Any] | None) -> Any:
    def apply(entries: list[dict[str, Any]], tensors: dict[str, NDArray[Any]]) -> None:
        assert entries
        if value is None:
            del tensors[tensor]
        else:
            tensors[tensor] = value

    return apply


def entry(head: int, **values: Any) -> Any:
    def apply(entries: list[dict[str, Any]], tensors: dict[str, NDArray[Any]]) -> None:
        assert tensors
        entries[head] |= values

    return apply


WRONG = {
    "weight of another shape": change("heads.object.weight", np.zeros((100, 1279), np.float32)),
    "weight missing": change("heads.object.weight", None),
    "weight not finite": change("heads.object.weight", np.full((100, 1280), np.nan, np.float32)),
    "weight of integers": change("heads.object.weight", np.zeros((100, 1280), np.int32)),
    "bias infinite": change("heads.object.bias", np.full(100, np.inf, np.float32)),
    "bias of another length": change("heads.object.bias", np.zeros(99, np.float32)),
    "tokens missing": change("heads.object.tokens", None),
    "tokens of another type": change("heads.object.tokens", np.zeros((100, 3), np.int64)),
    "token beyond the vocabulary": change("heads.object.tokens", np.full((100, 3), VOCAB, np.int32)),
    "token below -1": change("heads.object.tokens", np.full((100, 3), -2, np.int32)),
    "tokens for fewer words": change("heads.object.tokens", np.zeros((99, 3), np.int32)),
    "no slots": change("heads.object.tokens", np.zeros((100, 0), np.int32)),
    "a tensor of no head": change("heads.other.weight", np.zeros(3, np.float32)),
    "weights beside the classifier": change("heads.class.weight", np.zeros((1000, 1280), np.float32)),
    "fewer labels": entry(0, labels=["one"]),
    "labels that are no text": entry(0, labels=list(range(100))),
    "an unknown feature": entry(0, features=["smell"]),
    "no features": entry(0, features=[]),
    "two heads of a name": entry(1, name="object"),
    "a name with a slash": entry(0, name="../object"),
    "temperature zero": entry(0, temperature=0),
    "temperature not a number": entry(0, temperature="warm"),
    "unknown weights": entry(0, weights="borrowed"),
    "a classifier over colours": entry(3, features=["colour"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_with_the_file_s_name(
    case: str, tmp_path: Path, tower: PackedTower
) -> None:
    entries, tensors = contents()
    WRONG[case](entries, tensors)
    with pytest.raises(UserError, match=r"p\.safetensors"):
        read_projector(write(tmp_path / "p.safetensors", entries, tensors), tower, VOCAB)


def test_other_files_are_refused(tmp_path: Path, tower: PackedTower) -> None:
    entries, tensors = contents()
    path = tmp_path / "p.safetensors"
    for changed in ({"version": "4"}, {"format": "something else"}):
        with pytest.raises(UserError, match="not a projector file"):
            read_projector(write(path, entries, tensors, **changed), tower, VOCAB)
    for heads in ("{", "no list", {"name": "object"}, [1], []):
        with pytest.raises(UserError):
            read_projector(write(path, heads, tensors), tower, VOCAB)
    path.write_bytes(b"not safetensors at all, not even a header")
    with pytest.raises(UserError):
        read_projector(path, tower, VOCAB)


# ---- an adapter's part


def a_part() -> ProjectorPart:
    spots = replace(own_head("spots", "s16", 5, 1, "peaks"), sharpness=3.0)
    heads = (own_head("count", "s8", 2, 1), spots, HEADS[1])
    return ProjectorPart(keep=("object",), heads=heads, lora=random_lora("object", 3))


def test_a_part_reads_back_as_it_was_written(tmp_path: Path) -> None:
    part, path = a_part(), tmp_path / "projector.safetensors"
    write_projector_part(path, part)
    read = read_projector_part(path)
    assert read.keep == part.keep
    assert read.lora.keys() == part.lora.keys()
    for made, head in zip(read.heads, part.heads, strict=True):
        assert (made.name, made.features, made.labels) == (head.name, head.features, head.labels)
        np.testing.assert_allclose(made.weight, head.weight, atol=1e-3)
        assert np.array_equal(made.tokens, head.tokens)
    assert read.heads[0].places is not None
    assert (read.heads[0].places.map, read.heads[0].places.cells) == ("s8", 2)
    assert [head.places.pooling for head in read.heads if head.places] == ["mean", "peaks"]
    assert [head.sharpness for head in read.heads] == [1.0, 3.0, 1.0]
    write_projector_part(path, ProjectorPart(lora=random_lora("object", 2)))
    assert read_projector_part(path).keep is None


WRONG_PARTS: dict[str, dict[str, str]] = {
    "nothing left to see with": {"keep": "[]", "heads": "[]"},
    "keep is no list": {"keep": '"object"'},
    "keep is no JSON": {"keep": "[object"},
    "a head kept twice": {"keep": '["object", "object"]'},
    "a name with a slash": {"keep": '["../object"]'},
    "a later version": {"version": "4"},
}


def test_a_head_of_version_2_is_pooled_by_means_and_not_sharpened(tmp_path: Path) -> None:
    path = tmp_path / "projector.safetensors"
    write_projector_part(path, ProjectorPart(keep=(), heads=(own_head("count", "s16", 3, 1),)))
    file = SafetensorsFile(path)
    heads = json.loads(file.metadata["heads"])
    assert heads[0]["places"].pop("pooling") == "mean"
    assert heads[0].pop("sharpness") == 1.0
    older = {**file.metadata, "version": "2", "heads": json.dumps(heads)}
    save_file({name: np.array(file.array(name)) for name in file.tensors}, path, older)
    (head,) = read_projector_part(path).heads
    assert head.places is not None
    assert head.places.pooling == "mean"
    assert head.sharpness == 1.0


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_a_damaged_part_is_refused_with_the_file_s_name(case: str, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    metadata = {"format": "edge-app-projector", "version": "2", "heads": "[]", "keep": "null"}
    save_file({"heads.object.A": np.zeros((1, 4), np.float32)}, path, metadata | WRONG_PARTS[case])
    with pytest.raises(UserError, match=r"p\.safetensors"):
        read_projector_part(path)


def test_a_part_s_places_and_lora_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_projector_part(path, a_part())
    file = SafetensorsFile(path)
    whole = {name: np.array(file.array(name)) for name in file.tensors}
    heads = json.loads(file.metadata["heads"])
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"map": "s4", "cells": 1}, {}),
        ({"map": "s8", "cells": 0}, {}),
        ({"map": "s8", "cells": 2, "pooling": "median"}, {}),
        ({"map": "s8", "cells": 2, "pooling": "peaks"}, {}),  # other numbers than its weight is for
        ({"map": "s16", "cells": 2}, {}),
        ({"map": "s8", "cells": 2}, {"heads.count.places.bias": np.zeros((0,), np.float32)}),
        ({"map": "s8", "cells": 2}, {"heads.object.A": np.full((3, 1280), np.inf, np.float32)}),
        ({"map": "s8", "cells": 2}, {"heads.object.A": np.zeros(3, np.float32)}),
    ]
    for places, tensors in changes:
        entries = [{**heads[0], "places": places}, *heads[1:]]
        save_file(whole | tensors, path, {**file.metadata, "heads": json.dumps(entries)})
        with pytest.raises(UserError, match=r"p\.safetensors"):
            read_projector_part(path)
    save_file(
        whole, path, {**file.metadata, "heads": json.dumps([{**heads[0], "weights": "tower.classifier"}])}
    )
    with pytest.raises(UserError, match="not known here"):
        read_projector_part(path)

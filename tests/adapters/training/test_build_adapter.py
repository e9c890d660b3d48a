"""Twenty labelled images become an adapter that can be installed, and what is learnt is what is served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="training needs the extra [train]: pip install -e '.[train]'")

from adapters.install.verify import check_hashes, read_weights
from adapters.store.manifest import Accuracy, AdapterManifest, Example, PromptPolicy, parse_manifest
from adapters.training.build_adapter import About, make_adapter
from adapters.training.card import Made, card
from adapters.training.data import read_training_rows
from adapters.training.images.inputs import encode_images, extract_features, projector_part
from adapters.training.measure import Answers, accuracies
from adapters.training.options import Options, Workplace
from adapters.training.own_heads.heads import OwnHeadResult, find_facts, make_heads
from models.adapter_weights import AdapterWeights
from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import no_progress
from models.families.parts import LoadOptions
from models.families.registry import load_parts
from models.hub.store import ModelFiles
from models.lora.weights import LoraWeights

pytestmark = pytest.mark.train

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty drawn squares, their colours asked."""
    folder = tmp_path_factory.mktemp("squares")
    rows = []
    for number in range(20):
        picture = PIL.Image.new("RGB", (96, 96), "white")
        side = 30 + number
        PIL.ImageDraw.Draw(picture).rectangle((10, 10, 10 + side, 10 + side), COLOURS[number % 3])
        picture.save(folder / f"{number}.png")
        rows.append(
            {
                "image": f"{number}.png",
                "question": "Which colour?",
                "answer": COLOURS[number % 3],
                "type": "c",
            }
        )
    (folder / "squares.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "squares.jsonl"


def place(files: ModelFiles, cache: Path, folder: Path) -> Workplace:
    return Workplace(files, cache, folder / "checkpoint.pt", 2)


ABOUT = About("squares", "1.0.0", "Names colours.", "", "drawn", "ours", "edge-app …", "edge-app eval …")


@pytest.mark.slow
def test_twenty_images_become_an_adapter_that_can_be_installed(
    data: Path, tmp_path: Path, model_files: ModelFiles, engine_cache: Path
) -> None:
    rows, out = read_training_rows(data), tmp_path / "squares"
    said: list[object] = []
    options = Options(rank=8, alpha=16, steps=12, own_head="yes")
    report, manifest = make_adapter(
        rows, ABOUT, options, out, place(model_files, engine_cache, tmp_path), said.append
    )
    assert report.learnt.steps <= 12
    assert [each.name for each in report.heads if each.head] == ["c"]
    assert manifest == parse_manifest((out / "adapter.toml").read_bytes(), out / "adapter.toml")
    check_hashes(out, manifest, {})
    weights = read_weights(out, "squares")
    assert weights.lora.rank == 8
    assert weights.projector is not None
    assert weights.projector.keep == ()
    assert manifest.reads == PromptPolicy("never", words=False)
    (accuracy,) = manifest.accuracy
    assert (accuracy.set, accuracy.type, accuracy.rows) == ("squares", "c", 4)
    assert "Names colours." in (out / "README.md").read_text()
    assert not list(tmp_path.glob(".squares*"))
    with pytest.raises(UserError, match="exists already"):
        make_adapter(rows, ABOUT, options, out, place(model_files, engine_cache, tmp_path), said.append)


@pytest.mark.slow
def test_the_image_tokens_that_are_learnt_are_those_that_are_served(
    data: Path, tmp_path: Path, model_files: ModelFiles, engine_cache: Path, engine: CompiledEngine
) -> None:
    rows = read_training_rows(data)
    parts = load_parts(model_files, LoadOptions(engine_cache, 2), no_progress)
    features = extract_features(rows, parts, place(model_files, engine_cache, tmp_path), lambda _: None)
    learnt, held = rows[:-3], rows[-3:]
    heads = make_heads(find_facts(learnt), features, parts.language.tokenizer, "yes", 0, lambda _: None)
    for options in (Options(), Options(ocr="always")):
        part = projector_part([each.head for each in heads if each.head], rows, options)
        assert part is not None
        seen = encode_images(features, {}, parts, part, heads)
        packed = engine.adapters.pack(AdapterWeights(LoraWeights("squares", 1, 1, {}), part))
        for row in held:
            served = engine.encode_image(load_image(row.image), packed).embeddings
            np.testing.assert_allclose(seen[row.digest].rows, served, atol=2e-3)
    base = encode_images(features, {}, parts, None, ())
    for row in held:
        np.testing.assert_allclose(
            base[row.digest].rows, engine.encode_image(load_image(row.image)).embeddings, atol=1e-5
        )


def test_accuracy_counts_each_way_and_what_objects_hold(data: Path) -> None:
    row = read_training_rows(data)[0]
    wanted = '{"company": "A", "total": "1.00"}'
    rows = [replace(row, type="json", answer=wanted)] * 2
    answers = [
        Answers(rows[0], wanted, '{"company": "A"', None),
        Answers(rows[1], '{"company": "B", "total": "1.00"}', None, "nothing"),
    ]
    found = {each.type: each for each in accuracies(answers)}
    assert found["json"].adapter == 0.5
    assert found["json parses"].adapter == 1.0
    assert found["json parses"].base == 0.0
    assert found["json company"].adapter == 0.5
    assert found["json total"].adapter == 1.0
    assert found["json"].majority == 1.0
    assert all(each.rows == 2 for each in found.values())


def test_the_card_says_what_was_measured_and_what_was_dropped() -> None:
    manifest = AdapterManifest(
        name="squares",
        version="1.0.0",
        description="Names colours.",
        base_model="edge-vlm-135m",
        base_digest="",
        examples=(Example("Which colour?"),),
        training={"learning_rate": "0.001"},
        accuracy=(Accuracy("squares", "c", 4, 0.75, 0.0, 0.25, 0.5),),
    )
    text = card(
        manifest, Made("edge-app train", "edge-app eval", [OwnHeadResult("c", 16, "v", 0.4, 0.5, None, {})])
    )
    assert "| squares | c | 4 | 75.0 | 0.0 | 25.0 | 50.0 |" in text
    assert "c (40.0% of 16 images)" in text
    assert "learning rate: 0.001" in text

"""Twenty labelled images become an adapter of a model that looks at tiles, and it answers as they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="training needs the extra [train]: pip install -e '.[train]'")

from adapters.install.verify import read_weights
from adapters.training.build_adapter import About, make_adapter
from adapters.training.data import TrainingRow, read_training_rows
from adapters.training.images.features import load_training_image
from adapters.training.learning import Step
from adapters.training.options import Options, Progress, Workplace
from models.core.types import Message, Sampling
from models.engine import load_model
from models.vision.tiled.tile_encoder import TileEncoder
from tests.models.families.vlm_models import files_of

pytestmark = [pytest.mark.train, pytest.mark.slow]

ABOUT = About("codes", "1.0.0", "Says codes.", "", "drawn", "ours", "edge-app …", "edge-app eval …")
QUESTIONS = ("What is this?", "Which colour?")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of coloured noise with a code each, of which half are looked at in one tile."""
    folder = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(3)
    rows = []
    for number in range(20):
        blocks = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(24, 0).repeat(24, 1)
        PIL.Image.fromarray(blocks).save(folder / f"{number}.png")
        row = {"image": f"{number}.png", "question": QUESTIONS[number % 2], "split": "train"}
        rows.append(row | {"answer": f"code {rng.integers(100, 1000)}"})
    (folder / "codes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "codes.jsonl"


@pytest.mark.parametrize("form", ["directory", "f16"])
def test_twenty_answers_are_learnt_by_heart(
    data: Path, form: str, tmp_path: Path, engine_cache: Path
) -> None:
    files, out = files_of("like_256m", form), tmp_path / "codes"
    rows: list[TrainingRow] = [
        replace(row, detail="low") if number % 2 else row
        for number, row in enumerate(read_training_rows(data))
    ]
    place = Workplace(files, engine_cache, tmp_path / "new" / "checkpoint.pt", 1)
    said: list[object] = []
    report, _ = make_adapter(rows, ABOUT, Options(), out, place, said.append)
    assert report.learnt.best.accuracy == 1
    announced = [text for text in said if isinstance(text, str) and text.startswith("training takes about")]
    assert len(announced) == 1
    engine = load_model(files, cache_dir=engine_cache, threads=1)
    adapter = engine.adapters.pack(read_weights(out, "codes"))
    answers = []
    for row in rows:
        asked = [Message("user", row.question, (load_training_image(row),))]
        told = engine.generate(asked, Sampling(max_tokens=12), adapter=adapter)
        answers.append("".join(token.text for token in told).strip())
    engine.close()
    assert answers == [row.answer for row in rows]
    assert len(set(answers)) > 15
    if form == "directory":
        check_that_peft_applies_it(files.directory, out)


def test_an_interrupted_training_is_resumed_to_the_same_adapter_and_looks_at_no_image_again(
    data: Path, tmp_path: Path, engine_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [replace(row, detail="low") for row in read_training_rows(data)]
    options = Options(steps=16)

    def make(name: str, progress: Progress, resume: bool = False) -> bytes:
        place = Workplace(files_of("like_256m", "directory"), engine_cache, tmp_path / f"{name[:3]}.pt", 1)
        make_adapter(rows, ABOUT, options, tmp_path / name, place, progress, resume=resume)
        return (tmp_path / name / "adapter_model.safetensors").read_bytes()

    def interrupt(news: str | Step) -> None:
        if isinstance(news, Step) and news.done == 9:
            raise KeyboardInterrupt

    def encode_tiles(*_: object) -> None:
        raise AssertionError("the rows are on disk")

    whole = make("all of it", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        make("cut", interrupt)
    assert not (tmp_path / "cut").exists()
    monkeypatch.setattr(TileEncoder, "encode_tiles", encode_tiles)
    steps: list[str | Step] = []
    assert make("cut", steps.append, resume=True) == whole
    assert next(news.done for news in steps if isinstance(news, Step)) == 9


def check_that_peft_applies_it(model: Path, folder: Path) -> None:
    """peft finds every tensor of the folder in the whole model, and nothing of it outside the language model."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    whole = transformers.Idefics3ForConditionalGeneration.from_pretrained(model)
    adapted = peft.PeftModel.from_pretrained(whole, folder)
    stored = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    applied = {
        name.replace(".default.", "."): value.detach().numpy()
        for name, value in adapted.named_parameters()
        if "lora_" in name
    }
    assert applied.keys() == stored.keys()
    for name, value in stored.items():
        np.testing.assert_array_equal(applied[name].astype(np.float16), value)

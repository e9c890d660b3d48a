"""The bundled background, and the router over the real model's features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from adapters.prototypes import image_vector, make_prototypes, question_vector, write_prototypes
from adapters.store.manifest import (
    MANIFEST_FILE,
    NOT_DECLARED,
    REQUIRED_FILES,
    AdapterManifest,
    Example,
    write_manifest,
)
from models.compiled_engine import CompiledEngine
from models.core.types import Image
from router.choice import Choice, Query, Router
from router.routers import make_router
from router.routers.background import BUNDLED, CHAT, GENERAL, SPECIAL, bundled_background, read_questions
from router.routers.make_background import centres
from router.scope import TaskScope

FILES = dict.fromkeys(REQUIRED_FILES, "0" * 64)


def test_the_background_is_whole_and_small(engine: CompiledEngine) -> None:
    sizes = engine.feature_sizes
    for background, features in (
        (bundled_background().image, sizes.image),
        (bundled_background().question, sizes.text),
    ):
        assert background.mean.shape == (features,)
        assert background.examples.shape[1] == features
        assert np.isfinite(background.mean).all()
        assert np.linalg.norm(background.examples, axis=1) == pytest.approx(1, abs=1e-4)
    assert len(bundled_background().image.examples) >= 100
    assert BUNDLED.stat().st_size < 1_800_000


def test_the_bundled_questions_are_those_of_the_list(engine: CompiledEngine) -> None:
    kinds = read_questions(GENERAL)
    everything = [question for own in kinds.values() for question in own]
    assert len(everything) == len(set(everything))
    asked = [question for kind, own in kinds.items() if kind != SPECIAL for question in own]
    assert list(kinds)[-1] == CHAT
    assert bundled_background().chat == len(kinds[CHAT])
    assert len(asked) == len(bundled_background().question.examples)
    made = np.stack([question_vector(engine, question) for question in asked[::20]])
    found = bundled_background().question.centred(made)
    assert (found * bundled_background().question.examples[::20]).sum(axis=1) == pytest.approx(1, abs=0.01)


def test_clusters_have_their_centres() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal((3, 8)).astype(np.float32) * 9
    points = np.repeat(wanted, 10, axis=0) + rng.standard_normal((30, 8)).astype(np.float32) * 0.1
    found = centres(points, 3)
    assert np.abs(found[:, None] - wanted[None]).max(axis=2).min(axis=0).max() < 0.2
    assert len(centres(points[:2], 3)) == 2


def drawn(kind: str, seed: int) -> Image:
    """Discs on pink, or bars on white: two domains that are in no training data."""
    rng = np.random.default_rng([len(kind), seed])
    picture = PIL.Image.new("RGB", (320, 240), (250, 220, 225) if kind == "discs" else "white")
    draw = PIL.ImageDraw.Draw(picture)
    for number in range(12):
        x, y, size = int(rng.integers(280)), int(rng.integers(200)), int(rng.integers(20, 40))
        if kind == "discs":
            draw.ellipse((x, y, x + size, y + size), fill=(210, 110, 140), outline=(150, 60, 90))
        else:
            draw.rectangle((25 * number, 240 - 5 * size, 25 * number + 18, 239), fill=(40, 90, 180))
    return Image(np.asarray(picture), f"{kind} {seed}", f"{kind}.png")


QUESTIONS = {
    "discs": ["How many discs are there?", "Are there any discs?"],
    "bars": ["Which bar is the highest?", "How many bars are there?"],
}


def declare(folder: Path, kind: str) -> None:
    """Writes a manifest with the kind's questions as examples."""
    examples = tuple(Example(question, task="counting") for question in QUESTIONS[kind])
    manifest = AdapterManifest(
        kind, "1.0.0", f"Counts {kind}.", "edge-vlm-135m", NOT_DECLARED, ("counting",), examples, files=FILES
    )
    (folder / MANIFEST_FILE).write_bytes(write_manifest(manifest))


@pytest.fixture(scope="module")
def router(engine: CompiledEngine, tmp_path_factory: pytest.TempPathFactory) -> Router:
    directory = tmp_path_factory.mktemp("adapters")
    for kind, questions in QUESTIONS.items():
        (directory / kind).mkdir()
        made = make_prototypes(engine, [drawn(kind, seed) for seed in range(20)], questions)
        write_prototypes(directory / kind, made)
        declare(directory / kind, kind)
    return make_router("heads", directory, engine, TaskScope(directory, None))


def ask(
    router: Router, engine: CompiledEngine, question: str, image: Image | None, after: str | None = None
) -> Choice:
    """after: the adapter that answered a turn about the image before."""
    seen = None if image is None else image_vector(engine.image_features(image))
    query = Query(question, question_vector(engine, question), seen)
    if after is not None:
        query = replace(query, previous_question=QUESTIONS[after][0], previous_adapter=after)
    return router.choose(query, tuple(QUESTIONS))


@pytest.mark.parametrize("kind", QUESTIONS)
@pytest.mark.parametrize("question", ["own", "Please count the {}.", "Could you tell me the number of {}?"])
def test_images_of_a_kind_never_seen_go_to_the_adapter_with_their_like(
    router: Router, engine: CompiledEngine, kind: str, question: str
) -> None:
    asked = QUESTIONS[kind][0] if question == "own" else question.format(kind)
    for seed in range(100, 104):
        choice = ask(router, engine, asked, drawn(kind, seed))
        assert choice.adapter == kind, choice.reason


@pytest.mark.parametrize(
    "question",
    ["Tell me a joke about bars.", "How many discs are there?", "Hello", "What is the capital of Peru?"],
)
def test_plain_chat_gets_no_adapter(router: Router, engine: CompiledEngine, question: str) -> None:
    assert ask(router, engine, question, None).adapter is None


@pytest.mark.parametrize("question", ["Thanks!", "Tell me a joke.", "How do I boil an egg?"])
def test_chat_that_goes_on_under_an_image_gets_no_adapter(
    router: Router, engine: CompiledEngine, question: str
) -> None:
    choice = ask(router, engine, question, drawn("discs", 100))
    assert (choice.adapter, choice.reason.kind) == (None, "question_out_of_scope")


@pytest.mark.parametrize(
    "question", ["Who drew this?", "What does it cost?", "When was it made?", "Is the picture well done?"]
)
def test_what_no_task_asks_gets_no_adapter(router: Router, engine: CompiledEngine, question: str) -> None:
    choice = ask(router, engine, question, drawn("discs", 100))
    assert (choice.adapter, choice.reason.kind) == (None, "question_out_of_scope")


@pytest.mark.parametrize("question", ["And this one?", "Are you sure?", "What about here?", "Why?"])
def test_follow_up_questions_stay_with_the_adapter(
    router: Router, engine: CompiledEngine, question: str
) -> None:
    assert ask(router, engine, question, drawn("discs", 100), after="discs").adapter == "discs"


def test_a_textured_picture_of_nothing_gets_no_adapter(router: Router, engine: CompiledEngine) -> None:
    rng = np.random.default_rng(0)
    small = PIL.Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    blurred = np.asarray(small.resize((320, 240), PIL.Image.Resampling.BICUBIC))
    choice = ask(router, engine, "What is the main object in this photo?", Image(blurred, "blur", "blur.png"))
    assert choice.adapter is None, choice.reason

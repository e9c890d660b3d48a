"""The training recipe: what it reads, that it speaks in serving's words, that its steps repeat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="training needs the extra [train]: pip install -e '.[train]'")

import torch

from models.core.types import Image, Message
from models.language.prompt import EncodedImage, PromptBuilder
from models.language.templates.chat_template import ChatTemplate
from models.language.tokenizer import Tokenizer
from models.model_config import read_model_config
from models.scoring.answer_rules import CLASSES
from models.training import base
from models.training.classes import load_classes
from models.training.dialogues import MAIN_OBJECT, Talk, article
from models.training.examples import ConversationWriter, ImageRows, pack
from models.training.features import read_rows
from models.training.heads import WordHead, class_heads, fit_linear, softmax
from models.training.scenes import Scene, SceneMaker
from models.training.tower import EfficientNetLite2

pytestmark = pytest.mark.train

WORDS = {"setting": 27, "colour": 14, "background": 14, "people": 2}


class Letters:
    """A tokenizer whose tokens are code points, with the end mark as one token."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        parts = text.split("<|im_end|>") if special else [text]
        ids: list[int] = []
        for index, part in enumerate(parts):
            ids += ([0] if index else []) + [ord(c) % 500 + 1 for c in part]
        return ids

    def encode_joined(self, pieces: Sequence[tuple[str, bool]], most: int | None = None) -> list[int]:
        del most
        return [token for text, special in pieces for token in self.encode(text, special=special)]


def photos(count: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    made = {name: softmax(rng.normal(0, 2, (count, n)).astype(np.float32)) for name, n in WORDS.items()}
    return {**made, "object": softmax(rng.normal(0, 4, (count, 1000)).astype(np.float32))}


def maker() -> SceneMaker:
    weights = np.random.default_rng(4).normal(size=(1000, 32)).astype(np.float32)
    return SceneMaker(load_classes(), photos(), weights, range(1000))


def prompts(tokenizer: Tokenizer) -> PromptBuilder:
    config = read_model_config(CLASSES.parent)
    return PromptBuilder(tokenizer, ChatTemplate(config.chat_template or ""), config.wording)


def test_a_validation_row_is_never_handed_to_training(tmp_path: Path) -> None:
    rows = [{"image": f"{split}.jpg", "split": split} for split in ("train", "val", "test", "train")]
    (tmp_path / "photos.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert [row["image"] for row in read_rows(tmp_path / "photos.jsonl", "train")] == [
        "train.jpg",
        "train.jpg",
    ]


def test_the_notes_are_about_training_photos_only() -> None:
    notes = [json.loads(line) for line in base.NOTES.read_text(encoding="utf-8").splitlines()]
    assert len(notes) == 700
    assert all(note["image"].startswith("photos/train_") for note in notes)


@pytest.mark.parametrize("use_words", [True, False])
def test_a_training_row_begins_with_the_very_prompt_that_is_served(use_words: bool) -> None:
    tokenizer: Tokenizer = Letters()  # type: ignore[assignment]
    scene = maker().photo(0)
    heads = class_heads(tokenizer, load_classes(), 1.0)
    embedding = np.random.default_rng(5).normal(size=(502, 8)).astype(np.float32)
    rows = ImageRows(heads, embedding)
    written = ConversationWriter(tokenizer, prompts(tokenizer), rows).conversation(
        scene, [(MAIN_OBJECT, "tench"), ("How sure are you?", "Quite.")], use_words
    )
    image = Image(np.zeros((1, 1, 3), np.uint8), "d", "d")
    seen = {"d": EncodedImage(range(-1, -11, -1), rows(scene.heads), tuple(scene.guesses()))}
    history = [Message("user", MAIN_OBJECT, (image,))]
    first = prompts(tokenizer).build(history, seen, use_words=use_words).tokens
    history += [Message("assistant", "tench"), Message("user", "How sure are you?")]
    second = prompts(tokenizer).build(history, seen, use_words=use_words).tokens
    assert list(written.tokens[: len(first)]) == first
    assert list(written.tokens[: len(second)]) == second
    learnt = [a for a, yes in zip(written.tokens, written.learn, strict=True) if yes]
    assert learnt == [
        *tokenizer.encode("tench", special=False),
        0,
        *tokenizer.encode("Quite.", special=False),
        0,
    ]


def test_packed_conversations_learn_answers_and_start_at_position_zero() -> None:
    tokenizer: Tokenizer = Letters()  # type: ignore[assignment]
    embedding = np.random.default_rng(5).normal(size=(502, 8)).astype(np.float32)
    heads = class_heads(tokenizer, load_classes(), 1.0)
    writer = ConversationWriter(tokenizer, prompts(tokenizer), ImageRows(heads, embedding))
    both = [writer.conversation(maker().photo(i), [(MAIN_OBJECT, "hen")], False) for i in (0, 1)]
    packed = pack(both, embedding)
    length = len(both[0].tokens)
    assert packed.positions[length] == 0 and packed.owner[length] == 1
    answer = [*tokenizer.encode("hen", special=False), 0]
    assert packed.targets[packed.targets != -100].tolist() == answer * 2
    assert packed.targets[length - 1] == -100
    start = both[0].tokens.index(-1)
    assert torch.equal(packed.embeddings[start], torch.from_numpy(both[0].rows[0]))


def test_image_rows_are_probability_weighted_word_embeddings() -> None:
    embedding = np.arange(12, dtype=np.float32).reshape(6, 2)
    head = WordHead("object", ("pool",), 1.0, ("a", "b"), np.array([[1, 2], [3, 2]], np.int32))
    rows = ImageRows([head], embedding)({"object": np.array([0.25, 0.75], np.float32)})
    assert np.allclose(rows, [0.25 * embedding[1] + 0.75 * embedding[3], embedding[2]])


def test_every_class_can_be_made_up_and_is_then_the_likeliest() -> None:
    scenes, rng = maker(), np.random.default_rng(6)
    for which in range(0, 1000, 7):
        scene = scenes.made_up(rng, which)
        assert scene.ranked[0] == which
        assert scene.heads["object"].sum() == pytest.approx(1, abs=1e-4)


def test_dialogues_say_what_the_scene_says_and_repeat_with_the_seed() -> None:
    scenes = maker()
    for seed in range(50):
        scene: Scene = scenes.draw(np.random.default_rng(seed), 0.5)
        turns = Talk(scene, load_classes(), np.random.default_rng(seed)).dialogue(4)
        again = Talk(scene, load_classes(), np.random.default_rng(seed)).dialogue(4)
        assert turns == again
        assert len({question for question, _ in turns}) == len(turns)
        for question, answer in turns:
            if question == MAIN_OBJECT:
                assert answer == scene.best.name
            if answer.startswith(("Yes, it is", "No, it is")):
                assert article(scene.best.name) in answer


def test_a_fitted_head_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(60, 5)).astype(np.float32)
    wanted = np.eye(2, dtype=np.float32)[(inputs[:, 0] > 0).astype(int)]
    weight, bias = fit_linear(inputs, wanted, 0.01)
    assert ((inputs @ weight.T + bias).argmax(1) == wanted.argmax(1)).mean() > 0.95


def test_the_tower_has_the_published_shapes() -> None:
    output = EfficientNetLite2().eval()(torch.zeros(1, 3, 260, 260))
    assert output.pool.shape == (1, 1280) and output.grid.shape == (1, 1280, 9, 9)


def test_learning_rate_warms_up_and_falls() -> None:
    rates = [base.learning_rate(step, 500) for step in range(500)]
    assert rates[0] < rates[base.WARM_UP] == pytest.approx(base.LEARNING_RATE)
    assert rates[-1] < 0.06 * base.LEARNING_RATE

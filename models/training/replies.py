"""Generates follow-up answers of the plain language model, on which the base LoRA is trained to keep its chat ability.

`python -m models.training.replies` asks the compiled model creative follow-up questions about named objects, without
images and greedily, and keeps whole sentences. Training reads the result, replies.jsonl, which is in the repository.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.core.types import Message, Sampling
from models.engine import Engine, load_model
from models.hub.store import ModelStore
from models.training.classes import load_classes
from models.training.dialogues import article

REPLIES = Path(__file__).with_name("replies.jsonl")
SEED = 11
QUESTIONS = (
    "Write a short poem about it.",
    "Write a two-line rhyme about it.",
    "Tell me a short story about it.",
    "Give me three words that describe it.",
    "Explain it to a child.",
    "Why do people like it?",
    "What would you use it with?",
    "Make up a name for it.",
    "Write a title for this photo.",
    "Give me an idea for a painting with it.",
    "Where could I see one?",
    "What is it in French?",
    "What is it related to?",
    "Is it dangerous?",
    "Is it expensive?",
    "How big is it?",
    "What does it sound like?",
    "How would you describe it to a friend?",
    "Thank you!",
    "What should I do with it?",
)
LEFT_OUT = frozenset(
    {
        "What would you use it with?",
        "What is it in French?",
        "What is it related to?",
        "Is it expensive?",
        "How big is it?",
    }
)
"""Questions whose answers are not kept, because the plain model answers them mostly wrong."""

SAMPLING = Sampling(max_tokens=72, repetition_penalty=1.1)


def whole_sentences(text: str) -> str:
    """The text up to its last full stop, question or exclamation mark; empty when it has none."""
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1].strip()


def ask(engine: Engine, count: int) -> list[dict[str, str]]:
    """`count` rows of {"name", "question", "answer"}, drawn with a fixed seed."""
    classes, rng = load_classes(), np.random.default_rng(SEED)
    rows = []
    for index in range(count):
        name = classes[int(rng.integers(len(classes)))].name
        question = QUESTIONS[index % len(QUESTIONS)]
        messages = [
            Message("user", "What is in this picture?"),
            Message("assistant", f"The photo shows {article(name)}."),
            Message("user", question),
        ]
        text = "".join(token.text for token in engine.generate(messages, SAMPLING, see_images=False))
        if (answer := whole_sentences(text)) and question not in LEFT_OUT:
            rows.append({"name": name, "question": question, "answer": answer})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=Path, required=True, help="where `edge-app models pull` keeps models"
    )
    parser.add_argument("--cache", type=Path, required=True, help="compiled code and packed weights")
    parser.add_argument("--count", type=int, default=240)
    options = parser.parse_args(arguments)
    engine = load_model(ModelStore(options.models).pull("edge-vlm-135m"), cache_dir=options.cache)
    with REPLIES.open("w", encoding="utf-8") as out:
        for row in ask(engine, options.count):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

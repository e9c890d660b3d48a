"""The model card's figures and transcripts, made by the real engine on the validation split.

`python -m models.training.card --data DIR --models DIR --cache DIR` prints Markdown. All answers are greedy. No other
module of this package reads validation rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.adapter_weights import AdapterWeights
from models.compiled_engine import CompiledEngine
from models.core.images import load_image
from models.core.types import Image, Message, Sampling
from models.engine import PackedAdapter
from models.hub.store import ModelStore
from models.lora.weights import LoraWeights
from models.scoring.answer_rules import names_object
from models.training.dialogues import MAIN_OBJECT
from models.training.features import Row, read_rows

TALK = ("Describe this photo.", "How sure are you?", "Tell me one interesting thing about it.")
TRANSCRIPTS = 10
GREEDY = Sampling(max_tokens=96)
SHORT = Sampling(max_tokens=24)


@dataclass(frozen=True)
class Way:
    """A row of the table: which inputs the model gets."""

    name: str
    see_images: bool
    use_words: bool


WAYS = (
    Way("blind: the question without the image", False, False),
    Way("image tokens alone", True, False),
    Way("image tokens and words in the prompt", True, True),
)
NO_LORA = AdapterWeights(LoraWeights("plain language model", 0, 1, {}))


def answer(
    engine: CompiledEngine,
    messages: Sequence[Message],
    way: Way,
    sampling: Sampling,
    adapter: PackedAdapter | None,
) -> str:
    """The whole text of an answer."""
    tokens = engine.generate(
        messages, sampling, adapter=adapter, use_words=way.use_words, see_images=way.see_images
    )
    return "".join(token.text for token in tokens).strip()


def named_right(
    engine: CompiledEngine, photos: Sequence[tuple[Row, Image]], way: Way, adapter: PackedAdapter | None
) -> int:
    """The number of photos whose main object the model names right."""
    return sum(
        names_object(
            answer(engine, [Message("user", MAIN_OBJECT, (image,))], way, SHORT, adapter), row["label"]
        )
        for row, image in photos
    )


def photo_table(engine: CompiledEngine, photos: Sequence[tuple[Row, Image]]) -> Iterator[str]:
    """The lines of the table "named right": a row for each way to show the photo."""
    yield f"| photos, {len(photos)} validation images, named right | with the base LoRA | without it |"
    yield "|---|---|---|"
    without = engine.adapters.pack(NO_LORA)
    for way in WAYS:
        on = named_right(engine, photos, way, engine.base_adapter)
        off = named_right(engine, photos, way, without)
        yield f"| {way.name} | {on} | {off} |"


def caption_line(engine: CompiledEngine, captions: Sequence[tuple[Row, Image]]) -> str:
    """A line with the number of descriptions that name any labelled object of their image."""
    said = [
        (row, answer(engine, [Message("user", TALK[0], (image,))], WAYS[2], GREEDY, engine.base_adapter))
        for row, image in captions
    ]
    right = sum(any(names_object(text, name) for name in row["objects"]) for row, text in said)
    return f"captions: {right} of {len(said)} descriptions name any of the image's labelled objects"


def transcripts(engine: CompiledEngine, photos: Sequence[tuple[Row, Image]]) -> Iterator[str]:
    """The lines of conversations about the first photos, not selected."""
    for row, image in photos[:TRANSCRIPTS]:
        yield f"**{row['image']}** (labelled: {row['label']})\n"
        messages: list[Message] = []
        for question in TALK:
            messages.append(Message("user", question, () if messages else (image,)))
            reply = answer(engine, messages, WAYS[2], GREEDY, engine.base_adapter)
            messages.append(Message("assistant", reply))
            yield f"- *{question}*\n  {reply}"
        yield ""


def _rows(data: Path, name: str) -> list[tuple[Row, Image]]:
    return [(row, load_image(data / row["image"])) for row in read_rows(data / f"{name}.jsonl", "val")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with photos.jsonl and captions.jsonl"
    )
    parser.add_argument(
        "--models", type=Path, required=True, help="where `edge-app models pull` keeps models"
    )
    parser.add_argument("--cache", type=Path, required=True, help="compiled code and packed weights")
    options = parser.parse_args(arguments)
    engine = CompiledEngine.load(ModelStore(options.models).pull("edge-vlm-135m"), cache_dir=options.cache)
    photos = _rows(options.data, "photos")
    for line in photo_table(engine, photos):
        print(line, flush=True)
    print("\n" + caption_line(engine, _rows(options.data, "captions")) + "\n")
    for line in transcripts(engine, photos):
        print(line, flush=True)


if __name__ == "__main__":
    main()

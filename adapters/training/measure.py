"""How good an adapter is: the real engine on the validation split, greedily, beside what must be beaten.

For every type of question four shares: with the adapter, without it (the base model's own LoRA), blind (the
adapter without the image and its text), and always the commonest answer. What counts as right is
models.scoring's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adapters.manifest import Accuracy
from adapters.training.data import TrainingRow
from adapters.training.features import load_training_image
from models.engine import Engine
from models.lora import LoraWeights
from models.scoring import is_right
from models.types import Image, Message, Sampling

LONGEST_ANSWER = 256  # tokens


@dataclass(frozen=True)
class Answers:
    """What was said to one row."""

    row: TrainingRow
    adapter: str
    base: str
    blind: str


def measure(
    engine: Engine,
    lora: LoraWeights,
    rows: Sequence[TrainingRow],
    texts: Mapping[str, str],
    progress: Callable[[int, int], None],
) -> list[Answers]:
    """Three answers to every row. texts: what was read in the images, by digest. progress: rows done, in all."""
    ordered = sorted(rows, key=lambda row: row.digest)  # questions about one image share what is prefilled
    images: dict[str, Image] = {}
    said: dict[tuple[int, str], str] = {}
    ways = (("adapter", lora, True), ("base", None, True), ("blind", lora, False))
    for done, (way, chosen, see) in enumerate(ways):
        for index, row in enumerate(ordered):
            if row.digest not in images:
                images = {row.digest: load_training_image(row)}
            said[index, way] = _answer(engine, images[row.digest], row.question, chosen, see, texts)
            progress(done * len(ordered) + index + 1, len(ways) * len(ordered))
    return [
        Answers(row, *(said[index, way] for way in ("adapter", "base", "blind")))
        for index, row in enumerate(ordered)
    ]


def accuracies(answers: Sequence[Answers]) -> tuple[Accuracy, ...]:
    """By set and type."""
    groups: dict[tuple[str, str], list[Answers]] = {}
    for each in answers:
        groups.setdefault((each.row.set, each.row.type), []).append(each)
    return tuple(_accuracy(*key, group) for key, group in sorted(groups.items()))


def _accuracy(name: str, kind: str, group: Sequence[Answers]) -> Accuracy:
    def share(answers: Sequence[str]) -> float:
        right = [is_right(kind, each.row.answer, said) for each, said in zip(group, answers, strict=True)]
        return round(sum(right) / len(right), 4)

    ((commonest, _),) = Counter(each.row.answer for each in group).most_common(1)
    return Accuracy(
        set=name,
        type=kind,
        rows=len(group),
        adapter=share([each.adapter for each in group]),
        base=share([each.base for each in group]),
        blind=share([each.blind for each in group]),
        majority=share([commonest] * len(group)),
    )


def _answer(
    engine: Engine,
    image: Image,
    question: str,
    lora: LoraWeights | None,
    see: bool,
    texts: Mapping[str, str],
) -> str:
    generation = engine.generate(
        [Message("user", question, (image,))],
        Sampling(max_tokens=LONGEST_ANSWER),
        lora=lora,
        see_images=see,
        texts=texts,
    )
    return "".join(token.text for token in generation).strip()

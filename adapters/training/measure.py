"""Measures an adapter's accuracy on the validation split, with the real engine and greedy decoding.

There are four shares of right answers for every type of question: with the adapter, without it (the base model's own
LoRA), blind (the adapter without the image and its text), and for always the commonest answer. The adapter answers
every row, the base model and the blind adapter BESIDE rows of each type. models.scoring.answer_rules decides which
answers are right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapters.prototypes import spread_evenly
from adapters.store.manifest import Accuracy
from adapters.training.data import TrainingRow
from adapters.training.images.features import load_training_image
from models.core.types import Image, Message, Sampling
from models.engine import Engine, PackedAdapter
from models.scoring.answer_rules import marks

BESIDE = 100
"""Rows of each type, spread over all, that the base model and the blind adapter answer too."""

ROOM = 32
"""An answer may have this many tokens more than the expected answer has characters. Longer ones are wrong."""


@dataclass(frozen=True)
class Answers:
    """The answers to one row; None for a baseline that did not answer it."""

    row: TrainingRow
    adapter: str
    base: str | None
    blind: str | None


def measure(
    engine: Engine,
    adapter: PackedAdapter,
    rows: Sequence[TrainingRow],
    texts: Mapping[str, str],
    progress: Callable[[int, int], None],
    *,
    use_words: bool,
) -> list[Answers]:
    """Answers to every row.

    texts: read in the images, by digest. progress: called with the number of answers given, and of all. use_words:
    whether the adapter's prompts have the line of words; the base model's always have it.
    """
    ordered = sorted(rows, key=lambda row: row.view)  # questions about one image share what is prefilled
    beside = _spread_by_type(ordered, BESIDE)
    asked = [("adapter", index) for index in range(len(ordered))]
    asked += [(way, index) for way in ("base", "blind") for index in beside]
    images: dict[str, Image] = {}
    said: dict[tuple[str, int], str] = {}
    for done, (way, index) in enumerate(asked, 1):
        row = ordered[index]
        if row.view not in images:
            images = {row.view: load_training_image(row)}
        chosen, words = (None, True) if way == "base" else (adapter, use_words)
        said[way, index] = _answer(engine, images[row.view], row, chosen, words, way != "blind", texts)
        progress(done, len(asked))
    return [
        Answers(row, said["adapter", index], said.get(("base", index)), said.get(("blind", index)))
        for index, row in enumerate(ordered)
    ]


def accuracies(answers: Sequence[Answers]) -> tuple[Accuracy, ...]:
    """Shares of right answers by set and by what models.scoring.answer_rules.marks counts."""
    groups: dict[tuple[str, str], list[Answers]] = {}
    for each in answers:
        groups.setdefault((each.row.set, each.row.type), []).append(each)
    return tuple(row for (name, kind), group in sorted(groups.items()) for row in _rows(name, kind, group))


def _rows(name: str, kind: str, group: Sequence[Answers]) -> Iterator[Accuracy]:
    """The accuracies of one type of question in one set."""
    ((commonest, _),) = Counter(each.row.answer for each in group).most_common(1)
    said: dict[str, list[str | None]] = {
        "adapter": [each.adapter for each in group],
        "base": [each.base for each in group],
        "blind": [each.blind for each in group],
        "majority": [commonest] * len(group),
    }
    marked = {
        way: [
            marks(kind, each.row.answer, answer)
            for each, answer in zip(group, answers, strict=True)
            if answer is not None
        ]
        for way, answers in said.items()
    }
    for mark in marks(kind, group[0].row.answer, ""):
        shares = {
            way: round(sum(each.get(mark, False) for each in found) / max(1, len(found)), 4)
            for way, found in marked.items()
        }
        yield Accuracy(set=name, type=mark, rows=len(group), **shares)


def _spread_by_type(rows: Sequence[TrainingRow], most: int) -> list[int]:
    """Indices of at most `most` rows of each type, at equal distances."""
    of_type: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        of_type.setdefault(row.type, []).append(index)
    return sorted(index for indices in of_type.values() for index in spread_evenly(indices, most))


def _answer(
    engine: Engine,
    image: Image,
    row: TrainingRow,
    adapter: PackedAdapter | None,
    use_words: bool,
    see_images: bool,
    texts: Mapping[str, str],
) -> str:
    """The answer to one row, by greedy decoding."""
    generation = engine.generate(
        [Message("user", row.question, (image,))],
        Sampling(max_tokens=len(row.answer) + ROOM),
        adapter=adapter,
        use_words=use_words,
        see_images=see_images,
        texts=texts,
    )
    return "".join(token.text for token in generation).strip()

"""`python -m benchmarks.quality.second_photo`: whether a second image in a session is what the next answer is about.

Every case asks about one image, then about another one in the same session, and compares the second answer with the
one that the same question gets in a session of its own. Cases after two images ask on without a new one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.evaluation.rows import EvaluationRow, evenly_spread, read_rows
from edge_app.events import Answered, Failed
from edge_app.settings import load
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.terminal_text import text_table
from models.core.errors import UserError
from models.scoring.answer_rules import is_right

WORDINGS = (
    "What is this?",
    "What is in this photo?",
    "What does the picture show?",
    "Describe the image.",
    "and this one?",
    "Name the main object.",
)
"""Asked about both photos of a pair."""

TALK = ("Write one sentence about the sea.", "What is the capital of France?")
"""Asked before the only photo of a case, without an image."""

ON = "And what colours does it have?"
BACK = "What is in the first photo?"
OPENING = WORDINGS[1]


@dataclass(frozen=True)
class PhotoStep:
    """One turn of a case. about: the row whose answer is expected; None when no row has the answer."""

    question: str
    image: Path | None
    about: EvaluationRow | None


@dataclass(frozen=True)
class PhotoCase:
    """steps: of one session, the last one judged. alone: a session whose last answer should be the same."""

    group: str
    steps: tuple[PhotoStep, ...]
    alone: tuple[PhotoStep, ...]


@dataclass(frozen=True)
class PhotoOutcome:
    """copied: the judged answer is also right, or the same, for the question before it, and the answer alone is not.

    right, right_alone: None when the right answer is not known.
    """

    group: str
    copied: bool
    as_alone: bool
    right: bool | None
    right_alone: bool | None


@dataclass(frozen=True)
class PhotoLine:
    """Counts of a group. right, right_alone: None when its answers are not known."""

    group: str
    of: int
    copied: int
    as_alone: int
    right: int | None
    right_alone: int | None


def cases(
    photos: Sequence[EvaluationRow], others: Sequence[EvaluationRow], pairs: int
) -> Iterator[PhotoCase]:
    """The cases of all groups.

    photos: of type main_object. others: rows about images of other kinds, each set a kind. pairs: cases in a group.
    """
    chosen = evenly_spread(photos, 2 * pairs)
    first, second = chosen[::2], chosen[1::2]
    for wording in WORDINGS:
        for a, b in zip(first, second, strict=False):
            opening = OPENING if wording == "and this one?" else wording
            judged = PhotoStep(wording, b.file, b)
            yield PhotoCase(f"second photo: {wording}", (PhotoStep(opening, a.file, a), judged), (judged,))
    for a, b in zip(first, second, strict=False):
        shown = PhotoStep(OPENING, a.file, a), PhotoStep(OPENING, b.file, b)
        on, back = PhotoStep(ON, None, None), PhotoStep(BACK, None, a)
        yield PhotoCase("text after two photos: its colours", (*shown, on), (shown[1], on))
        yield PhotoCase("text after two photos: the first photo", (*shown, back), (shown[0], back))
        talk = tuple(PhotoStep(text, None, None) for text in TALK)
        yield PhotoCase("first photo after talk", (*talk, shown[1]), (shown[1],))
    for kind in dict.fromkeys(row.set for row in others):
        own = evenly_spread([row for row in others if row.set == kind], pairs)
        for photo, other in zip(first, own, strict=False):
            one, two = PhotoStep(OPENING, photo.file, photo), PhotoStep(other.question, other.file, other)
            yield PhotoCase(f"{kind} after a photo", (one, two), (two,))
            yield PhotoCase(f"photo after {kind}", (two, one), (one,))


class Sessions:
    """Runs sessions, each once."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._known: dict[tuple[PhotoStep, ...], tuple[str, ...]] = {}

    def outcome(self, case: PhotoCase) -> PhotoOutcome:
        """Raises UserError for a turn that fails."""
        *_, before, answer = self._texts(case.steps)
        alone = self._texts(case.alone)[-1]
        about = case.steps[-1].about
        return PhotoOutcome(
            case.group,
            copied=_answers(case.steps[-2], before, answer) and not _answers(case.steps[-2], before, alone),
            as_alone=answer == alone,
            right=None if about is None else is_right(about.type, about.answer, answer),
            right_alone=None if about is None else is_right(about.type, about.answer, alone),
        )

    def _texts(self, steps: tuple[PhotoStep, ...]) -> tuple[str, ...]:
        if steps not in self._known:
            session, texts = None, []
            for step in steps:
                answer = self._answer(step, session)
                session = answer.session
                texts.append(answer.text.strip())
            self._known[steps] = tuple(texts)
        return self._known[steps]

    def _answer(self, step: PhotoStep, session: str | None) -> Answer:
        images = () if step.image is None else (step.image,)
        for event in self._assistant.answer(Turn(step.question, images, session=session)):
            if isinstance(event, Failed):
                raise event.as_error()
            if isinstance(event, Answered):
                return event.answer
        raise AssertionError("a turn ends in an answer or a failure")


def _answers(step: PhotoStep, given: str, text: str) -> bool:
    """Whether a text answers a step: it is the answer that was given, or a right one."""
    about = step.about
    return text == given or (about is not None and is_right(about.type, about.answer, text))


def lines(outcomes: Iterable[PhotoOutcome]) -> list[PhotoLine]:
    """A line for each group, the one with the fewest answers as alone first."""
    groups: dict[str, list[PhotoOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.group, []).append(outcome)
    made = [
        PhotoLine(
            group,
            len(own),
            sum(each.copied for each in own),
            sum(each.as_alone for each in own),
            _sum([each.right for each in own]),
            _sum([each.right_alone for each in own]),
        )
        for group, own in groups.items()
    ]
    return sorted(made, key=lambda line: line.as_alone / line.of)


def _sum(marks: Sequence[bool | None]) -> int | None:
    known = [mark for mark in marks if mark is not None]
    return sum(known) if known else None


def as_table(found: Sequence[PhotoLine]) -> str:
    rows: list[tuple[str, ...]] = [("GROUP", "OF", "COPIED", "AS ALONE", "RIGHT", "RIGHT ALONE")]
    for line in found:
        rows.append(tuple("-" if value is None else str(value) for value in asdict(line).values()))
    return text_table(rows, right=range(1, len(rows[0])))


def main(arguments: list[str] | None = None) -> int:
    """Returns exit code 0, or 1 when a file or a turn fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.second_photo", description=__doc__)
    parser.add_argument("photos", type=Path, metavar="PHOTOS.jsonl", help="rows of the type main_object")
    parser.add_argument("others", type=Path, nargs="*", metavar="FILE.jsonl", help="rows of other kinds")
    parser.add_argument("--split", default="val", help="only rows of this split (default: val)")
    parser.add_argument("--pairs", type=int, default=20, help="cases in each group (default: 20)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only groups whose name contains this")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        found = _run(options)
    except UserError as error:
        print(f"second_photo: {error}", file=sys.stderr)
        return 1
    print(json.dumps([asdict(line) for line in found], indent=2) if options.json else as_table(found))
    return 0


def _run(options: argparse.Namespace) -> list[PhotoLine]:
    photos = read_rows([options.photos], None, options.split, None)
    others = read_rows(options.others, None, options.split, None)
    chosen = [case for case in cases(photos, others, options.pairs) if options.only in case.group]
    with tempfile.TemporaryDirectory(prefix="edge-app-sessions-") as folder:
        store = SessionStore(Path(folder) / "sessions.db", Path(folder) / "images")
        with closing(store), closing(Assistant(load(paths.config_file()), store)) as assistant:
            sessions = Sessions(assistant)
            outcomes = []
            for number, case in enumerate(chosen, 1):
                outcomes.append(sessions.outcome(case))
                print(f"\r{number} of {len(chosen)} cases", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return lines(outcomes)


if __name__ == "__main__":
    sys.exit(main())

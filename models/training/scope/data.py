"""Questions in and out of the scope of kinds of images, from which the question encoder learns.

models/training/scope/questions has a file for each kind: its tasks with examples, questions that ask for one of the
tasks in other words (`in`), questions about such an image that ask for something else (`out`), and plain chat (`chat`).
More questions come from files of rows with the fields kind, question, scope and author, which `edge-app eval
confidence` reads too.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

FOLDER = Path(__file__).with_name("questions")
GENERAL = Path(__file__).parents[2] / "bundled" / "edge-vlm-135m" / "config.json"
GENERAL_KINDS = ("photos", "screenshots", "drawings")
"""Kinds of images that the plain model answers about; their tasks are those of its configuration."""

DOCUMENT = "document"
"""The task of rows about the text of a page, which are left out here."""

Scope = Literal["in", "out", "chat"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class ScopeQuestion:
    """scope: whether it asks for a task of its kind. author: who wrote it; empty for the bundled questions. task: the
    name of the task, of questions in scope."""

    text: str
    scope: Scope
    author: str = ""
    task: str = ""


@dataclass(frozen=True)
class ImageKind:
    """A kind of image. tasks: example questions by task."""

    name: str
    tasks: Mapping[str, Sequence[str]]
    questions: tuple[ScopeQuestion, ...]

    def of(self, scope: Scope) -> list[str]:
        return [question.text for question in self.questions if question.scope == scope]


def read_kinds(more: Sequence[Path] = (), without: Iterable[str] = ()) -> tuple[ImageKind, ...]:
    """The kinds in FOLDER with their questions, and with those of other files.

    more: files of rows. without: authors whose rows are left out.
    """
    extra = rows_by_kind(more, frozenset(without))
    general = json.loads(GENERAL.read_text(encoding="utf-8"))["tasks"]
    kinds = []
    for file in sorted(FOLDER.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        name = str(content["name"])
        tasks = {task["name"]: tuple(task["examples"]) for task in content["tasks"]}
        questions = [
            ScopeQuestion(each["q"], scope, task=each.get("task", ""))
            for scope in SCOPES
            for each in content[scope]
        ]
        kinds.append(
            ImageKind(name, general if name in GENERAL_KINDS else tasks, (*questions, *extra.get(name, ())))
        )
    return tuple(kinds)


def rows_by_kind(
    files: Sequence[Path], without: frozenset[str] = frozenset(), only: frozenset[str] | None = None
) -> dict[str, list[ScopeQuestion]]:
    """The rows of files by kind; without those of DOCUMENT. only: authors; None takes all but `without`."""
    found: dict[str, list[ScopeQuestion]] = defaultdict(list)
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            author = str(row["author"])
            wanted = author not in without if only is None else author in only
            if wanted and row["task"] != DOCUMENT:
                found[row["kind"]].append(
                    ScopeQuestion(row["question"], row["scope"], author, row["task"] or "")
                )
    return dict(found)


POLITE = (
    "Could you please tell me: {}", "May I ask, {}", "Excuse me, {}", "I was wondering, {}", "Would you kindly say {}",
    "If it is not too much trouble, {}", "Thank you. And {}", "I would be grateful to know: {}",
)  # fmt: skip
SHORT = {
    "please": "pls", "you": "u", "are": "r", "and": "n", "what": "wat", "picture": "pic", "image": "img", "the": "",
    "is": "", "a": "", "number": "nr", "color": "col", "colour": "col", "with": "w", "about": "abt", "this": "dis",
}  # fmt: skip


def reworded(text: str, rng: random.Random) -> str:
    """The same question as a polite, a hurried or a careless writer puts it."""
    way = rng.randrange(4)
    if way == 0:
        return rng.choice(POLITE).format(text[:1].lower() + text[1:])
    words = text.split()
    if way == 1:
        words = [SHORT.get(word.lower(), word) if rng.random() < 0.6 else word for word in words]
        return " ".join(word for word in words if word).rstrip("?.!") or text
    if way == 2:  # a slip of the fingers in a longer word
        long = [number for number, word in enumerate(words) if len(word) > 4]
        if long:
            number = rng.choice(long)
            word, place = words[number], rng.randrange(1, len(words[number]) - 2)
            words[number] = (
                word[:place] + word[place + 1] + word[place] + word[place + 2 :]
                if rng.random() < 0.5
                else word[:place] + word[place + 1 :]
            )
        return " ".join(words).lower()
    dropped = [word for word in words if word.lower() not in ("the", "a", "an") or rng.random() < 0.3]
    return " ".join(dropped) or text

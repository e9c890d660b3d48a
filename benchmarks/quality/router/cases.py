"""The cases that routers are evaluated on: a question with an image, and the adapter that is right for it.

They are the rows of held-out images with their own questions, the questions of router/bundled/asked.txt, written
by hand, paired with those images and with drawn pictures of no adapter's kind, and questions of other writers from a
file.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from benchmarks.quality.router.unknown_kinds import PAGES_OF_TEXT as DRAWN_PAGES
from edge_app.evaluation.questions import DOCUMENT, AuthoredQuestion
from edge_app.evaluation.rows import EvaluationRow, Scope
from router.routers.background import ASKED, CHAT, PHOTOS, read_questions

Half = Literal["development", "judgement"]

ROWS = "held-out questions"
OWN_WORDS = "in other words"
GENERAL_ROWS = "photos, captions"
GENERAL_ASKED = "other questions about photos"
TEXT = "plain chat, no image"
UNDER_IMAGE = "plain chat under an image"
CROSSED = "another domain's question"
UNKNOWN = "images of a kind not installed"
NO_KIND = "drawn pictures of no adapter's kind"
DRAWN_PAGE = "drawn pages of text, asked about as receipts"
ANY_PAGE = "pages, left to the adapter for any page"

WRITTEN: Mapping[Scope, str] = {
    "in": "other writers: in scope",
    "out": "other writers: out of scope",
    "chat": "other writers: chat under an image",
}

MUST_REACH: Mapping[str, float | None] = {
    ROWS: 0.99,
    OWN_WORDS: 0.97,
    GENERAL_ROWS: 0.95,
    GENERAL_ASKED: 0.95,
    TEXT: 0.95,
    UNDER_IMAGE: 0.95,
    WRITTEN["in"]: 0.95,
    WRITTEN["out"]: 0.90,
    WRITTEN["chat"]: 0.95,
    CROSSED: None,
    UNKNOWN: 0.90,
    NO_KIND: 0.90,
    DRAWN_PAGE: 0.90,
    ANY_PAGE: 0.95,
}
"""Groups of cases with the least share that has to be right; None where the share is only reported."""

PAGES_OF_TEXT = ("receipts",)
"""Adapters whose images are pages of text. An adapter for any page answers about these when theirs is not there."""

IMAGES_A_QUESTION = 3  # images that a question written by hand is paired with, per set


@dataclass(frozen=True)
class Case:
    """A question to route.

    group: a key of MUST_REACH. set: the file of rows that the image comes from, the kind of a drawn picture, or
    CHAT. right: the right adapter; None when no adapter is. half: for a question written by hand, whether
    thresholds may have been chosen with it ("development") or not ("judgement"); None for rows. without: an adapter
    that is hidden from the router.
    """

    group: str
    set: str
    question: str
    image: Path | None
    right: str | None
    half: Half | None = None
    without: str | None = None


def adapter_of(name: str, installed: Collection[str]) -> str | None:
    """The adapter that the file of rows `name` belongs to.

    It is the longest installed name that equals the file's, or is its beginning up to a "_" or "-".
    """
    fits = [each for each in installed if name == each or name.startswith((f"{each}_", f"{each}-"))]
    return max(fits, key=len, default=None)


def cases(
    rows: Sequence[EvaluationRow], installed: Collection[str], any_page: str | None = None
) -> list[Case]:
    """The cases of all groups. rows: of held-out images. A file that belongs to no adapter counts as general.

    any_page: the installed adapter for any page of text; None when there is none.
    """
    sets: dict[str, list[EvaluationRow]] = {}
    for row in rows:
        sets.setdefault(row.set, []).append(row)
    right = {name: adapter_of(name, installed) for name in sets}
    images = {name: list(dict.fromkeys(row.file for row in own)) for name, own in sets.items()}
    asked = read_questions(ASKED)
    return [
        *_from_rows(sets, right),
        *_in_other_words(asked, images, right),
        *_about_photos(asked[PHOTOS], images, right),
        *_chat(asked[CHAT], images),
        *_crossed(asked, images, right),
        *_unknown(sets, right, any_page),
    ]


def _from_rows(sets: Mapping[str, Sequence[EvaluationRow]], right: Mapping[str, str | None]) -> list[Case]:
    return [
        Case(ROWS if right[name] else GENERAL_ROWS, name, row.question, row.file, right[name])
        for name, own in sets.items()
        for row in own
    ]


def _in_other_words(
    asked: Mapping[str, Sequence[str]],
    images: Mapping[str, Sequence[Path]],
    right: Mapping[str, str | None],
) -> list[Case]:
    return [
        Case(OWN_WORDS, name, question, image, adapter, half)
        for name, adapter in right.items()
        for question, half in _halves(asked.get(adapter or "", ()))
        for image in _some(images[name], question, IMAGES_A_QUESTION)
    ]


def _about_photos(
    questions: Sequence[str], images: Mapping[str, Sequence[Path]], right: Mapping[str, str | None]
) -> list[Case]:
    return [
        Case(GENERAL_ASKED, name, question, image, None, half)
        for name in images
        if right[name] is None
        for question, half in _halves(questions)
        for image in _some(images[name], question, IMAGES_A_QUESTION)
    ]


def _chat(questions: Sequence[str], images: Mapping[str, Sequence[Path]]) -> list[Case]:
    alone = [Case(TEXT, CHAT, question, None, None, half) for question, half in _halves(questions)]
    return alone + [
        Case(UNDER_IMAGE, name, question, image, None, half)
        for name in images
        for question, half in _halves(questions)
        for image in _some(images[name], question, 1)
    ]


def _crossed(
    asked: Mapping[str, Sequence[str]],
    images: Mapping[str, Sequence[Path]],
    right: Mapping[str, str | None],
) -> list[Case]:
    """Questions of one domain under images of another. No adapter is right: a blood smear has no total."""
    return [
        Case(CROSSED, name, question, image, None, half)
        for adapter in sorted({each for each in right.values() if each})
        for question, half in _halves(asked.get(adapter, ()))
        for name in images
        if right[name] != adapter
        for image in _some(images[name], question, 1)
    ]


def _unknown(
    sets: Mapping[str, Sequence[EvaluationRow]], right: Mapping[str, str | None], any_page: str | None
) -> list[Case]:
    """Each image of a domain once, with its adapter hidden. No adapter is right, or the one for any page."""
    first = {(name, row.file): row for name, own in sets.items() if right[name] for row in reversed(own)}
    found = []
    for (name, _), row in first.items():
        left = any_page if right[name] in PAGES_OF_TEXT and any_page != right[name] else None
        group = ANY_PAGE if left else UNKNOWN
        found.append(Case(group, name, row.question, row.file, left, without=right[name]))
    return found


def written_cases(
    questions: Sequence[AuthoredQuestion],
    rows: Sequence[EvaluationRow],
    installed: Collection[str],
    any_page: str | None = None,
) -> list[Case]:
    """Questions of a file, each with images of its kind. Kinds without images are left out.

    Rows of DOCUMENT are for the adapter for any page, and left out when there is none.
    """
    images: dict[str, dict[Path, None]] = {}
    for row in rows:
        images.setdefault(row.set, {})[row.file] = None
    return [
        Case(
            ANY_PAGE if each.task == DOCUMENT else WRITTEN[each.scope],
            each.kind,
            each.question,
            image,
            any_page
            if each.task == DOCUMENT
            else adapter_of(each.kind, installed)
            if each.scope == "in"
            else None,
        )
        for each in questions
        if each.kind in images and (any_page or each.task != DOCUMENT)
        for image in _some(list(images[each.kind]), each.question, IMAGES_A_QUESTION)
    ]


def no_kind_cases(
    pictures: Mapping[str, Sequence[Path]], installed: Collection[str], any_page: str | None = None
) -> list[Case]:
    """Pictures that no adapter is for, each with a question that fits each adapter: the image alone rules them out.

    pictures: files by kind. Adapters without questions in asked.txt are left out.
    any_page: the adapter for any page of text. It is right for questions of PAGES_OF_TEXT about drawn pages of text,
    such as the total of a poem, because it answers them or says that this is not on the page. Those are DRAWN_PAGE.
    """
    asked = read_questions(ASKED)
    found = []
    for kind, files in pictures.items():
        for file, adapter in product(files, sorted(each for each in installed if each in asked)):
            question = random.Random(f"{file.name} {adapter}").choice(asked[adapter])
            right = any_page if kind in DRAWN_PAGES and adapter in PAGES_OF_TEXT else None
            found.append(Case(DRAWN_PAGE if right else NO_KIND, kind, question, file, right))
    return found


def _halves(questions: Sequence[str]) -> list[tuple[str, Half]]:
    """The questions, alternately of the two halves."""
    return [(each, "judgement" if number % 2 else "development") for number, each in enumerate(questions)]


def _some(images: Sequence[Path], question: str, count: int) -> list[Path]:
    """At most `count` images, drawn with the question as the seed, so that every run has the same ones."""
    return random.Random(question).sample(list(images), min(count, len(images)))

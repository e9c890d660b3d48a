"""Finds the value of a labelled field on a page: "What is the phone number?" is answered by what stands beside "Tel".

A field is a label with a value to the right of it or, when nothing is there, below it. The words of the question choose
the label. What kind of value the question asks for (a date, an amount, an address) decides what can be its value. A
phone number, an e-mail address and a web address need no label when the page has only one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from models.core.types import TextLine
from models.ocr.columns import rows_by_column
from models.ocr.page_layout import PageText
from models.scoring.answer_rules import normalise

LABEL_WORDS: Final = 4
"""A label has at most so many words."""

LEAST_FIT: Final = 1.0
"""The share of the label's words that the question has plus the share of the question's that the label has is more."""

_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"


@dataclass(frozen=True)
class LabelledValue:
    """What stands in a field. probability: of the recognition of its line, 0..1."""

    text: str
    probability: float


@dataclass(frozen=True)
class _Kind:
    """A kind of value. asked: in the question. value: in the text. names_itself: needs no label."""

    asked: re.Pattern[str]
    value: re.Pattern[str]
    names_itself: bool = False


def _kind(asked: str, value: str, *, names_itself: bool = False) -> _Kind:
    return _Kind(re.compile(rf"\b(?:{asked})\b", re.I), re.compile(value, re.I), names_itself)


_KINDS: Final = (
    _kind(r"e-?mail address|e-?mail", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", names_itself=True),
    _kind(
        r"web ?site|web ?page address|address of the (?:web ?page|site|web ?site)|web address|url|link",
        r"(?:https?://|www\.)\S+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|example|io|de|co\.uk)\b\S*",
        names_itself=True,
    ),
    _kind(
        r"(?:tele)?phone(?: number| no)?|tel|mobile|number to (?:call|ring)",
        r"\+?\(?\d[\d ()./-]{5,}\d",
        names_itself=True,
    ),
    _kind(
        r"when|date|day",
        rf"\b(?:\d{{4}}[./-]{_DAY}[./-]{_DAY}|{_DAY}[./-]{_DAY}[./-](?:\d{{4}}|\d{{2}})"
        rf"|{_DAY}\.?[ -]?{_MONTH}\.?,?[ -]?(?:\d{{4}}|\d{{2}})|{_MONTH} {_DAY},? \d{{4}})(?!\d)",
        names_itself=True,
    ),
    _kind(r"when|time|hour", r"\b\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]m)?\b", names_itself=True),
    _kind(r"how much|total|amount|price|cost|sum|tax|change|cash", r"\d[\d,]*[.:,] ?\d{2}\b"),
)

_SAME: Final = (
    ("phone", "telephone", "tel", "mobile", "ph", "contact"),
    ("email", "e", "mail"),
    ("from", "sender", "sent", "by"),
    ("to", "receiver", "recipient", "received"),
    ("due", "deadline", "pay", "payable", "payment"),
    ("total", "amount", "paid", "much", "sum", "price"),
    ("date", "when", "issued", "published", "sent", "dated"),
    ("author", "wrote", "written", "by"),
    ("version", "installed", "release"),
    ("attachment", "attached", "file"),
    ("number", "no", "nr", "id", "code"),
    ("name", "called"),
    ("tax", "gst", "vat"),
)
"""Words of questions and labels that stand for each other."""

_NO_LABEL_WORDS: Final = re.compile(
    r"a|an|and|had|has|how|are|at|be|can|did|do|does|for|give|given|have|i|in|is|it|me|of|on|or|please|shown|s|say|tell|that"
    r"|the|there|this|was|were|what|which|who|whom|whose|will|you|your|named|letter|page|image|picture|screen|screenshot"
    r"|receipt|document|message|window|note|photo|article|shop|store|company"
)
_FIELD_WORDS: Final = re.compile(
    r"time|hour|day|price|cost|tax|change|cash|website|web|url|link|address|signed|signature|writer|addressed|fax|call"
    r"|ring|start|begin|selected|chosen|current"
)
"""Further words of questions, normalised, that need not be on the page."""

_AMOUNTS: Final = tuple(
    frozenset(normalise(word) for word in words)
    for words in (("tax", "gst", "vat"), ("change",), ("cash",), ("discount",), ("tip",))
)
"""Words for amounts that are not the total. A question with one of them asks for a field with such a label."""


_SIGNED: Final = re.compile(r"\b(?:who (?:has )?(?:signed|wrote)|signed by|signature|writer|author)\b", re.I)
_CLOSING: Final = re.compile(
    r"^(?:yours\b.{0,20}|(?:kind|best|warm)? ?(?:regards|wishes)|(?:sincerely|faithfully|truly).*|see you.*|love"
    r"|cheers|many thanks|thanks)[,.!]?$",
    re.I,
)
_ADDRESSED: Final = re.compile(r"\b(?:who|whom)\b.*\b(?:to|for|addressed|received)\b", re.I)
_SALUTATION: Final = re.compile(r"^(?:dear|hello|hi|to) (?P<name>\w[\w.' -]*?)[,:!]?$", re.I)
_BYLINE: Final = re.compile(r"^by (?P<name>\w[\w.' -]+)$", re.I)


def find_field(question: str, page: PageText) -> LabelledValue | None:
    """The value of the field that a question asks for; None when no field fits.

    There is none for a question with a word of its own that is not on the page ("Who signed the peace of Utrecht?").
    """
    table = rows_by_column(page.lines)
    lines = [line for row in table for line in row]
    if not _is_about(question, lines):
        return None
    person = _person(question, lines)
    if person is not None:
        return person
    kinds = [each for each in _KINDS if each.asked.search(question)]
    # "To" is a label, but in questions a mere preposition.
    wanted = [word for word in _words(question) if word != "to"]
    fields = list(_fields(table))
    for kind in kinds or (None,):
        found = _labelled(kind, wanted, fields) or _alone(kind, lines)
        if found is not None or (kind is not None and any(kind.value.search(line.text) for line in lines)):
            return found
    return None


def _is_about(question: str, lines: Sequence[TextLine]) -> bool:
    on_page = {word for line in lines for word in normalise(line.text).split()}
    usual = {normalise(word) for group in _SAME for word in group}
    return all(word in on_page or word in usual or _FIELD_WORDS.fullmatch(word) for word in _words(question))


def _labelled(
    kind: _Kind | None, wanted: Sequence[str], fields: Sequence[tuple[str, str, float]]
) -> LabelledValue | None:
    """The value of the field whose label has the most words in common with the question."""
    best, most = None, LEAST_FIT
    for label, value, probability in fields:
        found, words = _value(kind, value), _words(label)
        if not found or not words or len(label.split()) > LABEL_WORDS:
            continue
        if any(amount.intersection(wanted) and not amount.intersection(words) for amount in _AMOUNTS):
            continue
        common = len(_stems(wanted) & _stems(words))
        fit = common / len(_stems(words)) + common / max(len(_stems(wanted)), 1)
        if fit > most:
            best, most = LabelledValue(found, probability), fit
    return best


def _alone(kind: _Kind | None, lines: Sequence[TextLine]) -> LabelledValue | None:
    """The only value of a kind that names itself; None when there are several."""
    if kind is None or not kind.names_itself:
        return None
    found = {match[0]: line.probability for line in lines for match in kind.value.finditer(line.text)}
    if len(found) != 1:
        return None
    ((text, probability),) = found.items()
    return LabelledValue(text, probability)


def _person(question: str, lines: Sequence[TextLine]) -> LabelledValue | None:
    """Who signed a letter or wrote an article, or to whom it is addressed."""
    if _SIGNED.search(question):
        for line in lines:
            match = _BYLINE.match(line.text.strip())
            if match:
                return LabelledValue(match["name"], line.probability)
        for line, after in pairwise(lines):
            if _CLOSING.match(line.text.strip()):
                return LabelledValue(after.text.strip(), after.probability)
    elif _ADDRESSED.search(question):
        for line in lines:
            match = _SALUTATION.match(line.text.strip())
            if match:
                return LabelledValue(match["name"], line.probability)
    return None


def _fields(table: Sequence[Sequence[TextLine]]) -> Iterator[tuple[str, str, float]]:
    """(label, value, probability) of everything that may be a field."""
    for number, row in enumerate(table):
        for place, line in enumerate(row):
            label, colon, value = line.text.partition(":")
            if colon and value.strip():
                yield label, value.strip(), line.probability
            beside = row[place + 1 :]
            if beside:
                text = " ".join(each.text for each in beside)
                yield line.text.rstrip(" :"), text, min(each.probability for each in beside)
            elif line.text.rstrip().endswith(":") and number + 1 < len(table):
                below = table[number + 1][0]
                yield line.text.rstrip(" :"), below.text, below.probability


def _value(kind: _Kind | None, text: str) -> str:
    """The part of a text that can be a value of this kind, empty for none; the whole text for no kind."""
    if kind is None:
        return text.strip()
    match = kind.value.search(text)
    return match[0].strip() if match else ""


def _words(text: str) -> list[str]:
    """The normalised words of a question or label, without those that are in no label."""
    words = re.findall(r"\w+", text.lower())
    return " ".join(normalise(word) for word in words if not _NO_LABEL_WORDS.fullmatch(word)).split()


def _stems(words: Sequence[str]) -> set[str]:
    """Words, those that stand for each other as one."""
    return {next((group[0] for group in _SAME if word in group), word) for word in words}

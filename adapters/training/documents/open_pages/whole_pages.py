"""Whole pages from open_pages.toml: lines with values in braces, some of them left out and then asked for in vain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from adapters.training.documents.fields import Wordings, read_list
from adapters.training.documents.layouts import LAYOUTS, laid_out
from adapters.training.documents.open_pages.asking import about_noun, typed
from adapters.training.documents.page import Item, PageFact, Part, WrittenLine, line
from adapters.training.documents.values import Values

OPTIONAL_SHOWN: Final = 0.64
"""Share of the optional lines that a page has."""

_CHOICE: Final = re.compile(r"<([^<>]*)>")
_SLOT: Final = re.compile(r"\{(?:(\w+)=)?([^{}]+)\}")
_LAYOUTS: Final = (*LAYOUTS, "heads", "gap", "gap", "colon", "right", "plain")

_BROAD: Final = frozenset(
    (
        "date", "time", "price", "total", "company", "name", "number", "city", "town", "street", "address", "amount",
        "email", "phone", "website", "telephone", "fee", "code", "tax", "person", "day", "id", "status",
        "phone number", "e-mail address", "email address", "telephone number", "amount due", "web address",
    )
)  # fmt: skip
"""Nouns that other values of the same kind could answer."""


def whole_page(values: Values) -> Part:
    """One of the pages with values in it, and the questions about them."""
    return _Filling(values, values.rng.choice(read_list("open_pages.toml")["page"])).part()


class _Filling:
    def __init__(self, values: Values, page: Mapping[str, Any]) -> None:
        self._values, self._rng, self._page = values, values.rng, page
        self._made: dict[str, tuple[str, str]] = {}
        self._dropped: dict[str, str] = {}
        self._layout = self._rng.choice(_LAYOUTS)
        self._right = self._rng.random() < 0.4

    def part(self) -> Part:
        lines = tuple(self._lines())
        facts, absent = self._questions()
        return Part(lines, tuple(facts), frozenset(), tuple(absent))

    def _lines(self) -> Iterator[WrittenLine]:
        pairs: list[tuple[str, str]] = []
        for source in self._page["text"].strip().split("\n"):
            text = self._chosen(source)
            if text.startswith("~") and self._rng.random() > OPTIONAL_SHOWN:
                self._dropped.update({m[1]: m[2] for m in _SLOT.finditer(text) if m[1]})
                continue
            text = text.removeprefix("~").strip()
            if text.startswith("@"):
                labels, _, value = text.removeprefix("@").partition(" = ")
                pairs.append((self._rng.choice(labels.strip().split("|")), self._filled(value)))
                continue
            yield from self._laid_out(pairs)
            pairs = []
            if text:
                yield self._line(text)
        yield from self._laid_out(pairs)

    def _laid_out(self, pairs: Sequence[tuple[str, str]]) -> list[WrittenLine]:
        return laid_out(self._rng, self._layout, pairs) if pairs else []

    def _line(self, text: str) -> WrittenLine:
        if text.startswith("# "):
            size = self._rng.choice((1.2, 1.5, 2.0))
            return line(self._filled(text.removeprefix("# ")), size=size, bold=True)
        texts = [self._filled(each.strip()) for each in text.split("||")]
        count = len(texts)
        first = 0.3 if count == 3 and self._rng.random() < 0.3 else 1 / count
        items = [Item(each, first * at if count == 3 else at / count) for at, each in enumerate(texts)]
        if count > 1 and self._right:
            items[-1] = Item(texts[-1], 0.98, right=True)
        return line(*(each for each in items if each.text))

    def _chosen(self, text: str) -> str:
        """The text with one of each alternative; those inside others are chosen first."""
        while match := _CHOICE.search(text):
            text = text[: match.start()] + self._rng.choice(match[1].split("|")) + text[match.end() :]
        return text

    def _filled(self, text: str) -> str:
        def fill(match: re.Match[str]) -> str:
            name, kind = match[1] or match[2], match[2]
            if name not in self._made:
                self._made[name] = kind, self._values.make(kind)
            return self._made[name][1]

        return _SLOT.sub(fill, text)

    def _questions(self) -> tuple[list[PageFact], list[str]]:
        facts: list[PageFact] = []
        absent = [self._asked([each]) for each in self._page["never"].split("|")]
        kinds = {kind.partition(":")[0] for kind, _ in self._made.values()}
        for each in self._page["ask"]:
            name, _, text = each.partition(": ")
            wordings = [self._named(form) for form in text.split("|")]
            wordings = [form for form in wordings if "{" not in form]
            if name in self._made:
                for _ in range(self._rng.choice((1, 1, 2)) if wordings else 0):
                    facts.append(PageFact("field", self._made[name][1], Wordings((self._asked(wordings),))))
            elif name in self._dropped:
                if self._dropped[name].partition(":")[0] in kinds:
                    wordings = [each for each in wordings if each[:1] == "*" and each[1:] not in _BROAD]
                if wordings:
                    absent.append(self._asked(wordings))
        return facts, absent

    def _named(self, form: str) -> str:
        """A wording with the values that it names; one that the page lacks stays in braces."""
        return _SLOT.sub(lambda match: self._made.get(match[2], ("", match[0]))[1], form)

    def _asked(self, wordings: Sequence[str]) -> str:
        nouns = [each[1:] for each in wordings if each.startswith("*")]
        asks = [each for each in wordings if not each.startswith("*")]
        return about_noun(self._rng, nouns, asks) if nouns else typed(self._rng, self._rng.choice(asks))

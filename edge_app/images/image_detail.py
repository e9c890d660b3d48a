"""How closely an image is looked at by a model that cuts images into tiles: the setting, and the choice of "auto".

Looking closely takes as many times as long as there are tiles, often 13. It helps where something small decides: text,
numbers, and things to count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, get_args

ImageDetail = Literal["auto", "low", "high"]
"""low: the whole image in one tile. high: as the model's publisher cuts it. auto: see `detail_of`."""

DETAILS: tuple[ImageDetail, ...] = get_args(ImageDetail)

_READS = re.compile(
    r"\b(?:read|reads|reading|texts?|says?|written|writing|words?|wording|letters?|spell(?:ed|ing|s)?|transcribe|ocr|"
    r"labels?|captions?|titles?|headings?|headlines?|prices?|costs?|totals?|subtotal|amounts?|sums?|dates?|"
    r"time|clock|numbers?|digits?|plates?|signs?|menu|receipts?|invoices?|bills?|forms?|documents?|pages?|tables?|"
    r"columns?|rows?|charts?|graphs?|axis|axes|legend|percent(?:age)?|values?|codes?|urls?|links?|e-?mails?|"
    r"address(?:es)?|phone|brand|logo|serial|screens?|screenshots?|error|message|slides?|diagram|maps?|score|ingredients)\b"
)
_COUNTS = re.compile(r"\b(?:how many|count|counts|counting|number of)\b")
_LOOKS_CLOSELY = re.compile(
    r"\b(?:detail|details|detailed|closely|closer|tiny|small|smallest|far away|zoom)\b"
)


def needs_detail(question: str) -> bool:
    """Whether a question asks to read, to count, or about something small."""
    text = question.lower()
    return any(pattern.search(text) for pattern in (_READS, _COUNTS, _LOOKS_CLOSELY))


def detail_of(
    wanted: ImageDetail, questions: Iterable[str], is_page: Callable[[], bool]
) -> Literal["low", "high"]:
    """How closely to look at one image.

    questions: those of the chat about the image, so that what was looked at closely stays so. is_page: whether the
    image looks like a page of text; called when the questions do not decide.
    """
    if wanted != "auto":
        return wanted
    return "high" if any(map(needs_detail, questions)) or is_page() else "low"

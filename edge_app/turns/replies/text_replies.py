"""Replies with text that was read in an image: all of it, or the value of a labelled field."""

from __future__ import annotations

import math

from edge_app.turns.replies.built_in_replies import BuiltInReply
from models.ocr.columns import transcript
from models.ocr.labelled_fields import find_field
from models.ocr.page_layout import PageText
from router.confidence.rule import odds
from router.types import Reason

TEXT_READ = Reason("text_read")
"""Of a reply that is all text in an image."""

NO_TEXT = "No text was found in this image."

READ_INTERCEPT = -1.86
READ_SLOPE = 1.24
"""logit(share of the words that are right) = READ_INTERCEPT + READ_SLOPE * logit(mean recognition probability), fitted
to receipts as they are and to worse copies of them: `python -m benchmarks.quality.pages.read_text`. The recogniser is
surer of noisy print than it may be."""

FIELD_RIGHT = 0.65
"""The share of right values to expect on pages that nobody here has drawn: that of receipts, the only real pages that
were measured (docs/accuracy.md). It is below the threshold of mode auto, so that a cloud is asked where it may be."""


def all_text(page: PageText) -> BuiltInReply:
    """The text of a page, with the share of words to expect to be right. A page without text is a decline."""
    text = transcript(page)
    return BuiltInReply(
        text or NO_TEXT,
        declined=not text,
        reason=TEXT_READ,
        for_cloud=not text,
        probability=share_right(page.probability) if text else None,
    )


def share_right(recognition: float) -> float:
    """The share of a page's words to expect to be right. recognition: mean probability of its lines, 0..1."""
    return 1 / (1 + math.exp(-READ_INTERCEPT - READ_SLOPE * odds(recognition)))


def field_value(question: str, page: PageText) -> BuiltInReply | None:
    """The value of the field that a question asks for; None when the model is to answer."""
    field = find_field(question, page)
    if field is None:
        return None
    probability = FIELD_RIGHT * field.probability
    return BuiltInReply(
        field.text, declined=False, reason=Reason("field_read"), for_cloud=True, probability=probability
    )

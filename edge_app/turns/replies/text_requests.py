"""Recognises a question that asks for all text in an image: "Read the text in this screenshot", "What does it say?"

A question about a part of the text ("Read the date", "What does the button say?") is no such request. The model answers
it.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 300
"""Characters. A longer question asks for more than to read."""

_THE: Final = r"(?:the|this|that|my|these|those|a|an)"
_IMAGE: Final = (
    r"(?:image|picture|pic|photo|photograph|snapshot|screenshot|screen shot|screen|scan|window|slide|page|web page"
    r"|webpage|site|website|document|doc|letter|note|receipt|bill|invoice|form|sign|poster|leaflet|flyer|menu|card|slip"
    r"|ticket|paper|sheet|book|article|file|attachment|e ?mail)"
)
_TEXT: Final = (
    r"(?:(?:written |printed )?texts?|text contents?|contents?|words|wording|writing|letters|lettering|lines of text"
    r"|lines|characters|print)"
)
_WHOLE: Final = (
    r"(?:(?:all|every|any|whole|full|complete|entire|exact|of|the|this|that|its|bit of|piece of) )*"
)
_SEEN: Final = r"(?:you (?:can )?(?:see|find|read)|shown|visible|written|printed|contained)"
_WHERE: Final = (
    rf"(?: (?:that |which )?(?:is |are |there is )?(?:{_SEEN} )?(?:in|on|of|from|inside|within|off)(?: {_THE})?"
    rf"(?: (?:whole|entire|full|attached|above|following|second|first|last|new))? (?:{_IMAGE}|it|this|that|here|there)"
    rf"| (?:that )?(?:is )?(?:here|there|{_SEEN})(?: here)?)?"
)
_THING: Final = (
    rf"(?:it|this|that|(?:{_THE} )?(?:(?:whole|entire|full|attached) )?(?:{_IMAGE}|one)|it all|all of it|all)"
)
_TO: Final = (
    r"(?: (?:out|aloud|out loud|loud|off|down|back|up))*(?: (?:to|for) (?:me|us)| me| us)?(?: (?:out|aloud))?"
)

_READ: Final = r"(?:read|transcribe|ocr|copy|recite|(?:do|run) ocr on|(?:make|give) a transcript of)"
_OUTPUT: Final = (
    r"(?:extract|recogni[sz]e|type|write|spell|output|print|get|pull|give|show|list|return|tell|digiti[sz]e|scan|grab"
    r"|reproduce)"
)

_REQUESTS: Final = tuple(
    re.compile(request)
    for request in (
        rf"(?:{_READ}|{_OUTPUT}){_TO} (?:{_WHOLE}{_TEXT}|everything written|every (?:single )?word){_WHERE}",
        rf"{_READ}{_TO} (?:{_THING}|everything{_WHERE})",
        rf"(?:(?:{_READ}|{_OUTPUT}){_TO} )?what {_THING} says",
        rf"(?:(?:{_READ}|{_OUTPUT}){_TO} )?(?:what|whatever) (?:is|are) (?:written|printed){_WHERE}",
        rf"(?:what|which) (?:does|do) (?:{_THING}|(?:{_THE} )?(?:texts?|words|writing){_WHERE}) say(?: here)?",
        rf"what (?:is|are) {_WHOLE}{_TEXT}{_WHERE}",
        rf"(?:what|which) (?:text|words|writing) (?:is|are|do you see|can you (?:see|read)|can be read){_WHERE}",
        rf"what can you read{_WHERE}",
        rf"{_WHOLE}(?:texts?|writing|wording){_WHERE}",
        rf"(?:all|every|full|complete|entire) (?:of )?(?:the )?{_TEXT}{_WHERE}",
        rf"(?:ocr|transcript|transcription){_WHERE}",
        rf"(?:convert|turn|change|make) {_THING} (?:to|into) (?:plain )?text",
        r"(?:image|picture|photo|screenshot) to text",
    )
)

_BEFORE: Final = re.compile(
    r"^(?:please|pls|plz|hi|hello|hey|ok|okay|now|and|then|just|kindly|be so kind as to|can you|can u"
    r"|could you|would you|will you|are you able to|i would like(?: you to)?|i want(?: you to)?"
    r"|i need(?: you to)?|(?:may|can|could) i (?:ask|have|know)|tell me|try to|help me|let us|go ahead and) (?=.)"
)
_AFTER: Final = re.compile(
    r"(?<=.) (?:please|pls|plz|thanks|thank you|thx|for me|to me|verbatim|exactly|literally|word for word|line by line"
    r"|in full|as (?:it )?is|(?:exactly )?as (?:it is )?written|exactly as it is|now|aloud|out loud|completely|again"
    r"|in order|in reading order|from (?:top to bottom|start to finish)|as (?:plain )?text|carefully)$"
)
_SHORT_FORMS: Final = (("\u2019", "'"), ("what's", "what is"), ("i'd", "i would"), ("let's", "let us"))


def asks_for_all_text(question: str) -> bool:
    """Whether the question asks for all text in an image, and for nothing else.

    Courtesies around the request ("Could you please …, word for word") are ignored.
    """
    if len(question) > LONGEST:
        return False
    text = question.lower()
    for short, full in _SHORT_FORMS:
        text = text.replace(short, full)
    text = " ".join(re.findall(r"\w+(?:'\w+)?", text))
    for courtesy in (_BEFORE, _AFTER):
        while (shorter := courtesy.sub("", text)) != text:
            text = shorter
    return any(request.fullmatch(text) for request in _REQUESTS)

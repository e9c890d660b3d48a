"""Finds what a question says about images: which one it names, whether it is about several, whether it needs one.

Works on English text by rules. Text in quotes is left out, because the question talks about it and does not say it. The
rules rather find nothing than too much: a question in which nothing is found is about the image shown last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_ONE = r"(?:photo|photograph|picture|pic|image|snapshot|screenshot|shot|scan)"
_MANY = _ONE[:-1] + r")s"
_KIND = rf"(?:{_ONE}|page|receipt|chart|graph|drawing|slide|diagram|map)"
"""Nouns that name an image beside a number or an order."""

_FIRST_TEN = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_SHORT = ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th")
_ORDINALS = {word: number for words in (_FIRST_TEN, _SHORT) for number, word in enumerate(words, 1)}
_CARDINALS = {word: number for number, word in enumerate(("one", "two", "three", "four", "five"), 1)}
_LAST = ("last", "latest", "newest", "most recent")
_BEFORE = ("previous", "prior", "preceding", "earlier", "former")
_ORDER = "|".join((*_ORDINALS, *_LAST, *_BEFORE, "other"))

_BY_ORDER = re.compile(
    rf"\b(?P<this>this )?(?P<order>{_ORDER}) (?:(?:attached|uploaded|posted|sent|shown) )?"
    rf"(?:{_KIND}\b|one\b(?! (?:in|on|of|from)\b))"
)
_ORDER_ALONE = re.compile(
    r"^(?:(?:and|but|or|so|ok|okay|now|please|what|how|is|was|are|in|on|about|of|describe|explain|read|tell|me|show|"
    r"look|at|i|mean|meant|what's|whats|do|you|see)[, ]+)*"
    rf"the (?P<order>{_ORDER})(?:,? please)?\W*$"
)
"""A question that is hardly more than an order: "and in the second?"."""

_BY_NUMBER = re.compile(
    rf"\b(?P<noun>{_KIND}) (?:no\.? ?|number |# ?)?(?P<number>\d{{1,2}}|{'|'.join(_CARDINALS)})\b(?![.:]\d)"
)
_EARLIER = re.compile(
    rf"\b(?:{_ONE}|one) (?:from |i (?:sent|showed you|showed|attached|posted) )?"
    r"(?:before|earlier|previously)\b(?! (?:the|a|an|i|we|he|she|they|it)\b)"
)
_THIS = re.compile(rf"\b(?:this|that|the new|the current) (?:{_KIND}|one)\b")

_COUNT = r"(?:two|three|four|five|\d)"
_ALL = (
    rf"(?:them|the {_COUNT} {_MANY}|(?:the|these|those|both) {_MANY}"
    rf"|(?:these|those|both|the {_COUNT})(?! (?!is|are|was|has|have|do|does|look|looks|shows?|would|and|please)\w))"
)
"""The images together: "these" and "the two" without another noun."""
_SEVERAL = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bcompar(?:e|ing|ison of|ison between) {_ALL}\b",
        r"^(?:please |now |can you |could you )*compare(?: please)?\W*$",
        rf"\b(?:the|these|those|all|both|which|{_COUNT}) (?:of (?:the|these|my) )?(?:{_COUNT} )?{_MANY}\b",
        rf"\b(?:both|either|neither|which|one) of {_ALL}\b",
        rf"\b(?:differences?|similarit(?:y|ies)) between {_ALL}\b",
        r"\b(?:what'?s?|is|are|spot|find|tell me|list|name|see|any) (?:the )?(?:main |biggest )?"
        r"(?:differences?|similarit(?:y|ies))\W*$",
        r"\b(?:they|these|those|the two|both) (?:have|share) (?:\w+ )?in common\b",
        r"\bhow (?:do|are) (?:they|these|those|the two) (?:differ|different|similar|related|alike)\b",
        r"\b(?:are|do) (?:they|these|those|the two|both) (?:all |the |about |look )*"
        r"(?:same|similar|alike|different|differ|match)\b",
        rf"\bwhich {_ONE} (?:is|was|has|had|shows|looks|do|does|would|contains)\b",
    )
)
_WHICH = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bwhich one (?:is|was|has|had|shows|looks|do|does|would|contains|costs?)\b(?!.* or )",
        r"\bwhich (?:is|was|looks) (?:more|less|better|worse|(?!number|order|other|after)\w{2,}er)\b(?!.* or )",
        r"\bwhich (?:is|was|looks) the (?:most|least|best|worst|\w{2,}est)\b",
    )
)
"""Of several images, or of several things in an image that came with the question."""
_AGAINST = re.compile(
    r"\b(?:than|versus|vs|same|similar to|different from|differs? from|compar\w+|unlike|match(?:es)?)\b"
)
"""Beside the name of one image, these words set it against the image in question."""

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|`[^`]*`|(?<!\w)'[^']*'(?!\w)")
_MOST_WORDS = 40
_MOST_CHARACTERS = 20_000  # with quoted text; what is longer was pasted, and is not searched
"""Nothing is found in longer questions, which contain pasted text."""

_SOUGHT = rf"(?:{_ONE}|attachment|{_MANY})"
_ALONE = (
    rf"{_SOUGHT}\b(?![ -](?:formats?|process\w*|edit\w*|librar\w+|quality|albums?|frames?|galler\w+|files?|sizes?|"
    r"tags?|compression|recognition|classif\w+|segmentation|sensors?|booths?|shoots?|books?|resolution|viewers?|apps?|"
    r"search|hosting|rights?|generat\w+|models?|registr\w+|windows?)\b)"
)
"""The noun, and not the beginning of a compound such as "image format"."""
_PLEASE = r"(?:please |pls |can you |could you |would you |just )*"
_LOOK_AT = (
    r"(?:describe|caption|explain|summari[sz]e|analy[sz]e|look at|read|transcribe|tell me about|identify)"
)
_NOT_HOW_TO = r"^(?!how (?:do|can|could|should|would|to)\b|(?:write|draw|make|imagine)\b)[^.?!]*"
"""The beginning of a sentence that asks what there is, and not how something is done."""
_OWN = r"(?: (?:that|which|i (?:took|take|saw|made|painted|drew|bought|found|have|own|got|like|love|want))\b)"
_ANY = re.compile(rf"\b{_SOUGHT}\b")
_THIS_IMAGE = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:this|these|those|that) (?:attached |uploaded )?{_ALONE}(?!{_OWN})",
        rf"\b(?:attached|uploaded|enclosed) {_ALONE}",
        rf"\b{_SOUGHT} (?:that )?i(?:'ve| have)? (?:just )?(?:attached|uploaded|sent|gave|posted|shared)\b",
        rf"\bi(?:'ve| have)? (?:just )?(?:attached|uploaded|sent you) (?:a|an|my|the|some) {_ALONE}",
        rf"^here(?:'s| is| are) (?:a|an|my|the|some) {_ALONE}",
    )
)
_THE_IMAGE = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_NOT_HOW_TO}\b(?:in|on|from) the {_ALONE}"
        r"(?=\W*$|,| (?:is|are|was|were|has|have|looks?|and|or|please|old|young|happy|sad|angry|\w+ing)\b)",
        rf"{_NOT_HOW_TO}\b(?:colou?rs?|subject|background|contents?|text|mood|description|caption|summary) (?:of|for) "
        rf"the {_ALONE}\W*$",
        rf"^{_PLEASE}{_LOOK_AT} the {_ALONE}(?: please| briefly| in detail| for me| in (?:one|a|two) \w+)*\W*$",
        rf"^(?:what|who|where|when)(?:'?s| is| does| was| did)? the {_ALONE}"
        r" (?:showing|show|shows|about|depict|depicts|say|contain|taken|made)\W*$",
        rf"^does the {_ALONE} (?:have|show|contain|depict|look|say)\b",
        rf"\bin the {_ALONE}, ",
    )
)
_OTHER_SUBJECT = re.compile(
    r"\btranslat\w+[^.?!]*:|\b(?:how (?:do|would) (?:you|i|we) say|docker\w*|container|kubernetes|kernel|firmware|iso|"
    r"disk)\b"
)
_OTHER_IMAGE = re.compile(
    r"\b(?:spell|spelling|grammar|rephrase|reword|rewrite|proofread|synonyms?|html|css|python|javascript|java|code|"
    r"function|linux|ubuntu|big picture|bigger picture)\b"
)
"""Words of questions whose image is no picture that could have been attached. Those of the second list may occur
beside "this image"."""


def named(question: str, names: Sequence[str], current: int, new: int = 0) -> frozenset[int]:
    """The images that a question names, as positions in the order of showing.

    names: the file names of all images shown so far, in their order. current: the position of the image that the
    question is about if it names none. new: how many of the last images came with this question; when they are
    several, orders and numbers count them alone.
    """
    text = _said(question)
    start = len(names) - new if new > 1 else 0
    by_name = {position for position, name in enumerate(names) if _mentions(question, name)}
    by_name |= {start + number - 1 for number in _numbers(text)}
    by_order = _by_order(text, start, len(names), current, new)
    if len(by_order) == 1 and by_order < by_name and _AGAINST.search(text) is None:
        by_name = set()  # "image 1 and image 2: what is in the second one?"
    found = by_name | by_order
    if _EARLIER.search(text):
        found.add(current - 1)
    if found and _THIS.search(text):
        found.add(current)
    return frozenset(position for position in found if 0 <= position < len(names))


def _by_order(text: str, start: int, count: int, current: int, new: int) -> set[int]:
    """The positions that words of order give, such as "the first photo". The parameters are those of `named`."""
    found = set()
    is_against = _AGAINST.search(text) is not None
    for match in _BY_ORDER.finditer(text):
        if match["this"] or (match["order"] == "other" and new == 1 and not is_against):
            found.add(current)  # an image comes with the words "this other one" or "and the other image"
        elif match["order"] in _LAST and new == 1 and is_against:
            found.add(current - 1)
        else:
            found.add(_position(match["order"], start, count, current))
    alone = _ORDER_ALONE.match(text)
    if alone is not None and new != 1:
        found.add(_position(alone["order"], start, count, current))
    return found


def _numbers(text: str) -> Iterator[int]:
    """The numbers of images that a text names, from 1: "photo 2", "image three"."""
    for match in _BY_NUMBER.finditer(text):
        yield _CARDINALS.get(match["number"]) or int(match["number"])


def about_this_image(question: str, shown: int = 0) -> str:
    """The question with "this image" in the place of "the first image", which says where it is, not what is asked.

    shown: how many images there are. "page 2" becomes "this page" where so many are there and no other is named.
    """
    order = rf"\b(?:the|this|that|my) (?:{_ORDER}) (?P<noun>{_KIND})\b"
    question = re.sub(order, r"this \g<noun>", question, flags=re.IGNORECASE)
    numbers = set(_numbers(question.lower()))
    if len(numbers) != 1 or not 1 <= min(numbers) <= shown:
        return question
    return re.sub(rf"(?:\bthe )?{_BY_NUMBER.pattern}", r"this \g<noun>", question, flags=re.IGNORECASE)


def is_about_several(question: str, named_images: frozenset[int], current: int, new: int = 0) -> bool:
    """Whether a question is about several images at once, as "compare them" is.

    Only meaningful when several were shown. named_images, current, new: as `named` returns and takes them.
    """
    text = _said(question)
    patterns = _SEVERAL if new == 1 else (*_SEVERAL, *_WHICH)
    if len(named_images) > 1 or any(pattern.search(text) for pattern in patterns):
        return True
    return bool(named_images - {current}) and _AGAINST.search(text) is not None


def needs_image(question: str, earlier: Sequence[str] = ()) -> bool:
    """Whether a question speaks of an image as if one were attached, as "What is in this photo?" does.

    earlier: what was said before. When an image was spoken of, "the photo" may be that one, and only "this photo" and
    "the attached photo" count.
    """
    text = _said(question)
    if _OTHER_SUBJECT.search(text):
        return False
    if any(pattern.search(text) for pattern in _THIS_IMAGE):
        return True
    if _OTHER_IMAGE.search(text) or any(_ANY.search(each.lower()) for each in earlier):
        return False
    return any(pattern.search(text) for pattern in _THE_IMAGE)


def _said(question: str) -> str:
    """Lower case without quoted text, words separated by single spaces; empty for a question that is too long."""
    if len(question) > _MOST_CHARACTERS:
        return ""
    text = " ".join(_QUOTED.sub(" ", question.lower().replace("’", "'")).split())
    return text if len(text.split()) <= _MOST_WORDS else ""


def _position(order: str, start: int, count: int, current: int) -> int:
    if order in _ORDINALS:
        return start + _ORDINALS[order] - 1
    if order in _LAST:
        return count - 1
    if order in _BEFORE or count != 2:  # the other one of more than two is the one before
        return current - 1
    return 1 - current


def _mentions(question: str, name: str) -> bool:
    """Whether the question contains a file name. A name without a suffix would be an ordinary word."""
    if not re.search(r"\w\.\w{2,4}$", name):
        return False
    return re.search(rf"(?<![\w.]){re.escape(name.lower())}(?!\w)", question.lower()) is not None

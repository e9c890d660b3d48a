"""Recognises answers in which a model declines to answer, such as "I cannot tell that from the photo."

An answer is divided into clauses. It is a decline when at least one clause declines and the others add nothing: an
apology, a reason, an offer of help. An answer that declines and then answers, such as "I cannot be sure, but it looks
like a cat", is an answer. declines.jsonl, beside this module, is a labelled set of both.
"""

from __future__ import annotations

import re

_SHORT_FORMS = (
    (r"’", "'"),
    (r"\bcan ?not\b|\bcan't\b", "cannot"),
    (r"n't\b", " not"),
    (r"\b(i)'m\b", "i am"),
    (r"\b(it|that|there|this)'s\b", r"\1 is"),
    (r"\bi'd\b", "i would"),
    (r"\bi'll\b", "i will"),
)
"""Short forms and what they stand for, applied in this order to text in lower case."""

_ADVERBS = (
    r"(?:(?:really|simply|just|honestly|actually|currently|also|still|unfortunately|afraid|quite|very) )*"
)
_UNABLE = (
    rf"(?:cannot|could not|am {_ADVERBS}(?:unable to|not able to|not capable of)|do not|would not) "
    rf"{_ADVERBS}(?:be able to )?"
)
_KNOWING = (
    r"(?:tell|say|know|determine|judge|answer|identify|recogni[sz]e|count|estimate|guess|decide|confirm|provide|"
    r"assist|help|understand|make (?:it|that|this|them) out|be (?:sure|certain)|speak|read)\b"
)
_SEEING = r"see (?:that|this|it|enough|well|clearly|who|when|where|which|how|what|whether|if)\b"
_HAVING = (
    r"have (?:access|any (?:information|idea|way|knowledge)|enough|the (?:ability|information|capability)|"
    r"information|personal|a (?:personal|way)|sufficient|real-time|specific)\b"
)
_SOURCE = (
    r"(?:photo|picture|image|photograph|text|receipt|chart|question|page|document|information|context|scene)"
)

_DECLINES = re.compile(
    "|".join(
        (
            rf"(?:i {_ADVERBS})?{_UNABLE}(?:{_KNOWING}|{_SEEING}|{_HAVING})",
            rf"(?:i am |i'm )?{_ADVERBS}not {_ADVERBS}(?:sure|certain)\b",
            r"(?:i have )?no (?:idea|way to (?:tell|know|say)|information)\b",
            r"(?:it|that|this|the answer) (?:is|was) (?:not |un|im)(?:possible|clear|known|certain|sure)\b",
            r"(?:it is )?(?:not possible|impossible|hard|difficult) to (?:tell|say|know|determine|judge|see|answer)\b",
            r"(?:it is |the \w+ is )?(?:unknown|unclear|uncertain|not (?:known|clear|stated|specified|mentioned))\b",
            r"(?:that|this|it|who|when|where|what|how|whether)\b[^,]* (?:cannot|could not) be "
            r"(?:\w+ )?(?:seen|told|known|determined|read|identified|answered|judged|said|counted)\b",
            rf"(?:the|this|that) {_SOURCE} (?:does|do) not (?:say|tell|show (?:that|this|it|who|when|where|how|what|"
            r"which|whether|enough)|provide|contain (?:any |enough |that )?information|give|specify|mention|state)\b",
            r"there is (?:not enough|no|insufficient) (?:\w+ )?(?:information|way|context|evidence|detail)\b",
            r"(?:not enough|insufficient|no) (?:\w+ )?(?:information|context|detail)\b",
            r"(?:this|that|it) is (?:beyond|outside|not (?:visible|shown|something i (?:can|know)))\b",
            r"not (?:visible|shown|readable|legible|applicable|available)$",
            r"(?:(?:it|that|this) is )?not on (?:the|this) (?:page|receipt|document)$",
        )
    )
)
_ADDS_NOTHING = re.compile(
    "|".join(
        (
            r"$",
            r"(?:i am |i'm )?(?:(?:very|so|really|quite) )?(?:sorry|afraid|glad|happy)\b",
            r"(?:apologies|my apologies|unfortunately|i apologi[sz]e)\b",
            r"(?:as|being) an? (?:ai|artificial|language|virtual|digital|large|assistant)\b",
            r"i am (?:just |only )?an? (?:\w+ )?(?:ai|artificial|language|assistant|model|computer|machine)\b",
            r"(?:because|since|as|so|without|due to|if|for that)\b",
            r"(?:it|that|this|the \w+) (?:is|are) (?:too \w+|(?:not )?(?:visible|clear|shown|readable|legible|blurr\w*|"
            r"unreadable|illegible))\b",
            r"(?:could|can|would) you\b",
            r"(?:please|you (?:could|can|may|might|need|should|would)|let me know|feel free|try)\b",
            r"i (?:would|will) (?:be (?:happy|glad)|need|recommend|suggest|try|do my best)\b",
            r"i can only\b",
            r"i see at least one\b",
            r"it is (?:against a plain background|in a cage or a zoo|in a cave|(?:[a-z ]+ )?ambiguous)$",
        )
    )
)
_PARTS = re.compile(r"[.!?;:\n]+|,? (?:but|however|although|though)\b,?|, (?:and|so)\b")
_OPENERS = re.compile(
    r"(?:(?:well|hmm|sorry|unfortunately|honestly|i am (?:sorry|afraid)(?: that)?|apologies|i apologi[sz]e)[, ]+"
    r"|(?:as|being|from|in|based on|with|given|according to) [^,]*, )+"
)


def is_decline(text: str) -> bool:
    """Whether the text declines to answer and answers nothing."""
    plain = text.lower().strip(" \n\"'*")
    for pattern, long in _SHORT_FORMS:
        plain = re.sub(pattern, long, plain)
    parts = [part.strip(" ,-\"'()") for part in _PARTS.split(plain)]
    declining = [bool(_declines(part)) for part in parts]
    return any(declining) and all(
        declines or _ADDS_NOTHING.match(part) for part, declines in zip(parts, declining, strict=True)
    )


def _declines(part: str) -> bool:
    """Whether a clause declines, on its own or after an opener such as "sorry," or "from the photo,"."""
    opener = _OPENERS.match(part)
    return bool(_DECLINES.match(part) or (opener and _DECLINES.match(part[opener.end() :])))

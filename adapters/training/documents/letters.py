"""What stands around the text of letters, mails and articles: salutation and signature, headline and writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.training.documents.fields import Wordings
from adapters.training.documents.page import PageFact, Part, WrittenLine, line
from adapters.training.documents.values import Values

FRAMED: Final = ("letter", "email", "article")
"""Kinds of pages."""

_HEADLINES: Final = (
    "{} gets a new {}", "Storm damages {} in {}", "Thousands celebrate in {}", "{} council votes for {}",
    "Fire near {} put out", "Record summer in {}", "{} wins prize for its {}", "Traffic jam blocks {}",
    "{} to close for repairs",
)  # fmt: skip


def framed(kind: str, parts: Sequence[Part], values: Values) -> Part:
    """A salutation and a signature around a letter or a mail, a headline and a writer above an article."""
    rng = values.rng
    writer, reader = values.person(), values.person()
    inner = [each for part in parts for each in part.lines]
    facts = [fact for part in parts for fact in part.facts]
    covers = {key for part in parts for key in part.covers}
    if kind == "article":
        headline = rng.choice(_HEADLINES).format(values.make("city"), values.make("venue"))
        facts = [fact for fact in facts if fact.key != "author"]
        asks = _frame_fact(
            headline,
            ("What is the headline?", "What is the title of the article?", "What does the headline say?"),
            "title",
        )
        by = _frame_fact(
            writer,
            ("Who wrote the article?", "Who is the author?", "Which reporter wrote this?"),
            "author",
        )
        inner = [each for each in inner if not _names_author(each)]
        lines = [
            line(headline, size=1.8, bold=True),
            line(f"{rng.choice(('By', 'By', 'by', 'Text:'))} {writer}"),
            *inner,
        ]
        return Part(tuple(lines), (*facts, asks, by), frozenset(covers | {"author", "title", "subject"}))
    greeting = rng.choice(("Dear {},", "Hello {},", "Hi {},", "Dear {}", "Good morning {},")).format(reader)
    closing = rng.choice(
        (
            "Yours sincerely,",
            "Kind regards,",
            "Best wishes,",
            "Sincerely",
            "Regards",
            "See you soon,",
            "With best regards",
        )
    )
    role = values.make("job")
    tail = [line(closing, gap=1.0), line(writer, gap=0.6)]
    signed = _frame_fact(
        writer,
        (
            "Who signed the letter?",
            "Who wrote this letter?",
            "Who signed it?",
            "What is the name below the letter?",
        ),
        "signer",
    )
    extra = [signed]
    if not any(fact.key in ("recipient", "sender") for fact in facts):
        extra.append(
            _frame_fact(
                reader,
                (
                    "Who is the letter addressed to?",
                    "To whom is this written?",
                    "Who is greeted?",
                    "For whom is the message?",
                ),
                "recipient",
            )
        )
    else:
        extra = []
    if rng.random() < 0.5:
        tail.append(line(role))
        extra.append(
            _frame_fact(
                role,
                (
                    "What is the position of the writer?",
                    "What is the job of the person who signed?",
                    "Which role does the signer have?",
                ),
                "role",
            )
        )
    top = list(parts[0].lines) if rng.random() < 0.9 else []
    rest = [each for part in parts[1:] for each in part.lines] if top else inner
    lines = [*top, line(greeting, gap=1.0), *rest, *tail]
    return Part(
        tuple(lines),
        (*facts, *extra),
        frozenset(
            covers | {"signer", "sender", "recipient", "author", "name", "role", "occupation", "contact_name"}
        ),
    )


def _frame_fact(value: str, asks: tuple[str, ...], key: str) -> PageFact:
    return PageFact("text", value, Wordings(asks), key=key)


def _names_author(each: WrittenLine) -> bool:
    return any(
        item.text.rstrip(": ").lower() in ("author", "written by", "by", "writer", "reporter")
        or item.text.lower().startswith(("author", "written by", "by:", "by ", "writer", "reporter"))
        for item in each.items
    )

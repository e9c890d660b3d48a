"""Asks for consent at the terminal before a question leaves this machine. Writes to stderr and reads stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_app.cli import output

if TYPE_CHECKING:
    from edge_app.cloud.consent import Proposal, Reply

PROMPT = "Send it? [o]nce, this [c]hat, [a]lways, ne[v]er, [N]o: "


class TerminalConsenter:
    """An edge_app.cloud.consent.Consenter. An empty line or the end of input means "no".

    begin: called before the first line, to end a line of output that is incomplete.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin

    def ask(self, proposal: Proposal) -> Reply:
        self._begin()
        replies: dict[str, Reply] = {
            **{"o": "once", "c": "chat", "a": "always", "v": "never", "n": "no", "": "no"},
            **{"once": "once", "chat": "chat", "always": "always", "never": "never", "no": "no"},
        }
        for line in describe(proposal):
            output.say(line)
        while True:
            print(PROMPT, end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            reply = replies.get(line.strip().lower())
            if not line or reply is not None:
                return reply or "no"


def describe(proposal: Proposal) -> list[str]:
    """The content of the request, as lines of text."""
    payload, lines = proposal.payload, []
    place = payload.endpoint
    lines.append(f"To {place}, model {place.model}, {payload.size:,} bytes ({proposal.reason}):")
    lines += [f"  question: {' '.join(payload.question.split())}"]
    if payload.earlier_turns:
        turns = (
            "1 earlier question"
            if payload.earlier_turns == 1
            else f"{payload.earlier_turns} earlier questions"
        )
        lines.append(f"  and {turns} of this chat with the answers")
    if payload.system:
        lines.append(f"  system prompt: {' '.join(payload.system.split())}")
    lines += [
        f"  image: {image.name}, {image.width}x{image.height} pixels, {len(image.jpeg):,} bytes"
        for image in payload.images
    ]
    return lines

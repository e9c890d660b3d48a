"""Asks the user before something leaves: from the thread that runs a turn to the chat's screen, and back."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from textual.message import Message
from textual.message_pump import MessagePump

from edge_app.cloud.consent import Proposal, Reply

LOOK_SECONDS = 0.1
"""Between looks whether the chat was left while the user is being asked."""


@dataclass
class ConsentAsked(Message):
    """reply: to be set to what the user says."""

    proposal: Proposal
    reply: Future[Reply]


class AskingUser:
    """A Consenter. screen: gets ConsentAsked. Who stops the turn or leaves the chat meanwhile has not agreed."""

    def __init__(self, screen: MessagePump) -> None:
        self._screen = screen

    def ask(self, proposal: Proposal) -> Reply:
        reply: Future[Reply] = Future()
        if not self._screen.post_message(ConsentAsked(proposal, reply)):
            return "no"
        while not proposal.stopped.is_set() and self._screen.is_running:
            try:
                return reply.result(LOOK_SECONDS)
            except TimeoutError:
                continue
        return "no"

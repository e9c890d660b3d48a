"""Asks for consent before a question leaves this machine: the window, and the consenter that opens it.

The window shows everything that would be sent. It can open while the user types, so it has no letter keys, and Enter
without a choice says no.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Grid, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from edge_app.cloud.consent import ConsentStore, Proposal, Reply
from edge_app.cloud.payload import Payload
from edge_app.settings import Price
from edge_app.system.terminal_text import one_line, printable
from edge_app.tui.text import file_size
from edge_app.tui.windows.outgoing_view import OutgoingView
from edge_app.tui.windows.window import Window
from models.core.errors import UserError

LOOK_SECONDS = 0.1
"""Interval at which a waiting request checks whether its turn was stopped or the chat closed."""


@dataclass
class ConsentAsked(Message):
    """A turn waits for consent. reply: the future that gets the user's reply."""

    proposal: Proposal
    reply: Future[Reply]


class ChatConsenter:
    """An edge_app.cloud.consent.Consenter that asks in the chat. screen: receives ConsentAsked.

    `ask` is called on the thread that runs the turn and blocks it. It returns "no" when the turn is stopped or the
    chat is closed before the user replies.
    """

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


def choices(host: str, *, can_be_kept: bool) -> list[tuple[Reply, str]]:
    """Replies with their labels. can_be_kept: the chat is saved, so that a consent for it can be saved too."""
    host = one_line(host)
    found: list[tuple[Reply, str]] = [("no", "No, not this one"), ("once", "Yes, this once")]
    if can_be_kept:
        found.append(("chat", "Yes, and everything else in this chat"))
    return [*found, ("always", f"Yes, always to {host}"), ("never", f"No, never to {host}")]


def cost_text(payload: Payload, price: Price | None) -> str:
    """The cost of a request with the longest answer that it allows, as a sentence. price: None when unknown."""
    tokens = f"about {payload.prompt_tokens} tokens to read, at most {payload.max_tokens} to write"
    if price is None and payload.endpoint.is_local:
        return f"none, it is on this machine ({tokens})"
    if price is None:
        return f"unknown, the settings have no price of {one_line(payload.endpoint.model)} ({tokens})"
    most = price.of(payload.prompt_tokens, payload.max_tokens)
    return f"at most {most:.4f} in the currency of your prices ({tokens})"


class ConsentWindow(Window[Reply]):
    """Shows a proposal and returns the user's reply.

    price: of the model, None when unknown. decisions: saves which images are never sent. preview: the widget class
    that draws an image.
    """

    AUTO_FOCUS = "OptionList"

    def __init__(
        self,
        proposal: Proposal,
        price: Price | None,
        decisions: ConsentStore,
        preview: Callable[..., Widget],
    ) -> None:
        super().__init__()
        self._proposal = proposal
        self._price = price
        self._decisions = decisions
        self._preview = preview
        host = proposal.payload.endpoint.host
        self._choices = choices(host, can_be_kept=proposal.session is not None)

    def compose(self) -> ComposeResult:
        payload = self._proposal.payload
        images = {image.digest: image for image in payload.images}.values()
        with Vertical(classes="window", id="consent") as window:
            window.border_title = Content(f"Ask {payload.endpoint}?")
            with VerticalScroll(id="consent-what"):
                yield Static(self._facts(), id="consent-facts")
                if images:
                    with Grid(id="consent-images"):
                        for image in images:
                            yield OutgoingView(image, self._preview)
            yield OptionList(*(Option(Content(text)) for _, text in self._choices), markup=False)
            yield Static("", classes="nothing")
            marks = "Tab to the images, Space: never send · " if images else ""
            yield Static(Content(f"Enter chooses · {marks}Esc says no"), classes="window-keys")

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0
        self.set_interval(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Closes the window when its turn was stopped."""
        if self._proposal.stopped.is_set() and self.is_current:
            self.dismiss("no")

    def _facts(self) -> Content:
        """Everything that would be sent, except the images."""
        payload = self._proposal.payload
        earlier = payload.earlier_turns
        turns = f"{earlier} earlier question{'' if earlier == 1 else 's'} of this chat, with the answers"
        facts = [
            ("Why", one_line(self._proposal.reason)),
            ("To", f"{one_line(payload.endpoint.host)}, model {one_line(payload.endpoint.model)}"),
            ("Question", printable(payload.question)),
            ("Before it", turns if earlier else "nothing"),
            ("System prompt", printable(payload.system) if payload.system else "none"),
            ("Images", str(len(payload.images)) if payload.images else "none"),
            ("In all", file_size(payload.size)),
            ("Cost", cost_text(payload, self._price)),
        ]
        return Content("\n").join(Content.assemble((f"{name}: ", "dim"), text) for name, text in facts)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._choices[event.option_index][0])

    @on(OutgoingView.Marked)
    def _marked(self, event: OutgoingView.Marked) -> None:
        """Saves the mark of an image at once, whatever the reply will be."""
        event.stop()
        image = event.view
        try:
            if image.withheld:
                self._decisions.withhold(image.digest)
            else:
                self._decisions.release(image.digest)
        except UserError as error:
            image.withheld = not image.withheld
            self._say(str(error))
            return
        self._allow(not any(view.withheld for view in self.query(OutgoingView)))

    def _allow(self, allowed: bool) -> None:
        """Enables or disables the replies that send."""
        options = self.query_one(OptionList)
        for place, (reply, _) in enumerate(self._choices):
            if reply not in ("no", "never"):
                (options.enable_option_at_index if allowed else options.disable_option_at_index)(place)
        options.highlighted = 0
        self._say("" if allowed else "A marked image goes nowhere, and a question that needs it stays here.")

    def _say(self, sentence: str) -> None:
        self.query_one(".nothing", Static).update(Content(one_line(sentence)))

"""`edge-app ask`: one question, one answer, for people and for scripts."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_app.cli import output
from edge_app.cli.options import (
    AdapterOption,
    AllowCloudOption,
    ContinueOption,
    ModeOption,
    OfflineOption,
    SessionOption,
    load_settings,
    session_id,
)
from models.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_app.assistant import Assistant
    from edge_app.cloud.consent import Consenter
    from edge_app.events import Answer, Event


def ask(
    question: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUESTION]", help='The question; "-" stands for what comes from stdin.'),
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="An image; may be repeated.")
    ] = None,
    adapter: AdapterOption = None,
    mode: ModeOption = None,
    offline: OfflineOption = None,
    allow_cloud: AllowCloudOption = False,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system prompt.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="The longest answer, in tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="0 takes the likeliest words.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Makes a temperature repeatable.")] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Choose among the K likeliest tokens; 0 is off.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Choose among the likeliest that make up P; 1 is off.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(metavar="P", help="Least share of the likeliest's chance; 0 is off.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(metavar="R", help="Above 1, repeating becomes less likely; 1 is off.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End the answer before TEXT; may be repeated.")
    ] = None,
    session: SessionOption = None,
    continue_: ContinueOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when it is whole.")
    ] = False,
) -> None:
    """Ask one question and print the answer. Without QUESTION it is read from stdin.

    \b
    Examples:
      edge-app ask "What is in this photo?" --image photo.jpg
      edge-app ask "And what colour is it?" --continue
      git diff | edge-app ask "Summarise this:" - --json
    """
    words = _question(question or [])
    if "" in (stop or ()):
        raise typer.BadParameter("--stop is empty; give the text that ends the answer.")
    from edge_app.assistant import Assistant, Turn
    from edge_app.storage.sessions import SessionStore

    settings = load_settings(
        adapter=adapter,
        mode=mode,
        offline=offline,
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    # Who reads a pipe gets the one answer that counts: it is not known before a cloud has had its say.
    whole = no_stream or (settings.cloud_url is not None and not sys.stdout.isatty())
    screen = _Screen(stream=not (json or whole))
    store = SessionStore.open()
    assistant = Assistant(settings, store, consenter=_consenter(screen))
    turn = Turn(
        question=words,
        images=tuple(image or ()),
        session=session_id(store, session, continue_),
        adapter=settings.adapter,
        mode=settings.mode,
        sampling=replace(settings.sampling(), stop=tuple(stop or ())),
        system=system,
        allow_cloud=allow_cloud,
    )
    with closing(store), closing(assistant), closing(assistant.answer(turn)) as events:
        answer = _show(events, screen, assistant)
        if json:
            output.result_json(answer.as_json())
        elif whole:
            output.result(answer.text)
        if answer.reason != screen.told and (settings.cloud_url or settings.mode == "quality" or allow_cloud):
            output.say(f"({answer.reason})")  # where there is but one place, it goes without saying
        if answer.stop_reason == "length":
            output.say(f"(cut after {answer.tokens.completion} tokens; --max-tokens allows more)")
        for _ in events:  # an interruption is raised once the stopped answer has been shown
            pass
        if screen.interrupted:
            raise KeyboardInterrupt


def _question(arguments: list[str]) -> str:
    """The arguments joined by spaces; standard input where they say "-", or when there are none."""
    if not arguments and sys.stdin.isatty():
        raise typer.BadParameter('Give a question, as in: edge-app ask "What is this?" --image photo.jpg')
    arguments = arguments or ["-"]
    if "-" not in arguments:
        return " ".join(arguments)
    at = arguments.index("-")
    parts = (" ".join(arguments[:at]), _standard_input(), " ".join(arguments[at + 1 :]))
    return "\n\n".join(part for part in parts if part)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"The text on standard input is not UTF-8 (byte {error.start}).") from None


def _consenter(screen: _Screen) -> Consenter | None:
    """The user at the terminal, if one can both read the question and reply."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from edge_app.cli.cloud.consent import TerminalConsenter

    return TerminalConsenter(screen.end_line)


def _show(events: Iterator[Event], screen: _Screen, assistant: Assistant) -> Answer:
    """Shows events as they come and returns the answer; leaves the program when there is none.

    A Ctrl-C that comes while something is being shown stops the answer as one that comes while it is awaited
    does, and its end is shown.
    """
    from edge_app.events import Answered, Failed

    while True:
        try:
            for event in events:
                screen.show(event)
                if isinstance(event, Failed):
                    output.leave(event.exit_code)
                if isinstance(event, Answered):
                    return event.answer
            raise RuntimeError("the turn ended without an answer and without a failure")
        except KeyboardInterrupt:
            screen.interrupted = True
            assistant.cancel()


class _Screen:
    """stream: texts are printed as they come. One answer after the other is told apart on stderr, and the local
    one that counts after all is printed again when something stands between.

    interrupted: by a Ctrl-C. told: the label that was shown when another place was asked.
    """

    def __init__(self, *, stream: bool) -> None:
        self.interrupted = False
        self.told = ""
        self._stream = stream
        self._line = output.ProgressLine()
        self._shown = ""  # of the answer that is being printed

    def show(self, event: Event) -> None:
        from edge_app.events import Answered, CloudFailed, Escalated, Failed, Progress, TokenText

        match event:
            case Progress():
                self._line.show(event)
                return
            case TokenText() if not self._stream:
                return
        self._line.clear()
        match event:
            case TokenText(text):
                self._shown += text
                output.result_piece(text)
            case Escalated(reason):
                self.end_line()
                output.say(f"({reason})")
                self.told = reason
            case CloudFailed(message, kept):
                between = self._shown
                self.end_line()
                output.say(f"edge-app: {message}")
                if kept and between:
                    output.say("(the local answer, kept:)")
                    self._shown = kept
                    output.result_piece(kept)
            case Failed(message):
                output.say(f"edge-app: {message}")
            case Answered():
                self.end_line()
            case _:
                _remark(event)

    def end_line(self) -> None:
        """What is written next begins a line, and is no part of the answer that is being printed."""
        self._line.clear()
        if self._shown and not self._shown.endswith("\n"):
            output.result_piece("\n")
        self._shown = ""


def _remark(event: Event) -> None:
    from edge_app.events import ContextTrimmed, ImageEncoded, Routed

    match event:
        case Routed(route) if route.adapter and route.probability is not None:
            output.say(f"({route.reason})")
        case ImageEncoded(name=name, notes=notes) if notes:
            output.say(f"({name}: {', '.join(notes)})")
        case ContextTrimmed(dropped):
            output.say(
                f"(the chat is longer than the model's context: its first {dropped} turns were left out)"
            )

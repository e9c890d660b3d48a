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
    ContinueOption,
    ModeOption,
    OfflineOption,
    SessionOption,
    load_settings,
    session_id,
)
from models.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    allow_cloud: Annotated[
        bool, typer.Option("--allow-cloud", help="A cloud model, if one is configured, may be asked.")
    ] = False,
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
    from edge_app.sessions import SessionStore

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
    store = SessionStore.open()
    assistant = Assistant(settings, store)
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
        answer = _show(
            events, stream=not (json or no_stream), explain=settings.mode == "quality" or allow_cloud
        )
        if json:
            output.result_json(answer.as_json())
        elif no_stream:
            output.result(answer.answer)
        if answer.stop_reason == "length":
            output.say(f"(cut after {answer.tokens.completion} tokens; --max-tokens allows more)")
        for _ in events:  # an interruption is raised once the stopped answer has been shown
            pass


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


def _show(events: Iterator[Event], *, stream: bool, explain: bool) -> Answer:
    """Shows events as they come and returns the answer; leaves the program when there is none."""
    from edge_app.events import Answered, ContextTrimmed, Failed, ImageEncoded, Progress, Routed, TokenText

    line = output.ProgressLine()
    ended_with_newline = True
    for event in events:
        match event:
            case Progress():
                line.show(event)
                continue
            case TokenText(text) if not stream:
                continue
        line.clear()
        match event:
            case TokenText(text):
                output.result_piece(text)
                ended_with_newline = text.endswith("\n")
            case Routed(route) if explain or (route.adapter and route.probability is not None):
                output.say(f"({route.reason})")
            case ImageEncoded(name=name, notes=notes) if notes:
                output.say(f"({name}: {', '.join(notes)})")
            case ContextTrimmed(dropped):
                output.say(
                    f"(the chat is longer than the model's context: its first {dropped} turns were left out)"
                )
            case Failed(message, exit_code):
                output.say(f"edge-app: {message}")
                output.leave(exit_code)
            case Answered(answer):
                if stream and not ended_with_newline:
                    output.result_piece("\n")
                return answer
    raise RuntimeError("the turn ended without an answer and without a failure")

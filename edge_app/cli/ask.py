"""`edge-app ask`: asks one question and prints the answer, as text or JSON."""

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
    DetailOption,
    FieldsOption,
    ImageOption,
    ModelOption,
    ModeOption,
    OfflineOption,
    SchemaOption,
    SessionOption,
    answer_schema,
    image_sources,
    load_settings,
    say_attached,
    session_id,
)
from models.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_app.answer import Answer
    from edge_app.assistant import Assistant
    from edge_app.cloud.consent import Consenter
    from edge_app.events import Event, Turn
    from edge_app.images.image_sources import ImageSource
    from edge_app.images.question_images import QuestionWithImages
    from edge_app.settings import Settings
    from router.choice import Candidate


def ask(
    question: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUESTION]",
            help='The question, with or without paths of images; "-" stands for the text from stdin.',
        ),
    ] = None,
    image: ImageOption = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    mode: ModeOption = None,
    detail: DetailOption = None,
    schema: SchemaOption = None,
    fields: FieldsOption = None,
    offline: OfflineOption = None,
    allow_cloud: AllowCloudOption = False,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system prompt.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="The longest answer, in tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="0 takes the most likely tokens.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Makes sampling repeatable.")] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Sample among the K most likely tokens; 0 is off.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="Sample among the likeliest of total probability P; 1 is off."),
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(metavar="P", help="Least share of the highest probability; 0 is off.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(metavar="R", help="Above 1, repetition becomes less likely; 1 is off.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End the answer before TEXT; may be repeated.")
    ] = None,
    session: SessionOption = None,
    continue_: ContinueOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when it is complete.")
    ] = False,
) -> None:
    """Ask one question and print the answer. Without QUESTION it is read from stdin.

    \b
    Examples:
      edge-app ask "What is in this photo?" --image photo.jpg
      edge-app ask "What is in ~/photos/cat.jpg?"
      edge-app ask "What is the total?" --image "invoice.pdf#2"
      edge-app ask "And what colour is it?" --continue
      edge-app ask --image receipt.jpg --fields "company, date:date, total:number"
      git diff | edge-app ask "Summarise this:" - --json
    """
    asked = answer_schema(schema, fields)
    given = image_sources(image)
    typed = _question(question or [], image or [], given, has_default=asked is not None)
    if "" in (stop or ()):
        raise typer.BadParameter("--stop is empty; give the text that ends the answer.")
    from edge_app.assistant import Assistant, Turn
    from edge_app.storage.sessions import SessionStore
    from edge_app.system import paths
    from router.confidence.rule import why_ignored

    settings = load_settings(
        model=model,
        adapter=adapter,
        mode=mode,
        image_detail=detail,
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
    # A pipe gets only the final answer, and with a cloud that is not known until the turn ends.
    whole = no_stream or (settings.cloud_url is not None and not sys.stdout.isatty())
    screen = Screen(stream=not (json or whole), attached=typed.images)
    if ignored := why_ignored(paths.confidence_file()):
        output.say(ignored)
    store = SessionStore.open()
    assistant = Assistant(settings, store, consenter=_consenter(screen))
    turn = Turn(
        question=typed.text,
        images=(*given, *typed.images),
        session=session_id(store, session, continue_),
        adapter=settings.adapter,
        mode=settings.mode,
        sampling=replace(settings.sampling(), stop=tuple(stop or ())),
        system=system,
        allow_cloud=allow_cloud,
        schema=asked,
    )
    with closing(store), closing(assistant), closing(assistant.answer(turn)) as events:
        answer = show_turn(events, screen, assistant)
        if json:
            output.result_json(answer.as_json())
        elif whole:
            output.result(answer.text)
        if not json and (sys.stderr.isatty() or answer.declined):
            _say_about(answer, turn, screen.candidates, settings)
        elif answer.reason != screen.told and (
            settings.cloud_url or settings.mode == "quality" or allow_cloud
        ):
            output.say(f"({answer.reason})")  # shown only where there can be several places
        if answer.stop_reason == "length":
            output.say(f"(cut after {answer.tokens.completion} tokens; --max-tokens allows more)")
        for _ in events:  # the turn saves a stopped answer before it ends
            pass
        if screen.interrupted:
            raise KeyboardInterrupt


def _question(
    arguments: list[str], options: Sequence[str], given: Sequence[ImageSource], *, has_default: bool
) -> QuestionWithImages:
    """The arguments joined by spaces, without the images that they name.

    Standard input replaces "-", and is the question when the arguments have no other. It is data: its paths are left
    alone. options: the values of --image. given: the images that they name. has_default: no question
    is needed.
    """
    from edge_app.images.image_sources import is_standard_input
    from edge_app.images.question_images import QuestionWithImages, read_arguments

    at = arguments.index("-") if "-" in arguments else len(arguments)
    before = read_arguments(arguments[:at], given)
    after = read_arguments(arguments[at + 1 :], [*given, *before.images])
    images = before.images + after.images
    if (before.text or has_default) and at == len(arguments):
        return before
    if not before.text and at == len(arguments) and sys.stdin.isatty():
        raise typer.BadParameter('Give a question, as in: edge-app ask "What is this?" --image photo.jpg')
    if any(map(is_standard_input, options)):
        raise typer.BadParameter("Standard input is the image here: give the question as an argument.")
    parts = (before.text, _standard_input(), after.text)
    return QuestionWithImages("\n\n".join(part for part in parts if part), images)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"The text on standard input is not UTF-8 (byte {error.start}).") from None


def _consenter(screen: Screen) -> Consenter | None:
    """Asks the user at the terminal; None when stdin or stderr is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from edge_app.cli.cloud.consent import TerminalConsenter

    return TerminalConsenter(screen.end_line)


def show_turn(events: Iterator[Event], screen: Screen, assistant: Assistant) -> Answer:
    """Shows the events as they arrive and returns the answer. Ends the command when the turn fails.

    Ctrl-C cancels the answer. The stopped answer is then shown and returned. A second Ctrl-C ends the command at once;
    the stopped answer is saved all the same. Raises KeyboardInterrupt then.
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
            if screen.interrupted:  # a second Ctrl-C ended the events before the stopped answer came
                raise KeyboardInterrupt
            raise RuntimeError("the turn ended without an answer and without a failure")
        except KeyboardInterrupt:
            if screen.interrupted:
                raise
            screen.interrupted = True
            assistant.cancel()


class Screen:
    """Prints the answer on stdout and everything else on stderr.

    stream: print text as it is generated. When a second answer begins, a line on stderr separates the two. When the
    cloud fails in between, the local answer is printed again.

    attached: the images that the question named, which are said unless the turn fails at once.
    interrupted: Ctrl-C was pressed. told: the label that was shown when the cloud was asked. candidates: the adapters
    that the router compared.
    """

    def __init__(self, *, stream: bool, attached: Sequence[Path] = ()) -> None:
        self._attached = attached
        self.interrupted = False
        self.told = ""
        self.candidates: tuple[Candidate, ...] = ()
        self._stream = stream
        self._line = output.ProgressLine()
        self._shown = ""  # the printed part of the current answer

    def show(self, event: Event) -> None:
        from edge_app.events import (
            Answered,
            CloudFailed,
            Escalated,
            Failed,
            Progress,
            Routed,
            ThinkingText,
            TokenText,
        )

        if self._attached and not isinstance(event, Progress | Failed):
            self._line.clear()
            say_attached(self._attached)
            self._attached = ()
        match event:
            case Progress():
                self._line.show(event)
                return
            case TokenText() if not self._stream:
                return
            case ThinkingText(text):
                self._line.think(text)
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
                if isinstance(event, Routed):
                    self.candidates = event.route.candidates
                _remark(event)

    def end_line(self) -> None:
        """Ends the current line and the current answer, so that the next output begins a line."""
        self._line.clear()
        if self._shown and not self._shown.endswith("\n"):
            output.result_piece("\n")
        self._shown = ""


def _say_about(answer: Answer, turn: Turn, candidates: Sequence[Candidate], settings: Settings) -> None:
    """Prints the line about an answer, with what can be done about one that is unsure or a decline."""
    from edge_app.answer_text import adapter_words, another_adapter, answer_line, needs_help, speed_text
    from edge_app.cloud.endpoint import endpoint

    elsewhere = "cloud"
    if settings.cloud_url is not None:
        elsewhere = endpoint(settings.cloud_url, settings.cloud_model or "").noun
    offers = []
    if needs_help(answer):
        if answer.reason_kind == "allow_cloud_missing":
            offers.append(f"--allow-cloud asks the {elsewhere}")
        elif answer.offer == "ask_cloud" and turn.mode in ("fast", "eco"):
            offers.append(f"--mode auto asks the {elsewhere}")
        elif answer.offer == "set_up_cloud":
            offers.append("`edge-app cloud setup` sets up a cloud to ask")
        if (other := another_adapter(turn.adapter, answer.adapter, candidates)) is not None:
            offers.append(f"--adapter {other} tries {adapter_words(other)}")
    speed = speed_text(answer)
    output.say(answer_line(answer, elsewhere, offers, settings.model), f" · {speed}" if speed else "")


def _remark(event: Event) -> None:
    from edge_app.answer_text import note_of
    from edge_app.events import Routed

    match event:
        case Routed(route) if route.adapter and route.probability is not None and not sys.stderr.isatty():
            output.say(f"(adapter {route.adapter})")  # on a terminal it is in the line about the answer
        case _:
            if note := note_of(event):
                output.say(f"({note})")

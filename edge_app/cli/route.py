"""`edge-app route`: shows the adapter and the place that a question would go to, without answering it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.options import (
    ImageOption,
    JsonOption,
    ModelOption,
    ModeOption,
    OfflineOption,
    image_sources,
    load_settings,
    say_attached,
)
from edge_app.reason_text import candidate_rows
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from edge_app.events import Route


def route(
    question: Annotated[
        list[str],
        typer.Argument(metavar="QUESTION", help="The question, with or without paths of images."),
    ],
    image: ImageOption = None,
    model: ModelOption = None,
    mode: ModeOption = None,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Show the adapter and the place that a question would go to, the candidates, and the reason.

    \b
    Example:
      edge-app route "What is the total?" --image receipt.jpg
    """
    from edge_app.assistant import Assistant, Turn
    from edge_app.events import Failed, Progress, Routed
    from edge_app.images.question_images import read_arguments

    settings = load_settings(model=model, mode=mode, offline=offline)
    given = image_sources(image)
    typed = read_arguments(question, given)
    turn = Turn(typed.text, (*given, *typed.images), mode=settings.mode)
    line = output.ProgressLine()
    found = None
    with closing(Assistant(settings, None)) as assistant:
        for event in assistant.route(turn):
            if isinstance(event, Progress):
                line.show(event)
            elif isinstance(event, Failed):
                line.clear()
                raise event.as_error()
            elif isinstance(event, Routed):
                found = event
    line.clear()
    say_attached(typed.images)
    assert found is not None, "routing ends in a route or a failure"
    if json:
        output.result_json(_as_json(found.route, settings.router, found.mode, found.milliseconds))
    else:
        output.result(_text(found.route, settings.router))


def _as_json(route: Route, router: str, mode: str, milliseconds: float) -> dict[str, Any]:
    candidates = [asdict(candidate) for candidate in route.candidates]
    return {
        "adapter": route.adapter,
        "place": route.place,
        "model": route.model,
        "router": router,
        "mode": mode,
        "probability": route.probability,
        "reason": route.reason,
        "reason_kind": route.reason_kind,
        "candidates": candidates,
        "timing_ms": {"route": milliseconds},
    }


def _text(route: Route, router: str) -> str:
    where = f"{route.adapter or 'no adapter'}, {route.place}"
    sure = "" if route.probability is None else f", probability {route.probability:.2f}"
    lines = [f"{where}{sure}", route.reason]
    if route.model is not None:
        lines.append(f"Answered by the model {route.model}.")
    if route.candidates:
        heading = ("CANDIDATE", "SCORE", "IMAGE", "QUESTION")
        rows = candidate_rows(route.candidates)
        lines += ["", text_table([heading, *rows], right=(1, 2, 3)), f"Judged by the router {router}."]
    return "\n".join(lines)

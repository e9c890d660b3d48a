"""A window that shows the route of a question, the candidates with their scores, and details of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from edge_app.answer import Answer
from edge_app.answer_text import answer_details, answer_line
from edge_app.event_batches import batches
from edge_app.events import Event, Failed, Progress, Route, Routed
from edge_app.reason_text import candidate_rows
from edge_app.system.terminal_text import one_line, text_table
from edge_app.tui.text import progress_text
from edge_app.tui.windows.window import Window
from router.choice import Candidate


class RouteWindow(Window[None]):
    """Shows a route, and the details of the answer.

    which: the heading, such as "The last question". find: yields Progress events, then a Routed or a Failed; other
    events are ignored. elsewhere: the word for the place that is not this device. report: logs a defect and returns a
    sentence about it. answer: to this question; None when there is none yet.
    """

    def __init__(
        self,
        which: str,
        question: str,
        find: Callable[[], Iterator[Event]],
        elsewhere: str,
        report: Callable[[BaseException], str],
        answer: Answer | None = None,
    ) -> None:
        super().__init__()
        self._which = which
        self._question = question
        self._find = find
        self._elsewhere = elsewhere
        self._report = report
        self._answer = answer

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="window") as window:
            window.border_title = Content("Route")
            yield Static(Content.assemble((f"{self._which}: ", "bold"), one_line(self._question)))
            yield Static("Asking the router" if self._answer is None else "", id="route-found")
            if self._answer is not None:
                yield Static(described_answer(self._answer, self._elsewhere), id="route-answer")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._show()

    @work(group="window")
    async def _show(self) -> None:
        try:
            async for batch in batches(self._find()):
                for event in batch:
                    match event:
                        case Progress():
                            self._say(progress_text(event))
                        case Routed(route=route, milliseconds=milliseconds):
                            self._update(described(route, milliseconds, self._elsewhere))
                        case Failed(message=message):
                            self._say(one_line(message))
                        case _:
                            pass
        except Exception as error:
            self._say(self._report(error))

    def _say(self, sentence: str) -> None:
        self._update(Content(sentence))

    def _update(self, content: Content) -> None:
        self.query_one("#route-found", Static).update(content)


def described(route: Route, milliseconds: float, elsewhere: str) -> Content:
    """The decision, its reason, and a table of the candidates."""
    adapter = f"adapter {one_line(route.adapter)}" if route.adapter else "no adapter"
    sure = "" if route.probability is None else f", probability {route.probability:.2f}"
    took = f" · {milliseconds:.1f} ms" if milliseconds else ""
    place = "local" if route.place == "local" else elsewhere
    decision = Content.assemble("\n", (adapter, "bold"), f"{sure} · {place}{took}\n", one_line(route.reason))
    return Content.assemble(decision, "\n\n", _table(route.candidates))


def described_answer(answer: Answer, elsewhere: str) -> Content:
    """The line about the answer, and its details as a table."""
    lines = text_table(answer_details(answer)).splitlines()
    return Content("\n").join(
        [Content(""), Content.styled(answer_line(answer, elsewhere), "bold"), *map(Content, lines)]
    )


def _table(candidates: Sequence[Candidate]) -> Content:
    """Names to the left, figures to the right."""
    if not candidates:
        return Content.styled("There was nothing to choose from.", "dim")
    rows = [("candidate", "score", "image", "question"), *candidate_rows(candidates)]
    heading, *lines = text_table(rows, right=(1, 2, 3)).splitlines()
    return Content("\n").join([Content.styled(heading, "dim"), *map(Content, lines)])

"""Shows one turn's events in the conversation as they come. Knows no keys and no commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_app.events import (
    Answered,
    ContextTrimmed,
    Event,
    Failed,
    ImageEncoded,
    Progress,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.tui.conversation import Conversation
from edge_app.tui.messages import AnswerView
from edge_app.tui.stream import batches
from edge_app.tui.text import one_line


async def show_turn(
    events: Iterator[Event],
    view: AnswerView,
    conversation: Conversation,
    told: Callable[[TurnSaved | Routed], None],
) -> Answered | Failed | None:
    """Returns the turn's last event; None when it ended without one. Raises what was a defect underneath.

    told: gets the session's id as soon as the question is on disk, and the adapter as soon as it is chosen.
    """
    last: Answered | Failed | None = None
    async for batch in batches(events):
        for event in batch:
            match event:
                case TurnSaved() | Routed():
                    told(event)
                case Progress():
                    view.doing(event)
                case ImageEncoded(notes=notes, name=name, cached=False) if notes:
                    await conversation.remark(one_line(f"{name}: {', '.join(notes)}."), before=view)
                case ContextTrimmed(dropped_turns=count):
                    await conversation.remark(_trimmed(count), before=view)
                case TokenText(text=text):
                    await view.append(text)
                case Answered(answer=answer):
                    view.end(answer)
                    last = event
                case Failed(message=message):
                    view.fail(message)
                    last = event
                case _:
                    pass
    return last


def _trimmed(count: int) -> str:
    turns = "the oldest question and its answer were" if count == 1 else f"the {count} oldest questions were"
    return f"The chat is longer than the model can read at once: {turns} left out for this answer."

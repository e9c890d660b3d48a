"""Shows one turn's events in the conversation as they come. Knows no keys and no commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_app.events import (
    Answered,
    CloudFailed,
    ContextTrimmed,
    Escalated,
    Event,
    Failed,
    ImageEncoded,
    Progress,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.system.terminal_text import one_line
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.conversation_view import Conversation
from edge_app.tui.stream import ANSWERS, batches

Told = TurnSaved | Routed


async def show_turn(
    events: Iterator[Event],
    view: AnswerView,
    conversation: Conversation,
    told: Callable[[Told], None],
) -> Answered | Failed | None:
    """Returns the turn's last event; None when it ended without one. Raises what was a defect underneath. A
    failure is the caller's to show: there may be an answer from before.

    told: gets the session's id as soon as the question is on disk, and the adapter as soon as it is chosen.
    """
    last: Answered | Failed | None = None
    async for batch in batches(events, thread=ANSWERS):
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
                case Escalated(reason=reason):
                    view.escalate(reason)
                case CloudFailed(message=message, kept=kept):
                    await view.come_back(message, kept)
                case Answered(answer=answer):
                    await view.end(answer)
                    last = event
                case Failed():
                    last = event
                case _:
                    pass
    return last


def _trimmed(count: int) -> str:
    turns = "the oldest question and its answer were" if count == 1 else f"the {count} oldest questions were"
    return f"The chat is longer than the model can read at once: {turns} left out for this answer."

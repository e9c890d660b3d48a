"""Shows the events of one turn in the conversation as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_app.answer_text import note_of
from edge_app.event_batches import ANSWERS, batches
from edge_app.events import (
    Answered,
    CloudFailed,
    ContextTrimmed,
    Escalated,
    Event,
    Failed,
    ImageEncoded,
    Notice,
    Progress,
    Routed,
    ThinkingText,
    TokenText,
    TurnSaved,
)
from edge_app.tui.conversation.answer_view import AnswerView
from edge_app.tui.conversation.conversation_view import ConversationView


async def show_turn(
    events: Iterator[Event],
    view: AnswerView,
    conversation: ConversationView,
    note: Callable[[TurnSaved | Routed], None],
) -> Answered | Failed | None:
    """Shows the events until the turn ends.

    note: called when the question is saved and when the adapter is chosen.

    Returns the last event; None when the events ended without one. A failure is returned and not shown, since the
    caller may have an earlier answer to show again. Raises an exception that the turn raised.
    """
    last: Answered | Failed | None = None
    async for batch in batches(events, thread=ANSWERS):
        for event in batch:
            match event:
                case TurnSaved() | Routed():
                    note(event)
                case Progress():
                    view.doing(event)
                case ImageEncoded(cached=False) | Notice() | ContextTrimmed():
                    if remark := note_of(event):
                        await conversation.remark(remark, before=view)
                case TokenText() | ThinkingText():
                    await _write(event, view)
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


async def _write(event: TokenText | ThinkingText, view: AnswerView) -> None:
    if isinstance(event, ThinkingText):
        view.think(event.text)
    else:
        await view.append(event.text)

"""Built-in replies: texts of the app that answer a question, or decline to, in the place of the model.

A reply is decided from the planned turn, before anything is loaded or sent. A new case is one more function in CASES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_app.answer_text import needs_help
from edge_app.turns.replies.about_answer import asks_about_answer, how_sure, no_reason
from edge_app.turns.replies.question_language import foreign_language, sentence_about_language
from edge_app.turns.replies.small_talk import reply, topic
from models.core.errors import UserError
from router.types import Reason

if TYPE_CHECKING:
    from edge_app.schemas.answer_schema import AnswerSchema
    from edge_app.turns.planner import PlannedTurn


@dataclass(frozen=True)
class BuiltInReply:
    """A reply for which nothing is generated.

    text: for the user. declined: it is no answer, such as "There is no image in this chat."
    reason: why it is given; its kind has a clause in edge_app/reason_text.py.
    for_cloud: the cloud may know better. It is asked first in mode quality, and after a decline where the mode hands
        over. Otherwise this device replies, whatever the mode.
    probability: that it is right, 0..1; None for a reply that has no confidence.
    """

    text: str
    declined: bool
    reason: Reason
    for_cloud: bool = False
    probability: float | None = None


Case = Callable[["PlannedTurn"], BuiltInReply | None]
"""Returns the reply to the turn; None when the case does not apply."""


def image_obstacle(planned: PlannedTurn) -> BuiltInReply | None:
    """The reply to a question about an image that is not there, or about more images than the model sees at once."""
    obstacle = planned.focus.obstacle
    if obstacle == "no_image":
        text = (
            "No image is attached. Attach one to the question: with /image PATH or Ctrl+O in the chat, with "
            "--image PATH on the command line, or as image_url in a request to the server."
        )
        return BuiltInReply(text, True, Reason("no_image"))
    if obstacle == "several_images":
        text = (
            "I can look at one image at a time, so I cannot answer a question about several. Ask about one of "
            'them, for example "What is in the first image?"'
        )
        return BuiltInReply(text, True, Reason("several_images"), for_cloud=True)
    return None


def blank_image(planned: PlannedTurn) -> BuiltInReply | None:
    """The reply to a question for values of images of one colour, such as an empty page. Models invent values."""
    images = [read.image for read in planned.new]
    if not images or any(image.text or not _has_one_colour(image.pixels) for image in images):
        return None
    names = ", ".join(image.name for image in images)
    return BuiltInReply(f"There is nothing on {names}.", True, Reason("blank_image"))


def _has_one_colour(pixels: NDArray[np.uint8]) -> bool:
    """pixels: [height, width, 3]. A few are compared first, since most images differ there."""
    return bool((pixels[::32, ::32] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())


def small_talk(planned: PlannedTurn) -> BuiltInReply | None:
    """The reply to a greeting or a question about the assistant, unless a system prompt makes it someone else."""
    if any(message.role == "system" for message in planned.messages):
        return None
    found = topic(planned.turn.question, has_image=any(message.images for message in planned.messages))
    if found is None:
        return None
    about, question = found
    return BuiltInReply(reply(about, question, planned.profile()), False, Reason("about_assistant"))


def other_language(planned: PlannedTurn) -> BuiltInReply | None:
    """The decline of a question in a language that neither the model nor an adapter in question speaks."""
    language = foreign_language(planned.turn.question)
    if language is None:
        return None
    profile = planned.profile()
    if not profile.languages or language in profile.languages:
        return None
    asked = (each for each in profile.adapters if each.name in planned.installed)
    if any(foreign_language(question) == language for each in asked for question in each.questions):
        return None
    text = sentence_about_language(language)
    return BuiltInReply(text, True, Reason("other_language"), for_cloud=True)


def about_answer(planned: PlannedTurn) -> BuiltInReply | None:
    """The reply to "are you sure?" after an answer of this device, and to "why?" after one of an adapter.

    Doubt about an unsure answer counts as a decline, so that a cloud may be asked.
    """
    before = planned.previous
    asked = None if before is None or planned.new else asks_about_answer(planned.turn.question)
    if asked is None or before is None or before.place != "local":
        return None
    reason = Reason("about_answer")
    if asked == "doubt":
        text = how_sure(before)
        return None if text is None else BuiltInReply(text, needs_help(before), reason, for_cloud=True)
    if before.adapter is None:
        return None
    return BuiltInReply(no_reason(before), True, reason, for_cloud=True)


CASES: tuple[Case, ...] = (small_talk, about_answer, other_language, image_obstacle)
"""In the order in which they are tried; the first reply counts."""


def built_in_reply(planned: PlannedTurn, cases: Sequence[Case] | None = None) -> BuiltInReply | None:
    """The reply to a turn; None when the model is to answer. cases: None takes CASES."""
    if cases is None and planned.schema is not None:
        return _empty_reply(planned, planned.schema)
    replies = (case(planned) for case in (CASES if cases is None else cases))
    return next((reply for reply in replies if reply is not None), None)


def _empty_reply(planned: PlannedTurn, schema: AnswerSchema) -> BuiltInReply | None:
    """Empty values, when the answer has to fit a schema and there is no image or nothing on it.

    Raises UserError where the schema has no empty values.
    """
    reply = image_obstacle(planned) or blank_image(planned)
    if reply is None:
        return None
    if schema.empty is None:
        raise UserError(reply.text)
    return replace(reply, text=schema.empty)

"""The conversation of a dump is read as transformers reads it, and faults in it are named."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.errors import UserError
from models.language.templates.chat_template import ImagePart
from models.model_dump import read_messages


def test_messages_have_parts_in_their_order() -> None:
    content = [{"type": "text", "text": "First."}, {"type": "image"}, {"type": "text", "text": "What?"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    assert read_messages(messages) == [("system", ["Be brief."]), ("user", ["First.", ImagePart(), "What?"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "list of objects"),
        ([], "list of objects"),
        (["hello"], "Message 1 has the role None"),
        ([{"role": "robot", "content": "x"}], "role 'robot'"),
        ([{"role": "user"}], "Message 1 has no content"),
        ([{"role": "user", "content": [{"type": "video"}]}], "a part that is neither"),
        ([{"role": "user", "content": [{"type": "text"}]}], "a part that is neither"),
    ],
)
def test_other_messages_are_refused_by_name(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_messages(content)

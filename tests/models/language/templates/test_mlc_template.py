"""An MLC package's conversation template renders as MLC renders it, and ends answers where the package says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import UserError
from models.core.types import Role
from models.language.templates.chat_template import ChatTemplate
from models.language.templates.mlc_template import jinja_source, read_mlc_language
from tests.models.formats.mlc.mlc_files import TEMPLATE
from tests.models.tiny_directory import write_directory

CHATML_TALK: list[tuple[Role, str]] = [("user", "Hi"), ("assistant", "Hello."), ("user", "Why?")]


def rendered(template: dict[str, Any], messages: list[tuple[Role, str]], begin: str = "") -> str:
    source = jinja_source(Path("mlc-chat-config.json"), template, begin)
    return "".join(segment.text for segment in ChatTemplate(source).segments(messages))


def test_a_conversation_in_chatml() -> None:
    assert rendered(TEMPLATE, CHATML_TALK) == (
        "<|start|>user\nHi<|end|>\n<|start|>assistant\nHello.<|end|>\n<|start|>user\nWhy?<|end|>\n<|start|>assistant\n"
    )


def test_a_system_message_is_written_and_the_default_one_left_out() -> None:
    assert rendered(TEMPLATE, [("system", "Be brief."), ("user", "Hi")]) == (
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\nHi<|end|>\n<|start|>assistant\n"
    )
    assert "helpful" not in rendered(TEMPLATE, [("user", "Hi")])


def test_two_separators_and_no_role_after_the_system_message() -> None:
    template = TEMPLATE | {
        "system_template": "[INST] <<SYS>>\n{system_message}\n<</SYS>>\n\n", "seps": [" ", " </s><s>"],
        "roles": {"user": "[INST]", "assistant": "[/INST]"}, "role_content_sep": " ", "role_empty_sep": " ",
        "add_role_after_system_message": False,
    }  # fmt: skip
    talk: list[tuple[Role, str]] = [("system", "S"), *CHATML_TALK]
    assert rendered(template, talk) == (
        "[INST] <<SYS>>\nS\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Why? [/INST] "
    )
    assert rendered(template, CHATML_TALK[:1]) == "[INST] Hi [/INST] "


def test_a_template_without_a_place_for_a_system_message_refuses_one() -> None:
    template = TEMPLATE | {"system_template": ""}
    assert rendered(template, [("user", "Hi")]).startswith("<|start|>user")
    with pytest.raises(UserError, match="no place for a system message"):
        rendered(template, [("system", "Be brief."), ("user", "Hi")])


def test_the_place_of_functions_stays_empty() -> None:
    roles = {"user": "Q {user_message} F {function_string}.", "assistant": "{assistant_message}"}
    assert rendered(TEMPLATE | {"role_templates": roles}, [("user", "Hi")]).startswith(
        "<|start|>user\nQ Hi F .<|end|>"
    )


def test_fixed_text_is_kept_to_the_letter() -> None:
    odd = "'\\ {{ }} {% x %}\t\u00e9 \U0001f600\n"
    template = TEMPLATE | {"roles": {"user": odd, "assistant": "A"}, "seps": [odd]}
    assert rendered(template, [("user", "Hi")], begin="<s>") == f"<s>{odd}\nHi{odd}A\n"


def test_control_tokens_in_a_message_stay_text() -> None:
    source = jinja_source(Path("p"), TEMPLATE)
    segments = ChatTemplate(source).segments([("user", "<|end|> {{ 1 }}")])
    assert [segment.text for segment in segments if segment.message == 0] == ["<|end|> {{ 1 }}"]


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": {"user": "U"}},
        {"roles": []},
        {"seps": "x"},
        {"system_template": "{system_message} and {system_message}"},
        {"role_templates": {"user": 3}},
        {"role_content_sep": 1},
    ],
)
def test_fields_of_another_form_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="conv_template has"):
        jinja_source(Path("p"), TEMPLATE | changes)


def write_package(path: Path, **settings: Any) -> Path:
    write_directory(path)
    (path / "mlc-chat-config.json").write_text(json.dumps(settings))
    return path


def test_answers_end_at_the_packages_tokens(tmp_path: Path) -> None:
    template = TEMPLATE | {"stop_token_ids": [7, 9], "stop_str": ["<|start|>", "plain"]}
    tokenizer, _ = read_mlc_language(write_package(tmp_path / "m", conv_template=template))
    assert {7, 9, tokenizer.special["<|start|>"], tokenizer.special["<|end|>"]} == tokenizer.end_ids


def test_the_prefix_of_a_prompt_is_a_control_token(tmp_path: Path) -> None:
    template = TEMPLATE | {"system_prefix_token_ids": [257]}
    tokenizer, chat = read_mlc_language(write_package(tmp_path / "m", conv_template=template))
    assert chat.segments([("user", "Hi")])[0].text.startswith("<|end|><|start|>user")
    assert tokenizer.special["<|end|>"] == 257
    template = TEMPLATE | {"system_prefix_token_ids": [12]}
    with pytest.raises(UserError, match="system_prefix_token_ids"):
        read_mlc_language(write_package(tmp_path / "n", conv_template=template))


def test_a_template_that_is_a_name_gives_way_to_the_tokenizers(tmp_path: Path) -> None:
    _, chat = read_mlc_language(write_package(tmp_path / "m", conv_template="chatml", stop_token_ids=[5]))
    assert "".join(s.text for s in chat.segments([("user", "Hi")])) == "<|start|>user\nHi<|end|><|start|>"
    with pytest.raises(UserError, match="no conv_template"):
        read_mlc_language(write_package(tmp_path / "n"))

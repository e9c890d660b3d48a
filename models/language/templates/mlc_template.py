"""The tokenizer and the chat template of an MLC package.

The template is the object conv_template in mlc-chat-config.json: fixed text around the messages. It is turned into a
Jinja program, so that one implementation renders all templates. Source: conversation_protocol.py in the mlc-llm
repository. Its default system message is left out, as that of other templates is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.core.errors import UserError
from models.core.files import read_json
from models.formats.mlc.package import CONFIG_FILE
from models.language.templates.chat_template import ChatTemplate
from models.language.tokenizer import Tokenizer

_CONTENT = {"system": "{system_message}", "user": "{user_message}", "assistant": "{assistant_message}"}

_FUNCTIONS = "{function_string}"  # descriptions of functions that the model may call: there are none here
_NO_SYSTEM = "{{ raise_exception('it has no place for a system message') }}"


def read_mlc_language(directory: Path) -> tuple[Tokenizer, ChatTemplate]:
    """The tokenizer, which ends answers where the package says, and the template of an MLC package.

    Old packages give a template's name alone; the one in tokenizer_config.json is taken then. Raises UserError.
    """
    path = directory / CONFIG_FILE
    settings = read_json(path)
    conversation = settings.get("conv_template")
    given = conversation if isinstance(conversation, dict) else settings
    tokenizer = Tokenizer.from_directory(directory)
    tokenizer.end_ids |= frozenset(_whole_numbers(given.get("stop_token_ids")))
    if isinstance(conversation, str):
        return tokenizer, ChatTemplate.from_directory(directory)
    if not isinstance(conversation, dict):
        raise UserError(f"{path} has no conv_template; choose a model that is made for chat")
    stops = conversation.get("stop_str")
    for text in stops if isinstance(stops, list) else [stops]:
        if isinstance(text, str) and text in tokenizer.special:
            tokenizer.end_ids |= {tokenizer.special[text]}
    begin = _token_texts(path, conversation.get("system_prefix_token_ids"), tokenizer)
    return tokenizer, ChatTemplate(jinja_source(path, conversation, begin))


def jinja_source(path: Path, conversation: Mapping[str, Any], begin: str = "") -> str:
    """The Jinja program of a conv_template. begin: text of the tokens before everything. path: for messages.

    Raises UserError for a field of another type than MLC's.
    """
    read = _ConversationFields(path, conversation)
    frame = read.text("system_template", _CONTENT["system"])
    system = _around(path, frame, "system") if _CONTENT["system"] in frame else _NO_SYSTEM
    separators = read.texts("seps") or [""]
    sep = {"user": separators[0], "assistant": separators[-1]}
    roles, templates = read.object("roles"), read.object("role_templates")
    gap = read.text("role_content_sep", "")
    body = f"{{% if message['role'] == 'system' %}}{system}"
    for role in ("user", "assistant"):
        prefix = _text(_role(path, roles, role) + gap)
        if conversation.get("add_role_after_system_message") is False:
            prefix = f"{{% if loop.index0 != 1 or messages[0]['role'] != 'system' %}}{prefix}{{% endif %}}"
        content = _around(path, templates.get(role, _CONTENT[role]), role)
        body += f"{{% elif message['role'] == '{role}' %}}{prefix}{content}{_text(sep[role])}"
    answer = _text(_role(path, roles, "assistant") + read.text("role_empty_sep", ""))
    return (
        f"{_text(begin)}{{% for message in messages %}}{body}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


class _ConversationFields:
    """Typed access to a conv_template."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self._path = path
        self._content = content

    def text(self, key: str, default: str) -> str:
        value = self._content.get(key, default)
        if not isinstance(value, str):
            raise _wrong(self._path, key)
        return value

    def texts(self, key: str) -> list[str]:
        value = self._content.get(key) or []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _wrong(self._path, key)
        return value

    def object(self, key: str) -> Mapping[str, Any]:
        value = self._content.get(key) or {}
        if not isinstance(value, dict):
            raise _wrong(self._path, key)
        return value


def _role(path: Path, roles: Mapping[str, Any], role: str) -> str:
    text = roles.get(role)
    if not isinstance(text, str):
        raise _wrong(path, f"roles.{role}")
    return text


def _around(path: Path, template: object, role: str) -> str:
    """Jinja for the text of a template, in which the message's content takes the place of the placeholder."""
    if not isinstance(template, str) or template.count(_CONTENT[role]) != 1:
        raise _wrong(path, f"the template of the role {role}")
    before, _, after = template.replace(_FUNCTIONS, "").partition(_CONTENT[role])
    return f"{_text(before)}{{{{ message['content'] }}}}{_text(after)}"


def _text(text: str) -> str:
    """Jinja that writes a fixed text."""
    escaped = text.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return f"{{{{ '{escaped}' }}}}" if text else ""


def _token_texts(path: Path, numbers: object, tokenizer: Tokenizer) -> str:
    """The text of control tokens given by their ids."""
    by_id = {number: text for text, number in tokenizer.special.items()}
    ids = _whole_numbers(numbers)
    if not all(number in by_id for number in ids):
        raise _wrong(path, "system_prefix_token_ids")
    return "".join(by_id[number] for number in ids)


def _whole_numbers(numbers: object) -> list[int]:
    return [number for number in numbers if type(number) is int] if isinstance(numbers, list) else []


def _wrong(path: Path, key: str) -> UserError:
    return UserError(
        f"{path}: conv_template has {key} in a form that is not supported; get the package again"
    )

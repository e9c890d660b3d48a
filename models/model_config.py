"""Reads config.json of a model's bundled folder: how its parts are put together.

Field names follow mlc-chat-config.json where it has them; context_length is its context_window_size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.core.errors import UserError
from models.language.prompt import Wording

DEFAULT_CONTEXT_LENGTH = 4096


@dataclass(frozen=True)
class ModelConfig:
    """The content of config.json. The defaults apply to a model without that file.

    context_length: positions in the KV cache, unless the user chooses another number.
    projector, base_lora: a file and a PEFT folder beside config.json.
    chat_template: replaces the one in the published weights. wording: the text around images in prompts.
    words_head: the projector head whose labels the prompt has in words.
    image_tasks: what the model was trained to answer about an image: example questions by task.
    text_tasks: what it can answer without an image, in the same form.
    """

    context_length: int = DEFAULT_CONTEXT_LENGTH
    projector: Path | None = None
    base_lora: Path | None = None
    chat_template: str | None = None
    wording: Wording = field(default_factory=Wording)
    words_head: str | None = None
    image_tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text_tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_model_config(directory: Path | None) -> ModelConfig:
    """The configuration in a bundled folder, or the defaults when directory is None. Raises UserError when damaged."""
    if directory is None:
        return ModelConfig()
    path = directory / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); install the app again.") from None
    reader = _Fields(path, content)
    prompt = _Fields(path, reader.get("prompt", dict, {}))
    words = _Fields(path, prompt.get("words", dict, {}))
    return ModelConfig(
        context_length=reader.get("context_length", int, DEFAULT_CONTEXT_LENGTH),
        projector=_beside(directory, reader.get("projector", str, "")),
        base_lora=_beside(directory, reader.get("base_lora", str, "")),
        chat_template=reader.get("chat_template", str, "") or None,
        wording=Wording(
            prefix=prompt.get("image_prefix", str, ""),
            suffix=prompt.get("image_suffix", str, ""),
            words=words.get("template", str, ""),
            count=words.get("count", int, Wording.count),
            least=float(words.get("minimum_probability", float, Wording.least)),
        ),
        words_head=words.get("head", str, "") or None,
        image_tasks=_tasks(reader, "tasks"),
        text_tasks=_tasks(reader, "text_tasks"),
    )


def _tasks(reader: _Fields, name: str) -> dict[str, tuple[str, ...]]:
    return {task: tuple(map(str, examples)) for task, examples in reader.get(name, dict, {}).items()}


def read_languages(directory: Path | None) -> tuple[str, ...]:
    """The languages that a model speaks, ISO 639-1 codes: the list `languages` in config.json of its bundled folder.

    Empty when there is no such list. Files of other engines are read too, so anything else there is ignored.
    """
    if directory is None:
        return ()
    try:
        languages = json.loads((directory / "config.json").read_bytes())["languages"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(str(language) for language in languages) if isinstance(languages, list) else ()


class _Fields:
    """Typed access to a JSON object from a file."""

    def __init__(self, path: Path, content: object) -> None:
        self._path = path
        if not isinstance(content, dict):
            raise UserError(f"{path} is damaged: an object is expected; install the app again.")
        self._content: dict[str, Any] = content

    def get(self, key: str, kind: type, default: Any) -> Any:
        value = self._content.get(key, default)
        if not isinstance(value, kind):
            raise UserError(f"{self._path} is damaged: {key} is {value!r}; install the app again.")
        return value


def _beside(directory: Path, name: str) -> Path | None:
    return directory / name if name else None

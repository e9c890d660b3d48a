"""Reads adapter_config.json as the peft library writes it.

Every key is applied, known to matter for training alone, or refused by name, so that no adapter is applied in another
way than peft applies it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.core.errors import FileError

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of a language model."""

VISION_MODULES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "proj")
"""Linear layers of a vision tower and, last, of its connector."""

CONFIG_FILE = "adapter_config.json"
ALL_LINEAR = "all-linear"
MAX_CONFIG_BYTES = 2**20
LARGEST_NUMBER = 1e30  # far beyond any alpha; JSON has whole numbers that no float can hold
# Limits of rank_pattern and alpha_pattern, which bound the time of matching their expressions.
MAX_EXPRESSIONS = 2048
MAX_EXPRESSION_LENGTH = 256
MAX_WILDCARDS = 3  # in one expression
MAX_ALL_WILDCARDS = 32  # in all of a pattern

_APPLIED = {
    "peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern",
    "init_lora_weights", "bias", "use_dora", "modules_to_save",
}  # fmt: skip
# Keys that affect training alone. Its result is in the tensors.
_TRAINING_ONLY = {
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "exclude_modules", "lora_dropout", "layers_to_transform", "layers_pattern", "megatron_core", "eva_config",
    "qalora_group_size",
}  # fmt: skip
# All others (PiSSA, OLoRA, LoftQ and so on) change the base model's weights too.
_HARMLESS_INITIALISATIONS = (None, True, False, "gaussian", "eva", "orthogonal")
# Names, dots, character classes, alternatives, anchors and groups. A group cannot be repeated, since nested repetition
# can take exponential time to match.
_EXPRESSION = re.compile(r"(?:(?:[A-Za-z0-9_.]|\\[.d]|\[[A-Za-z0-9_.-]{1,64}\])[*+]?|[|^$]|\((?:\?:)?|\))+")

Expressions = tuple[tuple[re.Pattern[str], float], ...]


@dataclass(frozen=True)
class PeftConfig:
    """The keys of adapter_config.json that are applied to the tensors.

    rank_stabilised, decomposed: use_rslora and use_dora. targets: target_modules when it is a list.
    saved: modules_to_save. partial: whether layers or modules were excluded by name, or chosen by an expression, which
    is not evaluated, since the file of tensors has every module that it matched.
    """

    rank: int
    alpha: float
    rank_pattern: Expressions
    alpha_pattern: Expressions
    rank_stabilised: bool
    decomposed: bool
    targets: tuple[str, ...] | None
    saved: tuple[str, ...]
    partial: bool

    @property
    def of_some_layers(self) -> bool:
        """Whether the adapter may lack modules in some layers."""
        return self.partial or any("layers." in target for target in self.targets or ())

    def rank_of(self, path: str) -> int:
        """r of the module with this path in the model that peft saw."""
        return int(_matching(self.rank_pattern, path, self.rank))

    def scale_of(self, path: str) -> float:
        """The factor of B A: alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732)."""
        rank = self.rank_of(path)
        alpha = _matching(self.alpha_pattern, path, self.alpha)
        return float(alpha / (math.sqrt(rank) if self.rank_stabilised else rank))


def parse_config(data: bytes, path: Path) -> PeftConfig:
    """Parse adapter_config.json. path: for messages. Raises UserError for every key that would not be applied."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f" is not JSON ({error}); it should be what the peft library saved.") from None
    if not isinstance(fields, dict):
        raise FileError(path, " is not a JSON object; it should be what the peft library saved.")
    if fields.get("peft_type") != "LORA":
        raise FileError(path, f" describes a {fields.get('peft_type')!r} adapter; only LORA is supported.")
    if fields.get("bias", "none") != "none":
        raise FileError(path, f" trains biases (bias = {fields['bias']!r}), which is not supported.")
    initialisation = fields.get("init_lora_weights")
    if initialisation not in _HARMLESS_INITIALISATIONS:
        raise FileError(
            path,
            f" was initialised with {initialisation!r}, which changes the base model too; "
            "convert it to a plain LoRA with peft first.",
        )
    for key, value in fields.items():
        if key not in _APPLIED | _TRAINING_ONLY and value not in (None, False, {}, [], ""):
            raise FileError(path, f" asks for {key!r}, which is not supported; retrain without it.")
    targets, saved = fields.get("target_modules"), fields.get("modules_to_save")
    excluding = any(fields.get(key) for key in ("layers_to_transform", "exclude_modules"))
    config = PeftConfig(
        rank=_whole(fields.get("r"), "r", path),
        alpha=_number(fields.get("lora_alpha"), "lora_alpha", path),
        rank_pattern=_pattern(fields, "rank_pattern", path, _whole),
        alpha_pattern=_pattern(fields, "alpha_pattern", path, _number),
        rank_stabilised=_flag(fields.get("use_rslora"), "use_rslora", path),
        decomposed=_flag(fields.get("use_dora"), "use_dora", path),
        targets=tuple(str(target) for target in targets) if isinstance(targets, list) else None,
        saved=tuple(map(str, saved)) if isinstance(saved, list) else (),
        partial=excluding or (isinstance(targets, str) and targets != ALL_LINEAR),
    )
    for target in config.targets or ():
        if target.rpartition(".")[2] not in MODULES + VISION_MODULES:
            supported = ", ".join(dict.fromkeys(MODULES + VISION_MODULES))
            raise FileError(path, f" adapts {target!r}; supported are {supported}.")
    return config


def read_config_bytes(path: Path) -> bytes:
    """The bytes of adapter_config.json. Raises UserError when it is missing or too large."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise FileError(path, f" cannot be read ({error.strerror}); a PEFT adapter has one.") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise FileError(
            path, f" is larger than {MAX_CONFIG_BYTES} bytes; it is not an adapter's configuration."
        )
    return data


def base_name(folder: Path) -> str:
    """How the adapter in a folder names its base model (base_model_name_or_path); empty when it does not."""
    try:
        name = json.loads(read_config_bytes(folder / CONFIG_FILE)).get("base_model_name_or_path")
    except (ValueError, RecursionError, AttributeError):  # is refused when the whole configuration is read
        return ""
    return name if isinstance(name, str) else ""


def _matching(pattern: Expressions, path: str, default: float) -> float:
    """The value of the first expression that matches the end of the path, as peft looks it up."""
    return next((value for key, value in pattern if key.match(path)), default)


def _pattern(
    fields: Mapping[str, Any], key: str, path: Path, read: Callable[[object, str, Path], float]
) -> Expressions:
    """rank_pattern or alpha_pattern as compiled expressions. Raises UserError when it exceeds the limits."""
    pattern = fields.get(key) or {}
    if not isinstance(pattern, dict):
        raise FileError(path, f" has a {key} that is not an object.")
    if len(pattern) > MAX_EXPRESSIONS or sum(map(_wildcards, pattern)) > MAX_ALL_WILDCARDS:
        raise FileError(
            path,
            f" has a {key} of {len(pattern)} expressions; at most {MAX_EXPRESSIONS}, with "
            f"{MAX_ALL_WILDCARDS} wildcards in all, are supported: name the modules in full.",
        )
    return tuple((_compiled(each, key, path), read(value, key, path)) for each, value in pattern.items())


def _compiled(expression: str, key: str, path: Path) -> re.Pattern[str]:
    """The regular expression that peft makes of a key. Raises UserError for one that could take long to match."""
    if (
        len(expression) > MAX_EXPRESSION_LENGTH
        or _wildcards(expression) > MAX_WILDCARDS
        or not _EXPRESSION.fullmatch(expression)
    ):
        raise FileError(
            path,
            f" has {expression[:80]!r} in its {key}; supported are module names with up to "
            f"{MAX_WILDCARDS} wildcards like .* or [0-9]+, joined by |; a group like (q|v) counts as two.",
        )
    try:
        return re.compile(rf"(.*\.)?({expression})$")
    except re.error:
        raise FileError(path, f" has {expression!r} in its {key}, which is no regular expression.") from None


def _wildcards(expression: str) -> int:
    """What bounds the time of matching. A group counts as two: it may have as many alternatives as a path has ends."""
    return expression.count("*") + expression.count("+") + 2 * expression.count("(")


def _whole(value: object, key: str, path: Path) -> int:
    if type(value) is not int or value < 1:
        raise FileError(path, f" has {key} = {value!r}; a whole number from 1 on is needed.")
    return value


def _flag(value: object, key: str, path: Path) -> bool:
    if value not in (None, False, True):
        raise FileError(path, f" has {key} = {value!r}; true or false is needed.")
    return value is not None and bool(value)


def _number(value: object, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST_NUMBER:
        raise FileError(path, f" has {key} = {value!r}; a finite number is needed.")
    return float(value)

"""Reads a LoRA as the peft library saves it: adapter_config.json beside adapter_model.safetensors.

Every key of the configuration is applied, known to matter for training alone, or refused by name, so that no
adapter is applied in another way than peft applies it. peft itself is not used: it needs PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import FileError, UserError
from models.formats.safetensors_file import SafetensorsFile
from models.lora.weights import LoraWeights
from models.packing.lora_layout import MAX_RANK

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MAX_CONFIG_BYTES = 2**20
# Limits of rank_pattern and alpha_pattern, which bound the time of matching their expressions.
MAX_EXPRESSIONS = 2048
MAX_EXPRESSION_LENGTH = 256
MAX_WILDCARDS = 3  # in one expression
MAX_ALL_WILDCARDS = 32  # in all of a pattern

_APPLIED = {
    "peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern",
    "init_lora_weights", "bias",
}  # fmt: skip
# Keys that affect training alone. Its result is in the tensors.
_TRAINING_ONLY = {
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "exclude_modules", "lora_dropout", "layers_to_transform", "layers_pattern", "megatron_core", "eva_config",
    "qalora_group_size",
}  # fmt: skip
# All others (PiSSA, OLoRA, LoftQ and so on) change the base model's weights too.
_HARMLESS_INITIALISATIONS = (None, True, False, "gaussian", "eva", "orthogonal")
_TENSOR = re.compile(
    r"base_model\.model\.(?:model\.)?layers\.(?P<layer>0|[1-9][0-9]{0,4})\.(?:self_attn|mlp)\."
    r"(?P<module>[a-z]+_proj)\.lora_(?P<part>[AB])(?:\.default)?\.weight"
)
# Names, dots, character classes, alternatives and anchors. Groups are refused, since nested repetition can take
# exponential time to match.
_EXPRESSION = re.compile(r"(?:(?:[A-Za-z0-9_.]|\\[.d]|\[[A-Za-z0-9_.-]{1,64}\])[*+]?|[|^$])+")

Expressions = tuple[tuple[re.Pattern[str], float], ...]


@dataclass(frozen=True)
class PeftLora(LoraWeights):
    """A LoRA from files. layers: of the model it was trained on; None when it adapts only some of its layers."""

    layers: int | None = None


@dataclass(frozen=True)
class PeftConfig:
    """The keys of adapter_config.json that are applied to the tensors.

    targets: target_modules when it is a list. partial: whether layers or modules were excluded by name.
    """

    rank: int
    alpha: float
    rank_pattern: Expressions
    alpha_pattern: Expressions
    rank_stabilised: bool
    targets: tuple[str, ...] | None
    partial: bool

    @property
    def of_some_layers(self) -> bool:
        """Whether the adapter may lack modules in some layers."""
        return self.partial or any("layers." in target for target in self.targets or ())

    def rank_of(self, path: str) -> int:
        """r of the module "layers.{i}.{self_attn|mlp}.{module}"."""
        return int(_matching(self.rank_pattern, path, self.rank))

    def scale_of(self, path: str) -> float:
        """The factor of B A: alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732)."""
        rank = self.rank_of(path)
        alpha = _matching(self.alpha_pattern, path, self.alpha)
        return float(alpha / (math.sqrt(rank) if self.rank_stabilised else rank))


def read_peft(folder: Path, name: str, identified_by: Sequence[str] = ()) -> PeftLora:
    """Read the LoRA in a folder as float32 with its scale folded into B.

    name: of the adapter. identified_by: names of further files in the folder whose content, where they exist, enters
    the generation. The generation is the first 63 bits of the sha256 over the content of all these files. Raises
    UserError, which names the file, when something is missing, damaged, not finite or not supported.
    """
    config_bytes = _read_config(folder / CONFIG_FILE)
    config = parse_config(config_bytes, folder / CONFIG_FILE)
    file = SafetensorsFile(folder / WEIGHTS_FILE)
    pairs = _pairs(file, config)
    rank = max(config.rank_of(path) for path in pairs)
    tensors: dict[str, NDArray[np.float32]] = {}
    for path, parts in pairs.items():
        a, b = _read_pair(file, path, parts, config)
        _, layer, _, module = path.split(".")
        short = rank - a.shape[0]  # ranks of zeros, so that all modules have the same rank
        tensors[f"layers.{layer}.{module}.A"] = np.pad(a, ((0, short), (0, 0))) if short else a
        tensors[f"layers.{layer}.{module}.B"] = np.pad(b, ((0, 0), (0, short))) if short else b
    digest = hashlib.sha256(config_bytes)
    digest.update(file.content.data)  # the bytes that were read: the path may have another file by now
    for file_name in identified_by:
        if (folder / file_name).is_file():
            digest.update((folder / file_name).read_bytes())
    generation = int.from_bytes(digest.digest()[:8], "big") >> 1
    layers = None if config.of_some_layers else len({path.split(".")[1] for path in pairs})
    return PeftLora(name, generation, rank, tensors, layers)


def check_layers(lora: LoraWeights, layers: int) -> None:
    """Raise UserError when the adapter was trained on a model with another number of layers."""
    if isinstance(lora, PeftLora) and lora.layers not in (None, layers):
        raise UserError(
            f"The adapter {lora.name} was trained on a model of {lora.layers} layers, and this one has "
            f"{layers}; choose the model that it was made for."
        )


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
    targets = fields.get("target_modules")
    config = PeftConfig(
        rank=_whole(fields.get("r"), "r", path),
        alpha=_number(fields.get("lora_alpha"), "lora_alpha", path),
        rank_pattern=_pattern(fields, "rank_pattern", path, _whole),
        alpha_pattern=_pattern(fields, "alpha_pattern", path, _number),
        rank_stabilised=fields.get("use_rslora") is True,
        targets=tuple(str(target) for target in targets) if isinstance(targets, list) else None,
        partial=any(fields.get(key) for key in ("layers_to_transform", "exclude_modules")),
    )
    for target in config.targets or ():
        if target.rpartition(".")[2] not in MODULES:
            raise FileError(path, f" adapts {target!r}; supported are {', '.join(MODULES)}.")
    return config


def _read_config(path: Path) -> bytes:
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


def _pairs(file: SafetensorsFile, config: PeftConfig) -> dict[str, dict[str, str]]:
    """{"layers.0.self_attn.q_proj": {"A": tensor name, "B": tensor name}, …}.

    Raises UserError for a tensor that is not part of a LoRA, and for an A without its B or the reverse.
    """
    pairs: dict[str, dict[str, str]] = {}
    for name in file.tensors:
        match = _TENSOR.fullmatch(name)
        if match is None or match["module"] not in MODULES:
            raise FileError(
                file.path, f" has the tensor {name!r}, which is not part of a LoRA on the supported layers."
            )
        block = "self_attn" if match["module"] in MODULES[:4] else "mlp"
        if f".{block}." not in name:
            raise FileError(
                file.path, f" has the tensor {name!r}, and {match['module']} is not in that block."
            )
        parts = pairs.setdefault(f"layers.{match['layer']}.{block}.{match['module']}", {})
        if match["part"] in parts:
            raise FileError(file.path, f" has the tensor {name!r} twice, as {parts[match['part']]!r} too.")
        parts[match["part"]] = name
    if not pairs:
        raise FileError(file.path, " has no tensors.")
    for path, parts in pairs.items():
        for part in "AB":
            if part not in parts:
                raise FileError(file.path, f" lacks lora_{part} of {path}.")
    _check_targets(file.path, pairs, config)
    return pairs


def _check_targets(path: Path, pairs: Mapping[str, object], config: PeftConfig) -> None:
    """Raise UserError unless every tensor is of a target, and every target has its tensors in every layer."""
    if config.targets is None:
        return
    for pair in pairs:
        if not any(
            pair == target or pair.endswith(f".{target}") or target.endswith(f".{pair}")
            for target in config.targets
        ):
            raise FileError(path, f" has tensors for {pair}, which {CONFIG_FILE} does not target.")
    if config.of_some_layers:
        return
    layers = 1 + max(int(pair.split(".")[1]) for pair in pairs)
    for target in config.targets:
        for layer in range(layers):
            if not any(pair.startswith(f"layers.{layer}.") and pair.endswith(f".{target}") for pair in pairs):
                raise FileError(path, f" lacks the tensors of {target} in layer {layer}.")


def _read_pair(
    file: SafetensorsFile, path: str, parts: Mapping[str, str], config: PeftConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A [r, in] and B [out, r], float32, with the scale folded into B."""
    rank = config.rank_of(path)
    if not 1 <= rank <= MAX_RANK:
        raise FileError(file.path, f": {path} has rank {rank}; supported are 1 to {MAX_RANK}.")
    arrays = {}
    for part, name in parts.items():
        tensor = file.tensors[name]
        if tensor.type not in ("F32", "F16", "BF16"):
            raise FileError(file.path, f" stores {name!r} as {tensor.type}; supported are F32, F16 and BF16.")
        if len(tensor.shape) != 2 or tensor.shape[0 if part == "A" else 1] != rank or 0 in tensor.shape:
            wanted = f"[{rank}, inputs]" if part == "A" else f"[outputs, {rank}]"
            raise FileError(file.path, f" has {name!r} as {list(tensor.shape)}; {wanted} is needed.")
        arrays[part] = file.floats(name)
    a, b = arrays["A"], arrays["B"] * np.float32(config.scale_of(path))
    for part, values in (("A", a), ("B", b)):
        if not np.isfinite(values).all():
            raise FileError(file.path, f" has values that are not finite in {parts[part]!r}.")
    return a, b


def _matching(pattern: Expressions, path: str, default: float) -> float:
    """The value of the first expression that matches the end of the path, as peft looks it up."""
    return next((value for key, value in pattern if key.match(f"model.{path}")), default)


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
            f"{MAX_WILDCARDS} wildcards like .* or [0-9]+, joined by |, without groups.",
        )
    try:
        return re.compile(rf"(.*\.)?({expression})$")
    except re.error:
        raise FileError(path, f" has {expression!r} in its {key}, which is no regular expression.") from None


def _wildcards(expression: str) -> int:
    return expression.count("*") + expression.count("+")


def _whole(value: object, key: str, path: Path) -> int:
    if type(value) is not int or value < 1:
        raise FileError(path, f" has {key} = {value!r}; a whole number from 1 on is needed.")
    return value


def _number(value: object, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FileError(path, f" has {key} = {value!r}; a finite number is needed.")
    return float(value)

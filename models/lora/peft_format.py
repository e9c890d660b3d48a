"""Reads an adapter as the peft library saves it: adapter_config.json beside adapter_model.safetensors.

The adapter may change the language model, the vision tower and the connector. Modules are known by the end of their
path, since the paths begin differently with the model that was trained: the whole vision-language model, the model
inside it, or the language model alone. peft itself is not used: it needs PyTorch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.core.errors import FileError, UserError
from models.formats.safetensors_file import SafetensorsFile
from models.lora.peft_config import CONFIG_FILE, MODULES, PeftConfig, parse_config, read_config_bytes
from models.lora.vision_lora import VisionLora
from models.lora.weights import LoraWeights
from models.packing.lora_layout import MAX_RANK

WEIGHTS_FILE = "adapter_model.safetensors"

_TENSOR = re.compile(
    r"base_model\.model\.(?P<path>.+?)\.(?:"
    r"lora_(?P<part>[AB])(?:\.default)?\.weight|lora_(?P<magnitude>magnitude)_vector(?:\.default)?(?:\.weight)?|"
    r"(?:modules_to_save\.(?:default\.)?)?(?P<weight>weight))"
)
_LAYER = r"layers\.(?P<layer>0|[1-9][0-9]{0,4})\."
_LANGUAGE = re.compile(
    r"(?:model\.)*(?:text_model\.)?(?:model\.)*"
    + _LAYER
    + r"(?P<block>self_attn|mlp)\.(?P<module>[a-z]+_proj)"
)
_TOWER = re.compile(
    r"(?:model\.)*vision_model\.encoder\."
    + _LAYER
    + r"(?:self_attn\.(?P<attention>q|k|v|out)_proj|mlp\.(?P<mlp>fc[12]))"
)
_CONNECTOR = re.compile(r"(?:model\.)*connector\.modality_projection\.proj")
_LANGUAGE_PART, _TOWER_PART, _CONNECTOR_PART = "language model", "vision tower", "connector"


@dataclass(frozen=True)
class PeftLora(LoraWeights):
    """An adapter from files.

    layers: of the language model it was trained on; None when it adapts only some of its layers.
    vision: what it changes of the vision tower and connector; None for nothing.
    magnitudes: of a DoRA on the language model, by module, float32 [outputs] (see models.lora.vision_lora.row_factors).
    """

    layers: int | None = None
    vision: VisionLora | None = None
    magnitudes: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Module:
    """A linear layer with tensors in the file.

    path: in the model that peft saw. part: of the model. layer: None for the connector. name: in LoraWeights or
    VisionLora. tensors: stored names by "A", "B", "magnitude" and "weight".
    """

    path: str
    part: str
    layer: int | None
    name: str
    tensors: dict[str, str] = field(default_factory=dict)


def read_peft(folder: Path, name: str, identified_by: Sequence[str] = ()) -> PeftLora:
    """Read the adapter in a folder as float32 with its scale folded into B.

    name: of the adapter. identified_by: names of further files in the folder whose content, where they exist, enters
    the generation. The generation is the first 63 bits of the sha256 over the content of all these files. Raises
    UserError, which names the file, when something is missing, damaged, not finite or not supported.
    """
    config_bytes = read_config_bytes(folder / CONFIG_FILE)
    config = parse_config(config_bytes, folder / CONFIG_FILE)
    file = SafetensorsFile(folder / WEIGHTS_FILE)
    modules = _modules(file, config)
    language = [module for module in modules if module.part == _LANGUAGE_PART]
    others = [module for module in modules if module.part != _LANGUAGE_PART]
    rank, tensors = _read_pairs(file, language, config)
    digest = hashlib.sha256(config_bytes)
    digest.update(file.content.data)  # the bytes that were read: the path may have another file by now
    for file_name in identified_by:
        if (folder / file_name).is_file():
            digest.update((folder / file_name).read_bytes())
    generation = int.from_bytes(digest.digest()[:8], "big") >> 1
    layers = len({module.layer for module in language})
    return PeftLora(
        name,
        generation,
        rank,
        tensors,
        layers=None if config.of_some_layers or not layers else layers,
        vision=_read_vision(file, others, config) if others else None,
        magnitudes=_read_magnitudes(file, language),
    )


def read_peft_vision(folder: Path) -> VisionLora | None:
    """The part of `read_peft` for the vision tower and connector; the rest is not read. Raises UserError."""
    config = parse_config(read_config_bytes(folder / CONFIG_FILE), folder / CONFIG_FILE)
    file = SafetensorsFile(folder / WEIGHTS_FILE)
    others = [module for module in _modules(file, config) if module.part != _LANGUAGE_PART]
    return _read_vision(file, others, config) if others else None


def check_layers(lora: LoraWeights, layers: int) -> None:
    """Raise UserError when the adapter was trained on a model with another number of layers."""
    if isinstance(lora, PeftLora) and lora.layers not in (None, layers):
        raise UserError(
            f"The adapter {lora.name} was trained on a model of {lora.layers} layers, and this one has "
            f"{layers}; choose the model that it was made for."
        )


def _modules(file: SafetensorsFile, config: PeftConfig) -> list[_Module]:
    """The modules that the file has tensors for.

    Raises UserError for a tensor that is not part of an adapter, and for a module that lacks one.
    """
    modules: dict[str, _Module] = {}
    for name in file.tensors:
        match = _TENSOR.fullmatch(name)
        module = match and _module(file.path, name, match["path"])
        if not match or not module:
            raise FileError(
                file.path, f" has the tensor {name!r}, which is not part of a LoRA on the supported layers."
            )
        module = modules.setdefault(f"{module.part} {module.name}", module)
        part = match["part"] or match["magnitude"] or match["weight"]
        if part in module.tensors:
            raise FileError(file.path, f" has the tensor {name!r} twice, as {module.tensors[part]!r} too.")
        module.tensors[part] = name
    if not modules:
        raise FileError(file.path, " has no tensors.")
    for module in modules.values():
        _check_parts(file.path, module, config)
    _check_targets(file.path, [*modules.values()], config)
    return [*modules.values()]


def _module(file: Path, name: str, path: str) -> _Module | None:
    """The module of a path; None when there is none that can be adapted. name: of the tensor, for messages."""
    if match := _LANGUAGE.fullmatch(path):
        module = match["module"]
        if module not in MODULES:
            return None
        if match["block"] != ("self_attn" if module in MODULES[:4] else "mlp"):
            raise FileError(file, f" has the tensor {name!r}, and {module} is not in that block.")
        return _Module(path, _LANGUAGE_PART, int(match["layer"]), f"layers.{match['layer']}.{module}")
    if match := _TOWER.fullmatch(path):
        role = {"out": "o"}.get(match["attention"], match["attention"]) or match["mlp"]
        return _Module(path, _TOWER_PART, int(match["layer"]), f"layers.{match['layer']}.{role}")
    return _Module(path, _CONNECTOR_PART, None, "connector") if _CONNECTOR.fullmatch(path) else None


def _check_parts(file: Path, module: _Module, config: PeftConfig) -> None:
    """Raise UserError unless the module has the tensors that its kind of adapter needs, and no others."""
    found = module.tensors.keys()
    if "weight" in found:
        if module.part != _CONNECTOR_PART or len(found) > 1:
            raise FileError(
                file,
                f" replaces the weights of {module.path} (modules_to_save), which is supported for the connector "
                "alone.",
            )
        return
    for part in "AB":
        if part not in found:
            raise FileError(file, f" lacks lora_{part} of {module.path}.")
    if config.decomposed != ("magnitude" in found):
        state = "lacks the lora_magnitude_vector" if config.decomposed else "has a lora_magnitude_vector"
        raise FileError(
            file, f" {state} of {module.path}, where {CONFIG_FILE} says use_dora = {config.decomposed}."
        )


def _check_targets(file: Path, modules: Sequence[_Module], config: PeftConfig) -> None:
    """Raise UserError unless every module is a target, and every target has its tensors in every layer."""
    replaced = [module for module in modules if "weight" in module.tensors]
    for saved in config.saved:
        if not any(f".{saved}." in f".{module.path}." for module in replaced):
            raise FileError(file, f" lacks the tensors of {saved}, which is in modules_to_save.")
    if replaced and not config.saved:
        raise FileError(
            file, f" has weights of {replaced[0].path}, and {CONFIG_FILE} has no modules_to_save."
        )
    if config.targets is None:
        return
    adapted = [module for module in modules if module not in replaced]
    for module in adapted:
        if not any(_is_target(module.path, target) for target in config.targets):
            raise FileError(file, f" has tensors for {module.path}, which {CONFIG_FILE} does not target.")
    if config.of_some_layers:
        return
    for target in config.targets:
        _check_target(file, target, adapted)


def _check_target(file: Path, target: str, modules: Sequence[_Module]) -> None:
    """Raise UserError unless a target has tensors, and in a part of the model where it has some, in every layer."""
    found = [module for module in modules if _is_target(module.path, target)]
    if not found:
        raise FileError(file, f" lacks the tensors of {target}.")
    for part in (_LANGUAGE_PART, _TOWER_PART):
        there = {module.layer for module in found if module.part == part}
        layers = {module.layer for module in modules if module.part == part}
        for layer in range(1 + max((number for number in layers if number is not None), default=-1)):
            if there and layer not in there:
                raise FileError(file, f" lacks the tensors of {target} in layer {layer} of the {part}.")


def _is_target(path: str, target: str) -> bool:
    return path == target or path.endswith(f".{target}") or target.endswith(f".{path}")


def _read_vision(file: SafetensorsFile, modules: Sequence[_Module], config: PeftConfig) -> VisionLora:
    """The part for the vision tower and connector."""
    rank, tensors = _read_pairs(file, modules, config)
    replaced = [module.tensors["weight"] for module in modules if "weight" in module.tensors]
    connector = _floats(file, replaced[0]) if replaced else None
    return VisionLora(rank, tensors, _read_magnitudes(file, modules), connector=connector)


def _read_pairs(
    file: SafetensorsFile, modules: Sequence[_Module], config: PeftConfig
) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """The largest rank, to which the others are padded with zeros, and the tensors by name."""
    rank = max((config.rank_of(module.path) for module in modules if "A" in module.tensors), default=1)
    tensors: dict[str, NDArray[np.float32]] = {}
    for module in modules:
        if "A" not in module.tensors:
            continue
        a, b = _read_pair(file, module, config)
        short = rank - a.shape[0]
        tensors[f"{module.name}.A"] = np.pad(a, ((0, short), (0, 0))) if short else a
        tensors[f"{module.name}.B"] = np.pad(b, ((0, 0), (0, short))) if short else b
    return rank, tensors


def _read_pair(
    file: SafetensorsFile, module: _Module, config: PeftConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A [r, in] and B [out, r], float32, with the scale folded into B."""
    rank = config.rank_of(module.path)
    if not 1 <= rank <= MAX_RANK:
        raise FileError(file.path, f": {module.path} has rank {rank}; supported are 1 to {MAX_RANK}.")
    arrays = {}
    for part in "AB":
        name = module.tensors[part]
        shape = file.tensors[name].shape
        if len(shape) != 2 or shape[0 if part == "A" else 1] != rank or 0 in shape:
            wanted = f"[{rank}, inputs]" if part == "A" else f"[outputs, {rank}]"
            raise FileError(file.path, f" has {name!r} as {list(shape)}; {wanted} is needed.")
        arrays[part] = _floats(file, name)
    scaled = arrays["B"] * np.float32(config.scale_of(module.path))
    if not np.isfinite(scaled).all():
        raise FileError(file.path, f" has values that are not finite in {module.tensors['B']!r}.")
    return arrays["A"], scaled


def _read_magnitudes(file: SafetensorsFile, modules: Sequence[_Module]) -> dict[str, NDArray[np.float32]]:
    """DoRA's magnitudes by module, float32 [outputs]."""
    magnitudes = {}
    for module in modules:
        if (name := module.tensors.get("magnitude")) is None:
            continue
        values, outputs = _floats(file, name), file.tensors[module.tensors["B"]].shape[0]
        if values.size != outputs:
            raise FileError(file.path, f" has {name!r} as {list(values.shape)}; [{outputs}] is needed.")
        magnitudes[module.name] = values.reshape(-1)
    return magnitudes


def _floats(file: SafetensorsFile, name: str) -> NDArray[np.float32]:
    """A finite tensor as float32. Raises UserError."""
    kind = file.tensors[name].type
    if kind not in ("F32", "F16", "BF16"):
        raise FileError(file.path, f" stores {name!r} as {kind}; supported are F32, F16 and BF16.")
    values = file.floats(name)
    if not np.isfinite(values).all():
        raise FileError(file.path, f" has values that are not finite in {name!r}.")
    return values

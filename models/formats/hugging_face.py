"""Reads the configuration and the files of a Hugging Face model directory.

config.json leaves out what equals a default of transformers' configuration classes, so that the defaults are part of
the format. Settings that cannot be computed are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.core.errors import UserError
from models.core.files import read_json
from models.formats.llama_weights import LlamaConfig
from models.formats.model_settings import MOST_LAYERS, ModelSettings
from models.formats.safetensors_file import SafetensorsFile
from models.formats.siglip_weights import CHANNELS, SiglipConfig

LANGUAGE_TYPES = ("llama",)
VISION_LANGUAGE_TYPES = ("idefics3", "smolvlm")
# The classes fill these in when config.json does not have them.
_IDEFICS3_TEXT = {"rms_norm_eps": 1e-5}  # when there is no text_config at all
_SILU = ("silu", "swish")
_TANH_GELU = ("gelu_pytorch_tanh", "gelu_new")


def model_type(path: str | Path, settings: Mapping[str, Any]) -> str:
    """The model_type in config.json. Raises UserError when it is none of those that can run."""
    kind = settings.get("model_type")
    if kind in LANGUAGE_TYPES + VISION_LANGUAGE_TYPES:
        return str(kind)
    supported = ", ".join(LANGUAGE_TYPES + VISION_LANGUAGE_TYPES)
    raise UserError(f"{path}: model_type {kind} is not supported; these are: {supported}")


def llama_config(path: str | Path, settings: Mapping[str, Any]) -> LlamaConfig:
    """The language model's configuration in the settings of config.json.

    That of a vision-language model is in its text_config, but for tie_word_embeddings, which counts at the top.
    path: for messages. Raises UserError.
    """
    _refuse_quantized(path, settings)
    text = settings
    if model_type(path, settings) in VISION_LANGUAGE_TYPES:
        text = _section(path, settings, "text_config") or _IDEFICS3_TEXT
        if (kind := text.get("model_type", "llama")) not in LANGUAGE_TYPES:
            raise UserError(f"{path}: a text_config of model_type {kind} is not supported; only llama is")
    _refuse_text_features(path, text)
    values = ModelSettings(path, text)
    hidden, heads = values.integer("hidden_size", 4096), values.integer("num_attention_heads", 32)
    rope = ModelSettings(path, {**text, **_section(path, text, "rope_parameters")})
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=values.integer("intermediate_size", 11008),
        num_layers=values.integer("num_hidden_layers", 32, MOST_LAYERS),
        num_heads=heads,
        num_kv_heads=values.integer("num_key_value_heads", heads),
        head_dim=values.integer("head_dim", hidden // heads),
        vocab_size=values.integer("vocab_size", 32000),
        rms_norm_eps=values.number("rms_norm_eps", 1e-6),
        rope_theta=rope.number("rope_theta", 10000.0),
        max_position_embeddings=values.integer("max_position_embeddings", 2048),
        tie_word_embeddings=bool(settings.get("tie_word_embeddings", False)),
    )


def siglip_config(path: str | Path, settings: Mapping[str, Any]) -> SiglipConfig:
    """The vision tower's configuration in the settings of config.json. path: for messages. Raises UserError."""
    if model_type(path, settings) not in VISION_LANGUAGE_TYPES:
        raise UserError(f"{path} describes a model without a vision tower")
    vision = _section(path, settings, "vision_config")
    if (act := vision.get("hidden_act", _TANH_GELU[0])) not in _TANH_GELU:
        raise UserError(
            f"{path} has hidden_act {act!r} in its vision_config; only {_TANH_GELU[0]} is supported"
        )
    values = ModelSettings(path, vision, "vision_config.")
    if (channels := values.integer("num_channels", CHANNELS)) != CHANNELS:
        raise UserError(f"{path} has a vision tower for {channels} colours; {CHANNELS} are supported")
    return SiglipConfig(
        hidden=values.integer("hidden_size", 1152),
        inner=values.integer("intermediate_size", 3072),
        layers=values.integer("num_hidden_layers", 12, MOST_LAYERS),
        heads=values.integer("num_attention_heads", 16),
        image_size=values.integer("image_size", 224),
        patch=values.integer("patch_size", 32),
        norm_eps=values.number("layer_norm_eps", 1e-6),
        scale_factor=ModelSettings(path, settings).integer("scale_factor", 2),
        text_hidden=llama_config(path, settings).hidden_size,
    )


def open_tensors(directory: Path) -> dict[str, SafetensorsFile]:
    """The file that holds each tensor, by the tensor's stored name.

    The files are those that model.safetensors.index.json names, or model.safetensors when there is no index.
    Raises UserError when one is missing or damaged, or a tensor occurs twice.
    """
    files: dict[str, SafetensorsFile] = {}
    for file in _open_shards(directory):
        for name in file.tensors:
            if name in files:
                raise UserError(
                    f"{directory} has the tensor {name} twice; remove the file that is not wanted"
                )
            files[name] = file
    return files


def _open_shards(directory: Path) -> list[SafetensorsFile]:
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return [SafetensorsFile(directory / "model.safetensors")]
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise UserError(f"{index} has no weight_map of file names; download it again")
    for name in set(shards.values()):
        if Path(name).name != name:
            raise UserError(f"{index} names the file {name!r} outside of its directory; it is not trusted")
    return [SafetensorsFile(directory / name) for name in sorted(set(shards.values()))]


def _section(path: str | Path, settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside the settings, empty when it is left out."""
    section = settings.get(key)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise UserError(f"{path} has a {key} that is not an object; download it again")
    return section


def _refuse_quantized(path: str | Path, settings: Mapping[str, Any]) -> None:
    """Raise UserError for weights that another library has quantised, as bitsandbytes, GPTQ and AWQ store them."""
    if settings.get("quantization_config"):
        method = _section(path, settings, "quantization_config").get("quant_method") or "unnamed"
        raise UserError(
            f"{path} has a quantization_config ({method}), which is not supported; "
            "take the model as it was before, in 16 or 32 bits, or as GGUF"
        )


def _refuse_text_features(path: str | Path, settings: Mapping[str, Any]) -> None:
    """Raise UserError for a setting that the language model's kernels cannot compute."""
    if settings.get("hidden_act", "silu") not in _SILU:
        raise UserError(f"{path} has hidden_act {settings['hidden_act']!r}; only silu is supported")
    _refuse_quantized(path, settings)
    for key in ("attention_bias", "mlp_bias", "qk_layer_norms", "use_resampler"):
        if settings.get(key):
            raise UserError(f"{path} uses {key}, which is not supported")
    rotary = settings.get("partial_rotary_factor")
    if rotary is not None and rotary != 1:
        raise UserError(
            f"{path} rotates a part of each head (partial_rotary_factor {rotary}); that is not supported"
        )
    for key in ("rope_scaling", "rope_parameters"):
        rope = _section(path, settings, key)
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise UserError(f"{path} scales its rotary embedding ({kind}); that is not supported")

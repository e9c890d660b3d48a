"""The language model in PyTorch, with a LoRA in float32 on its seven linear layers.

Weights come from the loader of the compiled engine and are dequantised. Sequences are packed: one row holds several
conversations, which do not attend to one another. A conversation may branch, so that all questions about one image
share the tokens before them.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig as TransformersConfig
from transformers import LlamaForCausalLM
from transformers.modeling_utils import AttentionInterface

from models.core.errors import UserError
from models.formats.llama_weights import LlamaWeights
from models.training.precision import compute_dtype

RANK = 8
ALPHA = 16
KEPT_TOKENS = 512
"""Tokens of an example up to which the intermediate values of all layers are kept for the backward pass.

Those of longer ones take gigabytes, mostly attention scores. Each layer is then computed again, which takes a third
more time."""

ROLES = {
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip


_ATTENTION = "each conversation by itself"
_NO_MASK = torch.zeros(1, 1, 1, 1)  # with four dimensions, so that transformers makes no mask of its own


def _attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - part of transformers' interface
    lengths: Sequence[int],
    masks: Sequence[Tensor],
    **_: Any,
) -> tuple[Tensor, None]:
    """Grouped-query attention within each conversation, an attention function of transformers.

    query: [1, heads, T, d]. key, value: [1, kv heads, T, d]. lengths: tokens of each conversation, which sum to T.
    masks: float32 [length, length] for each, added to the scores.

    Returns [1, T, heads, d]. It is written out because the backward pass of PyTorch's scaled_dot_product_attention is
    twice as slow on processors.
    """
    groups, scale = query.shape[1] // key.shape[1], query.shape[3] ** -0.5
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    parts = []
    runs = zip(*(each.split(lengths, dim=2) for each in (query * scale, key, value)), masks, strict=True)
    for q, k, v, mask in runs:
        scores = (q @ k.transpose(2, 3)).float() + mask  # [1, heads, length, length]
        shares = functional.softmax(scores, dim=3)
        parts.append(shares.to(v.dtype) @ v)
    return torch.cat(parts, dim=2).transpose(1, 2), None


def branch_mask(lengths: Sequence[int]) -> Tensor:
    """bool [n, n], whether the row's token attends to the column's.

    lengths: tokens of the trunk and of each branch. A branch attends to the trunk and to itself, causally.
    """
    branch = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    allowed = (branch[:, None] == branch[None, :]) | (branch[None, :] == 0)
    return allowed.tril()


def _added(allowed: Tensor) -> Tensor:
    """float32, to be added to scores: 0 where allowed, minus infinity elsewhere."""
    return torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))


AttentionInterface.register(_ATTENTION, _attend)


class LoraLinear(nn.Module):  # type: ignore[misc]  # torch has no types here
    """y = W x + (alpha / r) B A x; W frozen [out, in] in its own type, A [r, in] and B [out, r] float32."""

    def __init__(self, weight: Tensor, rank: int, alpha: int):
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.lora_A = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.lora_B = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.lora_A.to(x.dtype))
        base = functional.linear(x, cast(Tensor, self.weight))
        return base + functional.linear(low, self.lora_B.to(x.dtype)) * self.scale


@dataclass(frozen=True)
class PackedBatch:
    """Conversations in one row of T tokens.

    embeddings: float32 [T, hidden]. positions: int64 [T], from 0 in every conversation.
    owner: int64 [T], the number of the token's conversation.
    targets: int64 [T], the next token where it is learned, -100 elsewhere.
    branches: for each conversation the lengths of its trunk and its branches; the positions of every branch continue
        those of the trunk. Empty when no conversation branches.
    """

    embeddings: Tensor
    positions: Tensor
    owner: Tensor
    targets: Tensor
    branches: tuple[tuple[int, ...], ...] = ()


def cosine_rate(step: int, steps: int, highest: float, warm_up: int) -> float:
    """The learning rate of a step, counted from 0.

    It rises linearly to `highest` in `warm_up` steps, then falls by half a cosine to a twentieth of that.
    """
    if step < warm_up:
        return highest * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return highest * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote of a training, tensors and plain values. Raises UserError for a damaged file."""
    try:
        saved = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"The checkpoint {path} is damaged ({reason}); leave --resume away to begin anew."
        ) from None
    if not isinstance(saved, dict) or "step" not in saved:
        raise UserError(f"{path} is no checkpoint of a training; leave --resume away to begin anew.")
    return saved


@dataclass(frozen=True)
class PeftPlace:
    """Where the language model is in the model that a PEFT folder is for.

    path: of the modules. targets: target_modules. base_model: base_model_name_or_path.
    """

    path: str
    targets: str | list[str]
    base_model: str


LANGUAGE_MODEL = PeftPlace(
    "model", [path.split(".")[1] for path in ROLES.values()], "HuggingFaceTB/SmolLM2-135M-Instruct"
)


def inside_vlm(base_model: str) -> PeftPlace:
    """The language model inside an Idefics3 or SmolVLM. A list of targets would match the vision tower's layers too."""
    names = "|".join(path.split(".")[1] for path in ROLES.values())
    return PeftPlace("model.text_model", rf".*text_model\.layers\.\d+\..*({names})", base_model)


class TorchLanguageModel:
    """The model being trained."""

    def __init__(
        self,
        weights: LlamaWeights,
        rank: int = RANK,
        alpha: int = ALPHA,
        place: PeftPlace = LANGUAGE_MODEL,
        dtype: torch.dtype | None = None,
    ) -> None:
        """place: of the language model in the model that the adapter's folder is for.

        dtype: of the base model's weights and of all activations; None takes what this processor multiplies fastest.
        """
        self._dtype = dtype or compute_dtype()
        self._place = place
        self.embedding: NDArray[np.float32] = weights.embedding.dequantise()
        self.rank, self.alpha = rank, alpha
        self._model = _build(weights, self.embedding, self._dtype).eval()
        self._model.requires_grad_(False)
        self._linears = dict(self._replace())
        self._computes_again = False
        for layer in self._model.model.layers:
            layer.forward = partial(self._run_layer, layer.forward)

    def _run_layer(self, forward: Callable[..., Any], *inputs: Any, **others: Any) -> Any:
        """The outputs of a layer, whose intermediate values are kept or computed again in the backward pass."""
        if self._computes_again:
            return checkpoint(forward, *inputs, use_reentrant=False, **others)
        return forward(*inputs, **others)

    def _replace(self) -> Iterator[tuple[str, LoraLinear]]:
        for index, layer in enumerate(self._model.model.layers):
            for path in ROLES.values():
                parent, name = path.split(".")
                holder = getattr(layer, parent)
                linear = LoraLinear(getattr(holder, name).weight, self.rank, self.alpha)
                setattr(holder, name, linear)
                yield f"layers.{index}.{path}", linear

    def parameters(self) -> list[nn.Parameter]:
        return [p for linear in self._linears.values() for p in (linear.lora_A, linear.lora_B)]

    def loss(self, batch: PackedBatch) -> Tensor:
        """Mean negative log-likelihood of the targets, in nats a token."""
        learnt = batch.targets != -100
        self._computes_again = max(map(sum, batch.branches), default=0) > KEPT_TOKENS
        try:
            return functional.cross_entropy(self.logits(batch, learnt), batch.targets[learnt])
        finally:
            self._computes_again = False

    def logits(self, batch: PackedBatch, wanted: Tensor) -> Tensor:
        """Logits of the next token, float32 [n, vocab], at the n positions of `wanted`, bool [T]."""
        hidden = self._model.model(
            inputs_embeds=batch.embeddings[None].to(self._dtype),
            attention_mask=_NO_MASK,
            position_ids=batch.positions[None],
            use_cache=False,
            lengths=torch.bincount(batch.owner).tolist(),
            masks=_masks(batch),
        ).last_hidden_state[0]
        return functional.linear(hidden[wanted], self._model.lm_head.weight).float()

    def state(self) -> dict[str, Tensor]:
        """The adapter's tensors, float32, by their names in PEFT."""
        prefix = f"base_model.model.{self._place.path}"
        named = {}
        for path, linear in self._linears.items():
            named[f"{prefix}.{path}.lora_A.weight"] = linear.lora_A.detach()
            named[f"{prefix}.{path}.lora_B.weight"] = linear.lora_B.detach()
        return named

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.state().items():
                value.copy_(tensors[name])

    def begin_as(self, tensors: Mapping[str, NDArray[np.float32]], rank: int) -> None:
        """Start from another LoRA of the same or a smaller rank. The remaining ranks keep their initial values.

        tensors: as in models.lora.weights.LoraWeights, with the scale folded into B.
        Raises ValueError when its rank is larger.
        """
        short = self.rank - rank
        if short < 0:
            raise ValueError(f"a LoRA of rank {rank} does not fit into one of rank {self.rank}")
        with torch.no_grad():
            for path, linear in self._linears.items():
                _, layer, _, module = path.split(".")
                if (a := tensors.get(f"layers.{layer}.{module}.A")) is None:
                    continue
                linear.lora_A[:rank] = torch.from_numpy(a)
                b = torch.from_numpy(tensors[f"layers.{layer}.{module}.B"]) / linear.scale
                linear.lora_B[:, :rank] = b

    def save_adapter(self, folder: Path) -> None:
        """Write a PEFT folder in float16: adapter_config.json and adapter_model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.numpy().astype(np.float16) for name, value in self.state().items()}
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        (folder / "adapter_config.json").write_text(
            json.dumps(_peft_config(self._place, self.rank, self.alpha), indent=2) + "\n"
        )


def _masks(batch: PackedBatch) -> list[Tensor]:
    """The mask of each conversation, float32 [length, length], for `_attend`."""
    branches = batch.branches or [(length,) for length in torch.bincount(batch.owner).tolist()]
    return [_added(branch_mask(lengths)) for lengths in branches]


def _build(weights: LlamaWeights, embedding: NDArray[np.float32], dtype: torch.dtype) -> Any:
    """The frozen transformers model with the dequantised weights in `dtype`."""
    c = weights.config
    config = TransformersConfig(
        hidden_size=c.hidden_size, intermediate_size=c.intermediate_size, num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads, head_dim=c.head_dim,
        vocab_size=c.vocab_size, rms_norm_eps=c.rms_norm_eps, rope_theta=c.rope_theta,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        max_position_embeddings=c.max_position_embeddings, tie_word_embeddings=c.tie_word_embeddings,
    )  # fmt: skip
    config._attn_implementation = _ATTENTION
    torch.set_default_dtype(dtype)  # rotary frequencies are float32 nevertheless
    try:
        model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        parameters = dict(model.named_parameters())  # without the head when it is the embedding
        for name, value in _tensors(weights, embedding):
            parameters.pop(name).copy_(torch.from_numpy(np.array(value)))
    assert not parameters, f"no weights for {', '.join(parameters)}"
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32, "rounded ones are off by radians later on"
    return model


def _tensors(
    weights: LlamaWeights, embedding: NDArray[np.float32]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every weight by its name in transformers, one at a time, since all in float32 would take twice the model."""
    yield "model.embed_tokens.weight", embedding
    yield "model.norm.weight", weights.final_norm
    if weights.head is not None:
        yield "lm_head.weight", weights.head.dequantise()
    for index, layer in enumerate(weights.layers):
        base = f"model.layers.{index}"
        for role, path in ROLES.items():
            yield f"{base}.{path}.weight", getattr(layer, role).dequantise()
        yield f"{base}.input_layernorm.weight", layer.attention_norm
        yield f"{base}.post_attention_layernorm.weight", layer.mlp_norm


def _peft_config(place: PeftPlace, rank: int, alpha: int) -> dict[str, Any]:
    """The content of adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": place.base_model,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": place.targets,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }

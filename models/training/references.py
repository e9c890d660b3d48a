"""Make the reference outputs that the engine's numerics are tested against.

    python -m models.training.references --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out tests/fixtures/numerics

Two references, both independent of the engine: `transformers` reads the GGUF file with its own code,
dequantises it and runs its own Llama.

- "float": that model in float32. The engine differs from it by what int8 activations and a float16 KV
  cache cost.
- "emulated": the same model in float64 with exactly those two roundings put in (activations of every
  linear rounded to int8 per group of 32, keys and values to float16). The engine differs from it only by
  the order and width of its float arithmetic. The same in float32 ("narrow") shows how far two correct
  computations of it lie apart: the roundings amplify last-bit differences, because a value on the edge
  of a rounding step falls on either side. The bounds in the tests are multiples of that distance.

Adapters are applied by `peft`, in float32 with the float model, and rounded to float16 (as the engine
stores them) with the emulated one. Knows nothing of the engine.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoTokenizer, DynamicCache, LlamaForCausalLM

from models.training import reference_cases as cases


class QuantisedInput(torch.nn.Linear):  # type: ignore[misc]
    """A linear layer whose input is rounded to int8 per group of 32: step = largest magnitude / 127."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        groups = input.unflatten(-1, (-1, cases.GROUP))
        largest = groups.abs().amax(-1, keepdim=True).clamp_min(1e-12)
        rounded = torch.round(groups * (127 / largest)) * (largest / 127)
        return super().forward(rounded.flatten(-2))


class HalfCache(DynamicCache):  # type: ignore[misc]
    """A KV cache whose keys and values pass through float16."""

    def update(self, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().update(key.half().to(key.dtype), value.half().to(value.dtype), *args, **kwargs)


def read(gguf: Path) -> LlamaForCausalLM:
    """The language model of a GGUF file, dequantised to float32 by transformers (takes a minute)."""
    return LlamaForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    )


def variant(model: LlamaForCausalLM, dtype: torch.dtype, emulated: bool) -> LlamaForCausalLM:
    """A copy of the model that computes in dtype; emulated: with the engine's rounding of activations."""
    model = copy.deepcopy(model)
    if emulated:
        for module in model.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = QuantisedInput
    return model.to(dtype).eval()


def cache(emulated: bool) -> DynamicCache:
    return HalfCache() if emulated else DynamicCache()


def last_logits(model: Any, tokens: NDArray[np.int32], emulated: bool) -> NDArray[np.float64]:
    """Logits [vocab] after the last of the tokens [n]."""
    row = torch.from_numpy(tokens.astype(np.int64))[None]
    output = model(row, past_key_values=cache(emulated), use_cache=True)
    logits: NDArray[np.float64] = output.logits[0, -1].double().numpy()
    return logits


def greedy(model: Any, prompts: list[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The NEW_TOKENS best tokens in turn after each prompt (end of text is not special) and, at each step,
    how far the best logit lies above the second: two arrays [prompts, NEW_TOKENS].

    All prompts run as one batch, padded on the left and masked.
    """
    longest = max(map(len, prompts))
    mask = torch.tensor([[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in prompts])
    rows = torch.tensor([[0] * (longest - len(tokens)) + tokens.tolist() for tokens in prompts])
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    past, chosen, margins = cache(emulated=True), [], []
    for _ in range(cases.NEW_TOKENS):
        output = model(
            rows, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
        )
        best, ids = output.logits[:, -1].topk(2)
        rows = ids[:, :1]
        chosen.append(rows)
        margins.append(best[:, :1] - best[:, 1:])
        mask = torch.cat([mask, torch.ones_like(rows)], 1)
        positions = positions[:, -1:] + 1
    return torch.cat(chosen, 1).int().numpy(), torch.cat(margins, 1).float().numpy()


def with_adapter(model: LlamaForCausalLM, rank: int, half: bool) -> peft.PeftModel:
    """The model under cases.random_adapter(rank), applied by peft; half: tensors rounded to float16."""
    config = model.config
    widths = {
        "hidden": config.hidden_size,
        "query": config.num_attention_heads * config.head_dim,
        "key": config.num_key_value_heads * config.head_dim,
        "intermediate": config.intermediate_size,
    }
    lora = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(cases.MODULES), task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, lora)
    named = dict(adapted.named_modules())
    for layer, module, a, b in cases.random_adapter(rank, config.num_hidden_layers, widths):
        owner = "self_attn" if module in cases.ATTENTION_MODULES else "mlp"
        target = named[f"base_model.model.model.layers.{layer}.{owner}.{module}"]
        for part, values in ((target.lora_A.default, a), (target.lora_B.default, b)):
            weight = torch.from_numpy(values)
            part.weight.data = (weight.half() if half else weight).to(model.dtype)
    return adapted.eval()


def keep(rows: list[NDArray[np.float64]], top: NDArray[np.int32], name: str) -> dict[str, NDArray[Any]]:
    """What a fixture keeps of rows of logits: the float reference's best, a sample, log-sum-exp."""
    sample = cases.sample_ids(rows[0].size)
    return {
        f"{name}_top": np.stack([row[ids] for row, ids in zip(rows, top, strict=True)]).astype(np.float32),
        f"{name}_sample": np.stack([row[sample] for row in rows]).astype(np.float32),
        f"{name}_logsumexp": np.array([cases.logsumexp(row) for row in rows]),
    }


def best_ids(rows: list[NDArray[np.float64]]) -> NDArray[np.int32]:
    return np.stack([np.argsort(-row, kind="stable")[: cases.TOP] for row in rows]).astype(np.int32)


def make(gguf: Path, out: Path) -> None:
    """Write logits.npz, greedy.npz, lora.npz and about.json into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    prompts = [np.array(tokenizer(text)["input_ids"], np.int32) for text in cases.PROMPTS]
    references = {
        "float": (torch.float32, False),
        "emulated": (torch.float64, True),
        "narrow": (torch.float32, True),
    }
    logits: dict[str, NDArray[Any]] = {f"tokens_{i}": tokens for i, tokens in enumerate(prompts)}
    continuations: dict[str, NDArray[Any]] = {}
    lora: dict[str, NDArray[Any]] = {}
    original = read(gguf)
    for name, (dtype, emulated) in references.items():
        model = variant(original, dtype, emulated)
        rows = [last_logits(model, tokens, emulated) for tokens in prompts]
        logits.setdefault("top_ids", best_ids(rows))
        logits.update(keep(rows, logits["top_ids"], name))
        if emulated:
            continuations[f"{name}_tokens"], continuations[f"{name}_margins"] = greedy(model, prompts)
        for rank in cases.RANKS:
            adapted = with_adapter(model, rank, half=emulated)
            rows = [last_logits(adapted, prompts[i], emulated) for i in cases.LORA_PROMPTS]
            lora.setdefault(f"rank{rank}_top_ids", best_ids(rows))
            lora.update(keep(rows, lora[f"rank{rank}_top_ids"], f"rank{rank}_{name}"))
            model = adapted.unload()
        print(f"{name}: done", flush=True)
    for file, arrays in (("logits", logits), ("greedy", continuations), ("lora", lora)):
        np.savez_compressed(out / f"{file}.npz", allow_pickle=False, **arrays)
    about = {
        "model": gguf.name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "numpy": np.__version__,
    }
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", type=Path, required=True, help="the default model's language model file")
    parser.add_argument("--out", type=Path, default=Path("tests/fixtures/numerics"))
    arguments = parser.parse_args()
    with torch.inference_mode():
        make(arguments.gguf, arguments.out)


if __name__ == "__main__":
    main()

"""Make the reference outputs that the engine's numerics are tested against.

    python -m models.training.references --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out tests/fixtures/numerics

Two references, both independent of the engine: `transformers` reads the GGUF file with its own code,
dequantises it and runs its own Llama; `peft` applies the adapters.

- "float": that model in float32, adapters in float32. The engine differs from it by what int8 activations
  and a float16 KV cache cost.
- "emulated": the same model in float64 with exactly those roundings put in (the input of every linear layer
  to int8 per group of 32, keys and values to float16; adapters as models/lora.py rounds them). The engine
  differs from it by the order and width of its float arithmetic alone.

How far apart may two correct computations of the emulated model be? Rounding to int8 magnifies differences:
of values that differ by a fraction d of a rounding step, a share d falls on another step, so a difference of
d becomes one of about the root of d, at each of 121 roundings in turn. Last-bit differences therefore grow
to the size of the rounding error itself over the whole depth. (They start at once: embeddings are stored in
8 bits too, so after the first norm many values lie exactly between two steps.) Hence two comparisons:

- the whole model on real prompts, with bounds of the size of the rounding error;
- single layers of it (one layer, final norm, head) on a few rows of random numbers, where no value is likely
  to fall on another step: there the arithmetic must agree to float precision.

"narrow" is the emulated model in float32: its distance from "emulated", written to about.json, is what the
tests' bounds are derived from.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoTokenizer, DynamicCache, LlamaForCausalLM

from models.training import reference_cases as cases


@dataclass(frozen=True)
class Reference:
    """A way of computing the model."""

    dtype: torch.dtype
    emulated: bool


REFERENCES = {
    "float": Reference(torch.float32, emulated=False),
    "emulated": Reference(torch.float64, emulated=True),
    "narrow": Reference(torch.float32, emulated=True),
}
Rows = list[NDArray[np.float64]]


def round_groups(values: torch.Tensor, size: int) -> torch.Tensor:
    """Round to int8 by groups along the last axis: step = largest magnitude of the group / 127."""
    groups = values.unflatten(-1, (-1, size))
    largest = groups.abs().amax(-1, keepdim=True).clamp_min(1e-30)
    return (torch.round(groups * (127 / largest)) * (largest / 127)).flatten(-2)


class QuantisedInput(torch.nn.Linear):  # type: ignore[misc]
    """A linear layer that rounds its input, `group` values at a time."""

    group: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(round_groups(input, self.group))


def quantise_input(module: torch.nn.Linear, group: int) -> None:
    module.__class__ = QuantisedInput
    module.group = group


class HalfCache(DynamicCache):  # type: ignore[misc]
    """A KV cache whose keys and values pass through float16."""

    def update(self, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().update(key.half().to(key.dtype), value.half().to(value.dtype), *args, **kwargs)


def read(gguf: Path) -> LlamaForCausalLM:
    """The language model of a GGUF file, dequantised to float32 by transformers (takes a minute)."""
    return LlamaForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    )


def variant(model: LlamaForCausalLM, reference: Reference, layer: int | None) -> LlamaForCausalLM:
    """A copy of the model that computes as the reference does; layer: of all its layers, this one alone."""
    model = copy.deepcopy(model)
    if layer is not None:
        kept = model.model.layers[layer]
        kept.self_attn.layer_idx = 0  # its place in the KV cache
        model.model.layers = torch.nn.ModuleList([kept])
        model.config.num_hidden_layers = 1
    if reference.emulated:
        for module in model.modules():
            if type(module) is torch.nn.Linear:
                quantise_input(module, cases.GROUP)
    return model.to(reference.dtype).eval()


def cache(emulated: bool) -> DynamicCache:
    return HalfCache() if emulated else DynamicCache()


def last_logits(model: Any, inputs: NDArray[Any], emulated: bool) -> NDArray[np.float64]:
    """Logits [vocab] after the last of the inputs: token ids int [n], or embeddings float [n, hidden]."""
    past = cache(emulated)
    if inputs.ndim == 1:
        tokens = torch.from_numpy(inputs.astype(np.int64))[None]
        output = model(input_ids=tokens, past_key_values=past, use_cache=True)
    else:
        rows = torch.from_numpy(inputs)[None].to(model.dtype)
        output = model(inputs_embeds=rows, past_key_values=past, use_cache=True)
    logits: NDArray[np.float64] = output.logits[0, -1].double().numpy()
    return logits


def greedy(model: Any, tokens: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The NEW_TOKENS best tokens in turn (end of text is not special) under the emulated model and, at each
    step, how far the best logit lies above the second."""
    past, row = cache(emulated=True), torch.from_numpy(tokens.astype(np.int64))[None]
    chosen, margins = [], []
    for _ in range(cases.NEW_TOKENS):
        best, ids = model(row, past_key_values=past, use_cache=True).logits[0, -1].topk(2)
        chosen.append(int(ids[0]))
        margins.append(float(best[0] - best[1]))
        row = ids[:1][None]
    return np.array(chosen, np.int32), np.array(margins, np.float32)


def with_adapter(model: LlamaForCausalLM, rank: int, emulated: bool) -> peft.PeftModel:
    """The model under cases.random_adapter(rank), applied by peft.

    emulated: A, B and their inputs rounded to int8: by 32 inputs for A, by 16 ranks (or all) for B.
    """
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
        parts = ((target.lora_A.default, a, cases.GROUP), (target.lora_B.default, b, min(rank, 16)))
        for part, values, group in parts:
            weight = torch.from_numpy(values).to(model.dtype)
            part.weight.data = round_groups(weight, group) if emulated else weight
            if emulated:
                quantise_input(part, group)
    return adapted.eval()


def run_cases(
    original: LlamaForCausalLM, reference: Reference, prompts: list[NDArray[np.int32]]
) -> dict[str, Rows]:
    """Whole rows of logits of every case, by its name."""
    rows = {}
    for layer, ranks in cases.DEPTHS.items():
        model = variant(original, reference, layer)
        for rank in (None, *ranks):
            runs = model if rank is None else with_adapter(model, rank, reference.emulated)
            name = cases.case_name(layer, rank)
            inputs: list[NDArray[Any]]
            if layer is None:
                inputs = [prompts[i] for i in cases.case_prompts(name)]
            else:
                inputs = list(cases.random_rows(model.config.hidden_size))
            rows[name] = [last_logits(runs, given, reference.emulated) for given in inputs]
            if rank is not None:
                model = runs.unload()
    return rows


def keep(name: str, rows: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
    """What the fixture keeps of a case. Of the whole model: the float reference's best logits, a sample and
    the log-sum-exp, of both references. Of a layer: a smaller sample of the emulated reference."""
    sample = cases.sample_ids(rows["float"][0].size)
    if name.startswith("layer"):
        few = sample[:: cases.LAYER_STEP]
        return {
            f"{name}_emulated_sample": np.stack([row[few] for row in rows["emulated"]]).astype(np.float32)
        }
    top = np.stack([np.argsort(-row, kind="stable")[: cases.TOP] for row in rows["float"]]).astype(np.int32)
    kept: dict[str, NDArray[Any]] = {f"{name}_top_ids": top}
    for reference in ("float", "emulated"):
        of_it = rows[reference]
        best = [row[ids] for row, ids in zip(of_it, top, strict=True)]
        kept[f"{name}_{reference}_top"] = np.stack(best).astype(np.float32)
        kept[f"{name}_{reference}_sample"] = np.stack([row[sample] for row in of_it]).astype(np.float32)
        kept[f"{name}_{reference}_logsumexp"] = np.array([cases.logsumexp(row) for row in of_it])
    return kept


def distances(rows: Mapping[str, Rows]) -> dict[str, list[float]]:
    """Relative error of a case's logits, input by input, between pairs of references."""
    pairs = (("emulated", "float"), ("narrow", "emulated"))
    return {
        f"{one} from {other}": [
            float(f"{cases.relative_error(a, b):.3g}") for a, b in zip(rows[one], rows[other], strict=True)
        ]
        for one, other in pairs
    }


def make_logits(original: LlamaForCausalLM, prompts: list[NDArray[np.int32]], out: Path) -> dict[str, Any]:
    """Write logits.npz; returns the distances between the references, case by case."""
    rows = {}
    for name, reference in REFERENCES.items():
        rows[name] = run_cases(original, reference, prompts)
        print(f"{name}: logits done", flush=True)
    kept: dict[str, NDArray[Any]] = {f"tokens_{i}": tokens for i, tokens in enumerate(prompts)}
    apart = {}
    for case in rows["float"]:
        of_case = {reference: rows[reference][case] for reference in REFERENCES}
        kept |= keep(case, of_case)
        apart[case] = distances(of_case)
    np.savez_compressed(out / "logits.npz", allow_pickle=False, **kept)
    return apart


def make_continuations(original: LlamaForCausalLM, prompts: list[NDArray[np.int32]], out: Path) -> None:
    """Write greedy.npz."""
    kept: dict[str, NDArray[Any]] = {}
    for name in ("emulated", "narrow"):
        model = variant(original, REFERENCES[name], None)
        pairs = [greedy(model, tokens) for tokens in prompts]
        kept[f"{name}_tokens"] = np.stack([tokens for tokens, _ in pairs])
        kept[f"{name}_margins"] = np.stack([margins for _, margins in pairs])
        print(f"{name}: continuations done", flush=True)
    np.savez_compressed(out / "greedy.npz", allow_pickle=False, **kept)


def make(gguf: Path, out: Path) -> None:
    """Write logits.npz, greedy.npz and about.json into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    prompts = [np.array(tokenizer(text)["input_ids"], np.int32) for text in cases.PROMPTS]
    original = read(gguf)
    about = {
        "model": gguf.name,
        "versions": {library.__name__: library.__version__ for library in (torch, transformers, peft, np)},
        "relative error of logits": make_logits(original, prompts, out),
    }
    make_continuations(original, prompts, out)
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

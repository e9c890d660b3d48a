"""The cases of the numerics fixtures: prompts, random adapters, error measures. NumPy only.

Shared by the script that makes the fixtures (references.py, which needs PyTorch) and by the tests that
read them (which do not). Knows no model: shapes and token ids come from the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

TOP = 256  # best logits kept of every prompt, by id
SAMPLE = 2000  # other logits kept, at ids drawn once from SAMPLE_SEED
SAMPLE_SEED = 20
NEW_TOKENS = 64  # length of a greedy continuation
RANKS = (1, 8, 16, 64)
LORA_SEED = 1000  # the adapter of rank r is drawn from LORA_SEED + r
FEW_PROMPTS = (1, 3, 5)  # all prompts are tried on the plain model, these under adapters
LAYER_LENGTHS = (6,) * 8 + (80,) * 4  # rows of each random input of a single layer
LAYER_STEP = 4  # of a single layer's logits, every fourth of the sample is kept
# What is computed: the whole model (None) and single layers of it; each with adapters of these ranks.
DEPTHS: dict[int | None, tuple[int, ...]] = {None: RANKS, 0: (), 14: RANKS, 29: ()}
STRENGTH = 0.5  # standard deviation of B times the root of its rank
GROUP = 32  # inputs that share one activation scale

_CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = (
    "The capital of France is",
    _CHAT.format("What colour is the sky on a clear day?"),
    _CHAT.format("Write three sentences about a lighthouse keeper who is afraid of the dark."),
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    if n < 2:\n        return n\n',
    _CHAT.format(
        "Total 12.80, tax 1.16, paid in cash on 14 March 2018 at the corner shop, receipt number 00412. "
        "Give the total, the date and the name of the shop as JSON."
    ),
    "La bibliothèque ouvre à neuf heures; 図書館は九時に開きます。 "
    "Numbers: 3.14159, 2.71828, 1.41421, 1.61803.",
    _CHAT.format(
        "A small observatory stands on a hill outside the town. Every clear night its keeper opens the "
        "dome, writes down the temperature and the wind, and points the telescope at a different part of "
        "the sky. In winter the dome sometimes freezes, and then she climbs up with a wooden mallet and "
        "knocks off the ice. Children from the school visit on Fridays; they ask whether the stars make a"
        " sound, and whether one could walk on Saturn's rings. She answers every question, even the ones "
        "she cannot answer. Last year the town wanted to close the place to save money, but two hundred "
        "people signed a letter, and a farmer offered to mend the roof for nothing. Since then the lamp "
        "above the door is never put out. "
        "Summarise this in two sentences and say what the keeper is like."
    ),
    "1, 1, 2, 3, 5, 8, 13, 21, 34,",
)

_SHAPES = {
    "q_proj": ("hidden", "query"),
    "k_proj": ("hidden", "key"),
    "v_proj": ("hidden", "key"),
    "o_proj": ("query", "hidden"),
    "gate_proj": ("hidden", "intermediate"),
    "up_proj": ("hidden", "intermediate"),
    "down_proj": ("intermediate", "hidden"),
}

MODULES = tuple(_SHAPES)
ATTENTION_MODULES = MODULES[:4]


def case_name(layer: int | None, rank: int | None) -> str:
    """ "full", "full_r8", "layer14", "layer14_r8": the prefix of a case's arrays."""
    return ("full" if layer is None else f"layer{layer}") + ("" if rank is None else f"_r{rank}")


def case_prompts(name: str) -> tuple[int, ...]:
    """Which of the prompts a case of the whole model was computed for, in order."""
    return tuple(range(len(PROMPTS))) if name == "full" else FEW_PROMPTS


def sample_ids(vocab_size: int) -> NDArray[np.int32]:
    """The ids whose logits are kept whatever they are: int32 [SAMPLE], ascending."""
    drawn = np.random.default_rng(SAMPLE_SEED).choice(vocab_size, SAMPLE, replace=False)
    return np.sort(drawn).astype(np.int32)


def random_adapter(
    rank: int, num_layers: int, widths: Mapping[str, int]
) -> Iterator[tuple[int, str, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield (layer, module, A [rank, in], B [out, rank]) for all seven linears of every layer.

    widths: "hidden", "query" (heads x head_dim), "key" (KV heads x head_dim), "intermediate".
    B is to be used with scale 1. Its size makes the adapter change the logits strongly at every rank, so that
    the change can be told from the rounding of activations.
    """
    generator = np.random.default_rng(LORA_SEED + rank)
    for layer in range(num_layers):
        for module, (inputs, outputs) in _SHAPES.items():
            width_in, width_out = widths[inputs], widths[outputs]
            a = generator.standard_normal((rank, width_in), dtype=np.float32) / np.sqrt(width_in)
            b = generator.standard_normal((width_out, rank), dtype=np.float32) * (STRENGTH / np.sqrt(rank))
            yield layer, module, a.astype(np.float32), b.astype(np.float32)


def random_rows(hidden_size: int) -> Iterator[NDArray[np.float32]]:
    """The inputs of single layers: normal numbers [n, hidden_size], n as in LAYER_LENGTHS."""
    generator = np.random.default_rng(SAMPLE_SEED + 1)
    for length in LAYER_LENGTHS:
        yield generator.standard_normal((length, hidden_size), dtype=np.float32)


def relative_error(value: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Root mean square of the difference over that of the reference about its mean.

    Logits are defined up to a constant, so both are centred first.
    """
    value = value.astype(np.float64) - value.mean(dtype=np.float64)
    reference = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def kl_divergence(
    reference_top: NDArray[np.floating],
    reference_logsumexp: float,
    top: NDArray[np.floating],
    logsumexp: float,
) -> float:
    """KL(reference || value) in nats over the partition {each of the kept best tokens, all the rest}.

    reference_top, top: logits [TOP] at the same ids; the log-sum-exps are over the whole vocabulary.
    """
    p = np.exp(np.append(reference_top.astype(np.float64), -np.inf) - reference_logsumexp)
    q = np.exp(np.append(top.astype(np.float64), -np.inf) - logsumexp)
    p[-1], q[-1] = max(1.0 - p.sum(), 1e-12), max(1.0 - q.sum(), 1e-12)
    return float(np.sum(p * np.log(p / q)))


def logsumexp(logits: NDArray[np.floating]) -> float:
    """log(sum(exp(logits))) in float64."""
    wide = logits.astype(np.float64)
    return float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))

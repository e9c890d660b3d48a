"""Adjusts the log-odds of scope of the adapter for any page of text: a linear rule and a border.

    python -m models.training.scope.pages --questions documents.jsonl --tasks tasks.json \\
        --out router/bundled/scope_adjustments.safetensors

In scope are questions for what stands on pages: those of a file of rows (adapters.training.documents), and those in
scope of the bundled kinds of pages (PAGES). Out of scope are all other bundled questions: about other images, for more
than stands on a page, and plain chat. The rule is that of models.training.scope.adjustments. The border is where the
least shares of both, of the questions that the rule has not learned (every third one), are on the wrong side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.question_encoder.encoder import Floats, QuestionEncoder
from models.question_encoder.scope import QuestionVectors, ScopeModel, Tasks
from models.training.scope.adjustments import GRID, SHARE, LinearRule, fit_rule, share_below
from models.training.scope.data import FOLDER

NAME = "documents"
MOST = 1500
"""Questions of the file that are read, at equal distances."""

PAGES = (
    "invoices", "menus", "error_dialogs", "train_tickets", "timetables", "nutrition_labels", "medicine_packets",
    "business_cards", "passports", "receipts", "electricity_meters",
)  # fmt: skip
"""Kinds of images that are pages of text. Their questions out of scope are left out, because a page may answer some."""


def labelled_questions(rows: Path) -> dict[str, bool]:
    """Questions, and whether they are in scope. rows: a file with a question in every line."""
    lines = rows.read_text(encoding="utf-8").splitlines()
    asked = list(dict.fromkeys(json.loads(line)["question"] for line in lines))
    inside, outside = dict.fromkeys(asked[:: max(1, len(asked) // MOST)]), dict[str, None]()
    for file in sorted(FOLDER.glob("*.json")):
        kind = json.loads(file.read_text(encoding="utf-8"))
        is_page = kind["name"] in PAGES
        own = dict.fromkeys(each["q"] for each in kind["in"] if each.get("task") != "json")
        (inside if is_page else outside).update(own)
        for scope in ("chat",) if is_page else ("chat", "out"):
            outside.update(dict.fromkeys(each["q"] for each in kind[scope]))
    return dict.fromkeys(outside, False) | dict.fromkeys(inside, True)


def adjustment(
    known: Mapping[str, bool], vectors: Mapping[str, QuestionVectors], logits: Mapping[str, float]
) -> tuple[LinearRule, float]:
    """The rule and the border. logits: of the network, without a rule, by question."""
    mean = np.mean([vectors[text].lower for text in known], axis=0)
    texts = list(known)
    learnt = [text for number, text in enumerate(texts) if number % 3]
    rule = _rule(learnt, known, vectors, mean)
    costs: NDArray[np.float64] = np.zeros(len(GRID))
    for inside in (True, False):
        values = [
            logits[text] + SHARE * rule.value(vectors[text].lower)
            for text in texts[::3]
            if known[text] == inside
        ]
        below = share_below(GRID, values)
        costs += below if inside else 1 - below
    return _rule(texts, known, vectors, mean), float(GRID[np.argmin(costs)])


def _rule(
    texts: Sequence[str], known: Mapping[str, bool], vectors: Mapping[str, QuestionVectors], mean: Floats
) -> LinearRule:
    return fit_rule(np.stack([vectors[text].lower for text in texts]), [known[text] for text in texts], mean)


def read_vectors(texts: Sequence[str], encoder: QuestionEncoder) -> dict[str, QuestionVectors]:
    asked, lower = encoder.read(texts)
    return {text: QuestionVectors(a, b) for text, a, b in zip(texts, asked, lower, strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=Path, required=True, help="rows of adapters.training.documents")
    parser.add_argument("--tasks", type=Path, required=True, help="JSON: example questions by task")
    parser.add_argument("--out", type=Path, required=True, help="file of adjustments that gets this one too")
    options = parser.parse_args(arguments)
    tasks: Tasks = json.loads(options.tasks.read_text(encoding="utf-8"))
    model = ScopeModel.load()
    examples = model.encode(tasks)
    known = labelled_questions(options.questions)
    vectors = read_vectors(list(known), QuestionEncoder.load())
    logits = {text: model.logit(vectors[text], examples) for text in known}
    rule, border = adjustment(known, vectors, logits)
    tensors = load_file(options.out)
    tensors[f"{NAME}.weight"] = (SHARE * rule.weight).astype(np.float32)
    tensors[f"{NAME}.border"] = np.array(border - SHARE * rule.bias, np.float32)
    save_file(tensors, options.out)
    print(f"{sum(known.values())} of {len(known)} questions in scope, border {border}")


if __name__ == "__main__":
    main()

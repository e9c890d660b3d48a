"""Adjusts the log-odds of scope of the adapter for any page of text: a linear rule and a border.

    python -m models.training.scope.pages --questions documents.jsonl --questions wordings.jsonl --tasks tasks.json \\
        --out router/bundled/scope_adjustments.safetensors

In scope are questions for what stands on pages: those of ON_PAGES, those of files of rows (adapters.training.documents,
with and without its --questions), and those in scope of the bundled kinds of pages (PAGES). Out of scope are all other
bundled questions: about other images, for more than stands on a page (NOT_ON_PAGES), and plain chat. Some of both come
a second time, as polite, hurried and careless writers put them. The rule is that of models.training.scope.adjustments.
The border is where the least weighted shares of both, of the questions that the rule has not learned (every third block
of BLOCK, so that their wordings are new to it), are on the wrong side.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.question_encoder.encoder import Floats, QuestionEncoder
from models.question_encoder.scope import QuestionVectors, ScopeModel, Tasks
from models.training.scope.adjustments import GRID, LinearRule, fit_rule, share_below
from models.training.scope.data import FOLDER, reworded

NAME = "documents"
MOST = 3000
"""Questions of each file that are read, at equal distances."""

SHARE = 2.0
"""Factor on the value of the rule before it is added to a logit. More than that of the rules of single kinds, since
this one learns from thousands of questions. Chosen by wordings that were left out: of 0.5, 1 and 2."""

OUT_WEIGHT = 1.15
"""A question out of scope that is taken counts as much as this many in scope that are missed. Chosen by the total of
plain chat under an image in docs/routing.md, which has to reach 95%."""

BLOCK = 40
"""Questions beside one another that are learned together or not at all: mostly of one wording, or of one kind."""

REWORDED = 500
"""Questions on either side that come a second time in other words."""

ON_PAGES, NOT_ON_PAGES = (Path(__file__).with_name(name) for name in ("on_pages.txt", "not_on_pages.txt"))
"""Questions, one a line, that a passage of some page answers, and such as none does. Lines with "#" explain them."""

PAGES = (
    "invoices", "menus", "error_dialogs", "train_tickets", "timetables", "nutrition_labels", "medicine_packets",
    "business_cards", "passports", "receipts", "electricity_meters",
)  # fmt: skip
"""Kinds of images that are pages of text. Their questions out of scope are left out, because a page may answer some."""


def labelled_questions(rows: Sequence[Path]) -> dict[str, bool]:
    """Questions, and whether they are in scope. rows: files with a question in every line."""
    inside, outside = (
        dict.fromkeys(line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
        for file in (ON_PAGES, NOT_ON_PAGES)
    )
    for file in rows:
        asked = [json.loads(line)["question"] for line in file.read_text(encoding="utf-8").splitlines()]
        inside.update(dict.fromkeys(asked[:: max(1, len(asked) // MOST)]))
    for file in sorted(FOLDER.glob("*.json")):
        kind = json.loads(file.read_text(encoding="utf-8"))
        is_page = kind["name"] in PAGES
        own = dict.fromkeys(each["q"] for each in kind["in"] if each.get("task") != "json")
        (inside if is_page else outside).update(own)
        for scope in ("chat",) if is_page else ("chat", "out"):
            outside.update(dict.fromkeys(each["q"] for each in kind[scope]))
    rng = random.Random(0)
    for own in (inside, outside):
        own.update({reworded(text, rng): None for text in rng.sample(list(own), min(REWORDED, len(own)))})
    return dict.fromkeys(outside, False) | dict.fromkeys(inside, True)


def adjustment(
    known: Mapping[str, bool], vectors: Mapping[str, QuestionVectors], logits: Mapping[str, float]
) -> tuple[LinearRule, float]:
    """The rule and the border. logits: of the network, without a rule, by question."""
    mean = np.mean([vectors[text].lower for text in known], axis=0)
    texts = list(known)
    learnt = [text for number, text in enumerate(texts) if number // BLOCK % 3]
    left = [text for number, text in enumerate(texts) if number // BLOCK % 3 == 0]
    rule = _rule(learnt, known, vectors, mean)
    costs: NDArray[np.float64] = np.zeros(len(GRID))
    for inside in (True, False):
        values = [
            logits[text] + SHARE * rule.value(vectors[text].lower) for text in left if known[text] == inside
        ]
        below = share_below(GRID, values)
        costs += below if inside else OUT_WEIGHT * (1 - below)
    return _rule(texts, known, vectors, mean), float(GRID[np.argmin(costs)])


def _rule(
    texts: Sequence[str], known: Mapping[str, bool], vectors: Mapping[str, QuestionVectors], mean: Floats
) -> LinearRule:
    return fit_rule(np.stack([vectors[text].lower for text in texts]), [known[text] for text in texts], mean)


def read_vectors(texts: Sequence[str], encoder: QuestionEncoder) -> dict[str, QuestionVectors]:
    """The vectors of each text, by text."""
    asked, lower = encoder.read(texts)
    return {text: QuestionVectors(a, b) for text, a, b in zip(texts, asked, lower, strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--questions", type=Path, required=True, action="append", help="rows of adapters.training.documents"
    )
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

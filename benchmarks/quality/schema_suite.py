"""`python -m benchmarks.quality.schema_suite FOLDER`: answers to the schemas of the JSON Schema test suite.

FOLDER has the files of one draft, such as tests/draft2020-12 of json-schema-org/JSON-Schema-Test-Suite (MIT; also in
the source package of jsonschema 4.17). Each file is about one keyword and has cases: a schema with
instances that are valid or not. For each keyword it counts

- the cases that are followed, and those that are refused by name before anything runs;
- answers to the followed ones, each a row of random tokens that the grammar allows, from the real vocabulary, and how
  many of them the reference validator accepts;
- instances of the suite that are not valid, and how many of those the grammar refuses. Less than all of either means a
  keyword that is accepted and not enforced;
- instances that are valid, and how many of those the grammar can write. It need not write all.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.schemas.answer_schema import AnswerSchema, parse_schema
from edge_app.settings import load
from edge_app.system import paths
from models.core.errors import UserError
from models.formats.gguf.gguf_file import GgufFile
from models.hub.store import ModelStore
from models.language.constraint import Constraint, Vocabulary
from models.language.json_schema import fits
from models.language.tokenizer import Tokenizer

ANSWERS = 12
MOST_TOKENS = 10_000
MOST_DIGITS = 300
SPARE = 48
"""An answer may be so many tokens longer than the shortest one."""


@dataclass
class Count:
    """Of one keyword, or of all."""

    cases: int = 0
    refused: int = 0
    answers: int = 0
    right: int = 0
    invalid: int = 0
    kept_out: int = 0
    valid: int = 0
    written: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        for name in ("cases", "refused", "answers", "right", "invalid", "kept_out", "valid", "written"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults += other.faults

    def row(self, name: str) -> str:
        """A row of the table."""
        cells = (
            name,
            self.cases,
            self.cases - self.refused,
            self.refused,
            share(self.right, self.answers),
            share(self.kept_out, self.invalid),
            share(self.written, self.valid),
        )
        return f"| {' | '.join(map(str, cells))} |"


HEADING = """\
| keyword | cases | followed | refused | answers that are valid | invalid instances refused | valid instances written |
|---|---:|---:|---:|---:|---:|---:|"""


def share(part: int, whole: int) -> str:
    """ "3 of 4"; a dash of nothing."""
    return f"{part} of {whole}" if whole else "–"


def cases_of(file: Path) -> Iterator[Mapping[str, Any]]:
    """The cases of a keyword's file."""
    yield from json.loads(file.read_text(encoding="utf-8"))


class Suite:
    """Counts cases. tokenizer: of the model. draft: its folder. answers: to each schema. seed: of their tokens."""

    def __init__(self, tokenizer: Tokenizer, draft: str, answers: int, seed: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary(tokenizer, len(tokenizer))
        self._draft = draft
        self._answers = answers
        self._chance = random.Random(seed)

    def count(self, case: Mapping[str, Any]) -> Count:
        """What becomes of one case."""
        count = Count(cases=1)
        try:
            schema = self._followed(case["schema"])
            for _ in range(self._answers):
                self._answer(schema, case, count)
        except UserError:
            count.refused, count.answers, count.right = 1, 0, 0
            return count
        for test in case["tests"]:
            self._instance(schema, case, test, count)
        return count

    def _followed(self, content: Any) -> AnswerSchema:
        """The schema, when it is followed. Raises UserError."""
        if not isinstance(content, dict):
            raise UserError("a schema is an object")
        schema = parse_schema(content)
        Constraint(self._vocabulary, schema.grammar, MOST_TOKENS)
        return schema

    def _answer(self, schema: AnswerSchema, case: Mapping[str, Any], count: Count) -> None:
        limit = Constraint(self._vocabulary, schema.grammar, MOST_TOKENS).shortest
        constraint = Constraint(self._vocabulary, schema.grammar, limit + self._chance.randrange(SPARE))
        text = self._decoded(constraint)
        count.answers += 1
        if valid(text, case["schema"], self._draft):
            count.right += 1
        else:
            count.faults.append(f"{case['description']}: {json.dumps(case['schema'])} gave {text}")

    def _decoded(self, constraint: Constraint) -> str:
        """The text of tokens that are drawn from those that are allowed."""
        taken: list[int] = []
        ends = self._tokenizer.end_ids
        while not constraint.is_complete:
            token = int(self._chance.choice(np.flatnonzero(constraint.allowed()).tolist()))
            token = token if token in ends else constraint.accept(token)
            if token in ends:
                break
            taken.append(token)
        return self._tokenizer.decode(taken)

    @staticmethod
    def _instance(
        schema: AnswerSchema, case: Mapping[str, Any], test: Mapping[str, Any], count: Count
    ) -> None:
        written = schema.fitted(json.dumps(test["data"], ensure_ascii=False)) is not None
        plain = fits(schema.grammar, json.dumps(test["data"], ensure_ascii=False))
        if test["valid"]:
            count.valid += 1
            count.written += written
            return
        count.invalid += 1
        count.kept_out += not (written or plain)
        if written or plain:
            count.faults.append(
                f"{case['description']}: {json.dumps(case['schema'])} takes {json.dumps(test['data'])}"
            )


def valid(text: str, schema: Any, draft: str) -> bool:
    """Whether the reference validator of a draft accepts a text as an instance of a schema."""
    import jsonschema

    names = {"draft4": "Draft4Validator", "draft6": "Draft6Validator", "draft7": "Draft7Validator"}
    kind = getattr(jsonschema, names.get(draft, "Draft202012Validator"))
    try:
        instance = json.loads(text, parse_float=exact)
    except ValueError:
        return False
    schema = json.loads(json.dumps(schema), parse_float=exact)
    return bool(kind(schema, format_checker=kind.FORMAT_CHECKER).is_valid(instance))


def exact(number: str) -> int | Decimal:
    """A number as it is written: 610.395 is a multiple of 0.0001, which floats deny."""
    value = Decimal(number)
    is_whole = abs(value.adjusted()) < MOST_DIGITS and value == value.to_integral_value()
    return int(value) if is_whole else value


def main(arguments: list[str] | None = None) -> int:
    """Prints the table. Returns 0 when every answer is valid and no invalid instance is taken, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.schema_suite", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the files of one draft")
    parser.add_argument("--answers", type=int, default=ANSWERS, help=f"to each schema (default {ANSWERS})")
    parser.add_argument("--seed", type=int, default=0, help="of the random tokens (default 0)")
    given = parser.parse_args(arguments)
    files = sorted(given.folder.glob("*.json"))
    if not files:
        parser.error(f"there is no file of cases in {given.folder}")
    store = ModelStore(paths.models_directory())
    language = store.pull(load(paths.config_file()).model).files["language_model"]
    suite = Suite(Tokenizer.from_gguf(GgufFile(language)), given.folder.name, given.answers, given.seed)
    total = Count()
    print(HEADING)
    for file in files:
        keyword = Count()
        for case in cases_of(file):
            keyword.add(suite.count(case))
        total.add(keyword)
        print(keyword.row(f"`{file.stem}`"), flush=True)
    print(total.row("all"))
    for fault in total.faults:
        print(f"NOT ENFORCED: {fault}", file=sys.stderr)
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.speed.within_schema`: what a token costs in answers that fit a schema, beside free text.

Processor time of one thread is compared, because the difference is smaller than what other programs do to the clock.
With --wall the clock is compared, on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.speed.measurement import Measure, alternate
from edge_app.engine.engine_loading import load_engine
from edge_app.schemas.fields import fields_schema, parse_fields
from edge_app.settings import load
from edge_app.system import paths
from models.core.errors import UserError
from models.core.types import Message, Sampling, no_progress
from models.engine import Engine
from models.language.json_schema import grammar_of

QUESTION = "Write a long letter to a friend about ten cities, with their names, numbers and dates. Do not stop early."
TOKENS = 96
ROUNDS = 9
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "four fields": fields_schema(parse_fields("company, date:date, address, total:number")),
    "a list of objects": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 60},
                "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
                "kind": {"enum": ["city", "town", "village"]},
                "people": {"type": "integer", "minimum": 0, "maximum": 50000000},
                "notes": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
            },
            "required": ["name", "code", "kind", "people", "notes"],
            "additionalProperties": False,
        },
    },
    "a long text": {"type": "string", "minLength": 300},
}


def token_time(engine: Engine, schema: Mapping[str, Any] | None, clock: Callable[[], float]) -> Measure:
    """Milliseconds of a token after the first one. schema: None for free text. clock: seconds."""
    grammar = None if schema is None else grammar_of(schema)
    messages = [Message("user", QUESTION)]

    def measure() -> float:
        stream = engine.generate(messages, Sampling(max_tokens=TOKENS), grammar=grammar)
        next(stream)
        before = clock()
        count = sum(1 for _ in stream)
        return 1000 * (clock() - before) / count

    return measure


def main(arguments: list[str] | None = None) -> int:
    """Prints a row for each schema: its cost beside free text. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.within_schema", description=__doc__)
    parser.add_argument("--model", help="a model of `edge-app models list` (default: the one in use)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"alternations (default {ROUNDS})")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute (default 1)")
    parser.add_argument("--wall", action="store_true", help="time by the clock, not of the processor")
    options = parser.parse_args(arguments)
    clock = time.perf_counter if options.wall else time.process_time
    try:
        chosen = {"model": options.model} if options.model else {}
        settings = load(paths.config_file(), threads=options.threads, **chosen)
        engine = load_engine(settings, no_progress)
    except UserError as error:
        print(f"within_schema: {error}", file=sys.stderr)
        return error.exit_code
    free = {"free text": token_time(engine, None, clock)}
    taken = alternate(
        options.rounds, free | {name: token_time(engine, each, clock) for name, each in SCHEMAS.items()}
    )
    usual = taken["free text"].median
    print(
        f"{engine.name}: {usual:.2f} ms a token in free text, {options.threads} threads, "
        f"{'by the clock' if options.wall else 'processor time'}, medians of {options.rounds} rounds"
    )
    for name in SCHEMAS:
        median = taken[name].median
        print(f"  {name:<20}{median:6.2f} ms a token, cost {100 * (median / usual - 1):4.1f}%")
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the commands that ask an assistant about pages share: their options, their progress, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from models.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Asked = TypeVar("Asked", bound=DataclassInstance)
    Summary = TypeVar("Summary", bound=DataclassInstance)


def page_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options --split and --json. name: of the module in this folder."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.quality.pages.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", default="val", help="rows of this split [default: val]")
    parser.add_argument("--json", action="store_true", help="the table and every answer as JSON")
    return parser


def counted(asked: Iterator[Asked], total: int, what: str) -> Iterator[Asked]:
    """The same answers, with a line on stderr that counts them. what: "pages" or "questions"."""
    for done, each in enumerate(asked, 1):
        print(f"\r{done} of {total} {what}", end="", file=sys.stderr, flush=True)
        yield each
    print(file=sys.stderr)


def run_and_print(
    name: str,
    ask: Callable[[], list[Asked]],
    summaries: Callable[[Sequence[Asked]], Sequence[Summary]],
    table: Callable[[Sequence[Asked]], str],
    keys: tuple[str, str] | None,
) -> int:
    """Ask, and print the table on stdout. Returns the exit code.

    name: of the command, before its error. keys: the names in the JSON of the summaries and of the answers; None
    prints the table as text.
    """
    try:
        asked = ask()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    if keys is None:
        print(table(asked))
    else:
        made = dict(zip(keys, (list(map(asdict, summaries(asked))), list(map(asdict, asked))), strict=True))
        print(json.dumps(made, indent=1))
    return 0

"""The result of a benchmark: a table of figures with targets, as text or JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Samples:
    """Measurements of one figure, at least one, in the order of the rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def over(self, other: Samples) -> Samples:
        """Ratios of the samples, round by round, so that drift between rounds cancels. Both have the same rounds."""
        return Samples(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))


@dataclass(frozen=True)
class Target:
    """The bound that a row must meet. of: which of its numbers is compared with the limit."""

    bound: Bound
    limit: float
    of: Literal["value", "ratio"] = "value"

    def met(self, number: float) -> bool:
        """Whether the number is within the bound."""
        return number >= self.limit if self.bound == "at least" else number <= self.limit

    def words(self, unit: str) -> str:
        """The target as the table shows it, such as "at most 1.5 s"."""
        return f"{self.bound} {self.limit:g} {'x' if self.of == 'ratio' else unit}"


@dataclass(frozen=True)
class TableRow:
    """One figure. The fields are the keys of its JSON.

    value: median of the samples. low, high: their minimum and maximum. peer: name of what it is compared with.
    ratio: median over the rounds of value / peer value. ok: whether the target is met; None without a target, and
    for a target on the ratio without a peer.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    peer: str | None
    peer_value: float | None
    ratio: float | None
    target: str | None
    ok: bool | None
    note: str = ""


def row(
    name: str,
    unit: str,
    samples: Samples,
    target: Target | None = None,
    peer: tuple[str, Samples] | None = None,
    note: str = "",
) -> TableRow:
    """The row of a figure. peer: name and samples, of the same rounds, of what it is compared with."""
    ratio = samples.over(peer[1]).median if peer else None
    judged = ratio if target is not None and target.of == "ratio" else samples.median
    return TableRow(
        name=name,
        value=samples.median,
        unit=unit,
        low=samples.low,
        high=samples.high,
        peer=peer[0] if peer else None,
        peer_value=peer[1].median if peer else None,
        ratio=ratio,
        target=target.words(unit) if target else None,
        ok=target.met(judged) if target is not None and judged is not None else None,
        note=note,
    )


def as_json(
    machine: dict[str, object], threads: int, versions: dict[str, str], rows: Sequence[TableRow]
) -> str:
    """The figures as JSON text, with the machine, the threads and the versions they were measured with."""
    whole = {"machine": machine, "threads": threads, "versions": versions, "rows": [asdict(r) for r in rows]}
    return json.dumps(whole, indent=1) + "\n"


def as_text(rows: Sequence[TableRow]) -> str:
    """The rows as aligned columns, with the notes below."""
    lines = [("figure", "value", "range", "unit", "compared with", "its value", "ratio", "target", "")]
    for r in rows:
        lines.append(
            (
                r.name,
                _number(r.value),
                f"{_number(r.low)}..{_number(r.high)}",
                r.unit,
                r.peer or "",
                _number(r.peer_value),
                "" if r.ratio is None else f"{r.ratio:.2f} x",
                r.target or "",
                {True: "ok", False: "MISSED", None: ""}[r.ok],
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = {1, 2, 5, 6}
    text = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    notes = [f"{r.name}: {r.note}" for r in rows if r.note]
    return "\n".join([*text, "", *notes])


def in_words(r: TableRow) -> str:
    """A row as one line, such as "decode 193 tokens/s, 2.5 x llama.cpp Q4_0 (77): at least 2 x, ok"."""
    text = f"{r.name} {_number(r.value)} {r.unit}"
    if r.peer is not None:
        text += f", {r.ratio or 0:.2f} x {r.peer} ({_number(r.peer_value)})"
    if r.target is not None:
        text += f": {r.target}{ {True: ', ok', False: ', MISSED', None: ''}[r.ok] }"
    return text


def _number(value: float | None) -> str:
    """At least three significant digits down to 0.001, five decimals below, never with an exponent."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.5f}"

"""Puts the figures of a run into the documentation.

    edge-app bench --only vlm --models FOLDER --shapes 500m --output RUN.json
    python -m benchmarks.vlm.markdown RUN.json... docs/performance.md

The table takes the place of what stands between the two marks in the file. Of a figure that several runs have, it
shows that of the last one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- vlm: figures -->", "<!-- vlm: end -->"
_HEADER = "| figure | value | beside | ratio | must reach |\n|---|---|---|---|---|"
# The end of a row's name, and what it is called in the table.
_FIGURES = {
    "prefill": "prefill of 256 tokens",
    "decode": "decode",
    "decode_of_memory_bound": "decode, of what a plain read of weights, keys and values would take",
    "decode_lora_r16": "decode with an adapter of rank 16",
    "decode_lora_r64": "decode with an adapter of rank 64",
    "prefill_lora_r16": "prefill with an adapter of rank 16",
    "ready": "pack, compile and load all",
    "tile": "a tile through tower and connector",
    "tile_lora_r16": "a tile with an adapter of rank 16 on tower and connector",
    "photo_1_tile": "photo, file to first token, one tile",
    "photo_13_tiles": "photo, file to first token, 13 tiles",
    "photo_1_tile_second_question": "a second question about it, one tile",
    "photo_13_tiles_second_question": "a second question about it, 13 tiles",
    "memory_over_weights": "memory above the packed weights, context of 4096",
}


def as_markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """The table of runs. runs: the JSON that the benchmark writes, of one run or several on one machine."""
    last = runs[-1]
    machine, versions = last["machine"], last["versions"]
    about = f"{machine['processor']}, {last['threads']} threads, kernels {machine['kernels']}"
    if peer := versions.get("llama-cpp-python"):
        about += f"; llama-cpp-python {peer}"
    rows = {row["name"]: row for run in runs for row in run["rows"] if row["name"].startswith("vlm_")}
    return "\n".join([BEGIN, f"{about}.", "", _HEADER, *map(_row, rows.values()), END])


def put(text: str, table: str) -> str:
    """The text with the table between its marks. Raises ValueError when it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: no {BEGIN} and {END}")
    return before + table + after


def _row(row: Mapping[str, Any]) -> str:
    beside = "" if row["peer"] is None else f"{_number(row['peer_value'])} ({row['peer']})"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    target = row["target"] or ""
    if row["ok"] is False:
        target += ", missed"
    return (
        f"| {_figure(row['name'])} | {_number(row['value'])} {row['unit']} | {beside} | {ratio} | {target} |"
    )


def _figure(name: str) -> str:
    """ "vlm_500m_Q8_0_decode" -> "500m Q8_0: decode"."""
    given = name.removeprefix("vlm_")
    for end in sorted(_FIGURES, key=len, reverse=True):
        if given.endswith(f"_{end}"):
            return f"{given.removesuffix(f'_{end}').replace('_', ' ', 1)}: {_FIGURES[end]}"
    return given


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(arguments: list[str]) -> int:
    """arguments: the JSON of each run, and the file with the marks."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    *files, target = map(Path, arguments)
    table = as_markdown([json.loads(file.read_text(encoding="utf-8")) for file in files])
    target.write_text(put(target.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

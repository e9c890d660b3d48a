"""`python -m adapters.training.charts --out DIR --seed N --train N --val N --unseen N`: draws the charts data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from adapters.training.charts.writing import Counts, write_charts
from models.core.errors import UserError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m adapters.training.charts", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for images, charts.jsonl and charts_unseen.jsonl"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--train", type=int, default=1500, help="images drawn with matplotlib, seaborn and mplfinance"
    )
    parser.add_argument("--val", type=int, default=200, help="more of these, to choose by")
    parser.add_argument(
        "--unseen", type=int, default=200, help="images drawn with Vega-Lite, with other words"
    )
    options = parser.parse_args()
    counts = Counts(options.train, options.val, options.unseen)
    if min(options.seed, options.train, options.val, options.unseen) < 0:
        parser.error("numbers may not be negative")
    try:
        for done in write_charts(options.out, options.seed, counts):
            if done % 50 == 0:
                print(f"{done} images", file=sys.stderr)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(options.out / "charts.jsonl", options.out / "charts_unseen.jsonl", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

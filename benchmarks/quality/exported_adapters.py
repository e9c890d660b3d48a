"""`python -m benchmarks.quality.exported_adapters`: an adapter exported to llama.cpp answers there as it does here.

The adapter is exported as `edge-app adapters export NAME OUT.gguf --for llama.cpp` does it. llama.cpp runs it on the
GGUF file of its base model, and both runtimes continue the same prompts greedily. The prompts are text alone, since
llama.cpp has no vision encoder of the embedded model: a receipt as it would be read, and a question about it.

Both runtimes round the numbers between layers to 8 bits, each in its own way, so a token whose two best logits nearly
tie may differ; each such place is listed with the difference of these logits here. With --float both compute the same
weights in float, and then no token should differ.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.install.runtimes import export_for
from adapters.store.adapter_store import InstalledAdapter
from benchmarks.speed import peer
from edge_app.engine.adapter_installer import adapter_store
from edge_app.settings import load as load_settings
from edge_app.system import paths
from models.adapter_weights import read_adapter
from models.compiled_adapters import CompiledAdapter, CompiledAdapterPacker
from models.compiler.threads import default_threads
from models.core.cache import PACKED
from models.core.errors import UserError
from models.core.types import Message
from models.families.parts import LoadOptions, Parts
from models.families.registry import load_parts
from models.formats.llama_weights import Precision
from models.hub.store import ModelFiles, ModelStore

CONTEXT = 1024
LONGEST_ANSWER = 48
QUESTIONS = (
    "What is the total?",
    "Which company is it?",
    "What is the date?",
    "What is the address?",
    "Give company, date, address and total as JSON.",
)
SHOPS = ("MAPLE BAKERY SDN BHD", "ORBIT HARDWARE", "GREENWAY BOOKS", "TERN STATIONERY", "NORTHFIELD CAFE")
STREETS = (
    "12, Hill Road, 43000 Easton",
    "7, Mill Lane, 81100 Aldwick",
    "NO 3, Park Avenue, 52100 Springvale",
)
GOODS = ("BREAD", "PAPER A4", "COFFEE", "NAILS 40MM", "PEN BLUE", "TEA", "GLUE", "CAKE")


@dataclass(frozen=True)
class ComparedAnswer:
    """One prompt. ours, theirs: the answers. first: the index of the first token that differs, None for none.

    margin: how far the best logit lies above the second one here, at that token.
    """

    question: str
    ours: str
    theirs: str
    first: int | None
    margin: float | None


def prompts(count: int, seed: int = 0) -> list[str]:
    """Receipts as text with a question each, from a seed."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        lines = [
            rng.choice(SHOPS),
            rng.choice(STREETS),
            f"DATE: {rng.randint(10, 28)}/0{rng.randint(1, 9)}/2018",
        ]
        prices = [rng.randint(100, 4000) for _ in range(rng.randint(2, 4))]
        lines += [f"{rng.choice(GOODS)} {price / 100:.2f}" for price in prices]
        lines += [f"TOTAL {sum(prices) / 100:.2f}", f"CASH {sum(prices) // 100 + 5:.2f}"]
        made.append("\n".join(lines) + "\n" + QUESTIONS[number % len(QUESTIONS)])
    return made


class OurSide:
    """The adapter in our runtime."""

    def __init__(self, files: ModelFiles, adapter: Path, name: str, precision: Precision) -> None:
        cache = paths.cache_directory()
        options = LoadOptions(cache, default_threads(), CONTEXT, precision)
        self.parts: Parts = load_parts(files, options, _silent)
        packer = CompiledAdapterPacker(self.parts.language.runtime.shape, cache / PACKED, self.parts.base)
        self._adapter: CompiledAdapter = packer.pack(read_adapter(adapter, name))

    def tokens(self, text: str) -> list[int]:
        return list(self.parts.prompts.build([Message("user", text)], {}).tokens)

    def answer(self, text: str) -> tuple[list[int], list[float]]:
        """The answer's tokens with the one that ends it, and the margin of each."""
        runtime, lora = self.parts.language.runtime, self._adapter.lora
        prompt = self.parts.prompts.build([Message("user", text)], {})
        count = len(prompt.tokens)
        logits = runtime.prefill(*prompt.inputs(0, count), 0, lora)
        tokens: list[int] = []
        margins: list[float] = []
        while True:
            second, best = sorted(logits.argpartition(-2)[-2:], key=logits.__getitem__)
            tokens.append(int(best))
            margins.append(float(logits[best] - logits[second]))
            if self.ends(tokens[-1]) or len(tokens) == LONGEST_ANSWER:
                return tokens, margins
            logits = runtime.decode(tokens[-1], count + len(tokens) - 1, lora)

    def ends(self, token: int) -> bool:
        return token in self.parts.language.tokenizer.end_ids

    def text(self, tokens: list[int]) -> str:
        return self.parts.language.tokenizer.decode([token for token in tokens if not self.ends(token)])


def compare(
    adapter: InstalledAdapter, files: ModelFiles, python: str, count: int, precision: Precision = "int8"
) -> list[ComparedAnswer]:
    """The answers of both runtimes to so many prompts.

    python: the interpreter that has llama-cpp-python. precision: of both; "float" takes 4 bytes a weight on the disk.
    """
    ours = OurSide(files, adapter.folder, adapter.name, precision)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        exported = export_for("llama.cpp", adapter, folder / f"{adapter.name}.gguf", files)
        other = peer.Peer(python, folder, default_threads(), CONTEXT)
        with other.worker as worker:
            base = files.files["language_model"]
            if precision == "float":
                worker.ask("widen", source=str(base), target=str(folder / "base.gguf"))
                base = folder / "base.gguf"
            other.use(peer.Variant("base", base, flash=False))
            worker.ask("lora", path=str(exported.path))
            return [_compared(ours, worker, text) for text in prompts(count)]


def _compared(ours: OurSide, worker: Any, text: str) -> ComparedAnswer:
    tokens, margins = ours.answer(text)
    theirs = [int(worker.ask("prefill", tokens=ours.tokens(text))["best"])]
    while not ours.ends(theirs[-1]) and len(theirs) < LONGEST_ANSWER:
        theirs.append(int(worker.ask("decode", tokens=theirs[-1:])["best"]))
    differing = [number for number, (a, b) in enumerate(zip(tokens, theirs, strict=False)) if a != b]
    first = differing[0] if differing else None
    margin = None if first is None else margins[first]
    return ComparedAnswer(text.splitlines()[-1], ours.text(tokens), ours.text(theirs), first, margin)


def _silent(*_: object) -> None:
    """Takes progress and shows nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison. Returns 1 when an answer differs, 2 when there is nothing to compare with."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.exported_adapters", description=__doc__
    )
    parser.add_argument("--adapter", default="receipts", help="an installed adapter [receipts]")
    parser.add_argument("--prompts", type=int, default=20, metavar="N", help="number of prompts [20]")
    parser.add_argument("--float", action="store_true", help="compute in float in both")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    interpreter = peer.python()
    if interpreter is None:
        print(peer.HELP, file=sys.stderr)
        return 2
    try:
        adapter = adapter_store().get(options.adapter)
        base = adapter.manifest.base_model if adapter.manifest else load_settings(paths.config_file()).model
        files = ModelStore(paths.models_directory()).find(base)
        if files is None:
            raise UserError(f"The model {base} is not on this machine; pull it first.")
        precision: Precision = "float" if options.float else "int8"
        rows = compare(adapter, files, interpreter, options.prompts, precision)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    same = sum(row.first is None for row in rows)
    if options.json:
        print(
            json.dumps(
                {"adapter": options.adapter, "same": same, "rows": [asdict(row) for row in rows]}, indent=2
            )
        )
        return int(same < len(rows))
    for row in rows:
        print(f"{'same' if row.first is None else 'DIFFERS':8}{row.question}  {row.ours!r}")
        if row.first is not None:
            print(f"        llama.cpp: {row.theirs!r}, from token {row.first}, margin {row.margin:.3f}")
    print(f"{same} of {len(rows)} answers are the same.")
    return int(same < len(rows))


if __name__ == "__main__":
    sys.exit(main())

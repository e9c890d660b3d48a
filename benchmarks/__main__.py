"""`make bench`, `python -m benchmarks`: measures speed and prints a table or JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from benchmarks.speed import adapters, app, measurement, peer
from benchmarks.speed import language_model as speed
from benchmarks.speed.measurement import IdleCheck
from benchmarks.speed.table import TableRow, as_json, as_text, in_words
from benchmarks.vlm import figures, random_models
from benchmarks.workers import Worker, WorkerError
from edge_app.settings import load
from edge_app.system import paths
from models.compiler import threads as thread_settings
from models.core.errors import UserError
from models.core.files import written_to
from models.formats.llama_sources import load_llama
from models.hub.store import ModelFiles, ModelStore
from models.packing.llama_shape import shape_of

ROUNDS = 7
QUICK_ROUNDS = 3
CONTEXT = 1024
GROUPS = ("speed", "adapters", "threads", "start", "answers", "memory", "first")
VLM = "vlm"  # not measured unless it is asked for: its models take gigabytes
QUICK_GROUPS = ("speed", "adapters", "start", "answers")


def main(arguments: list[str] | None = None) -> int:
    """Returns exit code 0 when everything was measured, targets missed or not, and 1 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        return _bench(options)
    except (UserError, WorkerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n\n{peer.HELP}",
        epilog="Example:\n  edge-app bench --quick --only speed start",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON; the table goes to stderr")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON to this file as well")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, fewer rows")
    parser.add_argument("--rounds", type=int, help=f"alternations behind every median (default {ROUNDS})")
    parser.add_argument("--only", nargs="+", choices=(*GROUPS, VLM), help="these groups of rows alone")
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help=f"where {VLM} keeps its random models, 1 to 3 GB each"
    )
    shapes = random_models.SHAPES
    parser.add_argument(
        "--shapes", nargs="+", choices=shapes, default=["500m"], help=f"of the models of {VLM}"
    )
    return parser


def _bench(options: argparse.Namespace) -> int:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    groups = options.only or (QUICK_GROUPS if options.quick else GROUPS)
    settings = load(paths.config_file())
    cache = paths.ensure(paths.cache_directory())
    files = ModelStore(paths.ensure(paths.models_directory())).pull(settings.model, offline=settings.offline)
    threads = settings.threads or thread_settings.default_threads()
    facts, versions = measurement.facts(cache), measurement.versions()
    say(f"{facts['processor']}, {threads} threads, kernels {facts['kernels']}, load {facts['load_before']}")
    rows: list[TableRow] = []
    with tempfile.TemporaryDirectory(prefix="edge-app-bench-") as temporary:
        folder = Path(temporary)
        if groups != [VLM]:
            app.first_use(folder)  # packs and compiles before anything is timed
        beside_peer = partial(_beside_peer, files, cache, folder, threads, rounds, versions)
        steps: dict[str, Callable[[], list[TableRow]]] = {
            "speed": lambda: beside_peer(speed.rows),
            "adapters": lambda: _adapters(beside_peer, files, rounds, folder),
            "threads": lambda: _threads(files, cache, folder, threads, rounds),
            "start": lambda: app.warm_starts(rounds, folder),
            "answers": lambda: app.answers(rounds, folder),
            "memory": lambda: [app.memory(rounds, folder)],
            "first": lambda: app.first_starts(min(rounds, 3), folder),
            VLM: lambda: _vlm(options, files, folder, threads, rounds, versions),
        }
        for group in groups:
            say(f"{group} ...")
            rows += steps[group]()
    _print(rows, as_json(facts, threads, versions, rows), options)
    return 0


def _print(rows: list[TableRow], figures: str, options: argparse.Namespace) -> None:
    """Print the table or the JSON, and write the file of --output. figures: the rows with the machine, as JSON."""
    print(as_text(rows), file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(figures, end="")
    if options.output is not None:
        with written_to(options.output, "give --output another place"):
            options.output.write_text(figures, encoding="utf-8")


def _beside_peer(
    files: ModelFiles,
    cache: Path,
    folder: Path,
    threads: int,
    rounds: int,
    versions: dict[str, str],
    measure: Callable[[speed.Sides], list[TableRow]],
) -> list[TableRow]:
    """The rows of a measure that needs our worker and, where it is installed, the peer."""
    weights, digest = files.files["language_model"], files.digests["language_model"]
    with ExitStack() as running:
        ours = running.enter_context(speed.our_worker(weights, digest, cache, folder, threads, CONTEXT))
        theirs = peer.find(paths.ensure(cache / "bench"), threads, CONTEXT)
        best = {}
        if theirs is None:
            say(f"without a peer: {peer.HELP}")
        else:
            running.enter_context(theirs.worker)
            theirs.run_default_model(weights, cache / "bench")
            versions["llama-cpp-python"] = theirs.about["version"]
            versions["llama.cpp features"] = theirs.about["system"]
            best = theirs.fastest(3)
            say(", ".join(f"{figure}: best is {variant.name}" for figure, variant in best.items()))
        sides = speed.Sides(ours, theirs, best, rounds, IdleCheck())
        rows = measure(sides)
        say(f"while one side worked, the other took at most {sides.idle.worst:.1%} of a processor")
        return rows


def _adapters(
    beside_peer: Callable[[Callable[[speed.Sides], list[TableRow]]], list[TableRow]],
    files: ModelFiles,
    rounds: int,
    folder: Path,
) -> list[TableRow]:
    shape = shape_of(load_llama(files.files["language_model"], files.digests["language_model"]))
    rows = beside_peer(partial(adapters.rows, folder=folder, shape=shape))
    return rows + adapters.installed(rounds, folder, shape)


def _vlm(
    options: argparse.Namespace,
    files: ModelFiles,
    folder: Path,
    threads: int,
    rounds: int,
    versions: dict[str, str],
) -> list[TableRow]:
    """The rows of vlm, those so far after Ctrl-C. Each is said when it is measured, since all take many minutes."""
    if options.models is None:
        raise UserError(f"{VLM} needs --models FOLDER, a folder for its random models")
    default = files.files["language_model"], files.digests["language_model"]
    run = figures.Run(options.models, folder, threads, rounds, IdleCheck(), default, versions)
    steps = {shape: partial(figures.rows, run, shape) for shape in options.shapes}
    rows: list[TableRow] = []
    with suppress(KeyboardInterrupt):
        for name, measured in [*steps.items(), ("default model", partial(figures.default_rows, run))]:
            say(f"{name} ...")
            for each in measured():
                say(f"  {in_words(each)}")
                rows.append(each)
    say(f"while one side worked, the other took at most {run.idle.worst:.1%} of a processor")
    return rows


def _threads(files: ModelFiles, cache: Path, folder: Path, threads: int, rounds: int) -> list[TableRow]:
    if threads == 1:
        return []
    weights, digest = files.files["language_model"], files.digests["language_model"]
    with ExitStack() as running:
        one: Worker = running.enter_context(speed.our_worker(weights, digest, cache, folder, 1, CONTEXT))
        several = running.enter_context(speed.our_worker(weights, digest, cache, folder, threads, CONTEXT))
        return speed.thread_rows(one, several, rounds, threads)


def say(text: str) -> None:
    """Print progress on stderr, since stdout has the table or the JSON."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

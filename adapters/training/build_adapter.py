"""Makes an installable adapter of labelled images: trains it, measures it, and writes its card and manifest.

The folder is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.prototypes import MOST, make_prototypes, spread_evenly, write_prototypes
from adapters.store.manifest import (
    MANIFEST_FILE,
    Accuracy,
    AdapterManifest,
    Example,
    PromptPolicy,
    check_name,
    write_manifest,
)
from adapters.store.record import read_manifest
from adapters.training.card import Made, card
from adapters.training.data import TRAIN, VALIDATION, TrainingRow, by_image, of_split
from adapters.training.images.features import load_training_image
from adapters.training.images.inputs import read_texts
from adapters.training.measure import accuracies, measure
from adapters.training.options import Options, Progress, Workplace
from adapters.training.train import TrainingReport, train
from models.adapter_weights import read_adapter
from models.core.errors import UserError
from models.core.files import file_digest
from models.core.types import Image
from models.engine import Engine, load_model
from models.language.copying.policy import CopyPolicy
from models.ocr import PROMPT_FORMAT

EXAMPLES = 20
CARD_FILE = "README.md"


@dataclass(frozen=True)
class About:
    """The parts of a manifest that the user gives. data, licence: source and licence of the training images, as text.

    base_digest: models.hub.store.BaseDigests.current of the base model. command, measure_command: for the card.
    """

    name: str
    version: str
    description: str
    base_digest: str
    data: str
    licence: str
    command: str
    measure_command: str
    notes: str = ""


def make_adapter(
    rows: Sequence[TrainingRow],
    about: About,
    options: Options,
    out: Path,
    place: Workplace,
    progress: Progress,
    *,
    resume: bool = False,
    measured: bool = True,
) -> tuple[TrainingReport, AdapterManifest]:
    """Train, measure on the rows of the split "val" unless `measured` is False, and write the folder `out`.

    about: for the manifest and the card. resume, progress: see adapters.training.train.train. Returns the training's
    report and the manifest. Raises UserError when `out` exists, the name cannot be an adapter's, or the rows cannot be
    used.
    """
    check_name(about.name)
    if out.exists():
        raise UserError(f"{out} exists already; remove it or choose another folder with --out.")
    unfinished = out.parent / f".{out.name}.{os.getpid()}"
    try:
        unfinished.mkdir(parents=True)
        report = train(rows, options, unfinished, place, progress, resume=resume)
        manifest = _describe(rows, about, options, report, place, unfinished, progress, measured)
        unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return replace(report, folder=out), manifest


def _describe(
    rows: Sequence[TrainingRow],
    about: About,
    options: Options,
    report: TrainingReport,
    place: Workplace,
    folder: Path,
    progress: Progress,
    measured: bool,
) -> AdapterManifest:
    """Write prototypes, card and manifest of a trained adapter, after measuring it if asked."""
    engine = load_model(place.files, cache_dir=place.cache_dir, threads=place.threads)
    try:
        learnt = of_split(rows, TRAIN)
        firsts = [group[0] for group in by_image(learnt).values()]
        pictures = [load_training_image(row) for row in spread_evenly(firsts, MOST)]
        _write_prototypes(folder, engine, pictures, [row.question for row in learnt], place)
        manifest = AdapterManifest(
            name=about.name,
            version=about.version,
            description=about.description,
            base_model=place.files.name,
            base_digest=about.base_digest,
            tasks=tuple(Counter(row.type for row in learnt)),
            examples=_examples(learnt),
            reads=PromptPolicy(options.ocr, report.words, options.chart_ranks),
            copies=_copies_of(options.start_from),
            training=_facts(about, options, report),
        )
        judged = of_split(rows, VALIDATION) if measured else ()
        if judged:
            manifest = replace(
                manifest, accuracy=_measured(engine, manifest, judged, folder, place, progress)
            )
    finally:
        engine.close()
    made = Made(about.command, about.measure_command, report.heads, about.notes)
    (folder / CARD_FILE).write_text(card(manifest, made), encoding="utf-8")
    manifest = replace(manifest, files={file.name: file_digest(file) for file in sorted(folder.iterdir())})
    (folder / MANIFEST_FILE).write_bytes(write_manifest(manifest))
    return manifest


def _copies_of(start: Path | None) -> CopyPolicy | None:
    """How the adapter with whose weights training began copies; None for a folder without a manifest."""
    manifest = None if start is None else read_manifest(start)[0]
    return None if manifest is None else manifest.copies


def _write_prototypes(
    folder: Path, engine: Engine, pictures: Sequence[Image], questions: Sequence[str], place: Workplace
) -> None:
    """The adapter's examples as the router sees them. engine: of the base model."""
    if place.router is None:
        if not engine.feature_sizes.image:
            return  # they are made at the install, by the model whose features the router reads
        write_prototypes(folder, make_prototypes(engine, pictures, questions))
        return
    reader = load_model(place.router, cache_dir=place.cache_dir, threads=place.threads)
    try:
        write_prototypes(folder, make_prototypes(reader, pictures, questions))
    finally:
        reader.close()


def _measured(
    engine: Engine,
    manifest: AdapterManifest,
    rows: Sequence[TrainingRow],
    folder: Path,
    place: Workplace,
    progress: Progress,
) -> tuple[Accuracy, ...]:
    """The adapter's accuracy on the rows, from the trained files."""
    adapter = engine.adapters.pack(read_adapter(folder, manifest.name))
    texts = read_texts(rows, manifest.reads, place, progress)

    def tell(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            progress(f"measured {done} of {total} answers")

    return accuracies(measure(engine, adapter, rows, texts, tell, use_words=manifest.reads.words))


def _examples(rows: Sequence[TrainingRow]) -> tuple[Example, ...]:
    """EXAMPLES questions at most, about equally many of every type, each with the answer for one of its images."""
    by_type: dict[str, dict[str, TrainingRow]] = {}
    for row in rows:
        by_type.setdefault(row.type, {}).setdefault(row.question, row)
    share = max(1, EXAMPLES // len(by_type))
    chosen = [row for questions in by_type.values() for row in spread_evenly(list(questions.values()), share)]
    return tuple(Example(row.question, row.answer, row.type) for row in chosen[:EXAMPLES])


def _facts(about: About, options: Options, report: TrainingReport) -> dict[str, str]:
    """The facts about the training in the manifest."""
    return {
        "data": about.data,
        "licence": about.licence,
        "images": str(report.images),
        "questions": str(report.rows),
        "rank": str(options.rank),
        "alpha": str(options.alpha),
        "learning_rate": f"{options.learning_rate:g}",
        "seed": str(options.seed),
        "prompt_format": str(PROMPT_FORMAT),
        "steps": f"{report.learnt.steps}, the best at {report.learnt.step}",
        "minutes": f"{report.minutes:.1f}",
        "command": about.command,
    }

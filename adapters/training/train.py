"""Trains an adapter: first its own heads, which takes seconds, then a LoRA that reads their image tokens and the text.

Only rows of the split "train" are used. Some of their images are held out for every choice that is made. The split
"val" is for adapters.training.measure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from adapters.store.manifest import PROJECTOR_FILE
from adapters.training.batches import BatchPlan, ImageQuestions
from adapters.training.data import TRAIN, TrainingRow, by_image, by_view, of_split, set_aside
from adapters.training.images.inputs import projector_inputs, tile_inputs
from adapters.training.learning import SLACK, HeldOut, Learner, Learnt, Schedule
from adapters.training.options import Options, Progress, Workplace, heads_file, recipe_of
from adapters.training.own_heads.heads import OwnHeadResult
from adapters.training.token_rows import ExampleBuilder, TrainingImage
from models.core.errors import UserError
from models.core.types import no_progress
from models.families.parts import LoadOptions
from models.families.registry import load_parts
from models.formats.llama_sources import load_llama
from models.lora.peft_format import read_peft
from models.lora.weights import LoraWeights
from models.model_config import read_model_config
from models.ocr import PROMPT_FORMAT
from models.training.language import LANGUAGE_MODEL, TorchLanguageModel, inside_vlm
from models.vision.projector.projector_file import write_projector_part
from models.vision.tiled.tile_encoder import TileEncoder

HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 100  # images
SCORED_TOKENS = 10_000
"""Limit on the tokens of held-out examples, because scoring them several times should not take longer than learning."""

ROUNDS = 3
LEAST_STEPS = 160
LEAST_SECONDS = 60.0
"""Seconds that a training may take beyond its announced time, since one timed step tells little of a short one."""

LEAST_TO_HOLD_OUT_OF = 40
"""Images from which on a model without heads holds some out. Fewer do not tell more than the learnt ones."""

LEAST_STEPS_FEW = 600
"""Steps, at most, to learn fewer images by heart. The training ends when every answer is right and sure."""


@dataclass(frozen=True)
class TrainingReport:
    """The result of a training. Accuracies are on held-out images of the split "train", by teacher forcing."""

    folder: Path
    heads: tuple[OwnHeadResult, ...]
    words: bool
    learnt: Learnt
    minutes: float
    images: int
    rows: int
    parameters: Mapping[str, object] = field(default_factory=dict)


def train(
    rows: Sequence[TrainingRow],
    options: Options,
    out: Path,
    place: Workplace,
    progress: Progress,
    *,
    resume: bool = False,
) -> TrainingReport:
    """Train on the rows of the split "train" and write the PEFT folder `out` with its projector part.

    progress: see Progress. resume: continue from the heads and the checkpoint of an earlier run with the same rows and
    options. Raises UserError when the checkpoint is of another run, for images that cannot be read, and for an adapter
    to start from that does not fit.
    """
    started = time.monotonic()
    rows = of_split(rows, TRAIN)
    torch.manual_seed(options.seed)
    torch.set_num_threads(place.threads)
    parts = load_parts(place.files, LoadOptions(place.cache_dir, place.threads), no_progress)
    recipe = recipe_of(rows, [PROMPT_FORMAT, place.files.digest, _plain(options)])
    tiled = isinstance(parts.vision, TileEncoder)
    learnt_rows, held_rows = _split(rows, LEAST_TO_HOLD_OUT_OF if tiled else 0, options.seed, progress)
    image_inputs = tile_inputs if tiled else projector_inputs
    inputs = image_inputs(rows, learnt_rows, parts, options, place, progress, resume)
    words = inputs.part is None and options.ocr == "never"
    builder = ExampleBuilder(parts.language.tokenizer, parts.prompts, words)
    asked = _image_questions(learnt_rows, inputs.seen)
    plan = BatchPlan(asked, builder, options.seed, most_steps=len(asked) if tiled else 0)
    held_out = _held_out(held_rows, inputs.seen, builder)
    start_from = options.start_from or read_model_config(place.files.bundled).base_lora
    start = read_peft(start_from, start_from.name) if start_from else None
    del parts
    language = TorchLanguageModel(
        load_llama(place.files.files.get("language_model", place.files.directory), place.files.digest),
        options.rank,
        options.alpha,
        inside_vlm(place.files.name) if tiled else LANGUAGE_MODEL,
    )
    if start is not None:
        _begin_as(language, start)
    least = LEAST_STEPS_FEW if held_rows is learnt_rows else LEAST_STEPS
    steps = options.steps or max(least, ROUNDS * plan.steps_an_epoch)
    progress(f"{plan.tokens} tokens a round in {plan.steps_an_epoch} steps; {steps} steps")
    learner = Learner(language, plan, held_out, place.checkpoint, recipe)
    schedule = Schedule(steps, options.learning_rate, options.minutes)
    seconds = learner.estimate(schedule, resume)
    limit = SLACK * seconds + LEAST_SECONDS
    progress(
        f"training takes about {_duration(seconds)}; after {_duration(limit)} it stops and can be resumed"
    )
    learnt = learner.run(replace(schedule, seconds=limit), resume, progress)
    language.save_adapter(out)
    if inputs.part is not None:
        write_projector_part(out / PROJECTOR_FILE, inputs.part)
    for file in (place.checkpoint, heads_file(place)):
        file.unlink(missing_ok=True)
    minutes = (time.monotonic() - started) / 60
    return TrainingReport(
        out, inputs.heads, words, learnt, minutes, len(by_image(rows)), len(rows), _plain(options)
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"


def _split(
    rows: Sequence[TrainingRow], least: int, seed: int, progress: Progress
) -> tuple[Sequence[TrainingRow], Sequence[TrainingRow]]:
    """(what is learnt, what is held out). Of fewer than `least` images none is held out: the learnt rows are scored."""
    images = len(by_image(rows))
    if images < least:
        progress(f"{images} images are too few to hold some out; the training is judged by what it learns.")
        return rows, rows
    return set_aside(rows, min(HELD_OUT_SHARE, MOST_HELD_OUT / images), seed)


def _image_questions(rows: Sequence[TrainingRow], seen: Mapping[str, TrainingImage]) -> list[ImageQuestions]:
    return [ImageQuestions(seen[view], tuple(group)) for view, group in by_view(rows).items()]


def _held_out(
    rows: Sequence[TrainingRow], seen: Mapping[str, TrainingImage], builder: ExampleBuilder
) -> HeldOut:
    """The held-out examples, limited to about SCORED_TOKENS tokens."""
    examples, types, tokens = [], [], 0
    for view, group in by_view(rows).items():
        if tokens < SCORED_TOKENS:
            examples.append(builder.questions(seen[view], group))
            types.append([row.type for row in group])
            tokens += examples[-1].size
    return HeldOut(examples, types)


def _begin_as(language: TorchLanguageModel, start: LoraWeights) -> None:
    """Start from another LoRA. Raises UserError when its rank is larger than the trained one's."""
    if start.rank > language.rank:
        raise UserError(
            f"Training begins with {start.name}, which has rank {start.rank}; use --rank {start.rank} or more."
        )
    language.begin_as(start.tensors, start.rank)


def _plain(options: Options) -> dict[str, object]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}

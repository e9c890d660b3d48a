"""Trains an adapter: first its own heads, which takes seconds, then a LoRA that reads their image tokens and the text.

Only rows of the split "train" are used. Some of their images are held out for every choice that is made. The split
"val" is for adapters.training.measure.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.store.manifest import PROJECTOR_FILE, PromptPolicy, ReadsText
from adapters.training.batches import BatchPlan, ImageQuestions
from adapters.training.data import OCR_FILE, TRAIN, TrainingRow, by_image, by_view, of_split, set_aside
from adapters.training.images.features import FeatureCache, load_training_image
from adapters.training.images.tiled_images import TiledImages
from adapters.training.learning import SLACK, HeldOut, Learner, Learnt, Schedule, Step
from adapters.training.own_heads.heads import (
    MAX_WORDS,
    OwnHead,
    OwnHeadResult,
    find_facts,
    make_heads,
    sharpened,
)
from adapters.training.own_heads.heads_cache import keep_heads, kept_heads
from adapters.training.token_rows import ExampleBuilder, TrainingImage
from models.core.errors import UserError
from models.core.types import no_progress
from models.families.parts import LoadOptions, Parts
from models.families.registry import load_parts
from models.formats.llama_sources import load_llama
from models.hub.store import ModelFiles
from models.lora.peft_format import read_peft
from models.lora.weights import LoraWeights
from models.model_config import read_model_config
from models.ocr import PROMPT_FORMAT
from models.ocr.prompt_text import as_prompt_lines
from models.ocr.reader import OcrCache, TextReader
from models.training.language import LANGUAGE_MODEL, TorchLanguageModel, inside_vlm
from models.vision.projector.heads import ProjectorHead, ProjectorPart
from models.vision.projector.projector_file import write_projector_part
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tower import TowerFeatures
from models.vision.vision_encoder import VisionEncoder

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
class Options:
    """The options of a training.

    rank, alpha: of the LoRA. learning_rate: the highest. ocr, chart_ranks: see adapters.store.manifest.PromptPolicy.
    steps: the most there are; 0 takes ROUNDS epochs, at least LEAST_STEPS. minutes: of learning at most, over which the
    learning rate falls by the clock; 0 is no limit. own_head: whether the adapter gets heads of its own; "auto" keeps
    those that are better than the commonest answer on held-out images. start_from: an adapter's folder, with whose LoRA
    training begins; None begins with the model's own LoRA for images, which has learnt to read image tokens. Either may
    have a smaller rank.
    """

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    ocr: ReadsText = "never"
    chart_ranks: bool = False
    own_head: OwnHead = "auto"
    start_from: Path | None = None


@dataclass(frozen=True)
class Workplace:
    """Files and threads of a training.

    files: the base model. cache_dir: the app's cache. checkpoint: of this run.
    router: the model whose features the router reads; None for the base model's own.
    """

    files: ModelFiles
    cache_dir: Path
    checkpoint: Path
    threads: int
    router: ModelFiles | None = None


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


Progress = Callable[[str | Step], None]
"""Called with a line of text for each stage, and with every step of the optimisation."""


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
    recipe = _recipe(rows, [PROMPT_FORMAT, place.files.digest, _plain(options)])
    tiled = isinstance(parts.vision, TileEncoder)
    learnt_rows, held_rows = _split(rows, LEAST_TO_HOLD_OUT_OF if tiled else 0, options.seed, progress)
    look = _look_at_tiles if tiled else _look_with_heads
    inputs = look(rows, learnt_rows, parts, options, place, progress, resume)
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
    for file in (place.checkpoint, _heads_file(place)):
        file.unlink(missing_ok=True)
    minutes = (time.monotonic() - started) / 60
    return TrainingReport(
        out, inputs.heads, words, learnt, minutes, len(by_image(rows)), len(rows), _plain(options)
    )


@dataclass(frozen=True)
class _Inputs:
    """The images as input of the language model, by TrainingRow.view, and the heads that they were seen with."""

    seen: Mapping[str, TrainingImage]
    heads: tuple[OwnHeadResult, ...] = ()
    part: ProjectorPart | None = None


def _look_with_heads(
    rows: Sequence[TrainingRow],
    learnt_rows: Sequence[TrainingRow],
    parts: Parts,
    options: Options,
    place: Workplace,
    progress: Progress,
    resume: bool,
) -> _Inputs:
    """The inputs of a model with a projector: features, and the adapter's own heads, fitted on the learnt rows."""
    features = extract_features(rows, parts, place, progress)
    recipe = _recipe(rows, [options.own_head, options.seed])
    heads = kept_heads(_heads_file(place), recipe) if resume else None
    if heads is None:
        tokenizer = parts.language.tokenizer
        heads = make_heads(
            find_facts(learnt_rows), features, tokenizer, options.own_head, options.seed, progress
        )
        keep_heads(_heads_file(place), recipe, heads)
    part = projector_part([each.head for each in heads if each.head], rows, options)
    texts = read_texts(rows, PromptPolicy(options.ocr, chart_ranks=options.chart_ranks), place, progress)
    return _Inputs(encode_images(features, texts, parts, part, heads), tuple(heads), part)


def _look_at_tiles(
    rows: Sequence[TrainingRow],
    _learnt_rows: Sequence[TrainingRow],
    parts: Parts,
    options: Options,
    place: Workplace,
    progress: Progress,
    _resume: bool,
) -> _Inputs:
    """The inputs of a model that looks at tiles. It has no heads. Raises UserError when some are asked for."""
    assert isinstance(parts.vision, TileEncoder), "checked by train"
    if options.own_head == "yes":
        raise UserError(f"{place.files.name} has no image heads; leave --own-head away.")
    tower = place.files.digests.get("mmproj", place.files.digest)
    seen = TiledImages(parts.vision, tower, place.cache_dir).of(rows, progress)
    texts = read_texts(rows, PromptPolicy(options.ocr, chart_ranks=options.chart_ranks), place, progress)
    return _Inputs({view: replace(image, text=texts.get(image.digest, "")) for view, image in seen.items()})


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"


def _heads_file(place: Workplace) -> Path:
    return place.checkpoint.with_suffix(".heads.npz")


def _split(
    rows: Sequence[TrainingRow], least: int, seed: int, progress: Progress
) -> tuple[Sequence[TrainingRow], Sequence[TrainingRow]]:
    """(what is learnt, what is held out). Of fewer than `least` images none is held out: the learnt rows are scored."""
    images = len(by_image(rows))
    if images < least:
        progress(f"{images} images are too few to hold some out; the training is judged by what it learns.")
        return rows, rows
    return set_aside(rows, min(HELD_OUT_SHARE, MOST_HELD_OUT / images), seed)


def extract_features(
    rows: Sequence[TrainingRow], parts: Parts, place: Workplace, progress: Progress
) -> dict[str, TowerFeatures]:
    """The tower's features of every image, by digest; computed once and cached."""
    if not isinstance(parts.vision, VisionEncoder):
        raise UserError(
            f"{place.files.name} has no vision encoder with a projector, which this training needs; choose a model "
            "that has one."
        )
    tower, _ = parts.vision.load()
    cache = FeatureCache(tower, place.files.digests["vision_tower"], place.cache_dir)

    def tell(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            progress(f"looked at {done} of {total} images")

    return cache.of(rows, tell)


def projector_part(
    heads: Sequence[ProjectorHead], rows: Sequence[TrainingRow], options: Options
) -> ProjectorPart | None:
    """The adapter's part of the projector; None without own heads.

    Own heads replace the model's. They are added to the model's when some type of question has so many answers that it
    needs the model's general heads, and no text is read.
    """
    if not heads:
        return None
    closed = {head.name for head in heads}
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row.type, set()).add(row.answer)
    is_open = any(len(said) > MAX_WORDS for kind, said in answers.items() if kind not in closed)
    return ProjectorPart(None if is_open and options.ocr == "never" else (), tuple(heads))


def read_texts(
    rows: Sequence[TrainingRow], reads: PromptPolicy, place: Workplace, progress: Progress
) -> dict[str, str]:
    """The text in the images as prompts have it, by digest. What is read is cached."""
    if reads.ocr == "never":
        return {}
    cache, reader = OcrCache(place.cache_dir / OCR_FILE), TextReader(place.threads)
    texts: dict[str, str] = {}
    images = {row.digest: row for row in rows}
    for done, (digest, row) in enumerate(images.items(), 1):
        page = cache.get(digest) or cache.read(load_training_image(row), reader)
        if reads.ocr == "always" or page.looks_like_document:
            texts[digest] = as_prompt_lines(page, reads.prompt_format, chart_ranks=reads.chart_ranks)
        if done % 50 == 0 or done == len(images):
            cache.save()
            progress(f"read {done} of {len(images)} images")
    return texts


def encode_images(
    features: Mapping[str, TowerFeatures],
    texts: Mapping[str, str],
    parts: Parts,
    part: ProjectorPart | None,
    heads: Sequence[OwnHeadResult],
) -> dict[str, TrainingImage]:
    """Every image as input of the language model, by digest.

    The image tokens of an own head come from cross-validation, by a head that was not fitted on the image: on its own
    training images a head is more certain than on other images.
    """
    assert isinstance(parts.vision, VisionEncoder), "checked by extract_features"
    _, projector = parts.vision.load()
    kept = [each for each in heads if each.head is not None]
    seen = {}
    for digest, each in features.items():
        made = projector.tokens(each, part)
        rows, at = made.embeddings.copy(), len(made.embeddings)
        for result in reversed(kept):
            assert result.head is not None
            at -= result.head.slots
            if digest in result.shares:
                rows[at : at + result.head.slots] = mixtures(result.head, result.shares[digest], parts)
        guesses = made.heads.get(parts.words_head or "", made.guesses)
        seen[digest] = TrainingImage(digest, rows, guesses, texts.get(digest, ""))
    return seen


def mixtures(head: ProjectorHead, shares: NDArray[np.float32], parts: Parts) -> NDArray[np.float32]:
    """A head's image tokens for probabilities float32 [words], as the projector makes them: float32 [slots, hidden]."""
    shares = sharpened(shares, head.sharpness)
    return np.stack(
        [shares @ parts.embedding(head.tokens[:, slot].astype(np.int64)) for slot in range(head.slots)]
    ).astype(np.float32)


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


def _recipe(rows: Sequence[TrainingRow], choices: object) -> str:
    """sha256 (hex) of everything that decides a result: the rows, and the choices that it depends on."""
    content = [
        choices,
        [[row.view, row.question, row.answer, row.type, sorted(row.labels.items())] for row in rows],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _plain(options: Options) -> dict[str, object]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}

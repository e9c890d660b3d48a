"""Trains the default model's projector heads in seconds, then the base LoRA that answers from their image tokens.

    python -m models.training.base --data DIR --models DIR --out DIR [--work-dir DIR] [--resume]

Only the train split of photos is read, and notes about these photos. All randomness is seeded. The batch of a step
depends on the number of the step alone, so a resumed run gives the same result as one without a break.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.core.files import replacing
from models.formats.gguf.gguf_file import GgufFile
from models.formats.llama_sources import load_llama
from models.formats.torch_checkpoint import read_checkpoint
from models.hub.store import ModelStore
from models.language.prompt import PromptBuilder
from models.language.templates.chat_template import ChatTemplate
from models.language.tokenizer import Tokenizer
from models.model_config import read_model_config
from models.scoring.answer_rules import CLASSES, read_classes
from models.training import heads as word_heads
from models.training.classes import load_classes
from models.training.dialogues import Talk, Turn, article
from models.training.examples import ConversationWriter, ImageRows, TrainingConversation, pack
from models.training.features import cached, compute, read_rows
from models.training.language import PackedBatch, TorchLanguageModel, cosine_rate, load_checkpoint
from models.training.replies import REPLIES
from models.training.scenes import SceneMaker
from models.training.tower import load_tower

MODEL = "edge-vlm-135m"
NOTES = Path(__file__).with_name("photo_notes.jsonl")
SEED = 20
STEPS = 600
TOKENS = 300  # the least tokens of a step's packed row
LEARNING_RATE = 1e-3
WARM_UP = 40
REAL_SHARE = 0.4
REPLY_SHARE = 0.12
REPLIES_FROM = 200  # the step from which replies without an image are mixed in
CHECKPOINT_EVERY = 50
HELD_OUT = 40  # training photos that are left out of the LoRA's training, for the reported loss


@dataclass(frozen=True)
class FittedHeads:
    """The projector's heads.

    photos: by head, probabilities [n, words] of the training photos, by heads that were not fitted on them.
    classifier: the tower's, float32 [1000, 1280]. photo_classes: the class of each photo.
    """

    heads: list[word_heads.WordHead]
    photos: dict[str, NDArray[np.float32]]
    classifier: NDArray[np.float32]
    photo_classes: tuple[int, ...]


def fit_heads(data: Path, checkpoint: Path, tokenizer: Tokenizer, work: Path) -> FittedHeads:
    """Compute the features of the training photos and fit the heads. work: the folder that caches features."""
    rows = list(read_rows(data / "photos.jsonl", "train"))
    images = [row["image"] for row in rows]
    tensors = read_checkpoint(checkpoint)
    features = cached(
        work / "features.npz", lambda: compute(load_tower(tensors), data, images, print), images
    )
    order = {wnid: index for index, wnid in enumerate(read_classes())}
    truth = np.array([order[row["wnid"]] for row in rows])
    classifier = tensors["_fc.weight"].astype(np.float32)
    logits = features.pool @ classifier.T + tensors["_fc.bias"]
    temperature = word_heads.classifier_temperature(logits, truth)
    photos = {"object": word_heads.softmax(logits / temperature)}
    right = (logits.argmax(1) == truth).mean()
    print(f"object: {right:.1%} of the training photos, temperature {temperature:.2f}")
    fitted = word_heads.class_heads(tokenizer, load_classes(), temperature)
    notes = {note["image"]: note for note in map(json.loads, NOTES.read_text(encoding="utf-8").splitlines())}
    inputs = word_heads.feature_matrix(features)
    for head in word_heads.NOTE_HEADS:
        wanted = word_heads.targets(head, [notes[image] for image in images])
        penalty, probabilities = word_heads.cross_fit(inputs, wanted, SEED)
        right = (wanted[np.arange(len(wanted)), probabilities.argmax(1)] > 0).mean()
        print(f"{head.name}: {right:.1%} held out, always the commonest {(wanted > 0).mean(0).max():.1%}")
        weight, bias = word_heads.fit_linear(inputs, wanted, penalty)
        tokens = word_heads.word_tokens(tokenizer, head.labels, head.slots)
        fitted.append(
            word_heads.WordHead(head.name, ("pool", "colour"), 1.0, head.labels, tokens, weight, bias)
        )
        photos[head.name] = probabilities
    return FittedHeads(fitted, photos, classifier, tuple(int(each) for each in truth))


class ConversationSampler:
    """Samples the conversations of each training step."""

    def __init__(self, fitted: FittedHeads, writer: ConversationWriter, allowed: Sequence[int]) -> None:
        """allowed: the classes of synthetic scenes."""
        self._classes = load_classes()
        learnt = {name: values[HELD_OUT:] for name, values in fitted.photos.items()}
        self._scenes = SceneMaker(self._classes, learnt, fitted.classifier, allowed)
        self._held_out = SceneMaker(self._classes, fitted.photos, fitted.classifier, allowed)
        self._writer = writer
        self._by_name = {each.name: index for index, each in enumerate(self._classes)}
        self._allowed = [self._classes[index] for index in allowed]

    @cached_property
    def _replies(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in REPLIES.read_text(encoding="utf-8").splitlines()]

    def draw(self, step: int) -> list[TrainingConversation]:
        """The conversations of a step, at least TOKENS tokens together."""
        rng = np.random.default_rng([SEED, step])
        chosen: list[TrainingConversation] = []
        while sum(len(each.tokens) for each in chosen) < TOKENS:
            chosen.append(self._one(rng, REPLY_SHARE if step >= REPLIES_FROM else 0))
        return chosen

    def held_out(self) -> list[TrainingConversation]:
        """The same dialogues at every call, about photos that `draw` does not use."""
        rng = np.random.default_rng([SEED, 0, 1])
        scenes = [self._held_out.photo(index) for index in range(HELD_OUT)]
        return [
            self._writer.conversation(s, Talk(s, self._allowed, rng).dialogue(2), i % 2 == 0)
            for i, s in enumerate(scenes)
        ]

    def _one(self, rng: np.random.Generator, reply_share: float) -> TrainingConversation:
        use_words = bool(rng.random() < 0.5)
        if rng.random() < reply_share:
            reply = self._replies[int(rng.integers(len(self._replies)))]
            scene = self._scenes.made_up(rng, self._by_name[reply["name"]])
            opening: Turn = ("What is in this picture?", f"The photo shows {article(reply['name'])}.")
            return self._writer.conversation(
                scene, [opening, (reply["question"], reply["answer"])], use_words
            )
        scene = self._scenes.draw(rng, REAL_SHARE)
        turns = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.25, 0.15]))
        return self._writer.conversation(scene, Talk(scene, self._allowed, rng).dialogue(turns), use_words)


def learning_rate(step: int, steps: int) -> float:
    """The learning rate of a step, at most LEARNING_RATE (see cosine_rate)."""
    return cosine_rate(step, steps, LEARNING_RATE, WARM_UP)


def train(
    language: TorchLanguageModel, sampler: ConversationSampler, steps: int, checkpoint: Path, resume: bool
) -> None:
    """Optimise the LoRA. Prints losses and the time left, and writes a checkpoint every CHECKPOINT_EVERY steps."""
    optimiser = torch.optim.AdamW(
        language.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01
    )
    first = 0
    if resume and checkpoint.is_file():
        saved = load_checkpoint(checkpoint)
        language.load_state(saved["adapter"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    held_out = pack(sampler.held_out(), language.embedding)
    recent: list[float] = []
    started = time.monotonic()
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps)
        recent.append(_step(language, optimiser, pack(sampler.draw(step), language.embedding)))
        done = step + 1
        if done % 20 == 0:
            pace = (time.monotonic() - started) / (done - first)
            left = pace * (steps - done) / 60
            loss = np.mean(recent[-20:])
            print(f"step {done}/{steps}  loss {loss:.3f}  {pace:.2f} s/step  {left:.0f} min left", flush=True)
        if done % CHECKPOINT_EVERY == 0 or done == steps:
            with torch.inference_mode():
                print(f"held out: {float(language.loss(held_out)):.3f}", flush=True)
            _save(checkpoint, language, optimiser, done)


def _step(language: TorchLanguageModel, optimiser: torch.optim.Optimizer, batch: PackedBatch) -> float:
    optimiser.zero_grad(set_to_none=True)
    loss = language.loss(batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(language.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _save(path: Path, language: TorchLanguageModel, optimiser: torch.optim.Optimizer, step: int) -> None:
    with replacing(path) as file:
        torch.save({"adapter": language.state(), "optimiser": optimiser.state_dict(), "step": step}, file)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.manual_seed(SEED)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    files = ModelStore(options.models).pull(MODEL).files
    gguf = GgufFile(files["language_model"])
    tokenizer = Tokenizer.from_gguf(gguf)
    fitted = fit_heads(options.data, files["vision_tower"], tokenizer, options.work_dir)
    word_heads.save_projector(options.out / "projector.safetensors", fitted.heads)
    if options.steps == 0:
        return
    config = read_model_config(CLASSES.parent)
    template = ChatTemplate(config.chat_template or "")
    language = TorchLanguageModel(load_llama(files["language_model"]))
    writer = ConversationWriter(
        tokenizer,
        PromptBuilder(tokenizer, template, config.wording),
        ImageRows(fitted.heads, language.embedding),
    )
    allowed = sorted(set(fitted.photo_classes)) if options.names == "seen" else range(len(load_classes()))
    sampler = ConversationSampler(fitted, writer, list(allowed))
    train(language, sampler, options.steps, options.work_dir / f"base-{options.names}.pt", options.resume)
    language.save_adapter(options.out / "base_lora")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with photos.jsonl and photos/")
    parser.add_argument(
        "--models", type=Path, required=True, help="where `edge-app models pull` keeps models"
    )
    parser.add_argument("--out", type=Path, required=True, help="gets projector.safetensors and base_lora/")
    parser.add_argument("--work-dir", type=Path, default=Path("training"), help="features and checkpoints")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --work-dir")
    parser.add_argument("--steps", type=int, default=STEPS, help="0 fits the projector only")
    parser.add_argument(
        "--names",
        choices=("all", "seen"),
        default="all",
        help="classes that made-up scenes may name: all 1000, or those of the training photos only",
    )
    return parser


if __name__ == "__main__":
    main()

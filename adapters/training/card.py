"""An adapter's card, README.md: its purpose, its accuracy beside the baselines, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.store.manifest import Accuracy, AdapterManifest
from adapters.training.measure import BESIDE
from adapters.training.own_heads.heads import OwnHeadResult


@dataclass(frozen=True)
class Made:
    """How an adapter was made. command: repeats the training. notes: Markdown that is added to the card."""

    command: str
    measure_command: str
    heads: Sequence[OwnHeadResult]
    notes: str = ""


def card(manifest: AdapterManifest, made: Made) -> str:
    """The card as Markdown."""
    parts = [
        f"# {manifest.name}",
        manifest.description,
        _use(manifest),
        _table(manifest.accuracy, made.measure_command),
        _vision(made.heads, manifest),
        _training(manifest, made.command),
        made.notes,
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _use(manifest: AdapterManifest) -> str:
    questions = list(dict.fromkeys(example.question for example in manifest.examples))[:6]
    asked = "\n".join(f"- {question}" for question in questions)
    return (
        f"A LoRA adapter of {manifest.base_model} for edge-app:\n\n"
        f"    edge-app ask {questions[0]!r} --image IMAGE --adapter {manifest.name}\n\n"
        f"It was trained on questions like these; others may get poor answers:\n\n{asked}"
    )


def _table(accuracy: Sequence[Accuracy], command: str) -> str:
    if not accuracy:
        return "## Accuracy\n\nIt was not measured."
    lines = [
        "| set | question | rows | this adapter | without it | blind | always the commonest |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in accuracy:
        shares = " | ".join(
            f"{100 * share:.1f}" for share in (row.adapter, row.base, row.blind, row.majority)
        )
        lines.append(f"| {row.set} | {row.type} | {row.rows} | {shares} |")
    return (
        "## Accuracy\n\nPercent right on validation images that training never saw, the real engine, greedy. "
        f"Blind is the adapter without the image; it and the model without the adapter answered at most {BESIDE} "
        "rows of each.\n\n" + "\n".join(lines) + f"\n\nMeasured with\n\n    {command}"
    )


def _vision(heads: Sequence[OwnHeadResult], manifest: AdapterManifest) -> str:
    kept = [each for each in heads if each.head is not None]
    dropped = [each for each in heads if each.head is None]
    lines = ["## What it sees with"]
    if kept:
        lines.append(
            "Own heads over the vision tower's features. Each turns an image into a mixture of its words, which "
            "the language model reads as image tokens; right on training images that it was not fitted on:\n\n"
            + "\n".join(
                f"- {each.name}: {len(each.head.labels) if each.head else 0} words, {each.view}, "
                f"{each.accuracy:.1%} of {each.images} images (always the commonest: {each.majority:.1%})"
                for each in kept
            )
        )
    else:
        lines.append("The base model's vision encoder, unchanged.")
    if dropped:
        lines.append(
            "Tried and dropped, since they said no more than the commonest answer: "
            + ", ".join(f"{each.name} ({each.accuracy:.1%} of {each.images} images)" for each in dropped)
            + "."
        )
    if manifest.reads.ocr != "never":
        when = "every image" if manifest.reads.ocr == "always" else "images that look like documents"
        lines.append(f"The text in {when} is read on the device and stands in the prompt.")
    return "\n\n".join(lines)


def _training(manifest: AdapterManifest, command: str) -> str:
    facts = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in manifest.training.items())
    return f"## How it was made\n\n    {command}\n\n{facts}"

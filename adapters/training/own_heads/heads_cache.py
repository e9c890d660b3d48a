"""Heads that were fitted already, kept beside the checkpoint so that a resumed training need not fit them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.training.own_heads.heads import OwnHeadResult
from models.core.files import DAMAGED_NPZ, replacing
from models.vision.projector.heads import Places, ProjectorHead


def keep_heads(file: Path, recipe: str, results: Sequence[OwnHeadResult]) -> None:
    """Write results. `kept_heads` returns them for the same recipe only."""
    arrays: dict[str, NDArray[Any]] = {}
    described = []
    for number, each in enumerate(results):
        fields = {key: getattr(each, key) for key in ("name", "images", "view", "accuracy", "majority")}
        if each.head is not None:
            fields["head"] = _described(each.head, f"{number}.", arrays)
            arrays[f"{number}.shares"] = np.stack(list(each.shares.values()))
            fields["digests"] = list(each.shares)
        described.append(fields)
    text = json.dumps({"recipe": recipe, "results": described})
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays["described"] = np.array(text)
    with replacing(file) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # the stub lets no array be named freely


def kept_heads(file: Path, recipe: str) -> list[OwnHeadResult] | None:
    """The results of this recipe; None when the file is missing, damaged or of another recipe."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            content = json.loads(str(stored["described"]))
            if content["recipe"] != recipe:
                return None
            return [_result(fields, f"{n}.", stored) for n, fields in enumerate(content["results"])]
    except DAMAGED_NPZ:
        return None


def _described(head: ProjectorHead, prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The fields of a head as JSON. Its arrays are added to `arrays` under the prefix."""
    for key in ("weight", "bias", "tokens"):
        arrays[prefix + key] = getattr(head, key)
    described = {
        key: getattr(head, key) for key in ("name", "features", "temperature", "sharpness", "labels")
    }
    if head.places is not None:
        places = asdict(head.places)
        arrays[prefix + "places.weight"] = places.pop("weight")
        arrays[prefix + "places.bias"] = places.pop("bias")
        described["places"] = places
    return described


def _result(fields: dict[str, Any], prefix: str, stored: Any) -> OwnHeadResult:
    """The inverse of `keep_heads` for one result."""
    described, digests = fields.pop("head", None), fields.pop("digests", [])
    if described is None:
        return OwnHeadResult(**fields, head=None, shares={})
    places = described.pop("places", None)
    if places is not None:
        weight, bias = stored[prefix + "places.weight"], stored[prefix + "places.bias"]
        places = Places(**places, weight=weight, bias=bias)
    arrays = {key: stored[prefix + key] for key in ("weight", "bias", "tokens")}
    features, labels = tuple(described.pop("features")), tuple(described.pop("labels"))
    head = ProjectorHead(**described, features=features, labels=labels, **arrays, places=places)
    return OwnHeadResult(
        **fields, head=head, shares=dict(zip(digests, stored[prefix + "shares"], strict=True))
    )

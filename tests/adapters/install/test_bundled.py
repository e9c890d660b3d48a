"""The adapters that come with the app are what their manifests say, and are for the model that comes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.install.verify import check_base, check_hashes, read_weights
from adapters.store.adapter_store import BUNDLED, bundled_names, read_policies
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from models.hub.store import ModelStore


@pytest.mark.parametrize("name", bundled_names())
def test_a_bundled_adapter_is_whole_and_of_the_bundled_model(name: str, tmp_path: Path) -> None:
    folder = BUNDLED / name
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), folder / MANIFEST_FILE)
    assert manifest.name == name
    assert manifest.examples, "the router and the probe need them"
    assert manifest.accuracy
    assert manifest.training.get("data")
    assert manifest.training.get("licence")
    check_hashes(folder, manifest, {})
    check_base(manifest, ModelStore(tmp_path).base_digests(manifest.base_model))
    assert read_weights(folder, name).lora.tensors


def test_of_the_bundled_adapters_that_read_only_charts_gets_ranks() -> None:
    policies = {name: read_policies(BUNDLED / name)[0] for name in bundled_names()}
    assert {name for name, policy in policies.items() if policy.ocr != "never"} == {
        "charts",
        "documents",
        "receipts",
    }
    assert {name for name, policy in policies.items() if policy.chart_ranks} == {"charts"}
    assert {policies.pop(name).prompt_format for name in ("documents", "receipts")} == {3}
    assert {policy.prompt_format for policy in policies.values()} == {1}, "as they were trained"


def test_the_medical_adapter_says_that_it_is_not_for_medical_use() -> None:
    folder = BUNDLED / "medical"
    assert "not for medical use" in parse_manifest((folder / MANIFEST_FILE).read_bytes(), folder).description
    assert "No basis for medical use" in (folder / "README.md").read_text(encoding="utf-8")

"""What is refused is told in one sentence, and nothing changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from adapters.install.installer import Installer, Wanted
from adapters.install.trust import make_key, write_signature
from adapters.install.verify import verify_installed
from adapters.prototypes import PROTOTYPES_FILE, read_prototypes
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from models.core.errors import NeedsNetwork, UserError
from models.engine import FeatureSizes
from models.packing.lora_layout import MAX_RANK
from tests.adapters.install.test_installer import changed, is_untouched
from tests.adapters.making import (
    EARLIER_BASE_DIGEST,
    FakeModel,
    FakeModels,
    make_installer,
    tensors,
    write_adapter,
    write_manifest_for,
    write_peft,
)

FIRST_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
FIRST_B = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"


def stored(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        values = tensors()
        change(values)
        safetensors.numpy.save_file(values, folder / "adapter_model.safetensors")

    return write


def duplicated(folder: Path) -> None:
    """The header names a tensor twice."""
    path = folder / "adapter_model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].rstrip()
    entry = header[1 : header.index(b"}") + 1]
    longer = b"{" + entry + b"," + header[1:]
    path.write_bytes(len(longer).to_bytes(8, "little") + longer + data[8 + size :])


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "dora": (changed(use_dora=True), "lacks the lora_magnitude_vector"),
    "bias": (changed(bias="all"), "trains biases"),
    "modules_to_save": (changed(modules_to_save=["lm_head"]), "lacks the tensors of lm_head"),
    "another method": (changed(peft_type="IA3"), "only LORA is supported"),
    "pissa": (changed(init_lora_weights="pissa"), "changes the base model too"),
    "a target that is not supported": (changed(target_modules=["embed_tokens"]), "adapts 'embed_tokens'"),
    "tensors that are not targeted": (changed(target_modules=["q_proj"]), "does not target"),
    "a rank that does not fit": (changed(rank=8, stored=tensors(4)), "is needed"),
    "a rank over the maximum": (changed(rank=MAX_RANK + 1), f"supported are 1 to {MAX_RANK}"),
    "not a number": (stored(lambda t: t[FIRST_A].fill(np.nan)), "not finite"),
    "infinite": (stored(lambda t: t[FIRST_B].fill(np.inf)), "not finite"),
    "a type that is not supported": (
        stored(lambda t: t.update({FIRST_A: t[FIRST_A].astype(np.int32)})),
        "supported are F32, F16 and BF16",
    ),
    "a missing tensor": (stored(lambda t: t.pop(FIRST_B)), "lacks lora_B"),
    "a missing layer": (stored(lambda t: [t.pop(n) for n in list(t) if ".1.mlp" in n]), "lacks the tensors"),
    "a tensor of something else": (stored(lambda t: t.update({"lm_head": t[FIRST_A]})), "not part of a LoRA"),
    "a tensor twice": (duplicated, "a name occurs twice"),
    "a shape of another model": (
        stored(lambda t: t.update({FIRST_A: np.ones((4, 32), np.float32)})),
        "does not fit this model",
    ),
    "zeros that do nothing": (
        stored(lambda t: [value.fill(0) for name, value in t.items() if "lora_B" in name]),
        "does nothing",
    ),
    "weights that overflow": (
        stored(lambda t: [value.fill(3e38) for name, value in t.items() if "lora_B" in name]),
        "not finite",
    ),
    "a configuration that is no JSON": (lambda f: (f / "adapter_config.json").write_text("{"), "is not JSON"),
    "weights that are damaged": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(b"x" * 50),
        "header",
    ),
    "image heads that are damaged": (
        lambda f: (f / "projector.safetensors").write_bytes(b"x" * 50),
        "projector.safetensors",
    ),
    "prototypes that are damaged": (lambda f: (f / "router.safetensors").write_bytes(b"x" * 50), "header"),
    "weights in a pickle": (
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "pickle",
    ),
    "a folder": (lambda f: (f / "LICENSE").mkdir(), "which is a folder"),
    "a link": (lambda f: (f / "LICENSE").symlink_to("/etc/passwd"), "a link to a place outside it"),
    "a link beside": (
        lambda f: (f / "tokenizer.json").symlink_to("/etc/passwd"),
        "a link to a place outside",
    ),
    "a link to the folder above": (lambda f: (f / "more").symlink_to(".."), "a link to a place outside"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
    "no configuration": (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json"),
    "a card that is far too long": (lambda f: (f / "README.md").write_bytes(bytes(2**20 + 1)), "larger than"),
    "a signature of nothing": (lambda f: (f / "signature.json").write_text("{}"), "that it could sign"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_sentence_and_nothing_changes(
    case: str, installer: Installer, directory: Path, tmp_path: Path
) -> None:
    folder = write_peft(tmp_path / "source")
    change, complaint = REFUSED[case]
    change(folder)
    with pytest.raises(UserError, match=complaint) as caught:
        installer.install(Wanted(str(folder), name="plants"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(". ") == 0
    assert ".staging" not in str(caught.value), "a place that the user does not know"
    assert is_untouched(directory)


def test_what_is_wrong_with_a_file_is_said_of_the_file_that_the_user_has(
    installer: Installer, tmp_path: Path
) -> None:
    folder = write_peft(tmp_path / "source")
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(
        UserError, match=f"^{re.escape(str(folder))}/adapter_config.json is not a JSON object"
    ):
        installer.install(Wanted(str(folder), name="plants"))
    (folder / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=f"^{re.escape(str(folder))} has no adapter_config.json"):
        installer.install(Wanted(str(folder), name="plants"))
    signed = write_adapter(tmp_path / "signed")
    make_key(tmp_path / "key.pem")
    write_signature(signed, "Ada", tmp_path / "key.pem")
    (signed / "adapter.toml").write_bytes((signed / "adapter.toml").read_bytes() + b"\n")
    with pytest.raises(
        UserError, match=f"^The signature of 'Ada' does not fit {re.escape(str(signed))}/adapter"
    ):
        installer.install(Wanted(str(signed)))


def test_an_adapter_with_an_earlier_digest_of_the_same_weights_is_installed_and_verified(
    installer: Installer, source: Path
) -> None:
    manifest = parse_manifest((source / MANIFEST_FILE).read_bytes(), source)
    write_manifest_for(source, replace(manifest, base_digest=EARLIER_BASE_DIGEST))
    adapter = installer.install(Wanted(str(source))).adapter
    assert adapter.manifest is not None and adapter.manifest.base_digest == EARLIER_BASE_DIGEST
    assert verify_installed(adapter, FakeModels().base_digests) is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"base_digest": "2" * 64}, "made for other weights of tiny"),
        ({"base_model": "another"}, "no model named 'another'"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    installer: Installer, directory: Path, source: Path, changes: dict[str, Any], complaint: str
) -> None:
    manifest = parse_manifest((source / MANIFEST_FILE).read_bytes(), source)
    write_manifest_for(source, replace(manifest, **changes))
    with pytest.raises(UserError, match=complaint):
        installer.install(Wanted(str(source)))
    assert is_untouched(directory)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_file_that_does_not_hash_to_what_the_manifest_says_is_refused(
    installer: Installer, source: Path, file: str
) -> None:
    with (source / file).open("ab") as opened:
        opened.write(b" ")
    with pytest.raises(UserError, match=f"{file} is not what adapter.toml says"):
        installer.install(Wanted(str(source)))


def test_files_that_the_manifest_lists_or_does_not_list_must_match(
    installer: Installer, source: Path
) -> None:
    (source / "LICENSE").write_text("free")
    with pytest.raises(UserError, match=r"LICENSE, of which adapter.toml has no sha256"):
        installer.install(Wanted(str(source)))
    write_manifest_for(source, parse_manifest((source / MANIFEST_FILE).read_bytes(), source))
    (source / "LICENSE").unlink()
    with pytest.raises(UserError, match=r"lacks LICENSE, which adapter.toml lists"):
        installer.install(Wanted(str(source)))


@pytest.mark.parametrize("source", ["/nowhere/at/all", "", "~nobody/x", "x" * 5000, "a\0b"])
def test_a_source_that_is_not_there_is_refused(installer: Installer, directory: Path, source: str) -> None:
    with pytest.raises(UserError, match="no folder or archive here"):
        installer.install(Wanted(source))
    assert is_untouched(directory)


def test_what_is_no_adapter_is_never_replaced(installer: Installer, directory: Path, source: Path) -> None:
    (directory / "plants").mkdir(parents=True)
    (directory / "plants" / "diary.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(UserError, match="in the way and is no adapter"):
            installer.install(Wanted(str(source), force=force))
    assert (directory / "plants" / "diary.txt").read_text() == "precious"


def test_a_link_to_an_adapter_goes_and_what_it_led_to_stays(
    installer: Installer, directory: Path, source: Path, tmp_path: Path
) -> None:
    directory.mkdir()
    write_adapter(tmp_path / "mine")
    (directory / "plants").symlink_to(tmp_path / "mine")
    installer.install(Wanted(str(source), force=True))
    assert not (directory / "plants").is_symlink()
    (directory / "another").symlink_to(tmp_path / "mine")
    installer.remove("another")
    assert (tmp_path / "mine" / MANIFEST_FILE).exists()
    assert {file.name for file in (directory / ".staging").iterdir()} <= {"lock"}


@pytest.mark.parametrize("address", ["https://example.org/a.zip", "hf:someone/something"])
def test_network_sources_are_refused_offline(installer: Installer, address: str) -> None:
    with pytest.raises(NeedsNetwork, match="the app is offline"):
        installer.install(Wanted(address, offline=True))


def test_a_model_that_cannot_be_had_offline_is_told_as_it_is(directory: Path, source: Path) -> None:
    class Absent(FakeModels):
        def load(self, name: str) -> Any:
            raise NeedsNetwork(f"The model {name} is not on this machine and the app is offline.")

    with pytest.raises(NeedsNetwork, match="not on this machine"):
        make_installer(directory, models=Absent()).install(Wanted(str(source)))
    assert is_untouched(directory)


def test_prototypes_are_of_the_model_whose_features_the_router_reads(directory: Path, source: Path) -> None:
    class Reader(FakeModel):
        feature_sizes = FeatureSizes(text=7, image=9)

        def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            del text
            return np.arange(1, 3), np.eye(2, 7, dtype=np.float32)

    class TwoModels(FakeModels):
        def router_features(self, base: FakeModel) -> FakeModel:
            assert base is self.model
            return Reader()

    make_installer(directory, models=TwoModels()).install(Wanted(str(source)))
    assert read_prototypes(directory / "plants" / PROTOTYPES_FILE).question.shape[1] == 7


def test_a_plain_peft_folder_gets_the_base_that_its_configuration_names(
    directory: Path, tmp_path: Path
) -> None:
    class Named(FakeModels):
        def base_for(self, published: str) -> str:
            assert published == "HuggingFaceTB/SmolVLM-500M-Instruct"
            return "another"

    folder = write_adapter(tmp_path / "plain")
    (folder / "adapter.toml").unlink()
    config = folder / "adapter_config.json"
    name = {"base_model_name_or_path": "HuggingFaceTB/SmolVLM-500M-Instruct"}
    config.write_text(json.dumps(json.loads(config.read_text()) | name))
    with pytest.raises(UserError, match="no model named 'another'"):
        make_installer(directory, models=Named()).install(Wanted(str(folder)))

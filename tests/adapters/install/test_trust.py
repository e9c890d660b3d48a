"""Signatures and trusted publishers: who signed is proven, or the adapter is refused."""

from __future__ import annotations

import base64
import json
import os
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from adapters.install.export import export
from adapters.install.installer import CheckedAdapter, Installer, Wanted
from adapters.install.trust import Publishers, fingerprint_of, make_key, read_signer, write_signature
from adapters.install.verify import verify_installed
from adapters.prototypes import PROTOTYPES_FILE
from adapters.store.adapter_store import AdapterStore, InstalledAdapter
from adapters.store.manifest import MANIFEST_FILE, SIGNATURE_FILE, parse_manifest
from models.core.errors import UserError
from models.hub.store import BaseDigests
from tests.adapters.making import (
    FakeModels,
    make_installer,
    tensors,
    write_adapter,
    write_manifest_for,
    write_peft,
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "lab.key")
    return tmp_path / "lab.key"


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    folder = write_adapter(tmp_path / "signed")
    write_signature(folder, "Field Lab", key)
    return folder


@pytest.fixture
def publishers(tmp_path: Path) -> Publishers:
    return Publishers(tmp_path / "publishers.json")  # where make_installer looks


def refusing(tmp_path: Path) -> Installer:
    return make_installer(tmp_path / "adapters", confirm=lambda _: False)


# -- keys and signatures ----------------------------------------------------------------------------------


def test_a_new_key_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    fingerprint = make_key(tmp_path / "k")
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert (tmp_path / "k").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert fingerprint_of(str(tmp_path / "k.pub")) == fingerprint
    assert fingerprint_of((tmp_path / "k.pub").read_text()) == fingerprint
    assert fingerprint_of(fingerprint.upper()) == fingerprint
    before = (tmp_path / "k").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        make_key(tmp_path / "k")
    assert (tmp_path / "k").read_bytes() == before
    with pytest.raises(UserError, match="cannot be written"):
        make_key(tmp_path / "missing" / "k")


def test_a_signature_says_who_and_which_key(signed: Path, key: Path) -> None:
    signer = read_signer(signed)
    assert signer is not None
    assert signer.publisher == "Field Lab"
    assert signer.fingerprint == fingerprint_of(f"{key}.pub")


def test_an_unsigned_folder_has_no_signer(tmp_path: Path) -> None:
    assert read_signer(write_adapter(tmp_path / "a")) is None


def test_a_manifest_that_was_changed_after_signing_is_refused(signed: Path) -> None:
    path = signed / MANIFEST_FILE
    path.write_text(path.read_text().replace("leaves", "roots"))
    with pytest.raises(UserError, match=r"does not fit .*it was changed after signing"):
        read_signer(signed)


@pytest.mark.parametrize(
    "changes",
    [
        {"publisher": "Somebody Else"},
        {"public_key": base64.b64encode(bytes(32)).decode()},
        {"public_key": base64.b64encode(os.urandom(32)).decode()},
        {"signature": base64.b64encode(bytes(64)).decode()},
    ],
)
def test_a_signature_that_was_changed_is_refused(signed: Path, changes: dict[str, str]) -> None:
    path = signed / SIGNATURE_FILE
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))
    with pytest.raises(UserError, match="the adapter is refused"):
        read_signer(signed)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=8)),
            lambda inner: st.dictionaries(
                st.sampled_from(["publisher", "public_key", "signature", "more"]), inner, max_size=4
            ),
            max_leaves=5,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_other_content_of_a_signature_is_refused(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST_FILE).write_text("")
        (Path(folder) / SIGNATURE_FILE).write_bytes(data)
        with pytest.raises(UserError):
            read_signer(Path(folder))


def test_only_an_ed25519_key_without_a_password_signs(tmp_path: Path, signed: Path) -> None:
    curve = generate_private_key(SECP256R1())
    locked = Ed25519PrivateKey.generate()
    keys = {
        "not an Ed25519 key": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "without a password": locked.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        ),
        "not a private key": b"hello",
    }
    for complaint, content in keys.items():
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(UserError, match=complaint):
            write_signature(signed, "x", tmp_path / "other")
    with pytest.raises(UserError, match="cannot be read"):
        write_signature(signed, "x", tmp_path / "missing")
    with pytest.raises(UserError, match="on one line"):
        write_signature(signed, "two\nlines", tmp_path / "other")


# -- publishers -------------------------------------------------------------------------------------------


def test_publishers_are_added_listed_and_removed(publishers: Publishers, key: Path) -> None:
    assert publishers.all() == {}
    fingerprint = publishers.add("Field Lab", f"{key}.pub")
    assert publishers.add("Field Lab", fingerprint) == fingerprint
    assert publishers.all() == {"Field Lab": fingerprint}
    assert publishers.name_of(fingerprint) == "Field Lab"
    with pytest.raises(UserError, match="trusted with another key"):
        publishers.add("Field Lab", "0" * 64)
    with pytest.raises(UserError, match="trusted already, as 'Field Lab'"):
        publishers.add("Copy", fingerprint)
    with pytest.raises(UserError, match="neither a public key"):
        publishers.add("Nobody", "xyz")
    publishers.remove("Field Lab")
    assert publishers.name_of(fingerprint) is None
    with pytest.raises(UserError, match="No trusted publisher"):
        publishers.remove("Field Lab")


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "b"}', '{"a": 1}'])
def test_a_damaged_file_of_publishers_trusts_nobody(
    publishers: Publishers, tmp_path: Path, content: str
) -> None:
    (tmp_path / "publishers.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        publishers.name_of("0" * 64)


# -- installing -------------------------------------------------------------------------------------------


def test_what_a_trusted_publisher_signed_installs_without_a_question(
    tmp_path: Path, signed: Path, key: Path, publishers: Publishers
) -> None:
    publishers.add("Lab", f"{key}.pub")
    adapter = refusing(tmp_path).install(Wanted(str(signed))).adapter
    assert adapter.record is not None
    assert adapter.record.signed_by == fingerprint_of(f"{key}.pub")


def test_unsigned_and_untrusted_adapters_are_asked_about(tmp_path: Path, signed: Path) -> None:
    asked: list[CheckedAdapter] = []
    installer = make_installer(tmp_path / "adapters", confirm=lambda c: bool(asked.append(c)))
    unsigned = write_adapter(tmp_path / "unsigned")
    for source in (unsigned, signed):
        with pytest.raises(UserError, match="no publisher that you trust signed it"):
            installer.install(Wanted(str(source)))
    assert [candidate.signer and candidate.signer.publisher for candidate in asked] == [None, "Field Lab"]
    assert AdapterStore(tmp_path / "adapters").names() == ()


def test_a_signature_that_does_not_verify_is_refused_even_with_consent(tmp_path: Path, signed: Path) -> None:
    manifest = parse_manifest((signed / MANIFEST_FILE).read_bytes(), signed)
    signature = (signed / SIGNATURE_FILE).read_bytes()
    write_peft(signed, tensors(seed=9))
    (signed / SIGNATURE_FILE).unlink()
    write_manifest_for(signed, manifest)
    (signed / SIGNATURE_FILE).write_bytes(signature)
    with pytest.raises(UserError, match="changed after signing"):
        make_installer(tmp_path / "adapters", confirm=lambda _: True).install(Wanted(str(signed)))


def test_another_publishers_adapter_of_the_same_name_replaces_nothing(tmp_path: Path, signed: Path) -> None:
    installer = make_installer(tmp_path / "adapters")
    installer.install(Wanted(str(signed)))
    other = write_adapter(tmp_path / "other", version="9.0")
    with pytest.raises(UserError, match="not from the same publisher"):
        installer.install(Wanted(str(other)))
    installer.install(Wanted(str(other), name="plants-too"))
    installer.install(Wanted(str(other), force=True))


# -- export -----------------------------------------------------------------------------------------------


def installed(tmp_path: Path, source: Path) -> InstalledAdapter:
    return make_installer(tmp_path / "adapters").install(Wanted(str(source))).adapter


def test_an_exported_adapter_installs_elsewhere_as_it_was(tmp_path: Path, signed: Path) -> None:
    adapter = installed(tmp_path, signed)
    signer = export(adapter, tmp_path / "out.zip")
    assert signer is not None
    assert signer.publisher == "Field Lab"
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        names = {name.removeprefix("plants/") for name in packed.namelist()}
    assert names == {file.name for file in signed.iterdir()}
    assert PROTOTYPES_FILE not in names
    again = make_installer(tmp_path / "elsewhere").install(Wanted(str(tmp_path / "out.zip"))).adapter
    assert again.manifest == adapter.manifest


def test_an_export_is_signed_with_a_key(tmp_path: Path, key: Path, publishers: Publishers) -> None:
    adapter = installed(tmp_path, write_peft(tmp_path / "mine"))
    signer = export(adapter, tmp_path / "out.zip", key=key, publisher="Field Lab")
    assert signer is not None
    publishers.add("Lab", signer.fingerprint)
    target = tmp_path / "elsewhere" / "adapters"
    Publishers(target.with_name("publishers.json"))
    target.parent.mkdir()
    Publishers(target.with_name("publishers.json")).add("Lab", signer.fingerprint)
    make_installer(target, confirm=lambda _: False).install(Wanted(str(tmp_path / "out.zip")))
    assert AdapterStore(target).names() == ("mine",)


def test_the_same_adapter_is_exported_as_the_same_bytes(tmp_path: Path, signed: Path) -> None:
    adapter = installed(tmp_path, signed)
    export(adapter, tmp_path / "a.zip")
    export(adapter, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_export_overwrites_only_by_force_and_packs_nothing_damaged(tmp_path: Path, signed: Path) -> None:
    adapter = installed(tmp_path, signed)
    (tmp_path / "out.zip").write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        export(adapter, tmp_path / "out.zip")
    with pytest.raises(UserError, match=r"does not end in \.zip"):
        export(adapter, tmp_path / "out.tar")
    with pytest.raises(UserError, match="There is no folder"):
        export(adapter, tmp_path / "missing" / "out.zip")
    with pytest.raises(UserError, match=r"has no adapter\.toml"):
        export(replace(adapter, manifest=None), tmp_path / "other.zip")
    (adapter.folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="its sha256 differs"):
        export(adapter, tmp_path / "out.zip", force=True)
    assert (tmp_path / "out.zip").read_text() == "precious"
    assert sorted(file.name for file in tmp_path.glob(".*")) == []


# -- verify -----------------------------------------------------------------------------------------------


def test_verify_says_what_is_wrong(tmp_path: Path, signed: Path) -> None:
    adapter = installed(tmp_path, signed)
    base = FakeModels().base_digests
    assert verify_installed(adapter, base) is None
    assert "other weights of tiny" in str(
        verify_installed(adapter, lambda _: BaseDigests("3" * 64, frozenset()))
    )
    (adapter.folder / PROTOTYPES_FILE).write_bytes(b"x")
    assert PROTOTYPES_FILE in str(verify_installed(adapter, base))
    (adapter.folder / PROTOTYPES_FILE).unlink()
    assert f"lacks {PROTOTYPES_FILE}" in str(verify_installed(adapter, base))


def test_verify_cannot_vouch_for_what_was_put_there_by_hand(tmp_path: Path) -> None:
    write_peft(tmp_path / "adapters" / "mine")
    adapter = AdapterStore(tmp_path / "adapters").get("mine")
    assert "put there by hand" in str(verify_installed(adapter, FakeModels().base_digests))

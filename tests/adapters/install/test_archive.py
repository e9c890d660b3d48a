"""Archives from anywhere: an adapter's files come out, and nothing else, whatever the archive says."""

from __future__ import annotations

import gzip
import io
import random
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.install import archive as archive_module
from adapters.install.archive import unpack
from adapters.store.manifest import ALLOWED_FILES
from models.core.errors import UserError

CONTENT = {"adapter.toml": b"name = 1\n" * 10, "README.md": b"# Card\n", "adapter_config.json": b"{}"}
Entries = list[tuple[str, bytes]]


def zip_of(entries: Entries, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in entries:
            packed.writestr(zipfile.ZipInfo(name), content, method)
    return path


def tar_of(entries: Entries, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            packed.addfile(info, io.BytesIO(content))
    return path


Pack = Callable[[Entries, Path], Path]
both = pytest.mark.parametrize("pack", [zip_of, tar_of])


BESIDE = ("tokenizer.json", "optimizer.pt", ".DS_Store", ".git/HEAD", "checkpoint-5/adapter_config.json")


@both
@pytest.mark.parametrize("top", ["", "plants/", "./plants/"])
def test_what_lies_beside_is_named_and_not_unpacked(pack: Pack, top: str, tmp_path: Path) -> None:
    beside: Entries = [(top + name, b"\x80\x04.") for name in BESIDE]
    finder: Entries = (
        [("__MACOSX/", b""), ("__MACOSX/plants/._adapter_config.json", b"\0\5\x16\7")] if top else []
    )
    files: Entries = [(top + name, content) for name, content in CONTENT.items()]
    archive = pack([*finder, *beside, *files], tmp_path / "a")
    (tmp_path / "out").mkdir()
    named = unpack(archive, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == CONTENT
    expected = {".DS_Store", ".git/", "checkpoint-5/", "optimizer.pt", "tokenizer.json"}
    assert set(named) == expected | ({"__MACOSX/"} if finder else set())


@both
def test_weights_in_a_pickle_are_refused_where_there_are_no_others(pack: Pack, tmp_path: Path) -> None:
    pickled: Entries = [("adapter_config.json", b"{}"), ("adapter_model.bin", b"\x80\x04.")]
    assert "pickle" in refusal(pack(pickled, tmp_path / "a"))
    assert out(pack([*pickled, ("adapter_model.safetensors", b"x")], tmp_path / "b")).keys() == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


@both
def test_the_folder_with_the_configuration_is_the_adapter_s(pack: Pack, tmp_path: Path) -> None:
    archive = pack([("README.md", b"of all"), ("a/adapter_config.json", b"{}")], tmp_path / "a")
    assert out(archive) == {"adapter_config.json": b"{}"}


def out(archive: Path) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def refusal(archive: Path) -> str:
    """What is said, in one line; nothing may have come out of the folder."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "in" / "here"
        folder.mkdir(parents=True)
        with pytest.raises(UserError) as caught:
            unpack(archive, folder)
        assert {file.name for file in folder.iterdir()} <= set(ALLOWED_FILES)
        assert [file.name for file in Path(outer).rglob("*") if file.parent != folder] == ["in", "here"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@both
@pytest.mark.parametrize("top", ["", "plants/", "./", "./plants/"])
def test_files_come_out_from_the_top_or_from_one_folder(pack: Pack, top: str, tmp_path: Path) -> None:
    folders: Entries = [(top, b"")] if top else []
    archive = pack([*folders, *((top + name, content) for name, content in CONTENT.items())], tmp_path / "a")
    assert out(archive) == CONTENT


@both
@pytest.mark.parametrize(
    "name",
    [
        "../adapter.toml", "a/../../adapter.toml", "/adapter.toml", "/etc/passwd", "..\\adapter.toml",
        "C:adapter.toml", "C:\\adapter.toml", "plants//adapter.toml", "a/..", "..",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(pack: Pack, name: str, tmp_path: Path) -> None:
    assert "leads out of it" in refusal(pack([(name, b"x")], tmp_path / "a"))


def test_a_name_with_a_nul_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = zip_of([("adapter.toml_evil.bin", b"x")], tmp_path / "a")
    path.write_bytes(path.read_bytes().replace(b"adapter.toml_evil.bin", b"adapter.toml\0evil.bin"))
    assert "leads out of it" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "no ordinary file"),
        (tarfile.BLKTYPE, "no ordinary file"),
        (tarfile.FIFOTYPE, "no ordinary file"),
        (tarfile.CONTTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        info = tarfile.TarInfo("adapter.toml")
        info.type, info.linkname = kind, "/etc/passwd"
        packed.addfile(info)
    if said:
        assert said in refusal(path)
    else:  # an ordinary file by an old name
        assert out(path) == {"adapter.toml": b""}


@pytest.mark.parametrize(("mode", "said"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "no ordinary file")])
def test_links_and_pipes_in_a_zip_are_refused(mode: int, said: str, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("adapter.toml")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    assert said in refusal(tmp_path / "a")


@both
def test_a_name_twice_is_refused(pack: Pack, tmp_path: Path) -> None:
    with pytest.warns(UserWarning) if pack is zip_of else tempfile.TemporaryDirectory():
        archive = pack([("adapter.toml", b"a"), ("adapter.toml", b"b")], tmp_path / "a")
    assert "twice" in refusal(archive)


@both
def test_names_that_differ_in_capital_letters_only_are_refused(pack: Pack, tmp_path: Path) -> None:
    assert "twice" in refusal(pack([("README.md", b"a"), ("readme.md", b"b")], tmp_path / "a"))


@both
@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "x/training_args.bin", "state.PKL"])
def test_pickles_are_refused_as_what_they_are(pack: Pack, name: str, tmp_path: Path) -> None:
    assert "pickle" in refusal(pack([(name, b"\x80\x04.")], tmp_path / "a"))


@both
@pytest.mark.parametrize("name", ["setup.py", "tokenizer.json", ".DS_Store", "readme.md", "adapter.toml "])
def test_files_that_are_no_part_of_an_adapter_are_refused(pack: Pack, name: str, tmp_path: Path) -> None:
    assert "no part of an adapter" in refusal(pack([(name, b"x")], tmp_path / "a"))


@both
@pytest.mark.parametrize(
    "names",
    [
        ("a/adapter.toml", "b/README.md"),
        ("a/adapter_config.json", "b/adapter_config.json"),
        ("a/b/adapter.toml",),
    ],
)
def test_more_than_one_folder_is_refused(pack: Pack, names: tuple[str, ...], tmp_path: Path) -> None:
    assert "folder" in refusal(pack([(name, b"") for name in names], tmp_path / "a"))


@both
def test_too_many_entries_are_refused(pack: Pack, tmp_path: Path) -> None:
    entries = [(f"f{number}/", b"") for number in range(5000)]
    assert "more than" in refusal(pack(entries, tmp_path / "a"))


@both
def test_a_file_over_its_size_is_refused(pack: Pack, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(ALLOWED_FILES["adapter.toml"] + 1)
    assert "of more than" in refusal(pack([("adapter.toml", content)], tmp_path / "a"))


@both
def test_an_archive_that_grows_a_hundredfold_is_refused_before_it_does(pack: Pack, tmp_path: Path) -> None:
    archive = pack([("adapter_model.safetensors", bytes(150 * 2**20))], tmp_path / "a")
    assert archive.stat().st_size < 2**20
    assert "unpacks to" in refusal(archive)


def test_a_zip_that_understates_a_size_yields_no_more_than_it_said(tmp_path: Path) -> None:
    path = zip_of([("adapter.toml", bytes(100_000))], tmp_path / "a")
    data = path.read_bytes().replace((100_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_a_tar_whose_extended_header_wants_all_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 60 * 2**20
    with gzip.open(tmp_path / "a", "wb") as packed:
        packed.write(info.tobuf())
        packed.write(bytes(60 * 2**20))
    assert "more than an adapter can be" in refusal(tmp_path / "a")


def test_a_tar_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "_CHUNK", 2**16)
    path = tar_of(list(CONTENT.items()), tmp_path / "a")
    with path.open("ab") as file:
        file.write(gzip.compress(bytes(2**16 * 150)))
    assert "more than an adapter can be" in refusal(path)


def test_a_sparse_file_in_a_tar_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("adapter.toml")
    info.type = tarfile.GNUTYPE_SPARSE
    with gzip.open(tmp_path / "a", "wb") as packed:
        packed.write(info.tobuf() + bytes(1024))
    refusal(tmp_path / "a")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zip_of([("adapter.toml", b"x")], tmp_path / "a", zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path)


def test_an_unusual_method_is_refused(tmp_path: Path) -> None:
    path = zip_of([("adapter.toml", b"x" * 500)], tmp_path / "a", zipfile.ZIP_LZMA)
    assert "unusual method" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"hello"])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    refusal(tmp_path / "a.zip")


def test_an_archive_larger_than_any_adapter_is_not_even_opened(tmp_path: Path) -> None:
    with (tmp_path / "a.zip").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(archive_module.MOST_ARCHIVE_BYTES + 1)
    assert "larger than any adapter" in refusal(tmp_path / "a.zip")


def test_an_archive_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "missing.zip")


@both
@given(st.data())
def test_a_damaged_archive_gives_the_same_files_or_is_refused(pack: Pack, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = pack(list(CONTENT.items()), Path(place) / "a")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(
            content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        )
        try:
            found = out(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert all(CONTENT[name] == content for name, content in found.items())


@given(st.data())
def test_a_tar_that_is_damaged_inside_never_writes_anything_else(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = tar_of(
            [("plants/", b""), *((f"plants/{name}", c) for name, c in CONTENT.items())], Path(place) / "a"
        )
        content = bytearray(gzip.decompress(path.read_bytes()))
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
        path.write_bytes(gzip.compress(bytes(content)))
        with suppress(UserError):
            assert set(out(path)) <= set(ALLOWED_FILES)


@both
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12),
            st.binary(max_size=20),
        ),
        max_size=5,
    )
)
def test_names_of_any_kind_never_write_outside(pack: Pack, entries: Entries) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in" / "here"
        folder.mkdir(parents=True)
        try:
            path = pack(
                list({name: (name, content) for name, content in entries}.values()), Path(place) / "a"
            )
        except (ValueError, UnicodeError, OSError):
            return
        with suppress(UserError):
            unpack(path, folder)
        found = {file for file in Path(place).rglob("*") if file.parent != folder}
        assert found == {path, folder.parent, folder}
        assert {file.name for file in folder.iterdir()} <= set(ALLOWED_FILES)

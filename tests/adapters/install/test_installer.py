"""Installing: all of it is checked first, and the store holds the old adapter or the new one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from adapters.install.installer import CheckedAdapter, Installer, NotNewer, Wanted
from adapters.install.verify import verify_installed
from adapters.prototypes import PROTOTYPES_FILE, read_prototypes
from adapters.store import adapter_store
from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from adapters.store.record import RECORD_FILE
from models.core.errors import UserError
from models.core.files import file_digest
from tests.adapters.making import (
    BASE_DIGEST,
    MODEL,
    FakeModels,
    make_installer,
    tarred,
    tensors,
    write_adapter,
    write_peft,
    zipped,
)


def version_in(directory: Path, name: str = "plants") -> str:
    manifest = AdapterStore(directory).get(name).manifest
    assert manifest is not None
    return manifest.version


def is_untouched(directory: Path) -> bool:
    """Nothing is installed and nothing is left over."""
    left = {file.name for file in (directory / ".staging").iterdir()}
    return AdapterStore(directory).names() == () and left <= {"lock"}


def changed(**config: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        write_peft(folder, **config)  # type: ignore[arg-type]

    return change


# -- what is installed ------------------------------------------------------------------------------------


def test_an_installed_adapter_is_what_its_source_was(
    installer: Installer, directory: Path, source: Path
) -> None:
    outcome = installer.install(Wanted(str(source)))
    assert outcome.adapter.folder == directory / "plants"
    for file in source.iterdir():
        assert (directory / "plants" / file.name).read_bytes() == file.read_bytes()
    store = AdapterStore(directory)
    assert store.names() == ("plants",)
    assert outcome.adapter.manifest == parse_manifest((source / MANIFEST_FILE).read_bytes(), source)
    assert store.load("plants").weights.lora.rank == 4
    record = outcome.adapter.record
    assert record is not None
    assert (record.source, record.declared, record.base_digest) == (str(source), True, BASE_DIGEST)
    assert record.date.endswith("+00:00")
    assert verify_installed(outcome.adapter, FakeModels().base_digests) is None
    assert {file.name for file in (directory / ".staging").iterdir()} <= {"lock"}


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("top", ["", "plants/"])
def test_archives_install_like_folders(
    installer: Installer, directory: Path, source: Path, tmp_path: Path, pack: Callable[..., Path], top: str
) -> None:
    archive = pack(source, tmp_path / "archive.any", top)
    installer.install(Wanted(str(archive), sha256=file_digest(archive)))
    assert version_in(directory) == "1.0"


def test_an_archive_with_another_hash_than_was_given_is_refused(
    installer: Installer, directory: Path, source: Path, tmp_path: Path
) -> None:
    archive = zipped(source, tmp_path / "a.zip")
    with pytest.raises(UserError, match="not the file that --sha256 names"):
        installer.install(Wanted(str(archive), sha256="0" * 64))
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        installer.install(Wanted(str(archive), sha256="0"))
    with pytest.raises(UserError, match="leave it out"):
        installer.install(Wanted(str(source), sha256="0" * 64))
    assert is_untouched(directory)


def test_a_folder_that_peft_saved_gets_a_manifest(
    installer: Installer, directory: Path, tmp_path: Path
) -> None:
    folder = write_peft(tmp_path / "my-lora")
    (folder / "README.md").write_text("# By peft")
    adapter = installer.install(Wanted(str(folder))).adapter
    assert adapter.name == "my-lora"
    assert adapter.manifest is not None
    assert adapter.record is not None
    assert not adapter.record.declared
    assert (adapter.manifest.base_model, adapter.manifest.base_digest) == (MODEL, "")
    assert adapter.record.base_digest == BASE_DIGEST
    assert set(adapter.manifest.files) == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    installer.install(Wanted(str(folder), name="other"))
    assert AdapterStore(directory).names() == ("my-lora", "other")


def test_a_folder_whose_name_will_not_do_needs_a_name(installer: Installer, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "my lora")
    with pytest.raises(UserError, match="no name for an adapter"):
        installer.install(Wanted(str(folder)))
    assert installer.install(Wanted(str(folder), name="mine")).adapter.name == "mine"


def test_prototypes_are_made_of_the_examples_when_none_came(
    installer: Installer, directory: Path, source: Path
) -> None:
    adapter = installer.install(Wanted(str(source))).adapter
    assert len(read_prototypes(directory / "plants" / PROTOTYPES_FILE).question) == 1
    assert adapter.record is not None
    assert set(adapter.record.made) == {PROTOTYPES_FILE}


def test_bundled_adapters_install_by_name_without_a_question(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_store, "BUNDLED", tmp_path / "bundled")
    write_adapter(tmp_path / "bundled" / "plants")
    installer = make_installer(directory, confirm=lambda _: pytest.fail("asked"))
    assert adapter_store.bundled_names() == ("plants",)
    installer.install(Wanted("plants"))
    assert version_in(directory) == "1.0"
    with pytest.raises(
        UserError, match=r"no folder or archive here, and no bundled adapter \(there are: plants\)"
    ):
        installer.install(Wanted("plant"))


# -- names and versions -----------------------------------------------------------------------------------


def test_versions_decide_what_replaces_what(installer: Installer, directory: Path, tmp_path: Path) -> None:
    one, two = (
        str(write_adapter(tmp_path / v, tensors(seed=s), version=v)) for s, v in ((1, "1.0"), (2, "2.0"))
    )
    assert installer.install(Wanted(one)).candidate.replaces is None
    with pytest.raises(
        NotNewer, match=r"plants 1.0 is installed, which is the same version as this 1.0; --force"
    ):
        installer.install(Wanted(one))
    installer.install(Wanted(one, force=True))
    before = AdapterStore(directory).load("plants").weights.generation
    replaced = installer.install(Wanted(two)).candidate.replaces
    assert replaced is not None
    assert replaced.manifest is not None
    assert replaced.manifest.version == "1.0"
    assert AdapterStore(directory).load("plants").weights.generation != before
    with pytest.raises(NotNewer, match=r"plants 2.0 is installed, which is newer than this 1.0"):
        installer.install(Wanted(one))
    assert version_in(directory) == "2.0"
    installer.install(Wanted(one, force=True))
    assert version_in(directory) == "1.0"
    assert {file.name for file in (directory / ".staging").iterdir()} <= {"lock"}


def test_a_plain_folder_replaces_nothing_by_itself(installer: Installer, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "mine")
    installer.install(Wanted(str(folder)))
    with pytest.raises(NotNewer, match="with these very files"):
        installer.install(Wanted(str(folder)))
    write_peft(folder, tensors(seed=2))
    with pytest.raises(UserError, match="There is an adapter mine already"):
        installer.install(Wanted(str(folder)))
    installer.install(Wanted(str(folder), force=True))


def test_names_that_differ_in_capital_letters_only_clash(installer: Installer, source: Path) -> None:
    installer.install(Wanted(str(source)))
    with pytest.raises(UserError, match="capital letters only"):
        installer.install(Wanted(str(source), name="Plants"))


def test_an_adapter_put_there_by_hand_is_replaced_by_force_only(
    installer: Installer, directory: Path, source: Path
) -> None:
    write_peft(directory / "plants")
    with pytest.raises(UserError, match="put there by hand"):
        installer.install(Wanted(str(source)))
    installer.install(Wanted(str(source), force=True))
    assert version_in(directory) == "1.0"


def test_a_damaged_adapter_is_mended_by_installing_it_again(
    installer: Installer, directory: Path, source: Path
) -> None:
    installer.install(Wanted(str(source)))
    (directory / "plants" / MANIFEST_FILE).write_text("damaged")
    assert "not TOML" in AdapterStore(directory).get("plants").problem
    installer.install(Wanted(str(source)))
    assert not AdapterStore(directory).get("plants").problem


# -- update, remove ---------------------------------------------------------------------------------------


def test_an_update_fetches_from_the_source_again(
    installer: Installer, directory: Path, tmp_path: Path
) -> None:
    source = write_adapter(tmp_path / "source")
    installer.install(Wanted(str(source), name="leaves"))
    with pytest.raises(NotNewer):
        installer.update("leaves")
    write_adapter(source, tensors(seed=2), version="1.1")
    assert installer.update("leaves").adapter.name == "leaves"
    assert version_in(directory, "leaves") == "1.1"
    shutil.rmtree(source)
    with pytest.raises(UserError, match="no folder or archive here"):
        installer.update("leaves")
    assert version_in(directory, "leaves") == "1.1"


def test_an_update_of_a_plain_folder_takes_what_changed(
    installer: Installer, directory: Path, tmp_path: Path
) -> None:
    folder = write_peft(tmp_path / "mine")
    installer.install(Wanted(str(folder)))
    before = AdapterStore(directory).load("mine").weights.generation
    with pytest.raises(NotNewer):
        installer.update("mine")
    write_peft(folder, tensors(seed=2))
    installer.update("mine")
    assert AdapterStore(directory).load("mine").weights.generation != before


def test_what_was_pinned_or_put_there_by_hand_is_not_updated(
    installer: Installer, directory: Path, source: Path, tmp_path: Path
) -> None:
    archive = zipped(source, tmp_path / "a.zip")
    installer.install(Wanted(str(archive), sha256=file_digest(archive)))
    with pytest.raises(NotNewer, match="pinned"):
        installer.update("plants")
    write_peft(directory / "by-hand")
    with pytest.raises(UserError, match="not known where by-hand came from"):
        installer.update("by-hand")


def test_a_removed_adapter_is_gone(installer: Installer, directory: Path, source: Path) -> None:
    installer.install(Wanted(str(source)))
    installer.remove("plants")
    assert is_untouched(directory)
    with pytest.raises(UserError, match="There is no adapter 'plants'"):
        installer.remove("plants")


# -- files and processes in the way --------------------------------------------------------------------------------


class _LeaveError(Exception):
    """What a progress callback may raise to stop waiting."""


def test_a_second_installer_waits_and_says_so(directory: Path, source: Path) -> None:
    def leave(_stage: str, message: str, _done: int, _total: int | None) -> None:
        raise _LeaveError(message)

    installer = make_installer(directory)
    installer._progress = leave
    (directory / ".staging").mkdir(parents=True)
    with (
        filelock.FileLock(directory / ".staging" / "lock", is_singleton=False),
        pytest.raises(_LeaveError, match="Another process"),
    ):
        installer.install(Wanted(str(source)))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_whatever_stops_it_leaves_the_old_adapter(
    directory: Path, source: Path, tmp_path: Path, stop: type[BaseException]
) -> None:
    def interrupt(_: CheckedAdapter) -> bool:
        raise stop

    make_installer(directory).install(Wanted(str(source)))
    newer = write_adapter(tmp_path / "newer", version="2.0")
    with pytest.raises(stop):
        make_installer(directory, confirm=interrupt).install(Wanted(str(newer)))
    assert version_in(directory) == "1.0"
    assert {file.name for file in (directory / ".staging").iterdir()} <= {"lock"}


def test_an_adapter_on_its_way_out_is_still_read(installer: Installer, directory: Path, source: Path) -> None:
    """The state between the two renames of a replacement, for a reader and for the next process after a kill."""
    installer.install(Wanted(str(source)))
    aside = directory / ".staging" / "old-plants"
    (directory / "plants").replace(aside)
    store = AdapterStore(directory)
    assert store.names() == ("plants",)
    assert store.get("plants").folder == aside
    assert store.load("plants").weights.lora.rank == 4
    installer.install(Wanted(str(source), name="another"))
    assert not aside.exists()
    assert (directory / "plants" / RECORD_FILE).exists()


def test_a_place_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        make_installer(tmp_path / "file" / "adapters").install(Wanted(str(source)))


def test_the_record_says_no_more_than_it_should(installer: Installer, directory: Path, source: Path) -> None:
    """A manifest changed by hand counts as it is now, not as it was installed."""
    installer.install(Wanted(str(source)))
    path = directory / "plants" / MANIFEST_FILE
    path.write_text(path.read_text().replace("Names plants by their leaves", "Now says this"))
    adapter = AdapterStore(directory).get("plants")
    assert adapter.manifest is not None
    assert adapter.manifest.description == "Now says this"
    (directory / "plants" / RECORD_FILE).write_text(json.dumps({"format": 1}))
    assert "installed.json is damaged" in AdapterStore(directory).get("plants").problem

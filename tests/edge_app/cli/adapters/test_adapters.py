"""`edge-app adapters` as scripts see it: output, exit codes, questions that need a terminal."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.install.archive import unpack
from adapters.store import adapter_store
from adapters.store.record import InstallRecord, write_record
from edge_app.cli.main import main
from edge_app.engine import adapter_installer as installing
from edge_app.system import paths
from models.adapter_weights import AdapterWeights
from models.compiled_adapters import CompiledAdapterPacker
from models.core.cache import PACKED
from models.core.errors import NeedsNetwork
from models.core.files import file_digest
from models.hub.store import ModelStore
from models.packing.llama_shape import LlamaShape
from tests.adapters.making import FakeModel, FakePacker, tensors, write_adapter, write_peft, zipped
from tests.edge_app.engine.test_engine_pool import describe_models, put_for
from tests.models.tiny_directory import HIDDEN, INNER, LAYERS

BASE = "edge-vlm-135m"
SHAPE = LlamaShape(HIDDEN, INNER, LAYERS, 4, 2, 16, 258, 1e-5, *[4] * 7, 0)
"""Of the model that the adapters of tests.adapters.making are for."""


class KeepingPacker(FakePacker):
    """Writes packed files as the compiled engine does; what it hands out stays as it is."""

    def open(self, *_: object) -> None:
        return None

    def keep(self, adapter: AdapterWeights, signature: object) -> None:
        packer = CompiledAdapterPacker(SHAPE, paths.cache_directory() / PACKED)
        packer.keep(packer.pack(adapter), signature)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models that were loaded, in place of the real engine."""
    names: list[str] = []

    def load(settings: Any, _progress: object) -> Any:
        names.append(settings.model)
        model: Any = FakeModel()
        model.adapters = KeepingPacker()
        return model

    monkeypatch.setattr(installing, "AppModels", partial(installing.AppModels, load=load))
    return names


@pytest.fixture(autouse=True)
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of bundled adapters, with none in it."""
    monkeypatch.setattr(adapter_store, "BUNDLED", tmp_path / "bundled")
    return tmp_path / "bundled"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, terminal: bool = False, stdin: str = "") -> tuple[int, str, str]:
        given = io.StringIO(stdin)
        monkeypatch.setattr(given, "isatty", lambda: terminal)
        monkeypatch.setattr(sys, "argv", ["edge-app", "adapters", *arguments])
        monkeypatch.setattr(sys, "stdin", given)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, captured.out, captured.err

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    digest = ModelStore(paths.models_directory()).base_digests(BASE).current
    return write_adapter(tmp_path / "source", base_model=BASE, base_digest=digest)


def test_an_installed_adapter_is_packed_for_its_first_answer_and_a_removed_one_leaves_nothing(
    run: Run, source: Path
) -> None:
    packed = paths.cache_directory() / "packed"
    run("install", str(source), "--yes")
    assert [file.name[:7] for file in packed.iterdir()] == ["plants-"]
    run("remove", "plants")
    assert list(packed.iterdir()) == []


def test_an_adapter_comes_is_looked_at_and_goes(run: Run, source: Path) -> None:
    assert run("list") == (0, "", "No adapter is installed.\n")
    code, out, said = run("install", str(source), "--yes")
    assert (code, out) == (0, "")
    assert said.splitlines()[-1] == "Installed plants 1.0."
    assert "is not signed" in said
    code, out, _ = run("list")
    assert out.splitlines()[1].split() == [
        "plants",
        "1.0",
        "0.0",
        "MB",
        BASE,
        "Names",
        "plants",
        "by",
        "their",
        "leaves",
    ]
    code, out, _ = run("show", "plants")
    assert "Which plant is this?" in out
    assert str(source) in out
    assert run("verify") == (0, "plants: as it should be\n", "")
    assert run("remove", "plants") == (0, "", "Removed plants.\n")
    assert run("list", "--json") == (0, "[]\n", "")
    assert run("show", "plants")[0] == 1
    assert not list(paths.adapters_directory().glob("p*"))


def test_json_says_all_of_it(run: Run, source: Path) -> None:
    code, out, _ = run("install", str(source), "--yes", "--json")
    installed = json.loads(out)
    assert code == 0
    assert json.loads(run("show", "plants", "--json")[1]) == installed
    assert installed["examples"] == [
        {"question": "Which plant is this?", "answer": "an oak", "task": "species"}
    ]
    assert installed["copies"] is None
    assert installed["reads"] == {"ocr": "auto", "words": True, "chart_ranks": False, "prompt_format": 3}
    assert (installed["declared"], installed["signed_by"], installed["problem"]) == (True, None, None)
    assert set(installed["files"]) == {
        "adapter_config.json", "adapter_model.safetensors", "router.safetensors",
    }  # fmt: skip
    listed = json.loads(run("list", "--json")[1])
    assert [(a["name"], a["version"], a["tasks"]) for a in listed] == [("plants", "1.0", ["species"])]
    assert listed[0]["size"] > 1000


def test_without_a_terminal_nobody_is_asked_and_without_yes_it_is_refused(run: Run, source: Path) -> None:
    code, out, said = run("install", str(source))
    assert (code, out) == (1, "")
    assert said == f"edge-app: plants from {source} is not signed; add --yes to install it all the same.\n"
    assert run("list", "--json")[1] == "[]\n"


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_the_user_is_asked_once(run: Run, source: Path, answer: str, code: int) -> None:
    left, _, said = run("install", str(source), terminal=True, stdin=answer)
    assert left == code
    assert "Install version 1.0? [y/N]" in said


def test_a_signed_adapter_of_a_trusted_publisher_needs_no_yes(run: Run, source: Path, tmp_path: Path) -> None:
    key = tmp_path / "lab.key"
    code, fingerprint, _ = run("trust", "new-key", str(key))
    assert code == 0
    run("install", str(source), "--yes")
    code, _, said = run("export", "plants", str(tmp_path / "p.zip"), "--sign", str(key), "--publisher", "Lab")
    assert said == f"Wrote {tmp_path / 'p.zip'}, signed by Lab ({fingerprint.strip()}).\n"
    run("remove", "plants")
    code, _, said = run("install", str(tmp_path / "p.zip"))
    assert code == 1
    assert "is signed by 'Lab'" in said
    assert "whom you do not trust; add --yes" in said
    assert run("trust", "add", "The Lab", f"{key}.pub")[0] == 0
    assert run("trust", "list")[1].split() == ["NAME", "FINGERPRINT", "The", "Lab", fingerprint.strip()]
    assert json.loads(run("trust", "list", "--json")[1]) == [
        {"name": "The Lab", "fingerprint": fingerprint.strip()}
    ]
    assert run("install", str(tmp_path / "p.zip"))[0] == 0
    assert run("trust", "remove", "The Lab")[0] == 0
    assert run("trust", "remove", "The Lab")[0] == 1


def test_a_signature_that_does_not_fit_is_refused_with_yes(run: Run, source: Path, tmp_path: Path) -> None:
    run("trust", "new-key", str(tmp_path / "k"))
    run("install", str(source), "--yes")
    run("export", "plants", str(tmp_path / "p.zip"), "--sign", str(tmp_path / "k"))
    run("remove", "plants")
    target = tmp_path / "open"
    target.mkdir()
    unpack(tmp_path / "p.zip", target)
    manifest = target / "adapter.toml"
    manifest.write_text(manifest.read_text().replace("leaves", "roots"))
    code, _, said = run("install", str(target), "--yes")
    assert code == 1
    assert "the adapter is refused" in said


def test_versions_need_force(run: Run, source: Path, tmp_path: Path) -> None:
    run("install", str(source), "--yes")
    code, _, said = run("install", str(source), "--yes")
    assert code == 1
    assert said.startswith("edge-app: plants 1.0 is installed, which is the same version")
    assert run("install", str(source), "--yes", "--force")[0] == 0
    newer = write_adapter(tmp_path / "newer", tensors(seed=2), base_model=BASE, base_digest="", version="1.2")
    assert run("install", str(newer), "--yes")[2].splitlines()[-1] == "Installed plants 1.2 in place of 1.0."


def test_update_tells_what_stays_and_what_changes(run: Run, source: Path) -> None:
    run("install", str(source), "--yes")
    code, _, said = run("update")
    assert code == 0
    assert said.startswith("plants stays: plants 1.0 is installed")
    write_adapter(source, tensors(seed=2), base_model=BASE, base_digest="", version="1.1")
    assert run("update", "plants", "--yes")[2].splitlines()[-1] == "Installed plants 1.1 in place of 1.0."


def test_an_update_that_fails_stops_no_other(run: Run, source: Path, tmp_path: Path) -> None:
    other = write_adapter(tmp_path / "acorns", name="acorns", base_model=BASE, base_digest="")
    run("install", str(source), "--yes")
    run("install", str(other), "--yes")
    write_peft(paths.adapters_directory() / "by-hand")
    shutil.rmtree(other)
    write_adapter(source, tensors(seed=2), base_model=BASE, base_digest="", version="1.1")
    code, _, said = run("update", "--yes")
    assert code == 1
    assert said.startswith("edge-app: acorns stays: ")
    assert said.splitlines()[-1] == "Installed plants 1.1 in place of 1.0."


def test_verify_names_the_file_that_was_changed(run: Run, source: Path) -> None:
    run("install", str(source), "--yes")
    weights = paths.adapters_directory() / "plants" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    code, out, _ = run("verify", "plants")
    assert code == 1
    assert "adapter_model.safetensors is not what adapter.toml says" in out
    assert json.loads(run("verify", "--json")[1])[0]["problem"] in out


def test_a_damaged_adapter_is_listed_with_what_is_wrong(run: Run, source: Path) -> None:
    run("install", str(source), "--yes")
    (paths.adapters_directory() / "plants" / "adapter.toml").write_text("?")
    code, out, _ = run("list")
    assert code == 0
    assert "is not TOML" in out


def test_of_two_copies_of_its_model_the_one_is_named_that_an_adapter_runs_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = dict.fromkeys(("first", "second"), "weights")
    describe_models({"first": 1, "second": 1, "other": 1}, weights=weights)
    put_for("plants", "first")
    put_for("trees", "gone")
    for chosen, copies in (("second", ["second", "first"]), ("other", ["first", "second"])):
        monkeypatch.setenv("EDGE_APP_MODEL", chosen)
        assert [each["runs_on"] for each in json.loads(run("list", "--json")[1])] == [copies, []]
        plants, trees = run("list")[1].splitlines()[1:]
        assert copies[0] in plants
        assert "gone (not here)" in trees
        shown = dict(line.split(maxsplit=1) for line in run("show", "plants")[1].splitlines() if " " in line)
        assert (shown["base_model"], shown["runs_on"]) == ("first", ", ".join(copies))


def test_bundled_adapters_are_listed_and_install_by_name(run: Run, bundled: Path, loaded: list[str]) -> None:
    write_adapter(bundled / "plants", base_model=BASE, base_digest="")
    assert run("list")[2].endswith("Bundled, to be installed by name: plants.\n")
    assert run("install", "plants", "--offline")[0] == 0
    assert loaded == [BASE]
    assert "Bundled" not in run("list")[2]


def test_several_install_at_once_and_all_bundled_ones_once(
    run: Run, bundled: Path, loaded: list[str]
) -> None:
    for name in ("acorns", "plants"):
        write_adapter(bundled / name, name=name, base_model=BASE, base_digest="")
    assert run("install", "--bundled")[2] == "Installed acorns 1.0.\nInstalled plants 1.0.\n"
    assert loaded == [BASE]
    write_adapter(bundled / "plants", tensors(seed=2), base_model=BASE, base_digest="", version="1.1")
    code, out, said = run("install", "--bundled", "--json")
    assert code == 0
    assert [adapter["name"] for adapter in json.loads(out)] == ["plants"]
    assert "acorns stays: " in said
    run("remove", "acorns", "plants")
    assert len(json.loads(run("install", "acorns", "plants", "--json")[1])) == 2
    assert run("install", "acorns")[0] == 1
    assert run("install", "acorns", "--bundled")[0] == 2
    assert run("install", "acorns", "plants", "--name", "both")[0] == 2


def test_offline_leaves_with_code_3(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("https://example.org/a.zip", "hf:someone/something"):
        code, _, said = run("install", address, "--offline", "--yes")
        assert code == 3
        assert len(said.splitlines()) == 1

    def absent(settings: Any, _: object) -> Any:
        assert settings.offline
        raise NeedsNetwork("The model is not on this machine and the app is offline.")

    monkeypatch.setattr(installing, "AppModels", partial(installing.AppModels.func, load=absent))  # type: ignore[attr-defined]
    monkeypatch.setenv("EDGE_APP_OFFLINE", "1")
    code, _, said = run("install", str(source), "--yes")
    assert code == 3
    assert "not on this machine" in said


def test_an_archive_is_pinned_by_its_hash(run: Run, tmp_path: Path) -> None:
    archive = zipped(write_peft(tmp_path / "oaks"), tmp_path / "oaks.zip")
    assert run("install", str(archive), "--sha256", "0" * 64, "--yes")[0] == 1
    assert run("install", str(archive), "--sha256", file_digest(archive), "--yes")[0] == 0
    assert "oaks stays: oaks was pinned" in run("update")[2]


def test_options_that_do_not_go_together_are_a_usage_error(run: Run) -> None:
    assert run("export", "plants", "p.zip", "--publisher", "Lab")[0] == 2
    assert run("install")[0] == 2
    assert run("sparkle")[0] == 2


def test_a_thousand_adapters_are_listed_without_a_look_at_their_tensors(run: Run, tmp_path: Path) -> None:
    """How long it takes is measured by `make bench`."""
    folder = write_adapter(tmp_path / "one", base_model=BASE)
    write_record(folder, InstallRecord(source="/somewhere", date="2026-01-01T00:00:00+00:00", base_digest=""))
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    directory = paths.ensure(paths.adapters_directory())
    names = [f"plants-{number:04}" for number in range(1000)]
    for name in names:
        (directory / name).mkdir()
        for file in folder.iterdir():
            (directory / name / file.name).hardlink_to(file)
    code, out, _ = run("list", "--json")
    listed = json.loads(out)
    assert (code, [each["name"] for each in listed]) == (0, names)
    assert not any(each["problem"] for each in listed)

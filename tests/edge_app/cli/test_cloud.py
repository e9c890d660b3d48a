"""`edge-app cloud` as scripts see it; the keyring is one in memory, the endpoint a real server on loopback."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator

import keyring
import keyring.backend
import keyring.backends.fail
import pytest

from edge_app.cli.main import main
from edge_app.cloud.consent import ConsentStore
from edge_app.cloud.key import VARIABLE
from edge_app.system import paths
from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.cloud.misbehaving import Misbehaving, answers, status

SECRET = "sk-very-secret-0123456789"


class MemoryKeyring(keyring.backend.KeyringBackend):
    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture(autouse=True)
def ring() -> Iterator[MemoryKeyring]:
    before, ring = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


class TypingTerminal(io.StringIO):
    """Somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command for a person: lines are what is typed, key what is typed blindly. Returns the exit code;
    what the person saw is in sys.stderr."""

    def run(*arguments: str, lines: str, key: str = "") -> int:
        monkeypatch.setattr(sys, "argv", ["edge-app", "cloud", *arguments])
        monkeypatch.setattr(sys, "stdin", TypingTerminal(lines))
        monkeypatch.setattr(sys, "stderr", TypingTerminal())
        monkeypatch.setattr("getpass.getpass", lambda *_: key)
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return left.value.code

    return run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edge-app", "cloud", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return run


def set_up(run: Run, server: Misbehaving) -> None:
    assert (
        run("setup", "--url", server.url, "--model", "big-model", "--key-stdin", stdin=SECRET + "\n").code
        == 0
    )


def test_setup_keeps_the_address_in_the_settings_and_the_key_in_the_keyring(
    run: Run, ring: MemoryKeyring
) -> None:
    paths.ensure(paths.config_directory())
    paths.config_file().write_text("# mine\ntheme = 'nord'  # blue\n\n[keys]\nsend = 'f2'\n")
    outcome = run(
        *("setup", "--url", "https://api.example.com", "--model", 'a "b"', "--key-stdin"), stdin=SECRET + "\n"
    )
    assert (outcome.code, outcome.stdout) == (0, "")
    assert ring.kept == {("edge-app", "api.example.com"): SECRET}
    written = paths.config_file().read_text()
    assert "# mine\ntheme = 'nord'  # blue\n" in written and "[keys]\nsend = 'f2'\n" in written
    shown = json.loads(run("status", "--json").stdout)
    assert (shown["url"], shown["model"], shown["key"]) == ("https://api.example.com/v1", 'a "b"', "keyring")
    assert SECRET not in written + outcome.stderr + json.dumps(shown) + run("status").stdout


def test_without_a_keyring_setup_points_at_the_variable(run: Run) -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    outcome = run(
        *("setup", "--url", "https://api.example.com", "--model", "m", "--key-stdin"), stdin=SECRET + "\n"
    )
    assert outcome.code == 1
    assert VARIABLE in outcome.stderr and SECRET not in outcome.stderr
    assert json.loads(run("status", "--json").stdout)["key"] is None


def test_the_variable_wins_over_the_keyring(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sk-from-the-environment")
    with Misbehaving(answers("ready")) as server:
        set_up(run, server)
        assert run("test", "--allow-cloud").code == 0
        assert server.requests[0].headers["authorization"] == "Bearer sk-from-the-environment"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--url", "https://a.example"), 2),
        (("--url", "nonsense", "--model", "m"), 1),
        (("--url", "https://a.example", "--model", "m", "--key-stdin"), 1),
    ],
)
def test_setup_refuses_what_is_not_whole(run: Run, arguments: tuple[str, ...], code: int) -> None:
    assert run("setup", *arguments).code == code
    assert not paths.config_file().exists()


def test_a_person_is_asked_for_what_is_missing(
    run: Run, terminal: Callable[..., int], ring: MemoryKeyring
) -> None:
    assert terminal("setup", lines="https://api.example.com\nbig-model\n", key=SECRET) == 0
    assert SECRET not in seen()
    assert ring.kept == {("edge-app", "api.example.com"): SECRET}
    assert terminal("setup", "--model", "other", lines="\n") == 0, "what there is stays"
    shown = json.loads(run("status", "--json").stdout)
    assert (shown["url"], shown["model"], shown["key"]) == ("https://api.example.com/v1", "other", "keyring")


@pytest.mark.parametrize(("typed", "code", "sent"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_a_person_sees_what_would_be_sent_and_decides(
    run: Run, terminal: Callable[..., int], typed: str, code: int, sent: int
) -> None:
    with Misbehaving(answers("ready")) as server:
        set_up(run, server)
        assert terminal("test", lines=typed) == code
        assert len(server.requests) == sent
        assert all(part in seen() for part in (server.endpoint.host, "big-model", "Answer with the one word"))


def seen() -> str:
    assert isinstance(sys.stderr, TypingTerminal)
    return sys.stderr.getvalue()


def test_test_measures_and_is_recorded(run: Run) -> None:
    with Misbehaving(answers("ready")) as server:
        set_up(run, server)
        outcome = run("test", "--allow-cloud", "--json")
    measured = json.loads(outcome.stdout)
    assert (outcome.code, measured["answer"], measured["place"]) == (0, "ready", "local server")
    assert 0 < measured["first_ms"] <= measured["total_ms"]
    assert measured["tokens"] == {"prompt": 11, "completion": 3}
    assert "cloud" not in outcome.stderr
    (entry,) = json.loads(run("ledger", "--json").stdout)
    assert (entry["purpose"], entry["status"], entry["host"]) == ("test", "complete", server.endpoint.host)
    assert entry["bytes"] == len(server.requests[0].body)
    assert entry["sha256"][:12] in run("ledger").stdout


def test_scripts_need_to_allow_it(run: Run) -> None:
    with Misbehaving(answers("ready")) as server:
        set_up(run, server)
        outcome = run("test")
        assert (outcome.code, "--allow-cloud" in outcome.stderr, server.requests) == (1, True, [])
        decisions = ConsentStore.open()
        decisions.decide(server.endpoint.host, "never", None)
        decisions.close()
        assert run("test", "--allow-cloud").code == 1
        assert server.requests == []
    assert run("ledger").stderr == "Nothing has ever been sent.\n"


def test_a_failing_endpoint_is_exit_code_4(run: Run) -> None:
    with Misbehaving(status(401, {"error": {"message": SECRET}})) as server:
        set_up(run, server)
        outcome = run("test", "--allow-cloud")
    assert (outcome.code, outcome.stdout) == (4, "")
    assert "does not accept the key" in outcome.stderr and SECRET not in outcome.stderr
    assert "unauthorised" in run("ledger").stdout


def test_offline_is_exit_code_3_and_nothing_is_recorded(run: Run) -> None:
    run("setup", "--url", "https://api.example.com", "--model", "m")
    outcome = run("test", "--allow-cloud", "--offline")
    assert (outcome.code, outcome.stdout) == (3, "")
    assert (
        outcome.stderr == "edge-app: The app is offline; asking the cloud at api.example.com has to wait.\n"
    )
    assert json.loads(run("ledger", "--json").stdout) == []


def test_a_local_server_answers_offline(run: Run) -> None:
    with Misbehaving(answers("ready")) as server:
        set_up(run, server)
        assert run("test", "--allow-cloud", "--offline").code == 0


def test_forget_leaves_only_the_ledger(run: Run, ring: MemoryKeyring) -> None:
    with Misbehaving(answers("ready")) as server:
        set_up(run, server)
        run("test", "--allow-cloud")
        decisions = ConsentStore.open()
        decisions.decide(server.endpoint.host, "always", None)
        assert run("forget").code == 1, "there is no terminal to ask on"
        assert run("forget", "--yes").code == 0
        assert decisions.hosts() == {}
        decisions.close()
    assert ring.kept == {}
    assert paths.config_file().read_text() == ""
    assert json.loads(run("status", "--json").stdout) == {"configured": False}
    assert len(json.loads(run("ledger", "--json").stdout)) == 1


def test_what_is_not_set_up_says_how(run: Run) -> None:
    assert "edge-app cloud setup" in run("test").stderr
    assert "edge-app cloud setup" in run("status").stdout
    assert run("forget", "--yes").code == 0


@pytest.mark.parametrize("command", ["setup", "test", "status", "ledger", "forget"])
def test_help_has_examples(run: Run, command: str) -> None:
    assert f"edge-app cloud {command}" in run(command, "--help").stdout

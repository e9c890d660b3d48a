"""Offline is a guarantee: in processes of their own, everything that could reach the network tries to."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge_app.system.offline import ENVIRONMENT, switch, wanted_by_environment
from models.core.errors import NeedsNetwork
from models.hub.store import ModelFiles

FAR = "192.0.2.1"  # of the documentation's network (RFC 5737): nothing is there, should a packet get out
OWN = re.compile(r'inet_addr\("127\.|"::1"')
FAR6 = "2001:db8::1"


def process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that begins by going offline; attempt(f) prints what came of f."""
    prelude = """
        import _socket, asyncio, os, socket, sys, threading
        from edge_app.system.offline import switch
        from models.core.errors import NeedsNetwork
        switch.turn_on()
        def attempt(f):
            try:
                print("through:", f())
            except NeedsNetwork as error:
                print("refused:", error)
            except BaseException as error:
                print("otherwise:", type(error).__name__, error)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def traced(script: str, file: Path, *arguments: str) -> tuple[str, list[str]]:
    """What a script says, and the system calls that name an address that is not this machine's."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; what the process asks of the kernel cannot be seen")
    wanted = "trace=connect,bind,sendto,sendmsg,sendmmsg"
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", wanted, "-o", str(file)]
    command += [sys.executable, "-c", script, *arguments]
    # Libraries that report to their makers keep quiet where tests run as a rule.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("this system does not let a process be traced")
    calls = file.read_text(errors="replace").splitlines()
    return done.stdout + done.stderr, [call for call in calls if "AF_INET" in call and not OWN.search(call)]


ATTEMPTS = {
    "connect": f"socket.socket().connect(('{FAR}', 80))",
    "connect to a name": "socket.socket().connect(('example.com', 80))",
    "connect_ex": f"socket.socket().connect_ex(('{FAR}', 80))",
    "connect_ex to a name": "socket.socket().connect_ex(('example.com', 80))",
    "connect, version 6": f"socket.socket(socket.AF_INET6).connect(('{FAR6}', 80))",
    "connect, version 4 in 6": f"socket.socket(socket.AF_INET6).connect(('::ffff:{FAR}', 80))",
    "every address": "socket.socket().connect(('0.0.0.0', 80))",
    "create_connection": "socket.create_connection(('example.com', 80))",
    "a datagram": f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{FAR}', 53))",
    "a datagram to a name": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', 0, ('example.com', 53))",
    "sendmsg": f"socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('{FAR}', 53))",
    "a socket that others reach": "socket.socket().bind(('', 0))",
    "another kind of socket": f"_socket.socket().connect(('{FAR}', 80))",
    "another kind of socket, name": "_socket.socket(socket.AF_INET).connect(('example.com', 80))",
    "getaddrinfo": "socket.getaddrinfo('example.com', 80)",
    "getaddrinfo, bytes": "socket.getaddrinfo(b'example.com', 80)",
    "gethostbyname": "socket.gethostbyname('example.com')",
    "gethostbyname_ex": "socket.gethostbyname_ex('example.com')",
    "gethostbyaddr": f"socket.gethostbyaddr('{FAR}')",
    "getnameinfo": f"socket.getnameinfo(('{FAR}', 53), 0)",
    "asyncio": "asyncio.run(asyncio.wait_for(asyncio.open_connection('example.com', 80), 5))",
    "urllib": "__import__('urllib.request').request.urlopen('http://example.com')",
    "urllib, address": f"__import__('urllib.request').request.urlopen('http://{FAR}')",
    "http.client": f"__import__('http.client').client.HTTPSConnection('{FAR}').request('GET', '/')",
    "httpx": "__import__('httpx').get('https://example.com')",
    "httpx through a proxy": f"__import__('httpx').get('https://example.com', proxy='http://{FAR}:3128')",
    "httpx2": "__import__('httpx2').get('https://example.com')",
}


def test_nothing_gets_through() -> None:
    tries = "\n".join(f"attempt(lambda: {code})" for code in ATTEMPTS.values())
    done = process(tries)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    for name, line in zip(ATTEMPTS, lines, strict=True):
        assert line.startswith("refused: The app is offline"), (name, line)


@pytest.mark.slow
def test_the_kernel_sees_none_of_it(tmp_path: Path) -> None:
    tries = "; ".join(f"attempt(lambda: {code})" for code in ATTEMPTS.values())
    script = textwrap.dedent("""
        import _socket, asyncio, socket
        from edge_app.system.offline import switch
        switch.turn_on()
        def attempt(f):
            try:
                f()
            except BaseException:
                pass
    """)
    said, calls = traced(script + tries, tmp_path / "calls")
    assert said == ""
    assert calls == []


def test_threads_are_no_way_out() -> None:
    done = process(
        f"""
        def run(f):
            thread = threading.Thread(target=attempt, args=[f]); thread.start(); thread.join()
        run(lambda: socket.getaddrinfo("example.com", 80))
        run(lambda: socket.socket().connect(("{FAR}", 80)))
        run(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("{FAR}", 53)))
        """
    )
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["refused"] * 3, done


def test_huggingface_hub_is_no_way_out(tmp_path: Path) -> None:
    script = f"""
        import huggingface_hub
        attempt(lambda: huggingface_hub.hf_hub_download("gpt2", "config.json", cache_dir={str(tmp_path)!r}))
        attempt(lambda: huggingface_hub.HfApi().model_info("gpt2"))
        os.environ["HF_HUB_OFFLINE"] = "0"
        import huggingface_hub.constants
        huggingface_hub.constants.HF_HUB_OFFLINE = False
        attempt(lambda: huggingface_hub.HfApi().model_info("gpt2"))
    """
    done = process(script)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and not any(line.startswith("through") for line in lines), done
    assert lines[-1].startswith("refused"), lines


def test_this_machine_can_be_talked_to() -> None:
    done = process(
        """
        server = socket.create_server(("127.0.0.1", 0))
        port = server.getsockname()[1]
        attempt(lambda: socket.create_connection(("localhost", port)).close())
        attempt(lambda: socket.create_connection(("127.0.0.1", port)).close())
        ours, theirs = socket.socketpair()
        attempt(lambda: ours.send(b"x"))
        attempt(lambda: socket.getaddrinfo("::1", 80)[0][4][0])
        attempt(lambda: socket.getaddrinfo("192.0.2.1", 80)[0][4][0])
        attempt(lambda: asyncio.run(asyncio.sleep(0)))
        """
    )
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["through"] * 6, done


def test_what_was_connected_before_is_cut() -> None:
    """Loopback stands in for the network: it is told apart by the address alone."""
    done = process(
        """
        import edge_app.system.offline as offline
        switch.turn_off()
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        switch.turn_on()
        client.send(b"still here"); print(peer.recv(100))
        switch.turn_off()
        offline.is_loopback = lambda host: False
        switch.turn_on()
        try: print(peer.recv(100))
        except OSError: print("cut")
        """
    )
    assert done.stdout.splitlines()[0] == "b'still here'", done
    assert done.stdout.splitlines()[1] in ("b''", "cut")


def test_only_the_user_switches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    switch.turn_on()
    try:
        assert {name: os.environ[name] for name in ENVIRONMENT} == ENVIRONMENT
        monkeypatch.setenv("EDGE_APP_OFFLINE", "0")
        with pytest.raises(NeedsNetwork):
            socket.getaddrinfo("example.com", 80)
    finally:
        monkeypatch.undo()
        switch.turn_off()
    assert {name: os.environ.get(name) for name in ENVIRONMENT} == before
    with socket.socket(type=socket.SOCK_DGRAM) as sent:
        sent.bind(("", 0))  # refused while it is on


def test_it_can_be_turned_on_and_off_again_and_the_hub_s_library_hears_of_it() -> None:
    done = process(
        """
        import huggingface_hub.constants as hub
        print(hub.HF_HUB_OFFLINE, switch.toggle(), hub.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE"))
        print(switch.toggle(), hub.HF_HUB_OFFLINE, switch.is_on)
        attempt(lambda: socket.getaddrinfo("example.com", 80))
        switch.toggle()
        server = socket.create_server(("0.0.0.0", 0)); print("listens to everybody")
        """
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["True False False None", "True True True"], done
    assert lines[2].startswith("refused") and lines[3] == "listens to everybody"


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", True), ("true", True), ("", False), ("0", False), ("False", False)]
)
def test_the_environment_may_want_it(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("EDGE_APP_OFFLINE", value)
    assert wanted_by_environment() is wanted


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("sys.argv[1:] = ['models', 'pull', 'edge-vlm-135m', '--offline']", id="option"),
        pytest.param(
            "os.environ['EDGE_APP_OFFLINE'] = '1'; sys.argv[1:] = ['models', 'list']", id="environment"
        ),
        pytest.param("settings('offline = true'); sys.argv[1:] = ['cloud', 'status']", id="settings"),
    ],
)
def test_the_command_line_goes_offline_before_anything_else(start: str) -> None:
    script = f"""
        switch.turn_off()
        from edge_app.system import paths
        def settings(text):
            paths.ensure(paths.config_directory()); paths.config_file().write_text(text)
        from edge_app.cli.main import main
        {start}
        try: main()
        except SystemExit: pass
        print("\\nafterwards")
        attempt(lambda: socket.getaddrinfo("example.com", 80))
    """
    done = process(script)
    assert done.stdout.split("afterwards\n")[1].startswith("refused"), done


WHOLE_CHAT = """
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from edge_app.system.offline import switch
switch.turn_on()
from edge_app import settings
from edge_app.system import paths
from edge_app.assistant import Assistant, Turn
from edge_app.events import Answered, Progress
from edge_app.storage.sessions import SessionStore

class Yes:
    def ask(self, proposal):
        raise AssertionError("nobody is asked what cannot be sent")

def told(events):
    for event in events:
        if isinstance(event, Progress) and event.stage == "read":
            print("read", event.message)
    assert isinstance(event, Answered), event
    print(event.answer.place, event.answer.adapter, "|", event.answer.reason)
    return event.answer

photo, receipt = Path(sys.argv[1]), Path(sys.argv[2])
chosen = settings.load(paths.config_file(), max_tokens=6)
with closing(SessionStore.open()) as store, closing(Assistant(chosen, store, consenter=Yes())) as assistant:
    list(assistant.prepare([photo]))
    session = told(assistant.answer(Turn("Which shape is it?", (photo,)))).session
    for adapter in ("shapes", "none", "remote_sensing", "shapes:0.5,remote_sensing:0.5", "auto"):
        told(assistant.answer(Turn("And its colour?", session=session, adapter=adapter)))
    told(assistant.answer(Turn("What is the total?", (receipt,), session=session, adapter="receipts")))
    for mode in ("auto", "fast", "eco", "quality"):
        told(assistant.answer(Turn("And the date?", session=session, mode=mode, allow_cloud=True)))
    told(assistant.ask_cloud(session, store.get(session).turns[0].id))
"""


@pytest.fixture
def prepared(home: Path, model_files: ModelFiles, engine_cache: Path) -> Path:
    """A home with the model, as after a first start; the bundled adapters install themselves."""
    models = home / "data" / "models"
    models.parent.mkdir(parents=True)
    models.symlink_to(model_files.directory.parent)
    engine_cache.mkdir(exist_ok=True)
    (home / "cache").symlink_to(engine_cache)
    return home


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    import PIL.Image
    import PIL.ImageDraw

    picture = PIL.Image.new("RGB", (320, 200), "white")
    PIL.ImageDraw.Draw(picture).text((20, 20), "TOTAL 12.50", fill="black", font_size=32)
    picture.save(tmp_path / "receipt.png")
    return tmp_path / "receipt.png"


@pytest.mark.slow
def test_reading_a_text_tells_nobody_not_even_online(tmp_path: Path, receipt: Path) -> None:
    """onnxruntime would, a few seconds after it was loaded, and when it ends."""
    script = """
        import sys, time
        from pathlib import Path
        from models.core.images import load_image
        from models.ocr.reader import TextReader
        print([line.text for line in TextReader(1).read(load_image(Path(sys.argv[1]))).lines])
        time.sleep(8)
    """
    said, calls = traced(textwrap.dedent(script), tmp_path / "calls", str(receipt))
    assert "12.50" in said, said
    assert calls == []


@pytest.fixture
def far_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_CLOUD_URL", "https://api.example.com/v1")
    monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "m")
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")


@pytest.mark.slow
@pytest.mark.usefixtures("prepared", "far_cloud")
def test_a_whole_chat_opens_no_connection(
    tmp_path: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images, adapters one after the other and summed, text read in an image, every mode's way to the cloud and
    the user's own wish for it, in one process, with the kernel's calls traced."""
    import PIL.Image

    PIL.Image.new("RGB", (64, 48), "red").save(tmp_path / "photo.png")
    monkeypatch.setenv("EDGE_APP_BUNDLED_ADAPTERS", "1")
    said, calls = traced(WHOLE_CHAT, tmp_path / "calls", str(tmp_path / "photo.png"), str(receipt))
    lines = said.splitlines()
    answers = [line for line in lines if line.startswith(("local ", "cloud "))]
    assert len(answers) == 12 and all(line.startswith("local ") for line in answers), said
    adapters = [line.split()[1] for line in answers]
    assert adapters[1:5] == ["shapes", "None", "remote_sensing", "shapes:0.5,remote_sensing:0.5"]
    assert adapters[6] == "receipts"
    assert "read Reading the text in receipt.png" in lines
    assert "mode quality, but the app is offline" in answers[10], said
    assert answers[11].endswith("the app is offline"), said
    assert calls == []


@pytest.mark.slow
@pytest.mark.usefixtures("prepared", "far_cloud")
def test_a_whole_question_opens_no_connection(tmp_path: Path, receipt: Path) -> None:
    """A question about an image with text in it, one for the cloud, and a try to reach it, by the real commands,
    with the kernel's calls traced."""
    question = ["ask", "What is the total?", "--image", str(receipt), "--offline", "--json"]
    quality = ["ask", "What now?", "--mode", "quality", "--allow-cloud", "--offline", "--max-tokens", "8"]
    test = ["cloud", "test", "--allow-cloud", "--offline"]
    script = f"""
        import sys
        from edge_app.cli.main import main
        for arguments in {[*question, "--max-tokens", "8"]!r}, {quality!r}, {test!r}:
            sys.argv = ["edge-app", *arguments]
            try:
                main()
            except SystemExit as left:
                print("exit code", left.code)
    """
    said, calls = traced(textwrap.dedent(script), tmp_path / "calls")
    assert '"place": "local"' in said and said.count("exit code 0") == 2, said
    assert "mode quality, but the app is offline" in said, said
    assert "The app is offline; asking the cloud at api.example.com" in said and "exit code 3" in said, said
    assert calls == []

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

from edge_app.offline import ENVIRONMENT, switch, wanted_by_environment
from models.errors import NeedsNetwork
from models.store import ModelFiles

FAR = "192.0.2.1"  # of the documentation's network (RFC 5737): nothing is there, should a packet get out
OWN = re.compile(r'inet_addr\("127\.|"::1"')
FAR6 = "2001:db8::1"


def process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that begins by going offline; attempt(f) prints what came of f."""
    prelude = """
        import _socket, asyncio, os, socket, sys, threading
        from edge_app.offline import switch
        from models.errors import NeedsNetwork
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


def traced(script: str, file: Path) -> tuple[str, list[str]]:
    """What a script says, and the system calls that name an address that is not this machine's."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; what the process asks of the kernel cannot be seen")
    wanted = "trace=connect,bind,sendto,sendmsg,sendmmsg"
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", wanted, "-o", str(file)]
    command += [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
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
        from edge_app.offline import switch
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
        import edge_app.offline as offline
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
        from edge_app import paths
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


@pytest.mark.slow
def test_a_whole_question_opens_no_connection(
    tmp_path: Path, model_files: ModelFiles, engine_cache: Path, home: Path
) -> None:
    """A question about an image with text in it and a try to reach the cloud, by the real commands, with the
    kernel's calls traced."""
    import PIL.Image
    import PIL.ImageDraw

    models = home / "data" / "models"
    models.parent.mkdir(parents=True)
    models.symlink_to(model_files.directory.parent)
    engine_cache.mkdir(exist_ok=True)
    (home / "cache").symlink_to(engine_cache)
    picture = PIL.Image.new("RGB", (320, 200), "white")
    PIL.ImageDraw.Draw(picture).text((20, 20), "TOTAL 12.50", fill="black", font_size=32)
    picture.save(tmp_path / "receipt.png")
    question = ["ask", "What is the total?", "--image", str(tmp_path / "receipt.png"), "--offline", "--json"]
    escalation = ["cloud", "test", "--allow-cloud", "--offline"]
    script = f"""
        import os, sys
        os.environ |= {{"EDGE_APP_CLOUD_URL": "https://api.example.com/v1", "EDGE_APP_CLOUD_MODEL": "m"}}
        from edge_app.cli.main import main
        for arguments in {[*question, "--max-tokens", "8"]!r}, {escalation!r}:
            sys.argv = ["edge-app", *arguments]
            try:
                main()
            except SystemExit as left:
                print("exit code", left.code)
    """
    said, calls = traced(textwrap.dedent(script), tmp_path / "calls")
    assert '"place": "local"' in said and "exit code 0" in said, said
    assert "The app is offline; asking the cloud at api.example.com" in said and "exit code 3" in said, said
    assert calls == []

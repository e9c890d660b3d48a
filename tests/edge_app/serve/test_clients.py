"""The server as a process of its own, over the real default model, asked by the programs of docs/serve.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "serve.md").read_text("utf-8")
COMMAND = [sys.executable, "-m", "edge_app"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


PYTHON = blocks("python")
CURL = [block for block in blocks("sh") if "curl" in block]


@pytest.fixture(scope="module")
def environment(real_home: Path) -> dict[str, str]:
    """With the adapters that come with the app."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_APP_")}
    if kernels := os.environ.get("EDGE_APP_KERNELS"):
        kept["EDGE_APP_KERNELS"] = kernels
    return {**kept, "EDGE_APP_HOME": str(real_home), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: with the image that they name."""
    folder = tmp_path_factory.mktemp("examples")
    shapes = PIL.Image.new("RGB", (256, 256), "white")
    PIL.ImageDraw.Draw(shapes).ellipse((60, 60, 200, 200), fill="red")
    shapes.save(folder / "shapes.png")
    (folder / "keys").write_text("a-key-of-many-letters\n")
    return folder


def start(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A server, and the address that its first line names."""
    child = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments],
        env=environment, cwd=folder, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    said = child.stderr.readline()
    address = re.search(r"http://[\d.]+:\d+", said)
    assert address is not None, said
    return child, address[0]


@pytest.fixture(scope="module")
def address(environment: dict[str, str], folder: Path) -> Iterator[str]:
    child, address = start(environment, folder, "--images-from", str(folder))
    yield address
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 0
    assert said.splitlines()[-1] == "The server has ended."


def run(command: list[str], address: str, folder: Path, **environment: str) -> str:
    """What a command of the page prints, with the address of this server."""
    there = [part.replace("http://127.0.0.1:8642", address) for part in command]
    done = subprocess.run(
        there, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", range(len(PYTHON)))
def test_the_openai_client(address: str, folder: Path, example: int) -> None:
    printed = run([sys.executable, "-c", PYTHON[example]], address, folder).splitlines()
    assert len(printed) >= 2 and all(printed)
    if '"shapes"' in PYTHON[example]:
        assert printed == ["circle", "shapes"]
    if "response_format" in PYTHON[example]:
        assert [line.split()[0] for line in printed[1:]] == ["name", "inhabitants"]
    elif "France" in PYTHON[example]:
        assert "Paris" in printed[0] and 0 < float(printed[1]) < 1
    if "stream=True" in PYTHON[example]:
        assert re.fullmatch(r"\d+ tokens, local", printed[-1])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("example", range(len(CURL)))
def test_curl(address: str, folder: Path, example: int) -> None:
    printed = run(["sh", "-c", CURL[example]], address, folder)
    for asked, told in (("France", "Paris"), ("What shape", "circle"), ("health", '"status":"ok"')):
        if asked in CURL[example]:
            assert told in printed


def test_llm_with_its_file_of_models(address: str, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("llm")
    (models,), (command,) = blocks("yaml"), [block for block in blocks("sh") if block.startswith("llm ")]
    user = tmp_path / "llm"
    user.mkdir()
    (user / "extra-openai-models.yaml").write_text(models.replace("http://127.0.0.1:8642", address))
    called = command.replace("llm ", f"{sys.executable} -m llm ", 1)
    printed = run(["sh", "-c", called], address, folder, LLM_USER_PATH=str(user))
    assert printed.strip() == "circle"


def test_the_examples_are_found() -> None:
    assert len(PYTHON) >= 3 and len(CURL) >= 3


def test_an_image_of_the_folder_by_its_path(address: str, folder: Path) -> None:
    body = (
        '{"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": "What shape is this?"},'
        ' {"type": "image_url", "image_url": {"url": "shapes.png"}}]}]}'
    )
    script = (
        "import sys, urllib.request as r; "
        "print(r.urlopen(r.Request(sys.argv[1], sys.argv[2].encode())).read().decode())"
    )
    printed = run([sys.executable, "-c", script, f"{address}/v1/chat/completions", body], address, folder)
    assert '"content":"circle"' in printed and '"adapter":"shapes"' in printed


def answered(address: str, **body: Any) -> Any:
    data = json.dumps({"messages": [{"role": "user", "content": "Name a colour."}], **body}).encode()
    with urllib.request.urlopen(f"{address}/v1/chat/completions", data, timeout=120) as reply:
        return json.loads(reply.read())


def test_an_answer_fits_its_schema_however_short_it_has_to_be(address: str) -> None:
    properties = {"name": {"type": "string"}, "warm": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["name", "warm"]}
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}
    for most in (30, 200):
        answer = answered(address, response_format=form, max_tokens=most, model="edge-vlm-135m")
        value = json.loads(answer["choices"][0]["message"]["content"])
        assert isinstance(value["name"], str) and isinstance(value["warm"], bool)
    any_object = answered(address, response_format={"type": "json_object"}, max_tokens=60)
    assert isinstance(json.loads(any_object["choices"][0]["message"]["content"]), dict)


def test_log_probabilities_are_those_of_the_tokens_of_the_text(address: str) -> None:
    answer = answered(address, logprobs=True, top_logprobs=3, max_tokens=8, model="edge-vlm-135m")
    (choice,) = answer["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens).strip() == choice["message"]["content"].strip()
    for token in tokens:
        likeliest = [each["logprob"] for each in token["top_logprobs"]]
        assert len(likeliest) == 3 and likeliest == sorted(likeliest, reverse=True)
        assert token["logprob"] <= likeliest[0] <= 0


def test_beyond_loopback_it_answers_those_who_have_the_key(environment: dict[str, str], folder: Path) -> None:
    child, address = start(environment, folder, "--host", "0.0.0.0", "--key-file", "keys", "--verbose")
    there = address.replace("0.0.0.0", "127.0.0.1")
    request = urllib.request.Request(f"{there}/v1/models")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=240)
    request.add_header("Authorization", "Bearer a-key-of-many-letters")
    with urllib.request.urlopen(request, timeout=240) as reply:
        assert json.loads(reply.read())["data"][0]["id"] == "auto"
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=240)
    assert "GET /v1/models 401" in said and "GET /v1/models 200" in said


def test_ctrl_c_ends_it_with_one_line(environment: dict[str, str], folder: Path) -> None:
    child, _ = start(environment, folder)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 130
    assert said.splitlines()[-1] == "The server has ended." and "Traceback" not in said


def test_a_port_that_is_taken_is_told_in_one_sentence(
    address: str, environment: dict[str, str], folder: Path
) -> None:
    port = address.rpartition(":")[2]
    done = subprocess.run(
        [*COMMAND, "serve", "--port", port],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"edge-app: Port {port} of 127.0.0.1 is taken by another program; --port N chooses another one.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, "--key-file"),
        (["--host", "no.such.host.invalid"], 1, "no address or name"),
        (["--images-from", "nowhere"], 2, "is no folder"),
        (["--key-file", "nowhere"], 1, "cannot be read"),
        (["--model", "nothing"], 1, "nothing"),
        (["--offline", "--model", "smolvlm-256m"], 3, "smolvlm-256m"),
        (["--offline", "--host", "0.0.0.0", "--key-file", "keys"], 3, "0.0.0.0 is on the network"),
    ],
)
def test_what_does_not_fit_is_told_before_it_listens(
    environment: dict[str, str], folder: Path, arguments: list[str], code: int, said: str
) -> None:
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0", *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "Listening" in done.stderr) == (code, False), done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr

"""The assistant and the command line over the real engine and the real default model."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from safetensors.numpy import save_file

from edge_app import settings
from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.events import Answered, CloudFailed, ImageEncoded, Ready, TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.types import Image
from models.lora.peft_config import MODULES
from models.vision.projector.heads import ProjectorHead, ProjectorPart
from models.vision.projector.projector_file import write_projector_part
from models.vision.tower import TowerFeatures, VisionTower
from router.confidence.rule import Confidence, ConfidenceEstimate
from tests.edge_app.cloud.misbehaving import Misbehaving, Wire, status

pytestmark = pytest.mark.slow

ASK = [sys.executable, "-m", "edge_app", "ask"]


def picture(seed: int = 0) -> bytes:
    """Something to look at: coloured shapes."""
    random = np.random.default_rng(seed)
    image = PIL.Image.new("RGB", (320, 240), "skyblue")
    draw = PIL.ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = random.integers(0, 200, 3)
        draw.ellipse((x, y, x + size, y + size), fill=tuple(map(int, random.integers(0, 255, 3))))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def store(real_home: Path) -> Iterator[SessionStore]:
    store = SessionStore(real_home / "data" / "sessions.db", real_home / "data" / "images")
    yield store
    store.close()


@pytest.fixture(scope="module")
def assistant(real_home: Path, store: SessionStore) -> Iterator[Assistant]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EDGE_APP_HOME", str(real_home))
        assistant = Assistant(settings.load(paths.config_file(), max_tokens=24), store)
        assert isinstance(list(assistant.prepare())[-1], Ready)
    yield assistant
    assistant.close()


def ask(assistant: Assistant, question: str, **turn: object) -> Answer:
    event = list(assistant.answer(Turn(question, **turn)))[-1]  # type: ignore[arg-type]
    assert isinstance(event, Answered), event
    return event.answer


def make_adapter(folder: Path, scale: float, rank: int = 8, seed: int = 3) -> None:
    """A random PEFT adapter on every linear layer of the default model."""
    hidden, keys, inner, layers = 576, 192, 1536, 30
    shapes = {
        "q_proj": (hidden, hidden), "k_proj": (keys, hidden), "v_proj": (keys, hidden),
        "o_proj": (hidden, hidden), "gate_proj": (inner, hidden), "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }  # fmt: skip
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for module in MODULES:
            block = "mlp" if module in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            name = f"base_model.model.model.layers.{layer}.{block}.{module}"
            outputs, inputs = shapes[module]
            tensors[f"{name}.lora_A.weight"] = random.normal(0, inputs**-0.5, (rank, inputs)).astype(
                np.float32
            )
            tensors[f"{name}.lora_B.weight"] = random.normal(0, scale, (outputs, rank)).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": list(MODULES)}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def test_a_second_question_about_an_image_computes_only_what_is_new(assistant: Assistant) -> None:
    first = ask(assistant, "What is in this photo?", images=(picture(),))
    assert first.text.strip()
    assert 0 < first.tokens.image < first.tokens.prompt
    assert first.confidence is not None and 0 < first.confidence <= 1
    events = list(assistant.answer(Turn("What colours does it have?", session=first.session)))
    assert not any(isinstance(event, ImageEncoded) for event in events)
    assert isinstance(events[-1], Answered)
    second = events[-1].answer
    assert second.tokens.image == first.tokens.image
    assert second.tokens.cached >= first.tokens.prompt


def test_a_second_image_is_answered_as_if_it_were_the_only_one(assistant: Assistant) -> None:
    question, back = "What is this?", "What is in the first photo?"
    alone = ask(assistant, question, images=(picture(1),))
    first = ask(assistant, question, images=(picture(0),))
    first_again = ask(assistant, back, session=first.session)
    session = ask(assistant, question, images=(picture(0),)).session
    second = ask(assistant, question, images=(picture(1),), session=session)
    assert (second.text, second.tokens.prompt) == (alone.text, alone.tokens.prompt)
    assert second.mean_logprob == pytest.approx(alone.mean_logprob, abs=1e-3)
    third = ask(assistant, back, session=session)
    assert (third.text, third.tokens.prompt) == (first_again.text, first_again.tokens.prompt)


def test_the_image_and_its_words_reach_the_model_and_blind_turns_see_neither(assistant: Assistant) -> None:
    question = "What is in this photo?"
    seen = [ask(assistant, question, images=(picture(seed),)) for seed in (0, 1)]
    blind = [ask(assistant, question, images=(picture(seed),), see_images=False) for seed in (0, 1)]
    assert seen[0].mean_logprob != seen[1].mean_logprob
    assert blind[0].text == blind[1].text
    assert blind[0].mean_logprob == blind[1].mean_logprob != seen[0].mean_logprob
    assert {answer.tokens.image for answer in blind} == {0}
    no_words = ask(assistant, question, images=(picture(0),), use_words=False)
    assert no_words.tokens.image == seen[0].tokens.image
    assert no_words.tokens.prompt <= seen[0].tokens.prompt


def test_a_text_question_in_an_image_chat_is_answered(assistant: Assistant) -> None:
    session = ask(assistant, "What is this?", images=(picture(),)).session
    answer = ask(assistant, "What is the capital of France?", session=session)
    assert answer.text.strip()
    assert answer.stop_reason in ("stop", "length")


def test_an_answer_is_the_same_whatever_came_before(assistant: Assistant) -> None:
    before = ask(assistant, "Name three animals.")
    ask(assistant, "What is this?", images=(picture(5),))
    after = ask(assistant, "Name three animals.")
    assert (before.text, before.mean_logprob) == (after.text, after.mean_logprob)


def test_a_stopped_answer_leaves_the_engine_ready(assistant: Assistant, store: SessionStore) -> None:
    expected = ask(assistant, "Name three animals.").text
    events = assistant.answer(Turn("Write a long story."))
    collected = []
    for event in events:
        collected.append(event)
        if sum(isinstance(e, TokenText) for e in collected) == 3:
            thread = threading.Thread(target=assistant.cancel)
            thread.start()
            thread.join()
    assert isinstance(collected[-1], Answered)
    stopped = collected[-1].answer
    assert stopped.stop_reason == "cancelled"
    assert stopped.session is not None
    assert store.get(stopped.session).turns[0].answer == stopped.text
    assert ask(assistant, "Name three animals.").text == expected


def test_an_answer_that_was_given_up_goes_on_as_if_it_had_not_been(
    assistant: Assistant, store: SessionStore, real_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint fails; while it is asked, the generation stands still and its adapter stays leased."""
    make_adapter(assistant.adapters.directory / "leased", 0.02)
    question, image = "Tell me about this picture, please.", picture(11)
    whole = ask(assistant, question, images=(image,), adapter="leased")
    monkeypatch.setenv("EDGE_APP_HOME", str(real_home))
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    monkeypatch.setattr(Confidence, "hopeless", lambda *_: True)
    monkeypatch.setattr(Confidence, "judge", lambda *_: ConfidenceEstimate(0.1, fitted=True))

    def fails_slowly(wire: Wire) -> None:
        list(other.prepare([picture(12)]))  # the engine is free for others meanwhile
        status(500)(wire)

    with Misbehaving(fails_slowly) as server:
        named = {"cloud_url": server.url, "cloud_model": "m", "cloud_retries": 0}
        other = Assistant(settings.load(paths.config_file(), max_tokens=24, **named), store)
        turn = Turn(question, images=(image,), adapter="leased", allow_cloud=True)
        events = list(other.answer(turn))
        other.close()
    shutil.rmtree(assistant.adapters.directory / "leased")
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    last = events[-1]
    assert isinstance(last, Answered)
    assert failed.kept and len(failed.kept) < len(whole.text)
    assert (last.answer.text, last.answer.stop_reason) == (whole.text, whole.stop_reason)
    assert "".join(event.text for event in events if isinstance(event, TokenText)) == whole.text


def test_an_adapter_in_its_folder_changes_the_answer_and_taking_it_away_changes_it_back(
    assistant: Assistant, real_home: Path
) -> None:
    plain = ask(assistant, "Name three animals.")
    folder = real_home / "data" / "adapters" / "random"
    make_adapter(folder, scale=0.05)
    adapted = ask(assistant, "Name three animals.", adapter="random")
    assert (adapted.adapter, "random" in adapted.reason) == ("random", True)
    assert adapted.mean_logprob != plain.mean_logprob
    assert ask(assistant, "Name three animals.", adapter="none").mean_logprob == plain.mean_logprob
    again = ask(assistant, "Name three animals.", adapter="random")
    assert (again.text, again.mean_logprob) == (adapted.text, adapted.mean_logprob)
    (folder / "adapter_config.json").unlink()
    assert ask(assistant, "Name three animals.").mean_logprob == plain.mean_logprob


def make_heads(folder: Path) -> None:
    """A projector part for an adapter: a random head in place of the model's heads."""
    random = np.random.default_rng(4)
    weight, tokens = random.normal(0, 0.1, (3, 1280)), random.integers(1000, 40000, (3, 2))
    labels = ("one", "two", "three")
    head = ProjectorHead(
        "own", ("pool",), 1.0, labels,
        weight.astype(np.float32), np.zeros(3, np.float32), tokens.astype(np.int32),
    )  # fmt: skip
    write_projector_part(folder / "projector.safetensors", ProjectorPart((), (head,)))


def test_adapters_change_in_an_image_chat_and_answer_as_in_a_process_of_their_own(
    assistant: Assistant, real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = VisionTower.features

    def counted(self: VisionTower, image: Image, maps: bool = False) -> TowerFeatures:
        nonlocal looks
        looks += 1
        return look(self, image, maps)

    monkeypatch.setattr(VisionTower, "features", counted)
    directory, photo = real_home / "data" / "adapters", tmp_path / "photo.png"
    make_adapter(directory / "first", scale=0.05)
    make_adapter(directory / "second", scale=0.05, seed=5)
    make_heads(directory / "second")
    photo.write_bytes(picture(77))
    question, specs = "What is in this photo?", ("none", "first", "second", "first:0.5,second:0.5")
    answers: dict[str, Answer] = {}
    ask(assistant, "Begin.", adapter="second")  # so that no keys and values of an earlier test are left
    for spec in (*specs, *reversed(specs)):
        answer = ask(assistant, question, images=(photo,), adapter=spec)
        assert answer.tokens.cached == 0 or spec == specs[-1], "keys and values are never another adapter's"
        before = answers.setdefault(spec, answer)
        assert (answer.text, answer.mean_logprob) == (before.text, before.mean_logprob)
    assert looks == 1, "what the tower sees is shared"
    assert len({answer.mean_logprob for answer in answers.values()}) == len(specs)
    assert answers["second"].tokens.image == 2
    assert answers[specs[-1]].tokens.image == 2 + answers["none"].tokens.image
    environment = {**os.environ, "EDGE_APP_HOME": str(real_home), "EDGE_APP_MAX_TOKENS": "24"}
    for spec in specs[2:]:
        command = [*ASK, question, "--image", str(photo), "--adapter", spec, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        assert (printed["answer"], printed["adapter"]) == (answers[spec].text, spec)
        assert printed["confidence"] == answers[spec].confidence
    for name in ("first", "second"):
        shutil.rmtree(directory / name)


def test_the_command_line_answers_about_an_image(real_home: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture())
    environment = {**os.environ, "EDGE_APP_HOME": str(real_home), "EDGE_APP_MAX_TOKENS": "8"}
    command = [*ASK, "What is in this photo?", "--image", str(photo), "--offline"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["tokens"]["image"] > 0
    assert printed["model"] == "edge-vlm-135m"
    plain = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert plain.stdout.strip() == printed["answer"].strip()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_during_a_real_answer_exits_130(real_home: Path) -> None:
    environment = {**os.environ, "EDGE_APP_HOME": str(real_home), "EDGE_APP_MAX_TOKENS": "2000"}
    child = subprocess.Popen(
        [*ASK, "Write a very long story about a ship."],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.read(5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors
    assert "Traceback" not in errors


def test_offline_with_nothing_pulled_is_one_sentence_and_code_3(tmp_path: Path) -> None:
    environment = {**os.environ, "EDGE_APP_HOME": str(tmp_path / "empty")}
    done = subprocess.run(
        [*ASK, "?", "--offline"], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "edge-vlm-135m" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_while_compiling_leaves_at_once_without_a_traceback(real_home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(real_home / "data" / "models")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "packed").symlink_to(real_home / "cache" / "packed")
    child = subprocess.Popen(
        [*ASK, "What is this?"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "EDGE_APP_HOME": str(tmp_path)},
    )  # fmt: skip
    assert child.stderr is not None
    assert "compiling" in child.stderr.readline()
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does it: to all of the foreground
    out, errors = child.communicate(timeout=120)
    assert (child.returncode, out, errors.strip()) == (130, "", "")
    assert not list((tmp_path / "cache" / "compiled").glob("*.bin"))

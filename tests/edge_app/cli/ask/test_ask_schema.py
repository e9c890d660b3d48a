"""`edge-app ask --schema` and `--fields`: JSON on stdout, and mistakes said before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from edge_app.schemas.answer_schema import schema_of_fields
from edge_app.schemas.fields import parse_fields
from tests.edge_app.cli.conftest import Run
from tests.edge_app.fakes import FakeEngine

LIST = "animal, legs:integer"
WORDS = ('{"animal": "cat"', ', "legs": 4}')


def test_fields_need_no_question(run: Run, engine: FakeEngine, photo: str) -> None:
    engine.words = WORDS
    Image.linear_gradient("L").save(photo)
    asked = run("ask", "--image", photo, "--fields", LIST)
    assert (asked.code, asked.stdout) == (0, '{"animal": "cat", "legs": 4}\n')
    assert engine.calls[-1].grammar == schema_of_fields(parse_fields(LIST)).grammar
    printed = json.loads(run("ask", "What?", "--image", photo, "--fields", LIST, "--json").stdout)
    assert [(field["name"], field["value"]) for field in printed["fields"]] == [
        ("animal", "cat"),
        ("legs", 4),
    ]


def test_a_schema_is_read_from_a_file(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.words = WORDS
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema_of_fields(parse_fields(LIST)).content))
    assert json.loads(run("ask", "A cat?", "--schema", str(file)).stdout)["legs"] == 4
    file.write_text('{"properties": {"tags": {"uniqueItems": true}}}')
    refused = run("ask", "A cat?", "--schema", str(file))
    assert (refused.code, refused.stdout) == (1, "")
    assert "`uniqueItems` (at properties/tags) is not supported" in refused.stderr
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fields", "a:colour"), "text, number, integer, date, boolean"),
        (("--fields", ""), "no name"),
        (("--fields", "a", "--schema", "b.json"), "not both"),
    ],
)
def test_wrong_usage_exits_with_2(
    run: Run, engine: FakeEngine, arguments: tuple[str, ...], said: str
) -> None:
    asked = run("ask", "A cat?", *arguments)
    assert asked.code == 2 and said in " ".join(asked.stderr.split())
    assert not engine.threads

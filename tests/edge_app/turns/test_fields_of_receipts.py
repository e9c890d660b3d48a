"""Fields of a drawn receipt, asked of the real default model and the adapters that come with the app."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.events import Answered, Turn
from edge_app.schemas.answer_schema import schema_of_fields
from edge_app.schemas.fields import parse_fields
from edge_app.settings import Settings
from tests.edge_app.fakes import FakeRouter

pytestmark = pytest.mark.slow

BUNDLED = Path(__file__).parents[3] / "adapters" / "bundled"
LINES = (
    ("GREEN VALLEY MART", ""),
    ("12 Station Road, Leeds", ""),
    ("Tel: 0113 496 0721", ""),
    ("Date: 14/03/2023", ""),
    ("Cashier: Maria", ""),
    ("Bread", "2.40"),
    ("Coffee", "7.00"),
    ("Total", "9.40"),
)
PHONE = "0113 496 0721"


def drawn(path: Path) -> Path:
    picture = PIL.Image.new("RGB", (480, 420), "white")
    draw, font = PIL.ImageDraw.Draw(picture), PIL.ImageFont.load_default(size=26)
    for row, (left, right) in enumerate(LINES):
        draw.text((20, 20 + 46 * row), left, "black", font)
        draw.text((360, 20 + 46 * row), right, "black", font)
    picture.save(path)
    return path


@pytest.fixture
def home(tmp_path: Path, real_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the pulled model and two adapters."""
    home = tmp_path / "home"
    for shared in ("data/models", "cache"):
        (home / shared).parent.mkdir(parents=True, exist_ok=True)
        (home / shared).symlink_to((real_home / shared).resolve())
    for name in ("receipts", "documents"):
        shutil.copytree(BUNDLED / name, home / "data" / "adapters" / name)
    monkeypatch.setenv("EDGE_APP_HOME", str(home))
    return home


def ask_fields(image: Path, adapter: str) -> Answer:
    schema = schema_of_fields(parse_fields("phone, company, total:number"))
    with Assistant(Settings(), None, router=FakeRouter("receipts")) as assistant:
        *_, last = assistant.answer(Turn("", images=(image,), schema=schema, adapter=adapter))
    assert isinstance(last, Answered), last
    return last.answer


@pytest.mark.parametrize("adapter", ["auto", "receipts"])
def test_the_phone_number_on_a_receipt_is_asked_of_the_adapter_for_any_page_unless_one_is_named(
    home: Path, adapter: str
) -> None:
    answer = ask_fields(drawn(home / "receipt.png"), adapter)
    values = json.loads(answer.text)
    assert list(values) == ["phone", "company", "total"]
    assert (values["company"], values["total"], answer.adapter) == ("GREEN VALLEY MART", 9.4, "receipts")
    assert (values["phone"] == PHONE) == (adapter == "auto")
    assert [value.calibrated for value in answer.fields] == [adapter == "auto", True, True]

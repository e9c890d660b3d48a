"""Charts: the questions fit what is shown, equal seeds give equal files, and the unseen split is unseen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.training.charts.questions import (
    CHART_TYPES,
    FURTHER_QUESTIONS,
    ORDINALS,
    further_questions,
    labels_of,
    questions_about,
)
from adapters.training.charts.scene import KINDS, Chart, Kind, random_chart
from adapters.training.charts.words import TRAINING_WORDS, UNSEEN_WORDS, ChartWords
from adapters.training.charts.writing import Counts, write_charts
from models.core.errors import UserError
from models.core.images import load_image

seeds = st.integers(0, 2**32 - 1)


def chart_of(kind: Kind, seed: int, words: ChartWords = TRAINING_WORDS) -> Chart:
    return random_chart(kind, words, np.random.default_rng(seed))


@settings(max_examples=60)
@given(st.sampled_from(KINDS), seeds)
def test_charts_show_what_can_be_told_apart(kind: Kind, seed: int) -> None:
    chart = chart_of(kind, seed)
    assert chart == chart_of(kind, seed)
    assert len(set(chart.labels)) == len(chart.labels) >= 3
    if kind == "candlestick":
        assert len(chart.candles) == len(chart.labels)
        assert all(0 < c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high for c in chart.candles)
        return
    for values in (chart.values, *chart.more):
        assert len(values) == len(chart.labels)
        assert all(0 < value <= chart.top for value in values)
    if kind == "pie":
        assert sum(chart.values) == 100
    if chart.trend == "up":
        assert chart.values[-1] > chart.values[0]
    if chart.trend == "down":
        assert chart.values[-1] < chart.values[0]


@settings(max_examples=150)
@given(st.sampled_from(KINDS), seeds)
def test_answers_follow_from_what_is_shown(kind: Kind, seed: int) -> None:
    chart = chart_of(kind, seed)
    by_label = dict(zip(chart.labels, chart.values, strict=False))
    highest = max(by_label, key=lambda label: by_label[label], default="")
    lowest = min(by_label, key=lambda label: by_label[label], default="")
    asked = questions_about(chart, np.random.default_rng(seed))
    further = further_questions(chart, asked, np.random.default_rng(seed))
    assert len(further) <= FURTHER_QUESTIONS
    assert not {question.text for question in asked} & {question.text for question in further}
    for question in (*asked, *further):
        words = question.text.rstrip("?.").split()
        match question.type:
            case "chart_type":
                assert question.answer == CHART_TYPES[kind]
            case "value":
                assert chart.prints_values
                assert float(question.answer) == by_label[words[-1]]
            case "read_off":
                assert not chart.prints_values
                assert float(question.answer) == by_label[words[4]]
            case "extreme" if not chart.more:
                assert question.answer == (highest if "highest" in words else lowest)
            case "place":
                named = chart.labels[ORDINALS.index(question.answer)]
                assert named == (highest if {"highest", "longest"} & set(words) else lowest)
            case "yes_no":
                first, second = by_label[words[1]], by_label[words[4]]
                assert first != second
                assert (question.answer == "yes") == ((first > second) == ("higher" in words))
            case "trend":
                assert question.answer == chart.trend
            case "highest_close":
                closes = [candle.close for candle in chart.candles]
                assert question.answer == chart.labels[closes.index(max(closes))]


@pytest.mark.parametrize("words", [TRAINING_WORDS, UNSEEN_WORDS])
def test_always_saying_the_same_gets_a_quarter(words: ChartWords) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for seed in range(600):
        chart = chart_of(KINDS[seed % len(KINDS)], seed, words)
        for question in questions_about(chart, np.random.default_rng(seed)):
            answers[question.type][question.answer] += 1
    commonest = sum(counter.most_common(1)[0][1] for counter in answers.values())
    assert commonest / sum(counter.total() for counter in answers.values()) < 0.3
    assert len(answers) == 9
    assert answers["yes_no"]["yes"] == pytest.approx(answers["yes_no"].total() / 2, rel=0.2)


def test_comparisons_to_learn_from_are_asked_both_ways_round() -> None:
    chart = Chart("bar", "Sales", "fruit", ("Figs", "Plums", "Pears"), 50, (10, 45, 30))
    for seed in range(40):
        one, other, *_ = further_questions(chart, (), np.random.default_rng(seed))
        first, second = one.text[3:-1].split()[::3]
        assert other.text.split()[1] == second and other.text.endswith(f"{first}?")
        assert {one.answer, other.answer} == {"yes", "no"}


def test_labels_say_what_can_be_seen_without_reading() -> None:
    chart = Chart("bar", "Sales", "fruit", ("Figs", "Plums", "Pears"), 50, (10, 45, 30))
    assert labels_of(chart) == {
        **{"chart": "bar", "highest": "second", "lowest": "first"},
        **{"height1": "2", "height2": "9", "height3": "6"},
    }


def test_the_unseen_split_has_other_words() -> None:
    for one, other in zip(
        [TRAINING_WORDS.categories, TRAINING_WORDS.periods],
        [UNSEEN_WORDS.categories, UNSEEN_WORDS.periods],
        strict=True,
    ):
        shared = {word for words in one.values() for word in words} & {
            w for words in other.values() for w in words
        }
        assert shared <= {"May"}
    assert not set(TRAINING_WORDS.titles) & set(UNSEEN_WORDS.titles)


@pytest.mark.train
@pytest.mark.slow
def test_a_small_set_is_drawn_equally_twice(tmp_path: Path) -> None:
    counts = Counts(train=6, val=1, unseen=6)
    for name in ("one", "two"):
        assert list(write_charts(tmp_path / name, 5, counts)) == list(range(1, 14))
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert len(files) == 13 + 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "one" / "charts.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == {"train", "val"}
    assert set(rows[0]) == {"image", "split", "question", "answer", "type", "labels"}
    unseen = [
        json.loads(line) for line in (tmp_path / "one" / "charts_unseen.jsonl").read_text().splitlines()
    ]
    assert {row["split"] for row in unseen} == {"val"}
    for row in (*rows, *unseen):
        height, width, _ = load_image(tmp_path / "one" / row["image"]).pixels.shape
        assert 250 <= height <= 480
        assert 300 <= width <= 640


def test_without_the_libraries_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("adapters.training.charts.altair_charts", raising=False)
    monkeypatch.delitem(sys.modules, "adapters.training.charts.altair_charts", raising=False)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(UserError, match=r"without altair.*\[train\]"):
        list(write_charts(tmp_path, 0, Counts(1, 0, 0)))


def test_the_command_refuses_negative_numbers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "adapters.training.charts", "--out", str(tmp_path), "--train", "-1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "negative" in done.stderr

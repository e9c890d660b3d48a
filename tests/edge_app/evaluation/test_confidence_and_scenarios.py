"""`eval confidence` and `eval scenarios` over answers that were given before: nothing is answered again."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edge_app.costs.energy import Energy
from edge_app.evaluation.confidence import (
    Judged,
    fit_beside_bundled,
    fit_whole,
    judged_held_out,
    lines,
    logged_answers,
    write_own,
    write_shared,
)
from edge_app.evaluation.questions import paired, read_questions
from edge_app.evaluation.rows import (
    EvaluationOptions,
    EvaluationRow,
    Prediction,
    read_rows,
    weights_identity,
)
from edge_app.system import paths
from models.core.errors import UserError
from router.confidence import rule as rule_module
from router.confidence.rule import Confidence, Evidence, bundled_rule
from tests.edge_app.cli.conftest import Run, run

__all__ = ["run"]

KINDS = {"birds": ("yes", "no"), "bills": None}


def rows(name: str, count: int) -> list[EvaluationRow]:
    """Two questions an image; those of birds have two answers, those of bills have many."""
    choices = KINDS[name]
    return [
        EvaluationRow(
            name,
            f"{name}/{number // 2}.png",
            Path("nowhere.png"),
            f"question {number % 2}?",
            choices[number % 2] if choices else f"{number}.50",
            "yes_no" if choices else "total",
        )
        for number in range(count)
    ]


def predicted(row: EvaluationRow, dice: random.Random) -> Prediction:
    """Right as often as its least sure token says."""
    least = dice.uniform(0.05, 0.999)
    right = dice.random() < least
    logprobs = (math.log(least), -0.01, -0.01, -0.01, -0.01, -0.01)
    evidence = Evidence(logprobs, row.set, 3, 0.8, 0.99, dice.uniform(0, 5), True, None)
    return Prediction(
        row.image, row.question, row.answer if right else "wrong", row.answer, row.type, right, row.set, "local",
        0.5, sum(logprobs) / 6, min(logprobs), {"total": 500.0}, asdict(OPTIONS), asdict(evidence),
        asdict(Energy(7.0, False)),
    )  # fmt: skip


OPTIONS = EvaluationOptions("edge-vlm-135m", "auto", "auto", False, False, 512, None, "")


def answered(name: str, count: int, seed: int = 0) -> list[tuple[EvaluationRow, Prediction]]:
    dice = random.Random(f"{name} {seed}")
    return [(row, predicted(row, dice)) for row in rows(name, count)]


def test_no_answer_is_judged_by_a_rule_that_saw_its_image() -> None:
    results = answered("birds", 60)
    seen: list[set[str]] = []

    def spy(logged: object) -> object:
        seen.append({each.image for each in logged})  # type: ignore[attr-defined]
        return bundled_rule()

    judged = judged_held_out(results, spy, 4)  # type: ignore[arg-type]
    by_image = {
        image: sum(image not in fold for fold in seen[:4]) for image in {j.logged.image for j in judged}
    }
    assert set(by_image.values()) == {1}
    assert len(judged) == len(results)


def test_a_study_has_lines_for_all_for_closed_and_open_questions_and_for_each_set() -> None:
    judged = judged_held_out([*answered("birds", 120), *answered("bills", 80)], fit_whole, 5)
    found = {line.name: line for line in lines(judged)}
    assert list(found) == ["all", "closed questions", "open questions", "birds", "bills"]
    assert (found["closed questions"].rows, found["open questions"].rows) == (120, 80)
    assert found["all"].right == sum(each.logged.right for each in judged)
    area = found["all"].aurocs["confidence"]
    assert area is not None and area > 0.75
    assert found["all"].ece < 0.12


def test_answers_without_evidence_or_of_one_kind_cannot_be_studied() -> None:
    results = answered("birds", 40)
    with pytest.raises(UserError, match="an answer of the cloud"):
        logged_answers([(row, replace(p, evidence=None)) for row, p in results])
    with pytest.raises(UserError, match="some of both"):
        judged_held_out([(row, replace(p, correct=True)) for row, p in results], fit_whole, 5)


def test_a_users_fit_stands_beside_the_bundled_rule_and_keeps_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "confidence.json"
    logged = logged_answers(answered("birds", 60))
    rule = fit_beside_bundled(logged)
    assert rule.weights == bundled_rule().weights
    assert set(rule.adapters) == {*bundled_rule().adapters, "birds"}
    write_own(file, {"birds": rule.adapters["birds"]})
    write_own(file, {"bees": rule.adapters["birds"]})
    loaded = Confidence.load(file)
    assert loaded.judge(logged[0].evidence) == Confidence(rule).judge(logged[0].evidence)
    assert {"birds", "bees"} <= set(loaded.rule.adapters)


def test_few_answers_leave_an_adapter_to_the_default() -> None:
    assert "birds" not in fit_beside_bundled(logged_answers(answered("birds", 10))).adapters


def test_a_whole_rule_is_written_as_the_bundled_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = fit_whole(logged_answers([*answered("birds", 80), *answered("bills", 80)]))
    write_shared(tmp_path / "confidence.json", rule)
    monkeypatch.setattr(rule_module, "BUNDLED", tmp_path / "confidence.json")
    bundled_rule.cache_clear()
    try:
        assert bundled_rule() == rule
    finally:
        bundled_rule.cache_clear()


@pytest.fixture
def given(tmp_path: Path) -> tuple[list[str], Path]:
    """Files of rows, and a folder with an answer to each."""
    files, folder = [], tmp_path / "answers"
    options = replace(OPTIONS, weights=weights_identity("edge-vlm-135m", "auto"))
    for name, count in (("birds", 80), ("bills", 60)):
        file = tmp_path / f"{name}.jsonl"
        results = answered(name, count)
        fields = [
            {"image": r.image, "question": r.question, "answer": r.answer, "type": r.type, "split": "val"}
            for r, _ in results
        ]
        file.write_text("\n".join(json.dumps(each) for each in fields))
        for mode, place, joules in (("auto", folder, 7.0), ("eco", folder / "eco", 3.5)):
            place.mkdir(parents=True, exist_ok=True)
            own = {"options": asdict(replace(options, mode=mode)), "energy": asdict(Energy(joules, False))}
            written = [json.dumps({**asdict(p), **own}) for _, p in results]
            (place / f"{name}.jsonl").write_text("\n".join(written) + "\n")
        files.append(str(file))
    return files, folder


def test_eval_confidence_reports_and_writes_the_users_rule(run: Run, given: tuple[list[str], Path]) -> None:
    files, folder = given
    outcome = run("eval", "confidence", *files, "--predictions", str(folder))
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.splitlines()[0].startswith("ANSWERS")
    assert "GIVEN UP EARLY BELOW" in outcome.stdout
    assert {"birds", "bills"} <= set(Confidence.load(paths.confidence_file()).rule.adapters)


def test_eval_confidence_can_measure_alone(run: Run, given: tuple[list[str], Path]) -> None:
    files, folder = given
    outcome = run("eval", "confidence", *files, "--predictions", str(folder), "--dry-run", "--json")
    printed = json.loads(outcome.stdout)
    assert printed["lines"][0]["rows"] == 140
    assert 0.5 < printed["lines"][0]["aurocs"]["confidence"] <= 1
    assert not paths.confidence_file().exists()


@pytest.fixture
def asked(given: tuple[list[str], Path], tmp_path: Path) -> Path:
    """A file of questions by two authors, with an answer to each: sure of itself, though never right out of scope."""
    files, folder = given
    questions = tmp_path / "asked.jsonl"
    lines = [
        {"kind": kind, "question": f"{scope} {number}?", "scope": scope, "author": author, "task": task}
        for kind, scope, task in (("birds", "out", None), ("bills", "chat", None), ("bees", "out", None))
        for author in ("ann", "bob")
        for number in range(12)
    ]
    questions.write_text("\n".join(json.dumps(each) for each in lines))
    dice = random.Random(7)
    options = replace(OPTIONS, weights=weights_identity("edge-vlm-135m", "auto"))
    for row in paired(
        read_questions(questions), read_rows([Path(file) for file in files], None, "val", None)
    ).rows:
        prediction = replace(predicted(row, dice), answer="something", correct=False, options=asdict(options))
        declined = {"confidence": None} if row.question == "out 0?" else {}
        with (folder / f"{row.set}.jsonl").open("a") as stream:
            stream.write(json.dumps({**asdict(prediction), **declined}) + "\n")
    return questions


def test_eval_confidence_asks_questions_in_and_out_of_scope(
    run: Run, given: tuple[list[str], Path], asked: Path
) -> None:
    files, folder = given
    arguments = ["eval", "confidence", *files, "--predictions", str(folder), "--questions", str(asked)]
    printed = json.loads(run(*arguments, "--dry-run", "--ablation", "--json").stdout)
    by_name = {line["name"]: line for line in printed["lines"]}
    assert by_name["in scope"]["rows"] == 140
    assert by_name["all"]["rows"] == 140 + 2 * 24 - 2  # two questions were declined
    kept = {each["kind"]: each for each in printed["kept"]}
    assert (kept["birds"]["out"]["rows"], kept["bills"]["chat"]["rows"]) == (24, 24)
    assert kept["all"]["right"]["rows"] == by_name["in scope"]["right"]
    assert kept["birds"]["out"]["kept"] < 24
    assert printed["left_out"] == {"no images of bees": 24}
    assert printed["ablation"][0]["name"] == "all features"
    table = run(*arguments, "--dry-run").stdout
    assert "KEPT ON THE DEVICE" in table and "Left out: 24 questions, no images of bees." in table


def test_predictions_that_were_made_with_other_scopes_are_refused(
    run: Run, given: tuple[list[str], Path], asked: Path, tmp_path: Path
) -> None:
    files, folder = given
    scopes = tmp_path / "scopes.json"
    scopes.write_text(json.dumps({"birds": {"out 1?": -4.0}}))
    arguments = ["eval", "confidence", *files, "--predictions", str(folder), "--questions", str(asked)]
    assert run(*arguments, "--dry-run").code == 0
    assert "other options" in run(*arguments, "--dry-run", "--scopes", str(scopes)).stderr
    assert run(*arguments, "--dry-run", "--scopes", str(folder)).code == 1


def test_no_answer_is_judged_by_a_rule_that_saw_its_author() -> None:
    results = [
        (replace(row, author=("ann", "bob", None)[number % 3]), each)
        for number, (row, each) in enumerate(answered("birds", 60))
    ]
    seen: list[set[str | None]] = []

    def spy(logged: object) -> object:
        seen.append({each.author for each in logged})  # type: ignore[attr-defined]
        return bundled_rule()

    judged_held_out(results, spy, 4)  # type: ignore[arg-type]
    assert {frozenset(each) for each in seen} >= {
        frozenset({"ann", None}), frozenset({"bob", None}), frozenset({"ann", "bob", None}),
    }  # fmt: skip


def test_eval_scenarios_has_every_measure(run: Run, given: tuple[list[str], Path]) -> None:
    files, folder = given
    printed = json.loads(run("eval", "scenarios", *files, "--predictions", str(folder), "--json").stdout)
    assert set(printed["modes"]) == {"auto", "fast", "quality", "eco"}
    assert printed["modes"]["quality"]["outcome"]["apsp"] == 1.0  # the oracle's
    eco, local = printed["modes"]["eco"]["outcome"], printed["others"]["all local"]
    assert (eco["ca"], eco["apsp"], eco["joules"]) == (1.0, local["apsp"], pytest.approx(local["joules"] / 2))
    assert printed["curves"]["random"]["apgr"] == pytest.approx(0.5)
    assert printed["curves"]["perfect router"]["apgr"] >= printed["curves"]["confidence"]["apgr"] > 0.5
    assert printed["rcs"]["perfect router"]["auto"] >= printed["rcs"]["our mode"]["auto"]
    assert 0 <= printed["loss_at_local_share"] < 1
    assert [each["name"] for each in printed["domains"]] == ["birds", "bills"]
    table = run("eval", "scenarios", *files, "--predictions", str(folder)).stdout
    assert "RCS" in table and "APGR" in table and "estimated" in table


def test_eval_scenarios_hands_over_declines_in_auto_and_not_in_fast(
    run: Run, given: tuple[list[str], Path]
) -> None:
    files, folder = given
    local = 0
    for file in [folder / "birds.jsonl", folder / "bills.jsonl"]:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        declined = {"correct": False, "confidence": None, "declined": True, "answer": "I do not know."}
        rows[0] |= declined
        rows[1] |= {**declined, "evidence": None}  # a built-in reply
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        local += sum(row["correct"] for row in rows)
    printed = json.loads(run("eval", "scenarios", *files, "--predictions", str(folder), "--json").stdout)
    assert printed["others"]["all local"]["apsp"] == pytest.approx(local / 140)
    assert printed["modes"]["auto"]["outcome"]["ca"] <= 1 - 4 / 140
    assert printed["modes"]["fast"]["outcome"]["ca"] >= printed["modes"]["auto"]["outcome"]["ca"]


def test_eval_scenarios_takes_a_recorded_cloud(
    run: Run, given: tuple[list[str], Path], tmp_path: Path
) -> None:
    files, folder = given
    oracle, recorded = tmp_path / "oracle.jsonl", tmp_path / "recorded.jsonl"
    where = ("--predictions", str(folder), "--json")
    run("eval", "scenarios", *files, *where, "--write-oracle", str(oracle))
    answers = [json.loads(line) for line in oracle.read_text().splitlines()]
    assert len(answers) == 140
    for number, each in enumerate(answers):
        each |= {"seconds": 1.0, "answer": each["answer"] if number % 4 else "nonsense"}
    recorded.write_text("\n".join(json.dumps(each) for each in answers))
    printed = json.loads(run("eval", "scenarios", *files, *where, "--cloud-answers", str(recorded)).stdout)
    assert printed["others"]["all cloud"]["apsp"] == pytest.approx(0.75)
    assert printed["cloud"]["seconds"] == pytest.approx(1.0)


@pytest.fixture
def asked_in_eco(given: tuple[list[str], Path], asked: Path) -> Path:
    """`asked`, with answers in eco's budgets too; a question of birds is declined in both."""
    folder = given[1]
    for name in KINDS:
        file = folder / f"{name}.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line["declined"] = line["confidence"] is None
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        with (folder / "eco" / file.name).open("a") as stream:
            for line in lines:
                if line["expected"] == "":
                    eco = {**line, "options": {**line["options"], "mode": "eco"}}
                    stream.write(json.dumps(eco) + "\n")
    return asked


def test_eval_scenarios_asks_questions_out_of_scope_which_nothing_said_here_answers(
    run: Run, given: tuple[list[str], Path], asked_in_eco: Path
) -> None:
    files, folder = given
    arguments = ["eval", "scenarios", *files, "--predictions", str(folder)]
    plain = json.loads(run(*arguments, "--json").stdout)
    arguments += ["--questions", str(asked_in_eco)]
    printed = json.loads(run(*arguments, "--json").stdout)
    assert (printed["queries"], printed["out_of_scope"]) == (140 + 48, 48)
    assert printed["left_out"] == {"no images of bees": 24}
    local = printed["others"]["all local"]
    assert local["apsp"] == pytest.approx(plain["others"]["all local"]["apsp"] * 140 / 188)
    # Two questions are declined: eco keeps the declines, which are no answers.
    assert local["out_kept"] == printed["modes"]["eco"]["outcome"]["out_kept"] == pytest.approx(46 / 48)
    assert printed["modes"]["quality"]["outcome"]["out_kept"] == 0.0
    assert printed["modes"]["auto"]["outcome"]["out_kept"] < 46 / 48
    assert printed["modes"]["quality"]["pgr"] == 1.0
    parts = {each["name"]: each for each in printed["domains"]}
    assert list(parts) == ["in scope", "out of scope", "chat", "birds", "bills"]
    assert parts["out of scope"]["local"] == parts["chat"]["local"] == 0.0
    assert parts["in scope"]["out_kept"] is None
    table = run(*arguments).stdout
    assert "OUT KEPT" in table and "Left out: 24 questions, no images of bees." in table


def test_the_cloud_is_as_often_right_out_of_scope_as_in_scope_unless_stated(
    run: Run, given: tuple[list[str], Path], asked_in_eco: Path, tmp_path: Path
) -> None:
    files, folder = given
    oracle, recorded = tmp_path / "oracle.jsonl", tmp_path / "recorded.jsonl"
    arguments = ["eval", "scenarios", *files, "--predictions", str(folder), "--questions", str(asked_in_eco)]
    run(*arguments, "--write-oracle", str(oracle))
    answers = [json.loads(line) for line in oracle.read_text().splitlines()]
    assert len(answers) == 140  # none out of scope
    for number, each in enumerate(answers):
        each["answer"] = each["answer"] if number % 4 else "nonsense"
    recorded.write_text("\n".join(json.dumps(each) for each in answers))
    arguments += ["--cloud-answers", str(recorded)]
    default = json.loads(run(*arguments, "--json").stdout)
    assert default["cloud_out_of_scope"] == pytest.approx(0.75)
    assert default["others"]["all cloud"]["apsp"] == pytest.approx(0.75)
    stated = json.loads(run(*arguments, "--cloud-out-of-scope", "0.5", "--json").stdout)
    assert stated["others"]["all cloud"]["apsp"] == pytest.approx((140 * 0.75 + 48 * 0.5) / 188)
    assert "assumed to be right in 50%" in run(*arguments, "--cloud-out-of-scope", "0.5").stdout


@pytest.mark.train
@pytest.mark.parametrize("command", ["confidence", "scenarios"])
def test_pictures_are_drawn(run: Run, given: tuple[list[str], Path], tmp_path: Path, command: str) -> None:
    files, folder = given
    picture = tmp_path / "pictures" / "found.svg"
    outcome = run("eval", command, *files, "--predictions", str(folder), "--picture", str(picture))
    assert outcome.code == 0, outcome.stderr
    assert picture.read_bytes().startswith(b"<?xml")


def test_judged_answers_keep_their_row() -> None:
    judged = judged_held_out(answered("bills", 50), fit_whole, 5)
    assert all(isinstance(each, Judged) and each.row.image == each.prediction.image for each in judged)

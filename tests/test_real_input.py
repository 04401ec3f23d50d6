"""Diagnosis and curation on files that people have, through the command line: MATH, own column names, broken rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import chisquare

from stat_train.cli import main
from stat_train.tasks.text import normalised

Row = dict[str, Any]
Main = Callable[..., Path]


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Iterable[Row | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def _run(folder: Path, *arguments: str) -> Path:
    """Carry out a run in a folder with a cache of its own; return its run folder."""
    places = [f"run_dir={folder / 'run'}", f"cache_dir={folder / 'cache'}"]
    assert main([*arguments, *places]) == 0
    return folder / "run"


def _dropped(run: Path) -> Counter[tuple[str, str]]:
    return Counter((row["stage"], row["reason"]) for row in _read(run / "dropped.jsonl"))


def _drawn_for(run: Path) -> Counter[str]:
    return Counter(row["origin"]["skill"] for row in _read(run / "training_set.jsonl"))


def _missing(run: Path) -> dict[str, int]:
    skills = json.loads((run / "profile.json").read_text())["skills"]
    return {gap["skill"]: gap["missing"] for gap in skills if gap["missing"]}


# -- the recorded answers of a real model to 50 questions of MATH -----------------------------------------------------


def _math(data: Path, responses: Path | None = None, **settings: str | int) -> list[str]:
    usual: dict[str, str | int | Path] = {
        "task": "math",
        "task.pool": data / "math/train.jsonl",
        "task.benchmark": data / "math/test.jsonl",
        "student": "recorded",
        "student.path": responses or data / "math/responses.jsonl",
        "teacher": "labels",
        "difficulty": "gold",
        "data_recipe": "stat_sel",
        "data_recipe.pairs": 40,
        "until": "curate",
    }
    return [f"{key}={value}" for key, value in (usual | settings).items()]


ANY = {"difficulty.attempts": "any"}


@pytest.fixture(scope="module")
def recorded(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of the recorded student."""
    return _run(tmp_path_factory.mktemp("recorded"), *_math(shared_data, **ANY))


def test_the_recorded_questions_are_the_validation_set(shared_data: Path, recorded: Path) -> None:
    """50 of 5,000 test questions."""
    validation = [row["id"] for row in _read(recorded / "questions/validation.jsonl")]
    benchmark = [row["id"] for row in _read(recorded / "questions/benchmarks/math.jsonl")]
    assert validation == [row["id"] for row in _read(shared_data / "math/responses.jsonl")]
    assert (len(validation), len(benchmark)) == (50, 4950)
    assert set(validation).isdisjoint(benchmark)


def test_the_difficult_questions_are_those_a_grader_marked(shared_data: Path, recorded: Path) -> None:
    """The recording holds another grader's verdicts: any attempt wrong on 8 questions."""
    marked = {row["id"] for row in _read(shared_data / "math/responses.jsonl") if not all(row["correct"])}
    difficult = {row["question_id"] for row in _read(recorded / "difficulty.jsonl") if row["difficult"]}
    assert difficult == marked
    assert len(difficult) == 8


def test_the_grades_are_those_of_another_grader(shared_data: Path, recorded: Path) -> None:
    """363 of 400 answers are right."""
    verdicts = {(row["question_id"], row["attempt"]): row["verdict"] for row in _read(recorded / "grades.jsonl")}
    marked = {
        (row["id"], attempt): "correct" if right else "wrong"
        for row in _read(shared_data / "math/responses.jsonl")
        for attempt, right in enumerate(row["correct"])
    }
    assert verdicts == marked
    assert Counter(verdicts.values()) == {"correct": 363, "wrong": 37}


def test_a_skill_is_drawn_five_times_its_count(recorded: Path) -> None:
    """8 difficult questions of one skill each and 5 pool questions for each of them: one pass has just 40 pairs."""
    missing = _missing(recorded)
    assert sum(missing.values()) == 8
    assert _drawn_for(recorded) == {skill: 5 * count for skill, count in missing.items()}
    assert len(_read(recorded / "training_set.jsonl")) == 40


def test_no_test_question_is_trained_on(shared_data: Path, recorded: Path) -> None:
    """The leaks are those that were read one by one: 4 true copies, 19 that have most of a test question in them."""
    held_out = {normalised(row["question"]) for row in _read(shared_data / "math/test.jsonl")}
    trained = {normalised(row["question"]) for row in _read(recorded / "training_set.jsonl")}
    assert trained.isdisjoint(held_out)
    left_out = {row["id"] for row in _read(recorded / "dropped.jsonl") if row["reason"].startswith("leak")}
    known = json.loads((Path(__file__).parent / "golden" / "decontamination.json").read_text())
    assert left_out == {row["train"] for row in known} and len(left_out) == 23
    assert {f"math-train-{n}" for n in ("02942", "04770", "05981", "06828")} <= left_out


def test_what_was_left_out_is_reported(recorded: Path) -> None:
    leaks = {"leak, contained": 19, "leak, equal": 4}
    assert _dropped(recorded) == {("label", "no skill label"): 948} | {
        ("decontaminate", reason): count for reason, count in leaks.items()
    }
    stages = json.loads((recorded / "manifest.json").read_text())["stages"]
    counts = {(stage["stage"], item): found for stage in stages for item, found in stage["counts"].items()}
    assert counts["label", "question"] == {"total": 7548, "kept": 6600, "dropped": {"no skill label": 948}}
    assert counts["decontaminate", "pool question"] == {"total": 7498, "kept": 7475, "dropped": leaks}
    assert counts["curate", "pool question"] == {"total": 7475, "kept": 7475, "dropped": {}}
    assert {found["total"] - found["kept"] for found in counts.values()} == {0, 948, 23}


@pytest.mark.parametrize("recipe", ["stat_sel", "pool", "hard", "random", "uniform_skill", "embed_sel"])
def test_recipes_without_a_teacher_that_writes(recipe: str, shared_data: Path, recorded: Path, tmp_path: Path) -> None:
    """1,000 pairs of the pool's own solutions; `hard` takes levels 4 and 5 alone."""
    settings = {"data_recipe": recipe, "data_recipe.pairs": 1000, "cache_dir": recorded.parent / "cache"}
    run = _run(tmp_path, *_math(shared_data, **ANY | settings))
    rows = _read(run / "training_set.jsonl")
    pool = {row["id"]: row for row in _read(shared_data / "math/train.jsonl")}
    assert len(rows) == 1000
    assert all(pool[row["origin"]["seed_ids"][0]]["solution"] == row["answer"] for row in rows)
    if recipe == "hard":
        assert {pool[row["origin"]["seed_ids"][0]]["level"] for row in rows} == {4, 5}
    if recipe == "embed_sel":
        assert json.loads((run / "curation.json").read_text())["embedder"] == "tfidf"


def test_answers_are_the_pool_s_own(shared_data: Path, recorded: Path) -> None:
    solutions = {row["id"]: row["solution"] for row in _read(shared_data / "math/train.jsonl")}
    for row in _read(recorded / "training_set.jsonl"):
        assert row["answer"] == solutions[row["origin"]["seed_ids"][0]]


def test_the_same_command_gives_the_same_bytes(shared_data: Path, recorded: Path, tmp_path: Path) -> None:
    again = _run(tmp_path, *_math(shared_data, **ANY))
    for name in ("training_set.jsonl", "profile.json", "difficulty.jsonl", "dropped.jsonl"):
        assert (again / name).read_bytes() == (recorded / name).read_bytes()


def test_another_seed_draws_others_for_the_same_profile(shared_data: Path, recorded: Path, tmp_path: Path) -> None:
    again = _run(tmp_path, *_math(shared_data, **ANY, seed=1))
    assert (again / "profile.json").read_bytes() == (recorded / "profile.json").read_bytes()
    assert (again / "training_set.jsonl").read_bytes() != (recorded / "training_set.jsonl").read_bytes()
    assert _drawn_for(again) == _drawn_for(recorded)


def test_the_first_attempt_alone(shared_data: Path, tmp_path: Path) -> None:
    run = _run(tmp_path, *_math(shared_data, until="profile"))
    marked = {row["id"] for row in _read(shared_data / "math/responses.jsonl") if not row["correct"][0]}
    assert {row["question_id"] for row in _read(run / "difficulty.jsonl") if row["difficult"]} == marked
    assert len(marked) == 4


@pytest.mark.parametrize(("least", "difficult"), [(2, 0), (8, 7)])
def test_consistency(shared_data: Path, tmp_path: Path, least: int, difficult: int) -> None:
    """43 of the 50 questions have 8 answers that agree, and none has fewer than 2, by the answers in the recording."""
    rows = _read(shared_data / "math/responses.jsonl")
    commonest = [max(Counter(filter(None, row["extracted"])).values()) for row in rows]
    assert sum(count < least for count in commonest) == difficult
    settings = {"difficulty": "consistency", "difficulty.min_agreement": least, "until": "profile"}
    run = _run(tmp_path, *_math(shared_data, **settings))
    found = {row["question_id"]: row["difficult"] for row in _read(run / "difficulty.jsonl")}
    assert found == {row["id"]: count < least for row, count in zip(rows, commonest, strict=True)}


def _strategies(run: Path) -> dict[str, Row]:
    return {row["strategy"]: row for row in json.loads((run / "difficulty_quality.json").read_text())["strategies"]}


def test_the_table_of_strategies(shared_data: Path, recorded: Path) -> None:
    """By the recording alone: wrong ever on 8, at first on 4, in more than half of 8 on 3 questions.

    On each question two answers agree, and the mean answer is 86 to 688 words long. So neither consistency nor length
    calls a question difficult: by the run's own rule (any) both are right on 42 questions and find none of the 8.
    """
    rows = _read(shared_data / "math/responses.jsonl")
    wrong = [[not right for right in row["correct"]] for row in rows]
    rules = {"any": [any(each) for each in wrong], "first": [each[0] for each in wrong]}
    rules["majority"] = [sum(each) > 4 for each in wrong]
    found = _strategies(recorded)
    assert {name: row["difficult"] for name, row in found.items()} == {
        f"gold/{rule}": sum(flags) for rule, flags in rules.items()
    } | {"consistency": 0, "length": 0}
    assert [found[f"gold/{rule}"]["difficult"] for rule in ("any", "first", "majority")] == [8, 4, 3]
    assert min(max(Counter(filter(None, row["extracted"])).values()) for row in rows) >= 2
    assert min(map(_mean_words, rows)) >= 86 and max(map(_mean_words, rows)) < 689
    for name in ("consistency", "length"):
        row = found[name]
        assert (row["judged"], row["n"], row["accuracy"], row["used"]) == (50, 50, 42 / 50, False)
        assert (row["precision"], row["recall"], row["f1"]) == (None, 0.0, 0.0)
    assert [name for name, row in found.items() if row["used"]] == ["gold/any"]


def _mean_words(row: Row) -> float:
    return sum(len(text.split()) for text in row["responses"]) / len(row["responses"])


STRICT = [("length", {"difficulty.min_words": 300}), ("consistency", {"difficulty.min_agreement": 8})]


@pytest.mark.parametrize(("strategy", "settings"), STRICT)
def test_a_strategy_on_real_answers(shared_data: Path, tmp_path: Path, strategy: str, settings: dict[str, int]) -> None:
    """Stricter than by default, so that some questions are difficult: 10 by length and 7 by consistency.

    Wrong in more than half of 8 answers are 3 questions. Length finds 1 of them; consistency 2, since the eight answers
    to the third are wrong alike.
    """
    rows = _read(shared_data / "math/responses.jsonl")
    commonest = {row["id"]: max(Counter(filter(None, row["extracted"])).values()) for row in rows}
    by_length = {row["id"] for row in rows if _mean_words(row) >= 300}
    called = by_length if strategy == "length" else {id for id, count in commonest.items() if count < 8}
    wrong = {row["id"] for row in rows if row["correct"].count(False) > 4}
    hits, errors = len(called & wrong), len(called ^ wrong)
    assert (len(called), len(wrong), hits) == ((10, 3, 1) if strategy == "length" else (7, 3, 2))
    run = _run(tmp_path, *_math(shared_data, difficulty=strategy, until="diagnose", **settings))
    assert {row["question_id"] for row in _read(run / "difficulty.jsonl") if row["difficult"]} == called
    row = _strategies(run)[strategy]
    assert (row["used"], row["difficult"], row["n"]) == (True, len(called), 50)
    assert [row[name] for name in ("accuracy", "precision", "recall", "f1")] == pytest.approx(
        [1 - errors / 50, hits / len(called), hits / 3, 2 * hits / (len(called) + 3)], abs=1e-6
    )


def test_the_table_is_printed_again_when_it_was_made_before(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = _math(shared_data, **ANY, until="diagnose")
    printed = []
    for _ in range(2):
        _run(tmp_path, *command)
        printed.append(
            capsys.readouterr().out.partition("Difficult questions by each strategy")[2].partition("\nDone")[0]
        )
    assert "* gold/any" in printed[0] and "8/50" in printed[0]
    assert printed[0] == printed[1]


# -- planted gaps -----------------------------------------------------------------------------------------------------

# How many of 100 questions of each skill the made recording answers wrong.
PLANTED = {
    "polynomial_skills": 50,
    "prime_number_theory": 30,
    "combinatorial_operations_and_basic_arithmetic": 20,
    "triangle_geometry_skills": 10,
    "understanding_and_application_of_functions": 5,
    "logarithmic_and_exponential_skills": 0,
}


def _planted(pool: list[Row]) -> list[Row]:
    """Return answers to 100 questions of each planted skill that carry no other, the first ones wrong."""
    rows = []
    for skill, wrong in PLANTED.items():
        chosen = [row for row in pool if row["skills"] == [skill] and row["answer"]][:100]
        assert len(chosen) == 100
        for number, row in enumerate(chosen):
            final = "-98765" if number < wrong else row["answer"]
            rows.append({"id": row["id"], "responses": [f"I think.\n\nIt is $\\boxed{{{final}}}$."]})
    return rows


@pytest.fixture(scope="module")
def planted(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of a student with planted gaps: 2,000 pairs from 600 pool questions' profile."""
    folder = tmp_path_factory.mktemp("planted")
    responses = _write(folder / "responses.jsonl", _planted(_read(shared_data / "math/train.jsonl")))
    return _run(folder, *_math(shared_data, responses, **{"data_recipe.pairs": 2000}))


def test_planted_gaps_are_the_profile(planted: Path) -> None:
    profile = json.loads((planted / "profile.json").read_text())
    assert (profile["questions"], profile["difficult"]) == (600, 115)
    found = {gap["skill"]: (gap["missing"], gap["exposed"]) for gap in profile["skills"]}
    assert found == {skill: (wrong, 100) for skill, wrong in PLANTED.items()}


def test_the_training_set_follows_the_profile_and_not_a_uniform_one(planted: Path) -> None:
    """A pass is 5 x 115 = 575 pairs: three whole ones and 275 of a fourth."""
    drawn, missed = _drawn_for(planted), {skill: wrong for skill, wrong in PLANTED.items() if wrong}
    assert drawn.keys() == missed.keys()
    counts = [drawn[skill] for skill in missed]
    assert sum(counts) == 2000
    assert chisquare(counts, [2000 * wrong / 115 for wrong in missed.values()]).pvalue > 0.01
    assert chisquare(counts).pvalue < 1e-6
    assert all(15 * wrong <= drawn[skill] <= 20 * wrong for skill, wrong in missed.items())


def test_recorded_questions_of_the_pool_are_not_trained_on(shared_data: Path, planted: Path) -> None:
    asked = {row["id"] for row in _read(planted / "questions/validation.jsonl")}
    trained = {row["origin"]["seed_ids"][0] for row in _read(planted / "training_set.jsonl")}
    assert len(asked) == 600
    assert trained.isdisjoint(asked)
    assert len(_read(planted / "questions/benchmarks/math.jsonl")) == 5000


# -- other files of the same questions --------------------------------------------------------------------------------

NAMES = {
    "id": "key",
    "question": "Problem",
    "answer": "gold",
    "solution": "worked out",
    "subject": "field",
    "level": "hardness",
    "skills": "tags",
}


def _renamed(row: Row) -> Row:
    return {NAMES[name]: value for name, value in row.items() if name in NAMES}


def test_own_names_and_parquet_give_the_same_training_set(shared_data: Path, recorded: Path, tmp_path: Path) -> None:
    """The pool as Parquet and the test set as JSONL, each with other columns' names and one column more."""
    from datasets import Dataset

    pool = [_renamed(row) | {"note": 1} for row in _read(shared_data / "math/train.jsonl")]
    Dataset.from_list(pool).to_parquet(tmp_path / "questions to draw.parquet")
    benchmark = [_renamed(row) | {"level": "unknown"} for row in _read(shared_data / "math/test.jsonl")]
    _write(tmp_path / "held out.jsonl", benchmark)
    places = {"task.pool": tmp_path / "questions to draw.parquet", "task.benchmark": tmp_path / "held out.jsonl"}
    names = {f"task.fields.{name}": f"'{column}'" for name, column in NAMES.items()}
    settings = {"task": "jsonl"} | {key: f"'{place}'" for key, place in places.items()}
    run = _run(tmp_path, *_math(shared_data, **settings, **names, **ANY))
    assert (run / "training_set.jsonl").read_bytes() == (recorded / "training_set.jsonl").read_bytes()
    assert len(_read(run / "questions/benchmarks/jsonl.jsonl")) == 4950


# -- a pool with broken rows ------------------------------------------------------------------------------------------

BROKEN: Mapping[int, tuple[str, str]] = {
    17: ("{", "not JSON"),
    1000: ('{"id": "p-1000", "answer": "1"}', "no question"),
    2500: ('{"id": "p-5", "question": "again?"}', "repeated id"),
    4999: ('["a question"]', "not an object"),
    7000: ('{"id": "p-7000", "question": 3}', "wrong type"),
    10000: ('{"id": "p-10000", "question": "half', "not JSON"),
}


def _pool_row(number: int) -> Row:
    skill = f"skill {number % 4}"
    return {"id": f"p-{number}", "question": f"{number} + 1?", "answer": "x", "solution": "It is x.", "skills": [skill]}


@pytest.fixture
def broken(tmp_path: Path) -> list[str]:
    """Return the settings of a run over 10,000 rows, six of them broken."""
    rows = [BROKEN[number][0] if number in BROKEN else _pool_row(number) for number in range(1, 10_001)]
    asked = [_pool_row(number) | {"id": f"t-{number}", "question": f"{number} + 2?"} for number in range(1, 21)]
    pool, benchmark = _write(tmp_path / "pool.jsonl", rows), _write(tmp_path / "test.jsonl", asked)
    wrong = [{"id": f"t-{number}", "responses": ["\\boxed{y}"]} for number in range(1, 9)]
    recording = _write(tmp_path / "responses.jsonl", wrong)
    settings = ["task=jsonl", f"task.pool={pool}", f"task.benchmark={benchmark}", "task.grader=exact"]
    settings += ["student=recorded", f"student.path={recording}", "teacher=labels", "difficulty=gold"]
    return [*settings, "data_recipe.pairs=40", "until=curate", f"cache_dir={tmp_path / 'cache'}"]


def test_too_many_broken_rows_are_refused_with_their_list(
    broken: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*broken, f"run_dir={tmp_path / 'run'}", "task.max_bad_rows=5"]) == 2
    said = capsys.readouterr().err
    assert "6 of 10000 rows cannot be used, expected at most 5" in said
    assert "2 x not JSON" in said
    for number, (_, reason) in BROKEN.items():
        assert f"pool.jsonl:{number}: {reason}" in said
    assert "task.max_bad_rows=6" in said
    assert not (tmp_path / "run/training_set.jsonl").exists()


def test_broken_rows_that_are_accepted_are_reported(broken: list[str], tmp_path: Path) -> None:
    assert main([*broken, f"run_dir={tmp_path / 'run'}", "task.max_bad_rows=6"]) == 0
    dropped = _read(tmp_path / "run/dropped.jsonl")
    assert [(row["stage"], row["id"], row["reason"]) for row in dropped] == [
        ("questions", f"pool.jsonl:{number}", reason) for number, (_, reason) in BROKEN.items()
    ]
    assert _drawn_for(tmp_path / "run") == {f"skill {index}": 10 for index in range(4)}


def test_after_a_refusal_the_corrected_command_goes_on(broken: list[str], tmp_path: Path) -> None:
    """What the refused run left behind is no part of the next one."""
    assert main([*broken, f"run_dir={tmp_path / 'run'}"]) == 2
    assert main([*broken, f"run_dir={tmp_path / 'run'}", "task.max_bad_rows=6"]) == 0
    assert main([*broken, f"run_dir={tmp_path / 'other'}", f"cache_dir={tmp_path / 'new'}", "task.max_bad_rows=6"]) == 0
    files = [(tmp_path / run / "training_set.jsonl").read_bytes() for run in ("run", "other")]
    assert files[0] == files[1]

"""Benchmarks beside the task's own: their settings, their questions, and what is measured on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import pytest
import yaml

from stat_train import stage
from stat_train.cli import main
from stat_train.compose import choices, config_dir, leaves, read_settings
from stat_train.diagnosis.answering import AnswerJob, answer_requests, in_order
from stat_train.models.scripted import ScriptedGenerator
from stat_train.plan.asked import asked_of
from stat_train.plan.look import Look
from stat_train.records import Question
from stat_train.store import read_records, write_json, write_records

Rows = list[dict[str, Any]]
# A script has no weights that could say how likely the reference answers are.
EMBEDDED = ["task.pool=300", "task.validation=30", "task.benchmark=30", "data_recipe.pairs=20"]
EMBEDDED += ["evaluate.log_probabilities=false"]
TEXT = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.validation=1", "teacher=labels"]
TEXT += ["difficulty=gold", "data_recipe=pool", "data_recipe.pairs=2", "evaluate.log_probabilities=false"]
PAPER_SAMPLING = {"amc23": (64, None), "aime24": (64, 64), "aime25": (64, 64)}


def rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, content: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))


def scores(run: Path, arm: str, benchmark: str) -> dict[str, float | None]:
    found = rows(run / "benchmark_scores.jsonl")
    return {row["question_id"]: row.get("score") for row in found if (row["arm"], row["benchmark"]) == (arm, benchmark)}


def evaluated(run: Path, arm: str = "base") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation.json").read_text())["arms"][arm]
    return found


def stages(run: Path) -> dict[str, str]:
    """Return the artifacts of a run, each with its stage."""
    return {row["artifact"]: row["stage"] for row in json.loads((run / "manifest.json").read_text())["stages"]}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with a small task of text questions in it."""
    monkeypatch.chdir(tmp_path)
    named = [f"Name the month that comes {n} months after May." for n in range(2, 8)]
    pool = [{"id": f"p{n}", "question": text, "skills": ["s"]} for n, text in enumerate(named)]
    write(tmp_path / "pool.jsonl", [row | {"answer": "July", "solution": "It is \\boxed{July}."} for row in pool])
    asked = {"t0": "Which month is the first?", "t1": "Which month is the last?", "t2": "Which month is the second?"}
    write(tmp_path / "test.jsonl", [{"id": id, "question": text, "answer": "May"} for id, text in asked.items()])
    return tmp_path


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Question, int, str], str]], None]:
    """Return a function that lets a script answer in the place of weights: by question, sample and model."""

    def say(script: Callable[[Question, int, str], str]) -> None:
        def answer(job: AnswerJob, processes: int | None) -> None:
            asked = {question.id: question for question in read_records(job.questions, Question)}
            model = ScriptedGenerator(lambda request: script(asked[request.id], request.sample, job.model))
            requests = answer_requests(asked.values(), job.prompt, job.sampling, job.attempts)
            write_records(job.folder / "answers.jsonl", in_order(model.generate(requests), "scripted"))

        monkeypatch.setattr(stage, "answer", answer)

    return say


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [False, True], ids=["as they are", "with files"])
def test_every_choice_is_valid_under_its_own_name(local: bool, tmp_path: Path) -> None:
    """All at once, in the order given; with a file the rest stays as it is."""
    file, names = tmp_path / "rows.jsonl", choices()["benchmark"]
    file.write_text('{"question": "1+1", "answer": "2"}\n')
    own = {name: yaml.safe_load((config_dir() / "benchmark" / f"{name}.yaml").read_text()) for name in names}
    given = {name: str(file) for name in names if local or own[name].get("path") == "???"}
    paths = [f"benchmark.{name}.path={path}" for name, path in given.items()]
    # The steps of a file's questions are not known to the exact checker.
    config = read_settings(
        [f"benchmark=[{','.join(names)}]", *paths, "difficulty=length", "difficulty.min_words=9"]
    ).config
    assert list(config.benchmark) == names and len(names) == 11
    for name, settings in config.benchmark.items():
        # Those of the choice that it starts from, then its own.
        start = own.get(own[name].get("defaults", [name])[0], {})
        every = own["jsonl"] | {k: v for k, v in (start | own[name]).items() if k not in ("defaults", "fields")}
        every |= {"fields": own["jsonl"]["fields"] | own[name].get("fields", {})}
        every |= {"path": given[name]} if name in given else {}
        actual, expected = dict(leaves(settings.model_dump())), dict(leaves(every))
        references = {key for key, value in expected.items() if str(value).startswith("${evaluate.")}
        assert {key: actual[key] for key in references} == {key: getattr(config.evaluate, key) for key in references}, (
            name
        )
        assert {k: v for k, v in actual.items() if k not in references} == {
            k: v for k, v in expected.items() if k not in references
        }, name
        assert (settings.samples, settings.pass_at) == PAPER_SAMPLING.get(name, (1, None))


def test_a_benchmark_of_the_users_own_takes_the_rest_from_the_file_for_it(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").touch()
    given = [f"benchmark.{name}.path={tmp_path}/mine.jsonl" for name in ("mine", "aime24")]
    found = read_settings(["benchmark=[gsm8k]", *given, "benchmark.mine.max_bad_rows=3"]).config.benchmark
    assert (found["mine"].max_bad_rows, found["mine"].temperature, found["mine"].fields.question) == (
        3,
        0.0,
        "question",
    )
    # One that is known needs no choice beside its settings.
    assert (list(found), found["aime24"].samples) == (["gsm8k", "mine", "aime24"], 64)
    assert read_settings(["benchmark=[]"]).config.benchmark == {}


# -- questions --------------------------------------------------------------------------------------------------------


def test_questions_are_read_as_the_tasks_are_and_those_of_the_validation_set_leave(
    here: Path, student: Callable[..., None]
) -> None:
    """Ids may be those of other benchmarks; the row that cannot be read and the validation question are counted."""
    student(lambda question, sample, model: f"\\boxed{{{question.answer}}}")
    assert main([*TEXT, "until=label", "run_dir=run"]) == 0
    (validation,) = rows(here / "run/questions/validation.jsonl")
    content = [{"id": "t0", "problem": "What is 1 + 1?", "answer": "2"}, {"id": "t1", "answer": "3"}]
    write(here / "mine.jsonl", [*content, {"id": "v", "problem": validation["question"].upper(), "answer": "May"}])
    mine = ["benchmark.mine.path=mine.jsonl", "benchmark.mine.fields.question=problem", "benchmark.mine.max_bad_rows=1"]
    assert main([*TEXT, *mine, "train=none", "run_dir=run"]) == 0
    assert [row["id"] for row in rows(here / "run/benchmark_questions/mine.jsonl")] == ["t0"]
    dropped = [row for row in rows(here / "run/dropped.jsonl") if row["stage"] == "benchmark_questions"]
    assert [(row["id"], row["reason"]) for row in dropped] == [
        ("mine.jsonl:2", "no question"),
        ("v", "is in the validation set too"),
    ]
    assert list(evaluated(here / "run")) == ["jsonl", "mine"]
    assert scores(here / "run", "base", "mine") == {"t0": 1.0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"id": "1"}], "1 of 1 rows cannot be used"),
        ([{"id": "1"}], "accept them with benchmark.mine.max_bad_rows=1"),
        ([{"question": "Who?"}], "none of its 1 questions has a gold answer to grade by"),
        ([], "holds no questions"),
    ],
)
def test_a_benchmark_that_measures_nothing_is_refused_before_anything_is_asked(
    content: Rows, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "mine.jsonl", content)
    assert main([*TEXT, "benchmark.mine.path=mine.jsonl", "train=none", "run_dir=run"]) == 2
    told = capsys.readouterr()
    assert "benchmark.mine.path = mine.jsonl: " in told.err and said in told.err
    assert "\nlabel" not in told.out


# -- what is measured -------------------------------------------------------------------------------------------------


def test_amc_and_aime_are_scored_as_by_hand(
    here: Path, shared_data: Path, student: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first c samples of a question are right, c = 0, 7, 14, ... (mod 65) by its place in the file.

    Average@64 is the mean of c/64. Pass@64 is 1 where c > 0, and pass@8 is 1 - C(64 - c, 8) / C(64, 8). So for the
    three questions with c = 0, 7, 14 it is 0, 1 - C(57, 8)/C(64, 8) = 0.6267 and 1 - C(50, 8)/C(64, 8) = 0.8787.
    Every second right answer is written as a fraction, which is only the same by mathematics.
    """
    places = {"amc23": shared_data / "amc23/test.jsonl", "aime24": shared_data / "aime24/test.jsonl"}
    places["eight"] = places["aime24"]
    asked = {name: [row["id"] for row in rows(place)] for name, place in places.items()}
    right = {id: 7 * n % 65 for ids in asked.values() for n, id in enumerate(ids)}

    def script(question: Question, sample: int, model: str) -> str:
        gold = int(float(question.answer or "")) if question.id in right else 0
        if sample >= right.get(question.id, 0):
            return f"So it is \\boxed{{{gold + 1}}}."
        return f"So it is \\boxed{{{gold}}}." if sample % 2 else f"So it is \\boxed{{\\frac{{{2 * gold}}}{{2}}}}."

    student(script)
    given = [f"benchmark.{name}.path={place}" for name, place in places.items()]
    given += ["benchmark.eight.samples=64", "benchmark.eight.pass_at=8", "benchmark.eight.temperature=0.6"]
    assert main([*TEXT, *given, "train=none", "run_dir=run"]) == 0
    found = evaluated(here / "run")
    measures = {name: (found[name]["n"], found[name]["samples"], found[name]["measure"]) for name in places}
    assert measures == {"amc23": (40, 64, "average@64"), "aime24": (30, 64, "pass@64"), "eight": (30, 64, "pass@8")}
    by_hand = {
        "amc23": [right[id] / 64 for id in asked["amc23"]],
        "aime24": [float(right[id] > 0) for id in asked["aime24"]],
        "eight": [1 - comb(64 - right[id], 8) / comb(64, 8) for id in asked["eight"]],
    }
    assert by_hand["eight"][:3] == pytest.approx([0, 0.6267, 0.8787], abs=5e-5)
    for name, expected in by_hand.items():
        assert scores(here / "run", "base", name) == pytest.approx(dict(zip(asked[name], expected, strict=True)))
        assert found[name]["accuracy"] == pytest.approx(sum(expected) / len(expected), abs=1e-6)
        assert found[name]["unscored"] == 0
    answers = Counter(row["benchmark"] for row in rows(here / "run/benchmark_answers.jsonl"))
    assert answers == {"jsonl": 2, "amc23": 40 * 64, "aime24": 30 * 64, "eight": 30 * 64}


# -- what is shared ---------------------------------------------------------------------------------------------------


def trained(name: str, job: Any, folder: Path, *world: Any) -> None:
    """Leave what a training leaves, without one."""
    (folder / "checkpoint").mkdir()
    (folder / "metrics.jsonl").touch()
    write_json(folder / "training.json", {"rows": 20, "steps": 1, "final_loss": 1.0, "trained_tokens": 9})
    how = {"processes": 1, "precision": "float32", "attention": "eager", "tokens_per_second": 1}
    write_json(folder / "throughput.json", how)


def test_another_benchmark_answers_and_trains_nothing_again(
    here: Path, student: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is held out from is looked at again; as no row of the pool is near it, the training set is the same.

    The examples in the prompts of the task's own benchmark stay, too. Of the embedded benchmark every third question
    is answered wrong, by whichever model, and so is difficult; the difficult part is asked nothing of its own.
    """
    calls = list[str]()
    monkeypatch.setattr(stage, "train", lambda *given: (calls.append("train"), trained(*given)))

    def script(question: Question, sample: int, model: str) -> str:
        calls.append("tiny" if model.endswith("tiny") else "checkpoint")
        if question.solution is None:
            return f"#### {question.answer}" if sample % 2 else "No."
        return "No." if int(question.id.rpartition("-")[2]) % 3 == 0 else question.solution

    student(script)
    settings = [*EMBEDDED, "evaluate.prompting=adaptmi", "cache_dir=cache"]
    assert main([*settings, "run_dir=one"]) == 0
    first = list(calls)
    write(here / "mine.jsonl", [{"id": f"m{n}", "question": f"Tom says {n} times hello.", "answer": "7"} for n in "ab"])
    more = ["benchmark=[math_difficult]", "benchmark.mine.path=mine.jsonl"]
    more += ["benchmark.mine.samples=4", "benchmark.mine.pass_at=2", "benchmark.mine.temperature=0.7"]
    assert main([*settings, *more, "run_dir=two"]) == 0
    # Two questions, four samples, three arms.
    assert Counter(calls[len(first) :]) == {"tiny": 2 * 4 * 2, "checkpoint": 2 * 4}
    new = Counter(each for name, each in stages(Path("two")).items() if name not in stages(Path("one")))
    # Examples are rows of the pool that are not held out, so they are chosen again, and are the same.
    again = Counter(["decontaminate", "curate", "prompts", "evaluate", "report"])
    assert new == again + Counter(["benchmark_questions", "difficult", "prompts", *["benchmark"] * 3])
    found = evaluated(Path("two"))
    assert list(found) == ["standard", "math_difficult", "mine"]
    hard = {id: score for id, score in scores(Path("two"), "base", "standard").items() if not score}
    for arm in ("base", "sft", "adaptmi"):
        assert scores(Path("two"), arm, "math_difficult") == hard and len(hard) == 10
        # Two of four samples are right: all pairs but one hold a right one.
        assert scores(Path("two"), arm, "mine") == pytest.approx({"ma": 5 / 6, "mb": 5 / 6})


def test_the_difficult_part_of_a_benchmark_has_a_name_for_any_task() -> None:
    """All that differs from a file of one's own is which questions are asked, and that the difficult ones count."""
    sampled = ["evaluate.samples=3", "evaluate.temperature=0.6", "evaluate.top_p=0.9"]
    found = read_settings(["benchmark=[difficult,math_difficult]", *sampled]).config.benchmark
    assert list(found) == ["difficult", "math_difficult"] and found["difficult"] == found["math_difficult"]
    own = read_settings(["benchmark.mine.path=o/n"]).config.benchmark["mine"]
    changed = {"path": None, "only_difficult": True, "samples": 3, "temperature": 0.6, "top_p": 0.9}
    assert found["difficult"] == own.model_copy(update=changed)


@pytest.mark.slow
def test_a_real_student_on_a_benchmark_of_arithmetic(here: Path) -> None:
    """Twelve sums of small numbers, four samples each; and what is difficult among the embedded task's questions."""
    asked = [{"id": f"{n}", "question": f"What is {n} + {n + 3}?", "answer": f"{2 * n + 3}"} for n in range(12)]
    write(here / "sums.jsonl", asked)
    more = ["benchmark.sums.samples=4", "benchmark.sums.pass_at=2", "benchmark.sums.temperature=0.7"]
    more += ["benchmark=[difficult]", "benchmark.sums.path=sums.jsonl", "student.max_new_tokens=48"]
    assert main([*EMBEDDED, *more, "train=none", "run_dir=run", "cache_dir=cache"]) == 0
    found, answers = evaluated(here / "run"), rows(here / "run/benchmark_answers.jsonl")
    right = Counter(row["question_id"] for row in answers if (row["benchmark"], row["verdict"]) == ("sums", "correct"))
    expected = {row["id"]: 1 - comb(4 - right[row["id"]], 2) / comb(4, 2) for row in asked}
    assert scores(here / "run", "base", "sums") == pytest.approx(expected)
    assert (found["sums"]["measure"], found["sums"]["n"]) == ("pass@2", 12)
    texts = [row["text"] for row in answers if row["benchmark"] == "sums"]
    assert len(texts) == 48 and len(set(texts)) > 12, "samples of a question differ"
    easy_and_hard, hard = scores(here / "run", "base", "standard"), scores(here / "run", "base", "difficult")
    assert 0 < len(hard) < len(easy_and_hard) == 30
    # What the exact checker calls difficult has a wrong step, and whatever is answered wrong has one.
    assert hard == {id: easy_and_hard[id] for id in hard}
    assert {id for id, score in easy_and_hard.items() if not score} <= set(hard)
    assert Counter(stages(here / "run").values())["benchmark"] == 2


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_the_plan_counts_the_verdicts_on_every_sample(here: Path) -> None:
    """Two questions, three samples, before and after training; the task's own grader asks nobody."""
    write(here / "mine.jsonl", [{"question": f"Who is {name}?", "answer": name} for name in ("Ann", "Bob")])
    given = [*TEXT, "teacher=openai", "teacher.model=m", "task.grader=exact", "benchmark.mine.path=mine.jsonl"]
    given += ["benchmark.mine.samples=3", "benchmark.mine.temperature=0.5", "benchmark.mine.grader=judge"]
    with Look(read_settings(given)) as look:
        planned = {asked.stage: asked for asked in asked_of(look)}
    assert planned["evaluate"].calls == 2 * 3 * 2
    assert "grade" not in planned

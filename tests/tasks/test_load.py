"""The questions of a run: what becomes pool, validation set and benchmark, and that they share nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stat_train.counts import add_up
from stat_train.errors import InputError
from stat_train.records import Dropped, Question
from stat_train.store import read_records
from stat_train.task_settings import ArithmeticTask, TextTask
from stat_train.tasks.arithmetic.mixes import MIXES, pool_weights
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.tasks.arithmetic.world import Chain, fingerprint
from stat_train.tasks.load import NO_OTHERS, OtherValidation, load_questions, made_by, open_pool, validation_files

BENCHMARKS = ["standard", "unseen_phrasings", "larger_numbers", "longer_chains", "retention"]
COLUMNS = ("id", "question", "answer", "solution", "subject", "level", "skills", "licence")


def _arithmetic(**settings: Any) -> ArithmeticTask:
    usual = {
        "mix": "a",
        "pool_evenness": 0.0,
        "min_steps": 1,
        "max_steps": 3,
        "pool": 1500,
        "validation": 300,
        "benchmark": 300,
    }
    return ArithmeticTask.model_validate(
        {"name": "arithmetic", "benchmarks": BENCHMARKS, "grader": "exact", "grader_timeout_seconds": 5.0}
        | usual
        | settings
    )


def _load(
    folder: Path,
    task: ArithmeticTask | TextTask,
    seed: int = 0,
    recorded: Iterable[str] | None = None,
    others: OtherValidation = NO_OTHERS,
) -> dict[str, list[Question]]:
    """Return the questions of every file that a load writes, by the file's name."""
    folder.mkdir(parents=True)
    counts = load_questions(folder, task, seed, recorded, others)
    add_up("questions", counts, read_records(folder / "dropped.jsonl", Dropped))
    made = {path.stem: read_records(path, Question) for path in (folder / "benchmarks").iterdir()}
    made["validation"] = read_records(folder / "validation.jsonl", Question)
    made["pool"] = [Question.model_validate(row) for row in open_pool(folder)]
    return made


def _dropped(folder: Path) -> list[tuple[str, str]]:
    return [(row.id, row.reason) for row in read_records(folder / "dropped.jsonl", Dropped)]


# -- the embedded task ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Question]]]:
    """Return the questions of four runs: three seeds, the last of them with another mix as well."""
    folder = tmp_path_factory.mktemp("arithmetic")
    tasks = [_arithmetic(), _arithmetic(), _arithmetic(), _arithmetic(mix="c")]
    return [_load(folder / str(index), task, seed=min(index, 2)) for index, task in enumerate(tasks)]


def test_splits_share_no_question_and_no_chain(made: list[dict[str, list[Question]]]) -> None:
    """Whatever the seeds: the pool of one run shares nothing with the validation set of another, either."""
    texts: dict[str, set[str]] = {"pool": set(), "validation": set(), "benchmark": set()}
    chains: dict[str, set[str]] = {"pool": set(), "validation": set(), "benchmark": set()}
    for run in made:
        for name, questions in run.items():
            split = name if name in texts else "benchmark"
            texts[split] |= {question.question for question in questions}
            chains[split] |= {question.source or "" for question in questions}
    for shared in (texts, chains):
        assert sum(map(len, shared.values())) == len(set().union(*shared.values()))
        assert min(map(len, shared.values())) > 500


def test_numbers_of_questions(made: list[dict[str, list[Question]]]) -> None:
    for run in made:
        assert {name: len(questions) for name, questions in run.items()} == {
            "pool": 1500,
            "validation": 300,
            **dict.fromkeys(BENCHMARKS, 300),
        }


def test_each_benchmark_can_have_a_size_of_its_own(made: list[dict[str, list[Question]]], tmp_path: Path) -> None:
    """Its questions are the first of those that a larger one has."""
    sizes = {"standard": 30, "retention": 20}
    run = _load(tmp_path / "made", _arithmetic(benchmark=sizes, benchmarks=["retention", "standard"], pool=50))
    assert {name: run[name] for name in sizes} == {name: made[0][name][:size] for name, size in sizes.items()}
    assert set(run) == {*sizes, "validation", "pool"}


def test_benchmarks_do_not_depend_on_the_seed(made: list[dict[str, list[Question]]]) -> None:
    first, second, *_ = made
    assert all(first[name] == second[name] for name in BENCHMARKS)
    assert first["pool"] != second["pool"]
    assert first["validation"] != second["validation"]


def test_only_retention_and_pool_have_the_mix(made: list[dict[str, list[Question]]]) -> None:
    _, _, mix_a, mix_c = made
    same = {name for name in mix_a if mix_a[name] == mix_c[name]}
    assert same == {"validation", "standard", "unseen_phrasings", "larger_numbers", "longer_chains"}


def test_an_even_pool_has_every_skill_as_often_and_all_else_is_the_mix_s(
    made: list[dict[str, list[Question]]], tmp_path: Path
) -> None:
    """Two steps on average over 18 skills: each is in 1/9 of the questions, the rarest of the mix in less than 1 %."""
    _, _, mix_a, _ = made
    even = _load(tmp_path / "even", _arithmetic(pool_evenness=1.0), seed=2)
    assert {name for name in even if even[name] != mix_a[name]} == {"pool"}
    usual, found = (Counter(skill for q in run["pool"] for skill in q.skills or []) for run in (mix_a, even))
    # Four standard deviations of 1,500 draws.
    reach = 4 * (1500 / 9 * 8 / 9) ** 0.5
    assert set(found) == set(SKILL_NAMES)
    assert all(abs(count - 1500 / 9) < reach for count in found.values())
    assert usual["rounding"] < 15


def test_a_run_s_questions_are_known_by_the_world_of_the_mix_and_of_an_even_pool() -> None:
    """At 0 by what they always were: the benchmarks and the validation set are the same for any pool."""
    mixed, even = _arithmetic(), _arithmetic(pool_evenness=0.3)
    world = fingerprint(MIXES["a"])
    assert made_by(mixed, 7) == {"seed": 7, "world": world}
    assert made_by(even, 7) == {"seed": 7, "world": world, "pool_world": fingerprint(pool_weights("a", 0.3))}
    assert mixed.identity() | {"pool_evenness": 0.3} == even.identity()
    assert "pool_evenness" not in mixed.identity()


def test_questions_have_the_task_s_number_of_steps(tmp_path: Path) -> None:
    run = _load(tmp_path / "made", _arithmetic(min_steps=2, max_steps=2, benchmarks=["standard", "retention"]))
    assert {len(Chain.parse(q.source or "").steps) for questions in run.values() for q in questions} == {2}
    assert json.loads((tmp_path / "made" / "skills.json").read_text()) == {"": list(SKILL_NAMES)}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("once", "again"):
        _load(tmp_path / name, _arithmetic(pool=300), seed=5)
        paths = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        files.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in paths})
    assert files[0] == files[1]
    assert len(files[0]) == 4 + len(BENCHMARKS)


def test_a_recording_of_made_questions_chooses_the_validation_set(tmp_path: Path) -> None:
    recorded = ["arithmetic-validation-00007", "arithmetic-validation-00002", "arithmetic-pool-99999"]
    run = _load(tmp_path / "made", _arithmetic(), recorded=recorded)
    assert [question.id for question in run["validation"]] == recorded[:2]
    assert _dropped(tmp_path / "made") == [("arithmetic-pool-99999", "recorded answer to an unknown question")]


# -- text questions ---------------------------------------------------------------------------------------------------


def _rows(stem: str, count: int) -> list[dict[str, str]]:
    return [{"id": f"{stem}-{index}", "question": f"{stem} question {index}?", "answer": "1"} for index in range(count)]


def _write(path: Path, rows: Sequence[dict[str, str]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _text(folder: Path, validation: int | str = 4, **rows: Sequence[dict[str, str]]) -> TextTask:
    return TextTask.model_validate(
        {
            "name": "jsonl",
            "pool": _write(folder / "pool.jsonl", rows.get("pool", _rows("pool", 12))),
            "benchmark": _write(folder / "test.jsonl", rows.get("benchmark", _rows("test", 10))),
            "validation": validation,
            "skills": None,
            "grader": "exact",
            "grader_timeout_seconds": 5.0,
            "fields": {name: name for name in COLUMNS},
            "max_bad_rows": 0,
        }
    )


def _ids(questions: Sequence[Question]) -> list[str]:
    return [question.id for question in questions]


def test_recorded_questions_are_the_validation_set_and_leave_the_rest(tmp_path: Path) -> None:
    recorded = ["test-3", "pool-2", "nobody-1", "test-0"]
    run = _load(tmp_path / "made", _text(tmp_path), recorded=recorded)
    assert _ids(run["validation"]) == ["test-3", "pool-2", "test-0"]
    assert _ids(run["jsonl"]) == [f"test-{i}" for i in range(10) if i not in (0, 3)]
    assert _ids(run["pool"]) == [f"pool-{i}" for i in range(12) if i != 2]
    assert _dropped(tmp_path / "made") == [("nobody-1", "recorded answer to an unknown question")]


def test_a_recording_of_no_known_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 2 ids \(such as 'a'\).*such as 'test-0'"):
        _load(tmp_path / "made", _text(tmp_path), recorded=["a", "b"])


def test_a_number_takes_questions_out_of_the_benchmark(tmp_path: Path) -> None:
    run = _load(tmp_path / "made", _text(tmp_path, validation=4))
    assert len(run["validation"]) == 4
    assert sorted(_ids(run["validation"]) + _ids(run["jsonl"])) == sorted(_ids_of("test", 10))
    assert _ids(run["pool"]) == _ids_of("pool", 12)


def _ids_of(stem: str, count: int) -> list[str]:
    return [f"{stem}-{index}" for index in range(count)]


def test_the_choice_depends_on_ids_alone(tmp_path: Path) -> None:
    """Not on the rows' order, not on the seed; a larger number keeps a smaller one's; not the first rows."""
    backwards = _rows("test", 10)[::-1]
    runs = [
        _load(tmp_path / "a", _text(tmp_path / "1", validation=4)),
        _load(tmp_path / "b", _text(tmp_path / "2", validation=4, benchmark=backwards), seed=9),
        _load(tmp_path / "c", _text(tmp_path / "3", validation=6)),
    ]
    chosen = [_ids(run["validation"]) for run in runs]
    assert chosen[0] == chosen[1] == chosen[2][:4]
    assert set(chosen[0]) != set(_ids_of("test", 4))


@pytest.mark.parametrize("number", [10, 11])
def test_too_large_a_number_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(InputError, match=rf"task.validation = {number}: expected fewer than the benchmark's 10"):
        _load(tmp_path / "made", _text(tmp_path, validation=number))


def test_validation_from_a_path(tmp_path: Path) -> None:
    """Its rows may be a part of the benchmark, and leave it then."""
    path = _write(tmp_path / "validation.jsonl", [*_rows("test", 10)[6:], *_rows("other", 3)])
    run = _load(tmp_path / "made", _text(tmp_path, validation=path))
    assert _ids(run["validation"]) == ["test-6", "test-7", "test-8", "test-9", "other-0", "other-1", "other-2"]
    assert _ids(run["jsonl"]) == _ids_of("test", 6)


def test_validation_sets_of_other_rounds_leave_pool_and_benchmark_too(tmp_path: Path) -> None:
    """So all rounds train on the same pool, and are measured by the same questions, whichever set is asked."""
    path = _write(tmp_path / "later.jsonl", [*_rows("test", 10)[6:7], *_rows("pool", 12)[:2], *_rows("other", 3)])
    number, later = _text(tmp_path, validation=4), _text(tmp_path, validation=path)
    first = _load(tmp_path / "first", number, others=OtherValidation(places=(path,)))
    second = _load(tmp_path / "second", later, others=OtherValidation(places=(4,)))
    assert first["validation"] == _load(tmp_path / "alone", number)["validation"]
    assert _ids(second["validation"]) == ["test-6", "pool-0", "pool-1", "other-0", "other-1", "other-2"]
    asked = {*_ids(first["validation"]), *_ids(second["validation"])}
    assert _ids(first["pool"]) == _ids(second["pool"]) == [id for id in _ids_of("pool", 12) if id not in asked]
    assert _ids(first["jsonl"]) == _ids(second["jsonl"]) == [id for id in _ids_of("test", 10) if id not in asked]
    for run, own, other in (("first", first, second), ("second", second, first)):
        files = [_ids(read_records(file, Question)) for file in validation_files(tmp_path / run)]
        assert files == [_ids(own["validation"]), _ids(other["validation"])]
    reason = "is in the validation set of another round"
    assert [id for id, why in _dropped(tmp_path / "first") if why == reason] == [
        *("pool-0", "pool-1"),
        *(["test-6"] if "test-6" not in _ids(first["validation"]) else []),
    ]


def test_a_validation_set_that_takes_the_whole_benchmark_is_refused(tmp_path: Path) -> None:
    """Or a run would train and then measure the gain on nothing."""
    path = _write(tmp_path / "validation.jsonl", [*_rows("test", 10), *_rows("other", 3)])
    with pytest.raises(InputError, match=r"task.validation = .*: holds every question of task.benchmark"):
        _load(tmp_path / "made", _text(tmp_path, validation=path))


def test_files_of_one_name_without_ids_do_not_share_them(tmp_path: Path) -> None:
    rows = {name: [row | {"id": None} for row in _rows(name, 4)] for name in ("train", "test")}
    for name, content in rows.items():
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "data.jsonl", content)
    places = {"pool": str(tmp_path / "train" / "data.jsonl"), "benchmark": str(tmp_path / "test" / "data.jsonl")}
    task = _text(tmp_path / "rest", validation=1).model_copy(update=places)
    run = _load(tmp_path / "made", task)
    assert _ids(run["pool"]) == [f"pool:data:{line}" for line in range(1, 5)]
    assert len(run["jsonl"]) == 3
    assert all(question.id.startswith("benchmark:data:") for question in run["jsonl"])


@pytest.mark.parametrize("recorded", [None, ["1", "2"]])
def test_one_id_for_two_questions_is_refused(tmp_path: Path, recorded: list[str] | None) -> None:
    """Rows are joined by id, so files that each count from 0 would lose pool rows and mix up labels."""
    pool, benchmark = ([row | {"id": row["id"].split("-")[1]} for row in _rows(name, 9)] for name in ("pool", "test"))
    with pytest.raises(InputError, match=r"9 ids .*such as '0'.*task.pool.*task.benchmark.*task.fields.id=null"):
        _load(tmp_path / "made", _text(tmp_path, pool=pool, benchmark=benchmark), recorded=recorded)


def test_the_same_question_in_pool_and_benchmark_is_not_refused(tmp_path: Path) -> None:
    """Curation keeps it out of the training set."""
    copied = _rows("test", 10)[0] | {"question": "  TEST question 0?"}
    run = _load(tmp_path / "made", _text(tmp_path, validation=1, pool=[*_rows("pool", 3), copied]))
    assert len(run["jsonl"]) == 9


@pytest.mark.parametrize("key", ["pool", "benchmark"])
def test_an_empty_file_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=rf"task.{key} = .*: holds no questions"):
        _load(tmp_path / "made", _text(tmp_path, **{key: []}))

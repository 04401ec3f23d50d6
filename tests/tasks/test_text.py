"""Text questions from files and hub folders: which rows are read, which are refused, and what the user is told."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stat_train.errors import InputError
from stat_train.records import Dropped, Question
from stat_train.task_settings import FieldNames
from stat_train.tasks import text
from stat_train.tasks.text import normalised, read_questions

COLUMNS = ("id", "question", "answer", "solution", "subject", "level", "skills", "licence")
FIELDS = FieldNames.model_validate({name: name for name in COLUMNS})


def _read(source: Path | str, bad: int = 0, fields: FieldNames = FIELDS, split: Any = "train") -> list[Question]:
    return list(read_questions(str(source), split, fields, [], bad, "task.pool"))


def _bad(source: Path | str) -> list[tuple[str, str, str]]:
    dropped: list[Dropped] = []
    list(read_questions(str(source), "train", FIELDS, dropped, 10**9, "task.pool"))
    assert {row.stage for row in dropped} <= {"questions"}
    return [(row.id, row.reason, row.detail) for row in dropped]


def _fields(**columns: str | None) -> FieldNames:
    return FieldNames.model_validate(dict.fromkeys(COLUMNS) | columns)


def _write(path: Path, *lines: bytes | dict[str, Any]) -> Path:
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return path


def test_reads_every_column(tmp_path: Path) -> None:
    values = ("a", "2+2?", "4", "It is 4.", "algebra", 5, ["addition"], "MIT")
    row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    assert _read(_write(tmp_path / "pool.jsonl", row | {"more": [1]})) == [Question(**row)]


def test_rows_that_are_not_bad(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"question": "first", "answer": ""}\r\n'
        b"\r\n  \n"
        b'{"question": "fourth", "answer": null, "solution": null, "skills": null, "level": "Level ?"}\n'
        b'{"question": "fifth", "id": 17, "level": "Level 5", "skills": ["b", "a", "b"]}'
    )
    assert _read(path) == [
        Question(id="pool:pool:1", question="first"),
        Question(id="pool:pool:4", question="fourth"),
        Question(id="17", question="fifth", level=5, skills=["b", "a"]),
    ]


def test_an_id_is_setting_stem_and_line_without_an_id_column(tmp_path: Path) -> None:
    path = _write(tmp_path / "pool.jsonl", {"id": "x", "question": "a"}, {"id": "x", "question": "b"})
    questions = _read(path, fields=_fields(question="question"))
    assert [question.id for question in questions] == ["pool:pool:1", "pool:pool:2"]


@pytest.mark.parametrize(
    ("row", "answer", "solution"),
    [
        ({"solution": r"so \boxed{4}"}, "4", r"so \boxed{4}"),
        ({"solution": r"so \boxed{4}", "answer": " "}, "4", r"so \boxed{4}"),
        ({"solution": r"so \boxed{4}", "answer": "5"}, "5", r"so \boxed{4}"),
        ({"answer": "2+2=4\n#### 4"}, "4", "2+2=4\n#### 4"),
        ({"solution": "no answer here"}, None, "no answer here"),
    ],
)
def test_answer_comes_from_the_solution(
    tmp_path: Path, row: dict[str, str], answer: str | None, solution: str | None
) -> None:
    (question,) = _read(_write(tmp_path / "pool.jsonl", {"question": "2+2?"} | row))
    assert (question.answer, question.solution) == (answer, solution)


GOOD = {"id": "taken", "question": "q"}
BAD_LINES: list[tuple[bytes | dict[str, Any], str, str]] = [
    (b"{", "not JSON", "Expecting property name enclosed in double quotes at character 2"),
    (b'{"level": 1' + b"0" * 5000 + b"}", "not JSON", "4300 digits"),
    (b'{"question": NaN}', "not JSON", "NaN is not JSON"),
    (b'{"question": "a", "level": -Infinity}', "not JSON", "-Infinity is not JSON"),
    (b"[" * 100_000, "not JSON", "nested too deeply"),
    (b'["question"]', "not an object", "a list of 1"),
    (b"3", "not an object", "the line is 3"),
    ({"answer": "4"}, "no question", 'column "question" is not among answer'),
    ({"question": " "}, "no question", 'column "question" is empty'),
    ({"question": None}, "no question", 'column "question" is empty'),
    ({"question": 12}, "wrong type", "question is 12, expected text"),
    ({"question": "q", "answer": 4}, "wrong type", "answer is 4, expected text"),
    ({"question": "q", "level": "hard"}, "wrong type", "level is 'hard', expected a whole number or \"Level 5\""),
    ({"question": "q", "level": 2.5}, "wrong type", "level is 2.5"),
    ({"question": "q", "level": True}, "wrong type", "level is true"),
    ({"question": "q", "level": 1e20}, "wrong type", "level is 1e+20"),
    (b'{"question": "q", "level": 1e999}', "wrong type", "level is inf"),
    ({"question": "q", "skills": "addition"}, "wrong type", "skills is 'addition', expected a list of names"),
    ({"question": "q", "skills": ["addition", 3]}, "wrong type", "skills is a list of 2"),
    ({"question": "q", "id": True}, "wrong type", "id is true"),
    (b'{"question": "a\0b"}', "NUL byte", "at byte 16"),
    ({"question": "a\0b"}, "NUL byte", "in question"),
    (b'{"question": "\xff"}', "not UTF-8", "at byte 15"),
    (b'{"question": "\\ud800"}', "not UTF-8", "surrogate"),
    ({"question": "q" * 1_000_000}, "line over 1 MB", "1000017 bytes"),
    (GOOD, "repeated id", "taken, first at pool.jsonl:1"),
]


@pytest.mark.parametrize(("line", "reason", "detail"), BAD_LINES)
def test_a_bad_row_is_named_and_the_next_one_is_read(
    tmp_path: Path, line: bytes | dict[str, Any], reason: str, detail: str
) -> None:
    path = _write(tmp_path / "pool.jsonl", GOOD, line, {"question": "after"})
    ((place, found, said),) = _bad(path)
    assert (place, found) == ("pool.jsonl:2", reason)
    assert detail in said
    assert [question.id for question in _read(path, bad=1)] == ["taken", "pool:pool:3"]


def test_a_line_of_exactly_one_megabyte_is_read(tmp_path: Path) -> None:
    """`{"question": ""}` is 16 bytes; a CRLF after it is neither content nor a line of its own."""
    line = json.dumps({"question": "q" * (1_000_000 - 16)}).encode() + b"\r"
    questions = _read(_write(tmp_path / "pool.jsonl", line, {"question": "next"}))
    assert [question.id for question in questions] == ["pool:pool:1", "pool:pool:2"]
    assert [len(question.question) for question in questions] == [999_984, 4]


def test_a_huge_line_is_not_loaded(tmp_path: Path) -> None:
    import tracemalloc

    path = _write(tmp_path / "pool.jsonl", b"x" * 10_000_000, GOOD)
    tracemalloc.start()
    assert _bad(path) == [("pool.jsonl:1", "line over 1 MB", "10000001 bytes")]
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_an_id_of_a_bad_row_is_not_taken(tmp_path: Path) -> None:
    path = _write(tmp_path / "pool.jsonl", {"id": "taken", "question": ""}, GOOD)
    assert [question.id for question in _read(path, bad=1)] == ["taken"]


def _pool_with_37_bad_rows(path: Path) -> set[tuple[str, str]]:
    """Write 10,000 rows; 37 at random lines are bad, of each kind in turn; return where and why."""
    lines: list[bytes | dict[str, Any]] = [{"id": f"q{n}", "question": f"{n}+1?"} for n in range(10_000)]
    lines[0] = GOOD
    places = random.Random(0).sample(range(1, 10_000), 37)
    kinds = [(line, reason) for line, reason, _ in BAD_LINES]
    expected = set()
    for turn, place in enumerate(places):
        lines[place], reason = kinds[turn % len(kinds)]
        expected.add((f"pool.jsonl:{place + 1}", reason))
    _write(path, *lines)
    return expected


def test_a_large_pool_with_37_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    expected = _pool_with_37_bad_rows(path)
    dropped: list[Dropped] = []
    questions = list(read_questions(str(path), "train", FIELDS, dropped, 37, "task.pool"))
    assert len(questions) == 9_963
    assert {(row.id, row.reason) for row in dropped} == expected
    assert len(dropped) == 37
    with pytest.raises(InputError) as refused:
        _read(path, bad=36)
    message = str(refused.value)
    assert message.startswith(f"task.pool = {path}: 37 of 10000 rows cannot be used, expected at most 36:")
    assert message.endswith("accept them with task.max_bad_rows=37")
    wrong_types = sum(reason == "wrong type" for _, reason in expected)
    assert f"  {wrong_types} x wrong type\n" in message
    assert [line.split(": ")[0].strip() for line in message.splitlines() if line.startswith("  pool.jsonl:")] == [
        row.id for row in dropped[:10]
    ]


def test_bad_rows_of_an_earlier_source_do_not_count(tmp_path: Path) -> None:
    path = _write(tmp_path / "pool.jsonl", b"{", GOOD)
    dropped: list[Dropped] = []
    for _ in range(2):
        assert len(list(read_questions(str(path), "train", FIELDS, dropped, 1, "task.pool"))) == 1
    assert len(dropped) == 2


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"task\.pool = .*absent\.jsonl: no such file \(looked in "):
        _read(tmp_path / "absent.jsonl")


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet(tmp_path: Path) -> None:
    """Rows 2 and 3 are in two row groups; levels are floats with NaN, as pandas writes whole numbers with gaps."""
    columns: dict[str, list[Any]] = {
        "question": ["a", "b", None, "d"],
        "answer": ["1", None, "3", "4"],
        "level": [1.0, float("nan"), 3.0, 4.5],
        "skills": [["x"], None, [], ["y"]],
        "image": [b"1", b"2", b"3", b"4"],
    }
    path = _write_parquet(tmp_path / "pool.parquet", columns)
    assert [(place, reason) for place, reason, _ in _bad(path)] == [
        ("pool.parquet:3", "no question"),
        ("pool.parquet:4", "wrong type"),
    ]
    assert _read(path, bad=2) == [
        Question(id="pool:pool:1", question="a", answer="1", level=1, skills=["x"]),
        Question(id="pool:pool:2", question="b"),
    ]


def test_parquet_rows_are_numbered_through(tmp_path: Path) -> None:
    questions = _read(_write_parquet(tmp_path / "pool.parquet", {"question": [str(n) for n in range(1, 3001)]}))
    assert [question.id for question in questions] == [f"pool:pool:{n}" for n in range(1, 3001)]


def test_parquet_without_the_question_column(tmp_path: Path) -> None:
    path = _write_parquet(tmp_path / "pool.parquet", {"problem": ["a"], "answer": ["1"]})
    with pytest.raises(
        InputError, match=r'no column "question", only problem, answer; .*task\.fields\.question=COLUMN'
    ):
        _read(path)


def test_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    path = _write(tmp_path / "pool.parquet", GOOD)
    with pytest.raises(InputError, match=r"task\.pool = .*pool\.parquet: cannot be read as Parquet: "):
        _read(path)


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a local folder in the hub's layout: two configurations, each with a train and a test split."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "math"
    configs = []
    for config in ("algebra", "geometry"):
        (folder / config).mkdir(parents=True)
        for split in ("train", "test"):
            row = {"problem": f"{config} {split}?", "type": config, "level": "Level 5", "solution": r"\boxed{4}"}
            other = row | {"problem": "other?", "level": "Level ?", "solution": "none"}
            _write(folder / config / f"{split}.jsonl", row, other)
        files = "".join(f"  - split: {split}\n    path: {config}/{split}.jsonl\n" for split in ("train", "test"))
        configs.append(f"- config_name: {config}\n  data_files:\n{files}")
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(configs) + "---\n")
    return folder


@pytest.fixture
def known_hub_folder(hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder under a name that the table of known data sets holds, with the columns of MATH on the hub."""
    monkeypatch.setitem(text.HUB_FIELDS, str(hub_folder), text.HUB_FIELDS["EleutherAI/hendrycks_math"])
    return hub_folder


def test_every_configuration_of_a_known_data_set(known_hub_folder: Path) -> None:
    questions = _read(f"{known_hub_folder}:*", split="test")
    assert [question.id for question in questions] == [
        "math-algebra-test:1",
        "math-algebra-test:2",
        "math-geometry-test:1",
        "math-geometry-test:2",
    ]
    assert questions[2] == Question(
        id="math-geometry-test:1",
        question="geometry test?",
        answer="4",
        solution=r"\boxed{4}",
        subject="geometry",
        level=5,
    )
    assert (questions[3].level, questions[3].answer) == (None, None)


def test_one_configuration_with_named_columns(hub_folder: Path) -> None:
    questions = _read(f"{hub_folder}:geometry", fields=_fields(question="problem"))
    assert [question.question for question in questions] == ["geometry train?", "other?"]
    assert questions[0].answer is None


def test_a_hub_folder_with_other_columns(hub_folder: Path) -> None:
    with pytest.raises(InputError, match=r'no column "question", only problem, '):
        _read(f"{hub_folder}:geometry")


@pytest.mark.parametrize(("config", "said"), [("", "Config name is missing"), (":topology", "topology")])
def test_a_wrong_configuration(hub_folder: Path, config: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        _read(f"{hub_folder}{config}")
    assert said in str(refused.value)
    assert "give a file: task.pool=FILE.jsonl" in str(refused.value)


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off line, as the providers' own switch has it; no attempt to connect is made."""
    datasets = pytest.importorskip("datasets")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", _no_connection)
    with pytest.raises(InputError) as refused:
        _read("nobody/no-such-questions:main@v1")
    first, remedy = str(refused.value).splitlines()
    assert first.startswith("task.pool = nobody/no-such-questions:main@v1: the train split cannot be loaded: ")
    assert "nobody/no-such-questions" in first.split("loaded: ")[1]
    assert remedy.endswith("give a file: task.pool=FILE.jsonl")


def _no_connection(*_: object) -> None:
    raise AssertionError("a connection was attempted")


def test_the_name_of_a_data_set_says_what_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name: str, config: str | None, split: str, revision: str | None) -> Any:
        asked.append((name, config, split, revision))
        return datasets.Dataset.from_dict({"question": ["a"], "answer": ["b\n#### 4"]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    for end in ("", ":main", ":main@v1", "@refs/pr/1"):
        assert _read(f"openai/gsm8k{end}")[0].answer == "4"
    ends = [(None, None), ("main", None), ("main", "v1"), (None, "refs/pr/1")]
    assert asked == [("openai/gsm8k", config, "train", revision) for config, revision in ends]


def test_normalised() -> None:
    assert normalised(" Find  X\n\tin STRASSE ") == normalised("find x in stra\u00dfe") == "find x in strasse"


@pytest.mark.parametrize(
    ("file", "rows", "count", "number"),
    [
        ("math/train.jsonl", 7498, lambda question: question.skills is None, 948),
        ("math/train.jsonl", 7498, lambda question: question.answer is None, 2),
        ("math/test.jsonl", 5000, lambda question: question.level is None, 0),
        ("gsm8k/test.jsonl", 1319, lambda question: question.answer is None, 0),
        ("amc23/test.jsonl", 40, lambda question: question.solution is None, 40),
    ],
)
def test_real_data(shared_data: Path, file: str, rows: int, count: Callable[[Question], bool], number: int) -> None:
    """The numbers are those of the data's README; no row is bad."""
    questions = _read(shared_data / file)
    assert (len(questions), sum(map(count, questions))) == (rows, number)

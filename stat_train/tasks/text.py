"""Where text questions come from: JSONL and Parquet files, and data sets of the Hugging Face hub.

A row that cannot be used is recorded with its line and a reason; too many of them refuse the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

from stat_train.config import is_local
from stat_train.errors import InputError
from stat_train.records import Dropped, Question
from stat_train.task_settings import FieldNames
from stat_train.tasks.answers import extract_final

Split = Literal["train", "test"]

MAX_LINE_BYTES = 1_000_000
MAX_LEVEL = 10**9

_NO_FIELDS = {"id": None, "answer": None, "solution": None, "subject": None, "level": None, "skills": None}
_NO_FIELDS |= {"licence": None}


def _columns(**known: str) -> FieldNames:
    return FieldNames.model_validate(_NO_FIELDS | known)


# Where a task says nothing of the columns.
USUAL_FIELDS = FieldNames(
    **{name: name for name in ("id", "question", "answer", "solution", "subject", "level", "skills", "licence")}
)
# The columns of well-known data sets, which `fields` need not name.
HUB_FIELDS = {
    "EleutherAI/hendrycks_math": _columns(question="problem", solution="solution", subject="type", level="level"),
    "openai/gsm8k": _columns(question="question", answer="answer"),
    "math-ai/amc23": _columns(id="id", question="question", answer="answer"),
    "math-ai/aime24": _columns(id="id", question="problem", solution="solution"),
    "math-ai/aime25": _columns(id="id", question="problem", answer="answer"),
}

_HUB_NAME = re.compile(r"(?P<name>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<revision>.+))?")
_LEVEL = re.compile(r"Level (?:(?P<number>[0-9]{1,9})|\?)")
_EXAMPLES = 10


class _BadRow(Exception):
    """A row that cannot be used, and why; it never leaves this file."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


class _Row(NamedTuple):
    place: str  # FILE:LINE, for messages
    default_id: str  # SETTING:STEM:LINE, for a row without an id
    content: Mapping[str, Any] | _BadRow


def read_questions(
    source: str, split: Split, fields: FieldNames, stage_dropped: list[Dropped], max_bad_rows: int, key: str
) -> Iterator[Question]:
    """Yield the questions of a file or a hub data set; bad rows are appended to `stage_dropped`.

    `key` names the setting that gave `source`. The whole source is read before too many bad rows raise `InputError`.
    """
    fields = _fields_of(source, fields)
    bad, place_of_id = list[Dropped](), dict[str, str]()
    for row in _rows(source, split, fields, key):
        try:
            question = _question(row, fields)
            _check_new(question.id, row.place, place_of_id)
        except _BadRow as problem:
            bad.append(Dropped(stage="questions", id=row.place, reason=problem.reason, detail=problem.detail))
            stage_dropped.append(bad[-1])
        else:
            yield question
    if len(bad) > max_bad_rows:
        raise InputError(_refusal(f"{key} = {source}", len(place_of_id), bad, max_bad_rows))


def _fields_of(source: str, given: FieldNames) -> FieldNames:
    """Return the columns of a source: of a well-known data set its own, but for those that were given otherwise."""
    known, usual = HUB_FIELDS.get(_hub_parts(source)[0]), USUAL_FIELDS.model_dump()
    changed = {name: column for name, column in given.model_dump().items() if column != usual[name]}
    return known.model_copy(update=changed) if known else given


def normalised(question: str) -> str:
    """Return a question's text without differences of case and white-space, to find copies by."""
    return " ".join(question.casefold().split())


def _refusal(source: str, good: int, bad: list[Dropped], max_bad_rows: int) -> str:
    counts = Counter(row.reason for row in bad).most_common()
    examples = [f"  {row.id}: {row.reason}" + (f" ({row.detail})" if row.detail else "") for row in bad[:_EXAMPLES]]
    return "\n".join(
        [
            f"{source}: {len(bad)} of {good + len(bad)} rows cannot be used, expected at most {max_bad_rows}:",
            *(f"  {count} x {reason}" for reason, count in counts),
            f"The first {len(examples)}:" if len(examples) > 1 else "It is:",
            *examples,
            f"Fix them, or accept them with {_settings_of(source)}.max_bad_rows={len(bad)}",
        ]
    )


def _rows(source: str, split: Split, fields: FieldNames, key: str) -> Iterator[_Row]:
    path = Path(source).expanduser()
    if path.is_file():
        read = _parquet_rows if path.suffix == ".parquet" else _jsonl_rows
        return read(path, fields, key)
    name = _hub_parts(source)[0]
    if is_local(name) and not Path(name).expanduser().is_dir():
        raise InputError(f"{key} = {source}: no such file (looked in {path.absolute().parent})")
    return _hub_rows(source, split, fields, key)


def _jsonl_rows(path: Path, fields: FieldNames, key: str) -> Iterator[_Row]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{key} = {path}: cannot be opened: {error.strerror}") from error
    with file:
        file.seek(len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0)
        for number, content in _lines(file):
            yield _Row(f"{path.name}:{number}", _default_id(path, number, key), content)


def _default_id(path: Path, number: int, key: str) -> str:
    # `train/data.jsonl` and `test/data.jsonl` must not give one id to two questions.
    setting = key.removeprefix("benchmark.").removesuffix(".path")
    return f"{setting.rpartition('.')[2]}:{path.stem}:{number}"


def _settings_of(source: str) -> str:
    """Return the group that says how a source (`SETTING = PLACE`) is read: a benchmark's own, or else the task's."""
    return source.partition(".path = ")[0] if source.startswith("benchmark.") else "task"


def _lines(file: BinaryIO) -> Iterator[tuple[int, Mapping[str, Any] | _BadRow]]:
    number = 0
    # Two more than a line may have: its line end, so that a cut line is always longer than allowed.
    while line := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > MAX_LINE_BYTES:
            size = len(line) + _skip_rest(file, line)
            yield number, _BadRow("line over 1 MB", f"{size} bytes")
        elif line.strip():
            yield number, _json_object(line)


def _skip_rest(file: BinaryIO, line: bytes) -> int:
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE_BYTES)
        skipped += len(line)
    return skipped


def _json_object(line: bytes) -> Mapping[str, Any] | _BadRow:
    if b"\0" in line:
        return _BadRow("NUL byte", f"at byte {line.index(0) + 1}")
    try:
        found = json.loads(line.decode().rstrip(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return _BadRow("not UTF-8", f"at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        return _BadRow("not JSON", f"{error.msg} at character {error.pos + 1}")
    except ValueError as error:
        return _BadRow("not JSON", str(error))
    except RecursionError:
        return _BadRow("not JSON", "nested too deeply")
    return found if isinstance(found, dict) else _BadRow("not an object", f"the line is {_kind(found)}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parquet_rows(path: Path, fields: FieldNames, key: str) -> Iterator[_Row]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = _present(file.schema_arrow.names, fields, f"{key} = {path}")
            first = 1
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for number, content in enumerate(batch.to_pylist(), first):
                    yield _Row(f"{path.name}:{number}", _default_id(path, number, key), content)
                first += batch.num_rows
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{key} = {path}: cannot be read as Parquet: {_first_line(error)}") from error


def _hub_rows(source: str, split: Split, fields: FieldNames, key: str) -> Iterator[_Row]:
    name = _hub_parts(source)[0]
    for config, dataset in _hub_datasets(source, split, key):
        columns = _present(dataset.column_names, fields, f"{key} = {source}")
        # The split is in the name, because an id must not occur in the pool and in the benchmark.
        stem = "-".join(part for part in (Path(name).name, config, split) if part)
        for number, content in enumerate(dataset.select_columns(columns), 1):
            yield _Row(f"{stem}:{number}", f"{stem}:{number}", content)


def _hub_datasets(source: str, split: Split, key: str) -> Iterator[tuple[str | None, Any]]:
    import datasets

    name, config, revision = _hub_parts(source)
    place = str(Path(name).expanduser()) if is_local(name) else name
    try:
        configs = datasets.get_dataset_config_names(place, revision=revision) if config == "*" else [config]
        for one in configs:
            yield one, datasets.load_dataset(place, one, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        cause = f" ({_first_line(error.__cause__)})" if error.__cause__ else ""
        raise InputError(
            f"{key} = {source}: the {split} split cannot be loaded: {_first_line(error)}{cause}\n"
            f"Check the name (OWNER/NAME[:CONFIG][@REVISION], :* for all) and the network, or give a file: "
            f"{key}=FILE.jsonl"
        ) from error


def _hub_parts(source: str) -> tuple[str, str | None, str | None]:
    parts = None if Path(source).expanduser().is_dir() else _HUB_NAME.fullmatch(source)
    return (parts["name"], parts["config"], parts["revision"]) if parts else (source, None, None)


def _present(columns: list[str], fields: FieldNames, source: str) -> list[str]:
    """Return the columns to read, which spares loading the others."""
    if fields.question not in columns:
        raise InputError(
            f'{source}: there is no column "{fields.question}", only {", ".join(columns)}; '
            f"name the one that holds the question with {_settings_of(source)}.fields.question=COLUMN"
        )
    wanted = set(fields.model_dump().values())
    return [column for column in columns if column in wanted]


def _question(row: _Row, fields: FieldNames) -> Question:
    content = row.content
    if isinstance(content, _BadRow):
        raise content
    text = _text(content, fields.question)
    if not text or not text.strip():
        state = "is empty" if fields.question in content else f"is not among {', '.join(content) or 'no columns'}"
        raise _BadRow("no question", f'column "{fields.question}" {_shortened(state)}')
    answer, solution = _answer_and_solution(_text(content, fields.answer), _text(content, fields.solution))
    return Question(
        id=_id(content, fields.id) or row.default_id,
        question=text,
        answer=answer,
        solution=solution,
        subject=_text(content, fields.subject) or None,
        level=_level(content, fields.level),
        skills=_skills(content, fields.skills),
        licence=_text(content, fields.licence) or None,
    )


def _answer_and_solution(answer: str | None, solution: str | None) -> tuple[str | None, str | None]:
    answer, solution = (answer or "").strip() or None, solution or None
    # GSM8K keeps the whole solution in its answer column, ending in "#### 18".
    if answer and not solution and "####" in answer:
        answer, solution = None, answer
    if solution and not answer:
        answer = extract_final(solution)
    return answer, solution


def _check_new(id_: str, place: str, place_of_id: dict[str, str]) -> None:
    first = place_of_id.setdefault(id_, place)
    if first != place:
        raise _BadRow("repeated id", f"{_shortened(id_)}, first at {first}")


def _text(content: Mapping[str, Any], column: str | None) -> str | None:
    value = content.get(column) if column else None
    if value is None:
        return None
    if not isinstance(value, str):
        raise _BadRow("wrong type", f"{column} is {_kind(value)}, expected text")
    _check_characters(value, column)
    return value


def _check_characters(value: str, column: str | None) -> None:
    if "\0" in value:
        raise _BadRow("NUL byte", f"in {column}")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can escape half of a character pair, which no file can then hold.
        raise _BadRow("not UTF-8", f"{column} holds half of a surrogate pair") from None


def _id(content: Mapping[str, Any], column: str | None) -> str | None:
    value = content.get(column) if column else None
    # A number names a row as well as a text does.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(content, column)


def _level(content: Mapping[str, Any], column: str | None) -> int | None:
    value = content.get(column) if column else None
    # Parquet files written by pandas hold whole numbers with gaps as floats, NaN for a gap.
    if value is None or (isinstance(value, float) and value != value):
        return None
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if whole and abs(value) < MAX_LEVEL:
        return int(value)
    if isinstance(value, str) and (match := _LEVEL.fullmatch(value)):
        return int(match["number"]) if match["number"] else None
    raise _BadRow("wrong type", f'{column} is {_kind(value)}, expected a whole number or "Level 5"')


def _skills(content: Mapping[str, Any], column: str | None) -> list[str] | None:
    value = content.get(column) if column else None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise _BadRow("wrong type", f"{column} is {_kind(value)}, expected a list of names, none empty")
    for name in value:
        _check_characters(name, column)
    # A skill given twice is one skill: counted twice it would weigh double in the profile.
    return list(dict.fromkeys(value))


def _kind(value: object) -> str:
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    return _shortened({True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

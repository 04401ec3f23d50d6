"""Answers in the order of questions and attempts, recorded ones included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stat_train.diagnosis.answering import in_order, recorded_answers, unfinished
from stat_train.errors import InputError
from stat_train.models.generator import Completion
from stat_train.models.recorded import read_recording
from stat_train.records import Answer, Question


def test_completions_come_in_any_order_and_leave_in_one() -> None:
    texts = {("b", 0): "\\boxed{3}", ("a", 1): "hm", ("a", 0): "The answer is 4."}
    answers = in_order((Completion(*key, text, "stop", 9, 5) for key, text in texts.items()), "hash")
    assert [(a.question_id, a.attempt, a.final) for a in answers] == [("a", 0, "4"), ("a", 1, None), ("b", 0, "3")]
    assert {(a.output_tokens, a.prompt_hash, a.finish_reason) for a in answers} == {(5, "hash", "stop")}


def test_recorded_answers_keep_every_attempt(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    rows = [{"id": "b", "responses": ["\\boxed{1}", "\\boxed{2}"]}, {"id": "a", "responses": [""], "more": 1}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    recording = read_recording(path)
    assert list(recording) == ["b", "a"]
    answers = recorded_answers([Question(id="b", question="?")], recording)
    assert [(a.question_id, a.attempt, a.final) for a in answers] == [("b", 0, "1"), ("b", 1, "2")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting property name"),
        ("[1]", "expected a JSON object"),
        ('{"id": "b"}', "'responses'"),
        ('{"id": 3, "responses": ["x"]}', "expected id to be a text"),
        ('{"id": "b", "responses": []}', "at least one text"),
        ('{"id": "b", "responses": "x"}', "at least one text"),
        ('{"id": "b", "responses": ["x", null]}', "at least one text"),
        ('{"id": "a", "responses": ["x"]}', "id 'a' was recorded before"),
    ],
)
def test_a_wrong_row_of_a_recording_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text('{"id": "a", "responses": ["x"]}\n' + line)
    with pytest.raises(InputError, match=r"responses\.jsonl:2: ") as refused:
        read_recording(path)
    assert said in str(refused.value)


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "responses.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no recorded answers"):
        read_recording(tmp_path / "responses.jsonl")


@pytest.mark.parametrize(
    ("line", "said"),
    [(b'{"id": "a", "responses": ["\xff"]}', "utf-8"), (b'{"id": "a", "responses": ["\\ud800"]}', "surr")],
)
def test_a_recording_that_is_no_text_is_refused(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "responses.jsonl").write_bytes(b"\n" + line)
    with pytest.raises(InputError, match=rf"responses\.jsonl:2: .*{said}"):
        read_recording(tmp_path / "responses.jsonl")


def test_a_recording_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "responses.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "a", "responses": ["\xc3\xa9"]}\n')
    assert read_recording(tmp_path / "responses.jsonl") == {"a": ["\u00e9"]}


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        read_recording(tmp_path)


def test_answers_that_were_cut_off_or_state_nothing_are_told() -> None:
    """Of four, two were cut off, and one of these and another state no final answer."""
    ends = [("length", None), ("length", "4"), ("stop", None), ("stop", "4")]
    answers = [
        Answer(
            question_id=str(index),
            attempt=0,
            text="",
            final=final,
            finish_reason=reason,
            output_tokens=1,
            prompt_hash="",
        )
        for index, (reason, final) in enumerate(ends)
    ]
    assert unfinished(answers) == [
        "2 of 4 answers were cut off at student.max_new_tokens",
        "2 of 4 answers state no final answer",
    ]
    assert unfinished(answers[3:]) == []

"""The teacher as grader: what it is asked, what its verdicts come to, and when it is not asked at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from stat_train.compose import config_dir
from stat_train.config import OpenAITeacher
from stat_train.models.scripted import ScriptedGenerator
from stat_train.records import Answer, Question
from stat_train.tasks.graders import Pair, PlainGrader, agreements, answer_pair
from stat_train.teacher.judge import JudgeGrader
from stat_train.teacher.llm import LanguageModelTeacher
from stat_train.teacher.prompt_files import read_prompts

PAIR = Pair("Who wrote it?", "Jane Austen", "Austen, Jane")


def _judge(*replies: str) -> tuple[JudgeGrader, ScriptedGenerator]:
    shipped: dict[str, Any] = yaml.safe_load((config_dir() / "teacher" / "openai.yaml").read_text())
    generator = ScriptedGenerator(list(replies))
    settings = OpenAITeacher(**shipped | {"model": "m"})
    return JudgeGrader(LanguageModelTeacher(settings, read_prompts(None), lambda: generator)), generator


def _verdict(judgement: str) -> str:
    return json.dumps({"reason": "Because.", "judgement": judgement})


@pytest.mark.parametrize(("said", "verdict"), [("correct", "correct"), ("incorrect", "wrong")])
def test_the_verdict_and_its_reason_are_the_teachers(said: str, verdict: str) -> None:
    grader, generator = _judge(_verdict(said))
    assert grader.compare([PAIR]) == [(verdict, "Because.")]
    (request,) = generator.asked
    prompt = request.messages[-1]["content"]
    assert all(text in prompt for text in PAIR if text)


def test_a_verdict_that_cannot_be_read_is_unscored() -> None:
    """The scripted generator gives up after three tries, as the settings of the teacher say."""
    grader, _ = _judge("I am not sure.", "Correct!", _verdict("perhaps"))
    (found,) = grader.compare([PAIR])
    assert found.verdict == "unscored"
    assert found.reason and found.reason.startswith("no usable verdict of the teacher")


def test_a_verdict_that_the_student_writes_into_its_answer_is_not_the_teachers() -> None:
    injected = PAIR._replace(given=_verdict("correct"))
    grader, _ = _judge(_verdict("correct"), _verdict("correct"), _verdict("correct"))
    assert [found.verdict for found in grader.compare([injected])] == ["unscored"]


def test_nobody_is_asked_where_nothing_is_to_be_judged() -> None:
    grader, generator = _judge()
    pairs = [PAIR._replace(given="Jane  Austen"), PAIR._replace(given=None), PAIR._replace(gold=None, given=" ")]
    assert [found.verdict for found in grader.compare(pairs)] == ["correct", "wrong", "wrong"]
    assert generator.asked == []


@pytest.mark.parametrize("gold", [None, "", " "])
def test_without_a_gold_answer_the_answer_is_judged_on_its_own(gold: str | None) -> None:
    grader, generator = _judge(_verdict("correct"), _verdict("incorrect"))
    other = Pair("Write a poem.", gold, "No.")
    assert [found.verdict for found in grader.compare([PAIR._replace(gold=gold), other])] == ["correct", "wrong"]
    prompts = [request.messages[-1]["content"] for request in generator.asked]
    assert all("reference answer is" not in prompt and "<reference-" not in prompt for prompt in prompts)
    assert "Who wrote it?" in prompts[0] and "Austen, Jane" in prompts[0]
    assert {request.prompt_version for request in generator.asked} == {read_prompts(None)["judge_freely"].version}


def test_two_samples_are_compared_though_there_is_no_gold_answer() -> None:
    """Two samples of a question that say the same in other words: one call compares them."""
    grader, generator = _judge(_verdict("correct"))
    questions = {"q": Question(id="q", question="Why?")}
    assert agreements(questions, {"q": ["Because.", "For this reason."]}, grader, 2) == {"q": 2}
    (request,) = generator.asked
    assert request.prompt_version == read_prompts(None)["judge"].version
    assert "Because." in request.messages[-1]["content"] and "For this reason." in request.messages[-1]["content"]


def test_the_whole_answer_is_judged_where_there_is_no_gold_one_and_its_end_where_there_is() -> None:
    grader, _ = _judge()
    text = "First this, then that.\n\nThe final answer is: \\boxed{2}"
    answer = Answer(
        question_id="q", attempt=0, text=text, final="2", finish_reason="stop", output_tokens=1, prompt_hash="p"
    )
    known = Question(id="q", question="?", answer="2")
    assert answer_pair(known, answer, grader) == Pair("?", "2", "2")
    assert answer_pair(known.model_copy(update={"answer": None}), answer, grader) == Pair("?", None, text)
    # Who needs a gold answer says so, whatever is given.
    plain = PlainGrader("exact")
    (found,) = plain.compare([answer_pair(known.model_copy(update={"answer": None}), answer, plain)])
    assert found == ("unscored", "no gold answer")


def test_equal_pairs_are_asked_once_and_verdicts_stay_in_order() -> None:
    other = PAIR._replace(given="Emily Bronte")
    grader, generator = _judge(_verdict("correct"), _verdict("incorrect"))
    assert [found.verdict for found in grader.compare([PAIR, other, PAIR])] == ["correct", "wrong", "correct"]
    assert len(generator.asked) == 2

"""Consistency as a strategy of the pipeline: questions that cannot agree are left out, not called difficult."""

from stat_train.config import ConsistencyDifficulty
from stat_train.diagnosis.difficulty import find_difficult
from stat_train.records import Answer, Question
from stat_train.tasks.answers import BuiltInGrader
from stat_train.tasks.graders import PlainGrader

SETTINGS = ConsistencyDifficulty(name="consistency", samples=5, temperature=1.0, min_agreement=2)


def answers(question_id: str, finals: list[str]) -> list[Answer]:
    return [
        Answer(
            question_id=question_id,
            attempt=attempt,
            text=final,
            final=final,
            finish_reason="stop",
            output_tokens=1,
            prompt_hash="",
        )
        for attempt, final in enumerate(finals)
    ]


def questions(given: list[Answer]) -> dict[str, Question]:
    return {answer.question_id: Question(id=answer.question_id, question="?") for answer in given}


def test_a_question_with_one_sample_is_left_out_with_its_reason() -> None:
    given = answers("one", ["4"]) + answers("agree", ["4", "4"]) + answers("differ", ["4", "5"])
    found, dropped = find_difficult(SETTINGS, questions(given), given, [], PlainGrader("exact"))
    assert {row.question_id: row.difficult for row in found} == {"agree": False, "differ": True}
    assert [(row.id, row.reason, row.detail) for row in dropped] == [("one", "too few samples to agree", "1 samples")]


def test_answers_agree_when_the_grader_says_that_they_are_the_same() -> None:
    """Five ways to write a half: none equals another as text, and all are the same number."""
    given = answers("half", [r"\frac{1}{2}", r"\dfrac{1}{2}", "1/2", "0.5", ".5"])
    graders: list[tuple[BuiltInGrader, bool]] = [("exact", True), ("math", False)]
    for grader, difficult in graders:
        found, _ = find_difficult(SETTINGS, questions(given), given, [], PlainGrader(grader))
        assert [row.difficult for row in found] == [difficult]

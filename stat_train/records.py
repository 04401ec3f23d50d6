"""The frozen records that rooms exchange: the whole vocabulary of the method.

Every record converts to one JSON line and back (`to_line`, `from_line`), with its fields in the order given here.
A skill is a name (`str`).
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Message = dict[str, str]
Verdict = Literal["correct", "wrong", "unscored"]


class Record(BaseModel):
    """Conversion to and from one JSON line, shared by all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_line(self) -> str:
        """Return the record as one line of JSON, newline included."""
        return self.model_dump_json(exclude_none=True) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read a record back from its line; raises `pydantic.ValidationError` when it does not fit."""
        return cls.model_validate_json(line)


class Question(Record):
    """A question of the pool, the validation set or the benchmark."""

    id: str
    question: str
    answer: str | None = None
    solution: str | None = None
    subject: str | None = None
    level: int | None = None
    skills: list[str] | None = None
    source: str | None = None
    licence: str | None = None


class QuestionSkills(Record):
    """One row of the skill map: the skills that a question requires, at most five, and why.

    `error` says why a teacher gave none that can be used; such a row is not in the map.
    """

    id: str
    skills: list[str]
    reason: str | None = None
    call_ids: list[str] = Field(default_factory=list)
    error: str | None = None


class Answer(Record):
    """One sampled answer of the student; `final` is the extracted final answer, when there is one."""

    question_id: str
    attempt: int
    text: str
    final: str | None = None
    finish_reason: str
    output_tokens: int
    prompt_hash: str
    call_id: str | None = None


class ExemplarPrompt(Record):
    """Which worked examples of the pool stand before a question in its prompt, farthest first, and why these.

    They carry `skills`; without skills they are the fixed set that all such questions share. `difficult` is None where
    the rule could not judge. `reason` says why a question that is not easy has the fixed set.
    """

    question_id: str
    difficult: bool | None = None
    skills: list[str]
    exemplar_ids: list[str]
    reason: str | None = None


class Grade(Record):
    """Whether an answer is right; `unscored` when that cannot be decided, with the reason."""

    question_id: str
    attempt: int
    verdict: Verdict
    reason: str | None = None


class StepRewards(Record):
    """How good each step of an answer is, in [0, 1]; without rewards, `error` says why it could not be scored."""

    question_id: str
    attempt: int
    rewards: list[float] | None = None
    error: str | None = None


class Difficulty(Record):
    """Whether a question is difficult for the student, and by which rule."""

    question_id: str
    difficult: bool
    rule: str
    attempt: int
    step_rewards: list[float] | None = None


class Diagnosis(Record):
    """What the teacher says of one answer: right or wrong, why, and the skills that the student must strengthen."""

    question_id: str
    attempt: int
    judgement: Verdict
    missing_skills: list[str]
    explanation: str
    call_ids: list[str] = Field(default_factory=list)


class SkillGap(Record):
    """How often one skill was missing among the questions that exposed it, and how sure that is.

    `exposed` counts questions where the skill is required or missing, so `rate = missing / exposed` is at most 1.
    `low` and `high` bound the rate with 95 % confidence (exact binomial). The posterior is what to believe of the rate
    when the student's usual rate is known, with its 95 % credible bounds. `too_few`: exposures too few to tell.
    """

    skill: str
    missing: int
    exposed: int
    rate: float
    low: float
    high: float
    posterior_mean: float
    posterior_low: float
    posterior_high: float
    too_few: bool


class SkillCount(Record):
    """How often one skill was missing and exposed in a part of the questions."""

    skill: str
    missing: int
    exposed: int


class SubjectGap(Record):
    """How many questions of one subject were difficult (`rate`, 95 % `low` and `high`), and its skills."""

    subject: str
    questions: int
    difficult: int
    rate: float
    low: float
    high: float
    skills: list[SkillCount]


class SkillPair(Record):
    """Two skills that were missing together in several questions.

    `expected` is that number if the two had nothing to do with each other; `p` is how likely `together` or more is
    then (one-sided Fisher's exact test, of this pair alone).
    """

    first: str
    second: str
    together: int
    expected: float
    p: float


class SkillProfile(Record):
    """The student's missing-skill profile, most often missing first (method stage 2).

    `undiagnosed` counts the difficult questions without a usable diagnosis: they are in no count of a skill.
    `subjects` is empty when no question has one; `together` has the pairs missing at least twice in the same question.
    """

    student: str
    task: str
    questions: int
    difficult: int
    undiagnosed: int = 0
    skills: list[SkillGap]
    subjects: list[SubjectGap]
    together: list[SkillPair]


class Diagnosed(Record):
    """All that curation learns of the student: the difficult questions, their diagnoses, the profile."""

    difficult: list[Question]
    diagnoses: list[Diagnosis]
    profile: SkillProfile


class Origin(Record):
    """Why a training row exists: the difficult question and the missing skill it was drawn for.

    `seed_ids` are the pool questions it was made from; `call_ids` the teacher calls behind it.
    """

    question_id: str | None = None
    skill: str | None = None
    seed_ids: list[str]
    call_ids: list[str] = Field(default_factory=list)


class TrainingExample(Record):
    """One (question, answer) pair to train on."""

    id: str
    messages: list[Message]
    question: str
    answer: str
    skills: list[str]
    recipe: str
    origin: Origin


class Overlap(Record):
    """A pool question that is a copy (`leak`) or a twin of a held-out one, and how: `row` counts the pool's rows."""

    id: str
    row: int
    kind: Literal["leak", "template twin"]
    how: str
    held_out_id: str
    place: str
    text: str


class Dropped(Record):
    """An item that a stage left out, and why; `item` says of what kind it is, as in the stage's counts."""

    stage: str
    id: str
    reason: str
    detail: str = ""
    item: str = "question"


def as_json(value: Any) -> Any:
    """Return a record, or a list of them, as plain JSON values."""
    if isinstance(value, Record):
        return value.model_dump(exclude_none=True)
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value

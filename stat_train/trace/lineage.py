"""Why a training row is there, and which rows are there because of a skill, a question or a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from stat_train import records
from stat_train.curation.replay import RECIPE as REPLAY
from stat_train.errors import UserError, did_you_mean
from stat_train.models.calls import Call, find_calls
from stat_train.records import Answer, Diagnosis, Difficulty, Grade, Question, QuestionSkills, TrainingExample
from stat_train.tasks.steps import split_steps
from stat_train.trace.run import TracedRun, labelled_by, labels_of, pool_questions_of, read_run

Kind = Literal["row", "skill", "question", "call"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EXAMPLES_SHOWN = 3
# What these draw does not depend on what the student got wrong.
UNTARGETED = ("pool", "augment", "hard", "random", "uniform_skill")


class Step(NamedTuple):
    """A step of an answer; without a reward where steps were not scored."""

    text: str
    reward: float | None


class WrongAnswer(NamedTuple):
    """What a row was drawn for: a difficult question, what the student said, and what the teacher found missing.

    `unscored` says why the steps have no rewards although a model was to give them.
    """

    question: Question
    label: QuestionSkills | None
    difficulty: Difficulty | None
    answer: Answer | None
    grade: Grade | None
    steps: list[Step]
    unscored: str | None
    diagnosis: Diagnosis | None


class Seed(NamedTuple):
    """A pool question that a row was made from; None where the pool does not have it any more."""

    id: str
    question: Question | None
    skills: list[str]


class TracedCall(NamedTuple):
    """A call of a model that a row depends on: for what, and what the ledger knows of it."""

    id: str
    purpose: str
    known: Call | None


class RowTrace(NamedTuple):
    """A training row, and all that it came from; `wrong` is None for a row drawn for no question."""

    run: Path
    row: TrainingExample
    drawn: str
    wrong: WrongAnswer | None
    seeds: list[Seed]
    calls: list[TracedCall]


class Downstream(NamedTuple):
    """The training rows that a skill, a question or a call led to; `about` says in words what it is."""

    run: Path
    kind: Kind
    id: str
    about: list[str]
    calls: list[TracedCall]
    rows: list[TrainingExample]


def trace(run_dir: Path, sought: Mapping[Kind, str]) -> RowTrace | Downstream:
    """Return what is known of the one row, skill, question or call that is sought.

    Raises UserError for a folder without a training set, for none or several things sought, and for one that the run
    does not have; its message names some that it has.
    """
    run = read_run(run_dir)
    if len(sought) != 1:
        given = ", ".join(sought) or "nothing"
        raise UserError(
            f"{run_dir}: {given} is given to be traced; expected one of a training row (its {len(run.rows)} rows: "
            f"{_some(list(run.rows))}), --skill, --question and --call"
        )
    ((kind, id),) = sought.items()
    if kind == "row":
        return _row(run, id)
    return {"skill": _skill, "question": _question, "call": _call}[kind](run, id)


def as_json(found: RowTrace | Downstream) -> dict[str, Any]:
    """Return what was found as plain JSON values."""
    return {name: str(part) if isinstance(part, Path) else _plain(part) for name, part in found._asdict().items()}


def _plain(part: Any) -> Any:
    if hasattr(part, "_asdict"):
        return {name: _plain(value) for name, value in part._asdict().items()}
    return [_plain(each) for each in part] if isinstance(part, list) else records.as_json(part)


# -- back from a row --------------------------------------------------------------------------------------------------


def _row(run: TracedRun, id: str) -> RowTrace:
    row = run.rows.get(id)
    if row is None:
        raise _unknown(run, "training row", id, list(run.rows))
    origin = row.origin
    labels = labels_of(run, {*origin.seed_ids, *([origin.question_id] if origin.question_id else [])})
    pool = pool_questions_of(run, origin.seed_ids)
    seeds = [Seed(seed, pool.get(seed), labels[seed].skills if seed in labels else []) for seed in origin.seed_ids]
    purposes = _purposes(run, row, labels)
    known = find_calls(run.cache_dir, purposes.keys())
    calls = [TracedCall(call, purpose, known.get(call)) for call, purpose in purposes.items()]
    wrong = _wrong_answer(run, origin.question_id, labels) if origin.question_id else None
    return RowTrace(run.folder, row, _drawn(row), wrong, seeds, calls)


def _drawn(row: TrainingExample) -> str:
    """Return in words what a row was drawn for."""
    question, skill = row.origin.question_id, row.origin.skill
    if question:
        return f"for the difficult question {question}{f', missing skill {skill}' if skill else ''}"
    if row.recipe == REPLAY:
        return f"to protect the skill {skill}, which the student misses least (train.replay_fraction)"
    for_skill = f"for the skill {skill}, " if skill else ""
    if row.recipe in UNTARGETED:
        return f"{for_skill}without regard to the student, as the recipe {row.recipe} does"
    return f"{for_skill}for no single question of the student, as the recipe {row.recipe} does"


def _wrong_answer(run: TracedRun, id: str, labels: Mapping[str, QuestionSkills]) -> WrongAnswer:
    if id not in run.questions:
        raise UserError(f"{run.folder}: has rows for {id}, which it did not ask; run it again with until=curate")
    answer, difficulty, scored = run.answers.get(id), run.difficulty.get(id), run.step_rewards.get(id)
    rewards = (difficulty and difficulty.step_rewards) or (scored and scored.rewards) or []
    steps, unpaired = _steps(answer.text if answer else "", rewards)
    unscored = (scored and scored.error) or unpaired
    question, grade = run.questions[id], run.grades.get(id)
    return WrongAnswer(question, labels.get(id), difficulty, answer, grade, steps, unscored, run.diagnoses.get(id))


def _steps(text: str, rewards: Sequence[float]) -> tuple[list[Step], str | None]:
    """Return an answer's steps, each with its reward; the answer whole when it has none, and why they do not fit."""
    steps = split_steps(text)
    if len(steps) == len(rewards):
        return [Step(step, reward) for step, reward in zip(steps, rewards, strict=True)], None
    unpaired = f"{len(rewards)} rewards do not fit {len(steps)} steps" if rewards else None
    return [Step(text, None)], unpaired


def _purposes(run: TracedRun, row: TrainingExample, labels: Mapping[str, QuestionSkills]) -> dict[str, str]:
    """Return the calls that a row depends on, first to last, and what each was for."""
    purposes = dict[str, str]()
    if question := row.origin.question_id:
        answer, diagnosis = run.answers.get(question), run.diagnoses.get(question)
        purposes |= dict.fromkeys(labels[question].call_ids if question in labels else [], f"label of {question}")
        purposes |= {answer.call_id: f"the student's answer to {question}"} if answer and answer.call_id else {}
        purposes |= dict.fromkeys(diagnosis.call_ids if diagnosis else [], f"diagnosis of {question}")
    for seed in row.origin.seed_ids:
        purposes |= dict.fromkeys(labels[seed].call_ids if seed in labels else [], f"label of {seed}")
    return purposes | dict.fromkeys(row.origin.call_ids, "text of the row")


# -- forward to rows --------------------------------------------------------------------------------------------------


def _skill(run: TracedRun, skill: str) -> Downstream:
    missing = [row.question_id for row in run.diagnoses.values() if skill in row.missing_skills]
    rows = [row for row in run.rows.values() if row.origin.skill == skill]
    carried = sum(skill in row.skills for row in run.rows.values())
    if not missing and not rows and not carried:
        drawn = {row.origin.skill for row in run.rows.values() if row.origin.skill}
        named = {name for row in run.diagnoses.values() for name in row.missing_skills}
        raise _unknown(run, "missing skill", skill, sorted(drawn | named))
    about = [f"missing in {len(missing)} of {_count(len(run.diagnoses), 'diagnosed answer')}"]
    about += [f"carried by {_count(carried, 'row')}, of which {len(rows)} drawn for it"]
    return Downstream(run.folder, "skill", skill, about, [], rows)


def _question(run: TracedRun, id: str) -> Downstream:
    if id not in run.questions:
        raise _unknown(run, "validation question", id, list(run.diagnoses | run.questions))
    judged, diagnosis = run.difficulty.get(id), run.diagnoses.get(id)
    about = [f"difficult by {judged.rule}" if judged.difficult else "not difficult"] if judged else ["not judged"]
    about += [f"missing skills: {', '.join(diagnosis.missing_skills) or 'none'}"] if diagnosis else []
    rows = [row for row in run.rows.values() if row.origin.question_id == id]
    return Downstream(run.folder, "question", id, about, [], rows)


def _call(run: TracedRun, id: str) -> Downstream:
    labelled = set(labelled_by(run, id))
    answered = [row.question_id for row in run.answers.values() if row.call_id == id]
    diagnosed = [row.question_id for row in run.diagnoses.values() if id in row.call_ids]
    behind = {*labelled, *answered, *diagnosed}
    rows = [
        row
        for row in run.rows.values()
        if id in row.origin.call_ids or row.origin.question_id in behind or not labelled.isdisjoint(row.origin.seed_ids)
    ]
    purposes = [f"label of {question}" for question in sorted(labelled)]
    purposes += [f"the student's answer to {question}" for question in answered]
    purposes += [f"diagnosis of {question}" for question in diagnosed]
    texts = sum(id in row.origin.call_ids for row in rows)
    purposes += [f"text of {_count(texts, 'row')}"] if texts else []
    if not purposes:
        raise _unknown(run, "model call", id, _call_ids(run))
    call = TracedCall(id, "; ".join(purposes), find_calls(run.cache_dir, [id]).get(id))
    return Downstream(run.folder, "call", id, [], [call], rows)


def _call_ids(run: TracedRun) -> list[str]:
    """Return the calls of diagnoses and rows."""
    diagnosed = [id for row in run.diagnoses.values() for id in row.call_ids]
    return list(dict.fromkeys([*diagnosed, *(id for row in run.rows.values() for id in row.origin.call_ids)]))


# -- words ------------------------------------------------------------------------------------------------------------


def _unknown(run: TracedRun, what: str, given: str, known: Sequence[str]) -> UserError:
    has = f"it has {_count(len(known), what)}, such as {_some(known)}" if known else f"it has no {what}"
    return UserError(f"{given}: no {what} of {run.folder}; {has}.{did_you_mean(given, known)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES_SHOWN])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

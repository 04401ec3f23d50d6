"""Questions for reinforcement learning: each has a gold answer to reward by, none is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from stat_train.curation.rows import Check
from stat_train.curation.source import Source, make_source, questions_at, rows_asking, sample, with_text
from stat_train.errors import UserError
from stat_train.records import Dropped, Question, SkillProfile, TrainingExample
from stat_train.tasks.answers import extract_final

if TYPE_CHECKING:
    from collections.abc import Collection

    from datasets import Dataset

    from stat_train.curation.source import Integers

STAGE = "rl_questions"


class Askable(NamedTuple):
    """The questions that are asked, how many there were to draw from, and those that cannot be asked."""

    questions: list[Question]
    available: int
    dropped: list[Dropped]


def askable_pool(
    pool: Dataset, skill_map: Dataset, left_out: Collection[int], needs_gold: bool
) -> tuple[Source, list[Dropped]]:
    """Return what may be asked of the pool, and its questions without the gold answer that a reward needs."""
    return make_source(pool, skill_map, left_out, needed="answer" if needs_gold else "question", stage=STAGE)


def require_answers(pool: Dataset) -> None:
    """Refuse a pool of which no question has a gold answer."""
    if not with_text(pool, "answer").any():
        raise UserError(
            f"rl.prompts: none of the {len(pool)} pool questions has a gold answer to reward by; give them "
            "(task.fields.answer), a file of other questions (rl.prompts=FILE), or use rl=none"
        )


def of_pool(source: Source, count: int | None, random: Random) -> Askable:
    """Return questions of the pool, each as likely as another; None for all, in their order."""
    rows = source.rows.tolist() if count is None else sample(random, source.rows, count)
    return Askable(_at(source, rows), len(source.rows), [])


def of_profile(source: Source, profile: SkillProfile, count: int | None, random: Random) -> Askable:
    """Return pool questions that need a skill which the student misses; None for all, in their order.

    For each a missing skill is drawn first, in proportion to how often it is missing, as STAT-Sel draws them, and then
    a question that needs it and is not there yet. Raises UserError when there is none.
    """
    weights = {gap.skill: gap.missing for gap in profile.skills if gap.missing and gap.skill in source.rows_by_skill}
    needing = {skill: source.rows_by_skill[skill] for skill in weights}
    every = sorted({row for rows in needing.values() for row in rows.tolist()})
    if not every:
        raise UserError(
            "rl.prompts = profile: no pool question with a gold answer needs a skill that the student misses; use "
            "rl.prompts=pool, or rl=none"
        )
    rows = every if count is None else _weighted(needing, weights, count, random)
    return Askable(_at(source, rows), len(every), [])


def _weighted(needing: Mapping[str, Integers], weights: Mapping[str, int], count: int, random: Random) -> list[int]:
    left = {skill: random.sample(rows.tolist(), len(rows)) for skill, rows in needing.items()}
    chosen: dict[int, None] = {}
    while left and len(chosen) < count:
        (skill,) = random.choices(list(left), [weights[skill] for skill in left])
        while left[skill] and left[skill][-1] in chosen:
            left[skill].pop()
        if left[skill]:
            chosen[left[skill].pop()] = None
        else:
            del left[skill]
    return list(chosen)


def of_training_set(examples: Sequence[TrainingExample], source: Source) -> list[Question]:
    """Return the different questions that were trained on.

    Those of the pool have its gold answer, new ones the answer that their solution ends in.
    """
    asked: dict[str, TrainingExample] = {}
    for example in examples:
        asked.setdefault(example.question, example)
    rows = rows_asking(source.pool, asked.keys()).nonzero()[0].tolist()
    of_the_pool = {question.question: question for question in _at(source, rows)}
    return [_trained(example, of_the_pool.get(text)) for text, example in asked.items()]


def _trained(example: TrainingExample, of_the_pool: Question | None) -> Question:
    final = extract_final(example.answer)
    if of_the_pool:
        return of_the_pool if of_the_pool.answer else of_the_pool.model_copy(update={"answer": final})
    return Question(
        id=example.id, question=example.question, answer=final, solution=example.answer, skills=example.skills
    )


def without_copies(
    questions: Sequence[Question], check: Check, drop_twins: bool
) -> tuple[list[Question], list[Dropped]]:
    """Return questions less the copies of held-out ones (and their twins, where they are dropped), and those."""
    kept, dropped = [], list[Dropped]()
    for question, hit in zip(questions, check([each.question for each in questions]), strict=True):
        if hit and (drop_twins or hit.kind == "leak"):
            told = f"{hit.held_out.place} {hit.held_out.id}: {hit.held_out.question}"
            dropped.append(Dropped(stage=STAGE, id=question.id, reason=f"{hit.kind}, {hit.how}", detail=told))
        else:
            kept.append(question)
    return kept, dropped


def draw(questions: Sequence[Question], needs_gold: bool, count: int | None, random: Random) -> Askable:
    """Return some of the questions, or all (None); without a gold answer that a reward needs, they are left out."""
    answered = [question for question in questions if question.answer or not needs_gold]
    lacking = [question for question in questions if not question.answer and needs_gold]
    dropped = [Dropped(stage=STAGE, id=question.id, reason="no answer") for question in lacking]
    chosen = answered if count is None else random.sample(answered, min(count, len(answered)))
    return Askable(chosen, len(answered), dropped)


def _at(source: Source, rows: Sequence[int]) -> list[Question]:
    """Return pool questions with the skills of the skill map."""
    if not rows:
        return []
    found = zip(questions_at(source.pool, rows), source.skills_at(rows), strict=True)
    return [question.model_copy(update={"skills": skills}) for question, skills in found]

"""New questions that the teacher writes, with solutions that agree: STAT-Syn and Embed-Syn (method stage 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

from stat_train.curation.agreement import Filter, Solved, solve
from stat_train.curation.embedding import nearest_rows
from stat_train.curation.rows import MOST_IN_VAIN, Made, Row, Tally, Tools, still_in_vain, wave_limit
from stat_train.curation.source import Source, questions_at, sample
from stat_train.curation.weights import missing_pairs
from stat_train.errors import UserError
from stat_train.recipe_settings import EmbedSynRecipe, StatSynRecipe, SynthesisRecipe
from stat_train.records import Diagnosed, Origin, Question
from stat_train.teacher.contract import QuestionRequest, Teacher

QUESTIONS_PER_REPLY = 2
# What is counted, and why an item can be left out though nothing is wrong with it.
REPLY, QUESTION, SOLUTION = "reply with new questions", "new question", "solution"
SURPLUS = "more than data_recipe.pairs"
SKILLS_OF_REFERENCES = 2


class Seed(NamedTuple):
    """What new questions are written for and after: a difficult question, a missing skill, rows of the pool.

    `sample` counts the requests of the same kind; of the reply's questions the first `wanted` are used.
    """

    question_id: str
    skill: str | None
    rows: list[int]
    sample: int
    wanted: int = QUESTIONS_PER_REPLY


class New(NamedTuple):
    """A new question, what it was written after, and the call that wrote it."""

    id: str
    question: str
    seed: Seed
    references: list[Question]
    call_ids: list[str]


def stat_syn_seeds(source: Source, diagnosed: Diagnosed, recipe: StatSynRecipe, random: Random) -> Iterator[Seed]:
    """Yield seeds without end: each missing skill of each difficult question, in an order of its own in each pass.

    A skill that no pool question carries has no references: the teacher writes from its name.
    """
    missing, asked = missing_pairs(diagnosed, recipe.name), Counter[str]()
    while True:
        for question_id, skill in random.sample(missing, len(missing)):
            rows = sample(random, source.rows_by_skill.get(skill, source.rows[:0]), recipe.references)
            # Where a skill has few references, the same ones are shown again, and another reply is wanted.
            yield Seed(question_id, skill, rows, asked[skill])
            asked[skill] += 1


def embed_syn_seeds(source: Source, diagnosed: Diagnosed, recipe: EmbedSynRecipe, random: Random) -> Iterator[Seed]:
    """Yield seeds: each difficult question with some of the pool questions nearest to it; later passes take the next.

    Seeds end with the pool.
    """
    most, replies = recipe.questions_per_difficult, -(-recipe.questions_per_difficult // QUESTIONS_PER_REPLY)
    for number, block in enumerate(nearest_rows(source, diagnosed.difficult, recipe.nearest, recipe.embedder)):
        for place in random.sample(range(len(block)), len(block)):
            for reply in range(replies):
                rows = sample(random, block[place], recipe.references)
                wanted = min(QUESTIONS_PER_REPLY, most - reply * QUESTIONS_PER_REPLY)
                yield Seed(diagnosed.difficult[place].id, None, rows, number * replies + reply, wanted)


def seeds_for(source: Source, diagnosed: Diagnosed, recipe: SynthesisRecipe, random: Random) -> Iterator[Seed]:
    """Return the seeds of the recipe that the settings name."""
    if isinstance(recipe, StatSynRecipe):
        return stat_syn_seeds(source, diagnosed, recipe, random)
    return embed_syn_seeds(source, diagnosed, recipe, random)


def requests_for(source: Source, seeds: Sequence[Seed]) -> list[QuestionRequest]:
    """Return what is asked of the teacher for each seed."""
    shown = [questions_at(source.pool, seed.rows) if seed.rows else [] for seed in seeds]
    ids = [f"{seed.question_id}/{seed.skill or 'nearest'}" for seed in seeds]
    return [
        QuestionRequest(id, seed.skill, some, seed.sample) for id, seed, some in zip(ids, seeds, shown, strict=True)
    ]


def filter_of(recipe: SynthesisRecipe) -> Filter:
    """Return which solutions the recipe trusts and keeps."""
    return Filter(recipe.solutions, recipe.must_agree, recipe.answers_per_question)


def require_reachable(source: Source, diagnosed: Diagnosed, recipe: SynthesisRecipe) -> None:
    """Refuse more pairs than the pool can lead to, before anything is asked."""
    if isinstance(recipe, StatSynRecipe) or recipe.allow_short or not diagnosed.difficult:
        return
    blocks = -(-len(source.rows) // recipe.nearest)
    most = len(diagnosed.difficult) * recipe.questions_per_difficult * blocks * filter_of(recipe).kept
    if recipe.pairs > most:
        raise UserError(
            f"data_recipe.pairs = {recipe.pairs}: at most {most:,} can be made: {len(diagnosed.difficult)} difficult "
            f"questions with {recipe.questions_per_difficult} new ones for each {recipe.nearest} of "
            f"{len(source.rows):,} pool questions. Lower it, raise data_recipe.questions_per_difficult, enlarge the "
            "pool, or accept fewer with data_recipe.allow_short=true"
        )


def synthesize(source: Source, diagnosed: Diagnosed, recipe: SynthesisRecipe, tools: Tools, seed: int) -> Made:
    """Return rows of new questions with solutions that agree.

    Requests are made in waves, none larger than would fill the set if every question were kept, so nothing is paid for
    that is not needed; the first ones are small, so that a teacher that cannot do this is found out early. A question
    is checked against the held-out ones before its solutions are paid for. Raises UserError when fewer rows can be made
    than asked.
    """
    require_reachable(source, diagnosed, recipe)
    random = Random(f"{seed}/curate/{recipe.name}")
    seeds, rule, in_vain = seeds_for(source, diagnosed, recipe, random), filter_of(recipe), 0
    rows, tally = list[Row](), Tally()
    while (missing := recipe.pairs - len(rows)) > 0 and in_vain < MOST_IN_VAIN:
        wanted = -(-missing // (QUESTIONS_PER_REPLY * rule.kept))
        wave = list(islice(seeds, min(wanted, wave_limit(len(rows), in_vain))))
        if not wave:
            break
        new = _original(_written(source, wave, tools.teacher, tally), tools, tally)
        solved = solve({each.id: each.question for each in new}, tools.teacher.solve, tools.grader, rule)
        before = len(rows)
        for each, found in zip(new, solved, strict=True):
            rows += _rows(each, found, rule, source, recipe.pairs - len(rows), tally)
        in_vain = still_in_vain(in_vain, len(wave), len(rows) - before)
    _require_enough(len(rows), recipe, tally)
    random.shuffle(rows)
    summary = {"answers": "new", "unique_questions": len({row.question for row in rows})}
    summary |= {"embedder": recipe.embedder} if isinstance(recipe, EmbedSynRecipe) else {}
    return Made(rows, tally.dropped, tally.counts(), summary)


def _written(source: Source, wave: Sequence[Seed], teacher: Teacher, tally: Tally) -> list[New]:
    """Return the questions that the teacher writes; replies that cannot be used are left out."""
    new, requests = list[New](), requests_for(source, wave)
    tally.see(REPLY, len(wave))
    for request, seed, reply in zip(requests, wave, teacher.new_question(requests), strict=True):
        name = f"{request.id}/{request.sample}"
        if reply.error:
            tally.drop(REPLY, name, "no usable reply of the teacher", reply.error)
            continue
        tally.keep(REPLY)
        tally.see(QUESTION, len(reply.questions))
        for number, question in enumerate(reply.questions):
            id = f"{name}/{number}"
            if number < seed.wanted:
                new.append(New(id, question, seed, list(request.examples), reply.call_ids))
            else:
                tally.drop(QUESTION, id, "more than data_recipe.questions_per_difficult", question)
    return new


def _original(new: Sequence[New], tools: Tools, tally: Tally) -> list[New]:
    """Return the questions that are none of the held-out ones, none of their references, and none seen before."""
    kept = []
    for each, hit in zip(new, tools.check([each.question for each in new]), strict=True):
        for question in each.references:
            tools.near_copies.add(question.id, question.question)
        if hit:
            tally.held_out(QUESTION, each.id, hit)
        elif copied := tools.near_copies.find(each.question):
            tally.drop(QUESTION, each.id, "near copy of a reference or another new question", copied)
        else:
            tools.near_copies.add(each.id, each.question)
            kept.append(each)
    return kept


def _rows(new: New, solved: Solved, rule: Filter, source: Source, needed: int, tally: Tally) -> list[Row]:
    """Return the solutions to train on, and say of the others why they are not."""
    agreed, rows = solved.agreed(rule), list[Row]()
    if not agreed:
        ends = f"{len(solved.largest)} of {len(solved.solutions)} solutions end alike: {new.question}"
        tally.drop(QUESTION, new.id, f"fewer than {rule.must_agree} solutions agree", ends)
    elif not needed:
        tally.drop(QUESTION, new.id, SURPLUS, new.question)
    else:
        tally.keep(QUESTION)
    tally.see(SOLUTION, len(solved.solutions))
    for place, written in enumerate(solved.solutions):
        reason = _reason(place, solved, agreed) or (SURPLUS if len(rows) >= needed else None)
        if reason:
            tally.drop(SOLUTION, f"{new.id}#{place}", reason, written.error or "")
        else:
            tally.keep(SOLUTION)
            rows.append(_row(new, solved, place, source))
    return rows


def _reason(place: int, solved: Solved, agreed: Sequence[int]) -> str | None:
    """Return why a solution is not trained on; None when it is."""
    if place in agreed:
        return None
    if solved.solutions[place].text is None:
        return "no usable solution of the teacher"
    if not agreed:
        return "of a question whose solutions do not agree"
    return "more than data_recipe.answers_per_question" if place in solved.largest else "does not agree"


def _row(new: New, solved: Solved, place: int, source: Source) -> Row:
    """Return a solution as a row; behind it are the calls that wrote the question, and those that agree."""
    agreeing = [place, *(other for other in solved.largest if other != place)]
    calls = [*new.call_ids, *(id for each in agreeing for id in solved.solutions[each].call_ids)]
    origin = Origin(
        question_id=new.seed.question_id,
        skill=new.seed.skill,
        seed_ids=[question.id for question in new.references],
        call_ids=list(dict.fromkeys(calls)),
    )
    return Row(new.question, solved.solutions[place].text or "", _skills(new.seed, source), origin)


def _skills(seed: Seed, source: Source) -> list[str]:
    """Return the skills that a new question is taken to need: the one it was written for, else its references'."""
    if seed.skill:
        return [seed.skill]
    found = Counter(skill for skills in source.skills_at(seed.rows) for skill in skills)
    return [skill for skill, _ in found.most_common(SKILLS_OF_REFERENCES)]


def _require_enough(made: int, recipe: SynthesisRecipe, tally: Tally) -> None:
    """Refuse a training set that came out smaller than asked, unless that was allowed."""
    if made == recipe.pairs or (made and recipe.allow_short):
        return
    why = Counter(row.reason for row in tally.dropped if row.item != SOLUTION).most_common(1)
    commonest = f"most often: {why[0][0]} ({why[0][1]:,} times)" if why else "the pool has no more to offer"
    raise UserError(
        f"data_recipe.pairs = {recipe.pairs}: only {made} could be made; {commonest}. Mend the teacher (its model, or "
        "teacher.prompts), lower data_recipe.pairs or data_recipe.must_agree, raise data_recipe.near_copy_similarity, "
        "or accept fewer with data_recipe.allow_short=true"
    )

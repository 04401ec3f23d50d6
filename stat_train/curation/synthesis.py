"""New questions that the teacher writes, with solutions that agree: STAT-Syn and Embed-Syn (method stage 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

from stat_train.counts import Count
from stat_train.curation.agreement import Filter, Solved, solve
from stat_train.curation.embedding import nearest_rows
from stat_train.curation.near_copies import NearCopies
from stat_train.curation.rows import Check, Made, Row
from stat_train.curation.source import Source, questions_at, sample
from stat_train.curation.weights import missing_pairs
from stat_train.errors import UserError
from stat_train.recipe_settings import EmbedSynRecipe, StatSynRecipe, SynthesisRecipe
from stat_train.records import Diagnosed, Dropped, Origin, Question
from stat_train.tasks.graders import Grader
from stat_train.teacher.contract import QuestionRequest, Teacher

QUESTIONS_PER_REPLY = 2
# When so many requests, one after the other, give nothing, the teacher cannot write these questions at all.
MOST_ASKED_IN_VAIN = 100


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
    missing, passes = missing_pairs(diagnosed, recipe.name), 0
    while True:
        for question_id, skill in random.sample(missing, len(missing)):
            rows = sample(random, source.rows_by_skill.get(skill, source.rows[:0]), recipe.references)
            yield Seed(question_id, skill, rows, passes)
        passes += 1


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
    return Filter(recipe.solutions, recipe.must_agree, min(recipe.answers_per_question, recipe.solutions))


def synthesize(
    source: Source,
    diagnosed: Diagnosed,
    teacher: Teacher,
    recipe: SynthesisRecipe,
    seed: int,
    grader: Grader,
    check: Check,
) -> Made:
    """Return rows of new questions with solutions that agree.

    Requests are made in waves of as many as would fill the set if every question were kept, so nothing is paid for
    that is not needed. A question is checked against the held-out ones before its solutions are paid for.
    """
    random = Random(f"{seed}/curate/{recipe.name}")
    work = _Work(source, teacher, recipe, grader, check)
    seeds, in_vain = seeds_for(source, diagnosed, recipe, random), 0
    while (missing := recipe.pairs - len(work.rows)) > 0 and in_vain < MOST_ASKED_IN_VAIN:
        wave = list(islice(seeds, -(-missing // (QUESTIONS_PER_REPLY * work.rule.kept))))
        if not wave:
            break
        before = len(work.rows)
        work.add(wave)
        in_vain = 0 if len(work.rows) > before else in_vain + len(wave)
    random.shuffle(work.rows)
    return work.made()


class _Work:
    """The rows made so far, and what was left out on the way."""

    def __init__(self, source: Source, teacher: Teacher, recipe: SynthesisRecipe, grader: Grader, check: Check) -> None:
        self.source, self.teacher, self.recipe, self.grader, self.check = source, teacher, recipe, grader, check
        self.rule = filter_of(recipe)
        self.near_copies = NearCopies(recipe.near_copy_similarity)
        self.rows: list[Row] = []
        self.dropped: list[Dropped] = []
        self.totals: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()

    def add(self, wave: Sequence[Seed]) -> None:
        """Add the rows that a wave of seeds gives."""
        new = self._original(self._written(wave))
        solved = solve({each.id: each.question for each in new}, self.teacher.solve, self.grader, self.rule)
        for each, found in zip(new, solved, strict=True):
            self._keep(each, found)

    def _written(self, wave: Sequence[Seed]) -> list[New]:
        """Return the questions that the teacher writes; replies that cannot be used are left out."""
        requests = requests_for(self.source, wave)
        new = []
        for request, seed, reply in zip(requests, wave, self.teacher.new_question(requests), strict=True):
            name = f"{request.id}/{request.sample}"
            self.totals["reply with new questions"] += 1
            if reply.error:
                self._drop("reply with new questions", name, "no usable reply of the teacher", reply.error)
            else:
                self.kept["reply with new questions"] += 1
            for number, question in enumerate(reply.questions):
                self.totals["new question"] += 1
                id = f"{name}/{number}"
                if number >= seed.wanted:
                    self._drop("new question", id, "more than data_recipe.questions_per_difficult", question)
                else:
                    new.append(New(id, question, seed, list(request.examples), reply.call_ids))
        return new

    def _original(self, new: Sequence[New]) -> list[New]:
        """Return the questions that are none of the held-out ones, none of their references, and none seen before."""
        kept = []
        for each, hit in zip(new, self.check([each.question for each in new]), strict=True):
            for question in each.references:
                self.near_copies.add(question.id, question.question)
            if hit:
                told = f"{hit.held_out.place} {hit.held_out.id}: {hit.held_out.question}"
                self._drop("new question", each.id, f"{hit.kind}, {hit.how}", told)
            elif copied := self.near_copies.find(each.question):
                self._drop("new question", each.id, "near copy of a reference or another new question", copied)
            else:
                self.near_copies.add(each.id, each.question)
                kept.append(each)
        return kept

    def _keep(self, new: New, solved: Solved) -> None:
        """Keep the solutions to train on, and say of the others why they are not."""
        agreed, needed = solved.agreed(self.rule), self.recipe.pairs - len(self.rows)
        calls = [id for place in solved.largest for id in solved.solutions[place].call_ids]
        if not agreed:
            ends = f"{len(solved.largest)} of {len(solved.solutions)} solutions end alike: {new.question}"
            self._drop("new question", new.id, f"fewer than {self.rule.must_agree} solutions agree", ends)
        elif not needed:
            self._drop("new question", new.id, "more than data_recipe.pairs", new.question)
        else:
            self.kept["new question"] += 1
        for place, written in enumerate(solved.solutions):
            self.totals["solution"] += 1
            reason = self._reason(place, solved, agreed)
            if reason or agreed.index(place) >= needed:
                self._drop(
                    "solution", f"{new.id}#{place}", reason or "more than data_recipe.pairs", written.error or ""
                )
                continue
            origin = Origin(
                question_id=new.seed.question_id,
                skill=new.seed.skill,
                seed_ids=[question.id for question in new.references],
                call_ids=list(dict.fromkeys([*new.call_ids, *written.call_ids, *calls])),
            )
            self.kept["solution"] += 1
            self.rows.append(Row(new.question, written.text or "", self._skills(new), origin))

    def _reason(self, place: int, solved: Solved, agreed: Sequence[int]) -> str | None:
        if place in agreed:
            return None
        if solved.solutions[place].text is None:
            return "no usable solution of the teacher"
        if not agreed:
            return "of a question whose solutions do not agree"
        return "more than data_recipe.answers_per_question" if place in solved.largest else "does not agree"

    def _skills(self, new: New) -> list[str]:
        """Return the skills that a new question is taken to need: the one it was written for, else its references'."""
        if new.seed.skill:
            return [new.seed.skill]
        found = self.source.skills_at(new.seed.rows)
        return [skill for skill, _ in Counter(skill for skills in found for skill in skills or ()).most_common(2)]

    def _drop(self, item: str, id: str, reason: str, detail: str) -> None:
        self.dropped.append(Dropped(stage="curate", id=id, reason=reason, detail=detail, item=item))

    def made(self) -> Made:
        """Return what was made; raises UserError when that is less than asked."""
        pairs, made = self.recipe.pairs, len(self.rows)
        if not made or (made < pairs and not self.recipe.allow_short):
            why = Counter(row.reason for row in self.dropped if row.item != "solution").most_common(1)
            commonest = f"most often: {why[0][0]} ({why[0][1]:,} times)" if why else "the source has no more to offer"
            raise UserError(
                f"data_recipe.pairs = {pairs}: only {made} could be made; {commonest}. Mend the teacher (its model, or "
                "teacher.prompts), lower data_recipe.pairs or data_recipe.must_agree, raise "
                "data_recipe.near_copy_similarity, or accept fewer with data_recipe.allow_short=true"
            )
        summary = {"answers": "new", "unique_questions": len({row.question for row in self.rows})}
        summary |= {"embedder": self.recipe.embedder} if isinstance(self.recipe, EmbedSynRecipe) else {}
        counts = {item: Count(total, self.kept[item]) for item, total in self.totals.items()}
        return Made(self.rows, self.dropped, counts, summary)

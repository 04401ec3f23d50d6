"""The training set as an artifact: what must not be trained on, and the rows that a recipe makes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stat_train.benchmarks import benchmark_questions
from stat_train.config import OpenAITeacher, RecordedStudent
from stat_train.counts import Count, Counts
from stat_train.curation.decontamination import LEAK_PERCENT, SHINGLE_WORDS, Decontaminator, HeldOut, Hit
from stat_train.curation.embedding import TFIDF
from stat_train.curation.inputs import held_out, read_diagnosed, read_profile
from stat_train.curation.near_copies import NearCopies
from stat_train.curation.publish import CARD, ROWS, TABLE, licences, push, write_card, write_table
from stat_train.curation.replay import make_replay
from stat_train.curation.replay import told as replay_told
from stat_train.curation.rows import Tools
from stat_train.curation.selection import require_levels
from stat_train.curation.source import make_source
from stat_train.curation.training_set import TrainingSet, make_training_set, told
from stat_train.errors import InputError
from stat_train.models.budget import in_dollars
from stat_train.models.calls import find_calls
from stat_train.models.places import model_name
from stat_train.progress import track
from stat_train.recipe_settings import HardRecipe
from stat_train.records import Dropped, Overlap, TrainingExample
from stat_train.run import Run, Summary
from stat_train.store import Artifact, file_hash, read_records, write_json, write_records
from stat_train.task_settings import FieldNames, TextTask
from stat_train.tasks.load import open_pool, open_pool_skills
from stat_train.tasks.text import read_questions
from stat_train.teacher import skillmix
from stat_train.teacher.skill_list import names_for, read_skill_list
from stat_train.train_settings import SftTraining

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_A_TIME = 10_000
REPLAY = "replay.jsonl"
THRESHOLDS = {"shingle_words": SHINGLE_WORDS, "leak_percent": LEAK_PERCENT}
# What a teacher writes that is checked, and the two classes of hits, as they are named where something is left out.
WRITTEN = ("new question", "query")
KINDS = ("leak", "template twin")
# Digit twins of MATH are all caught from here on, and 1 in 700 pairs of different questions of one skill is.
NEAR_COPY_SIMILARITY = 0.7
# Where a task says nothing of the columns.
PLAIN_FIELDS = FieldNames(
    id="id", question="question", answer=None, solution=None, subject=None, level=None, skills=None, licence=None
)
# The prompts that a recipe's rows depend on.
PROMPTS = {
    "stat_syn": ("new_question", "solve"),
    "embed_syn": ("similar_question", "solve"),
    "skillmix": skillmix.PROMPTS,
}


def pool_overlaps(run: Run, questions: Artifact) -> Artifact:
    """Return which pool questions are copies or twins of held-out ones: once for all recipes that share the questions.

    `overlaps.jsonl` has each with what it is like; `certificate.json` says what was checked against what.
    """
    settings = run.config.decontaminate

    def build(folder: Path) -> Counts:
        against = held_out_questions(run, questions)
        pool = open_pool(questions.folder)
        found = list(overlaps(pool, Decontaminator(against)))
        dropped = [_dropped(each) for each in found if each.kind == "leak" or settings.template_twins == "drop"]
        write_records(folder / "overlaps.jsonl", found)
        write_records(folder / "dropped.jsonl", dropped)
        write_json(folder / "certificate.json", certificate(against, len(pool), found, settings.template_twins))
        return {"pool question": Count(len(pool), len(pool) - len({row.id for row in dropped}))}

    places = [[place, run.fingerprint(place)] for place in settings.against]
    fields = run.config.task.fields.model_dump() if isinstance(run.config.task, TextTask) and places else None
    identity: Summary = {"against": places, "fields": fields, "template_twins": settings.template_twins}
    identity |= {"thresholds": THRESHOLDS}
    chosen = benchmark_questions(run, questions)
    inputs = [questions, *([chosen] if chosen else [])]
    artifact = run.make("decontaminate", 1, inputs, identity, build, "overlaps.jsonl")
    run.say(in_words(json.loads((artifact.folder / "certificate.json").read_text())))
    return artifact


def require_usable(run: Run, questions: Artifact) -> None:
    """Refuse a recipe that the pool cannot serve, and files of held-out questions that cannot be read: first of all."""
    if not run.config.reaches("curate"):
        return
    held_out_questions(run, questions)
    recipe = run.config.data_recipe
    if isinstance(recipe, HardRecipe):
        require_levels(open_pool(questions.folder), recipe.levels)


def held_out_questions(run: Run, questions: Artifact) -> list[HeldOut]:
    """Return all that must not be trained on: the run's validation and benchmark questions, and those of more files."""
    task, bad = run.config.task, list[Dropped]()
    fields = task.fields if isinstance(task, TextTask) else PLAIN_FIELDS
    more: list[HeldOut] = []
    for place in run.config.decontaminate.against:
        found = list(read_questions(place, "test", fields, bad, 0, "decontaminate.against"))
        if not found:
            raise InputError(f"decontaminate.against = {place}: holds no questions")
        more += [HeldOut(each.id, each.question, place) for each in found]
    return [*held_out(questions, benchmark_questions(run, questions)), *more]


def overlaps(pool: Dataset, decontaminator: Decontaminator) -> Iterator[Overlap]:
    """Yield the pool questions that are copies or twins of held-out ones."""
    columns = pool.select_columns(["id", "question"])
    starts = range(0, len(pool), ROWS_AT_A_TIME)
    for start in track(starts, "Looking for copies", len(starts)):
        batch = columns[start : start + ROWS_AT_A_TIME]
        for place, hit in enumerate(decontaminator.check(batch["question"])):
            if hit:
                yield _overlap(batch["id"][place], start + place, hit)


def _overlap(id: str, row: int, hit: Hit) -> Overlap:
    return Overlap(
        id=id,
        row=row,
        kind=hit.kind,
        how=hit.how,
        held_out_id=hit.held_out.id,
        place=hit.held_out.place,
        text=hit.held_out.question,
    )


def _dropped(found: Overlap) -> Dropped:
    told = f"{found.place} {found.held_out_id}: {found.text}"
    reason = f"{found.kind}, {found.how}"
    return Dropped(stage="decontaminate", id=found.id, reason=reason, detail=told, item="pool question")


def certificate(against: Sequence[HeldOut], checked: int, found: Sequence[Overlap], twins: str) -> dict[str, Any]:
    """Return what was checked against what, by which thresholds, and how many were hit."""
    hits = Counter(f"{each.kind}, {each.how}" for each in found)
    return {
        "pool_questions_checked": checked,
        "against": dict(Counter(each.place for each in against)),
        "thresholds": THRESHOLDS,
        "template_twins": twins,
        "pool_hits": dict(hits.most_common()),
        "pool_hits_by_place": dict(Counter(each.place for each in found).most_common()),
    }


def in_words(certificate: dict[str, Any]) -> str:
    """Return what a certificate says, in one line."""
    hits = ", ".join(f"{count:,} x {how}" for how, count in certificate["pool_hits"].items()) or "no copies"
    against = sum(certificate["against"].values())
    return f"{certificate['pool_questions_checked']:,} pool questions against {against:,} held-out ones: {hits}"


def left_out_rows(run: Run, overlapping: Artifact) -> set[int]:
    """Return the rows of the pool that must not be trained on."""
    twins = run.config.decontaminate.template_twins == "drop"
    return {each.row for each in overlapping.records("overlaps.jsonl", Overlap) if twins or each.kind == "leak"}


def near_copy_similarity(run: Run) -> float | None:
    """Return from which similarity on a new question is a copy of another; None where only equal ones are."""
    chosen: float | None = getattr(run.config.data_recipe, "near_copy_similarity", None)
    if chosen is None and isinstance(run.config.task, TextTask):
        return NEAR_COPY_SIMILARITY
    return chosen


def of_new_questions(made: TrainingSet) -> dict[str, Any]:
    """Return how many questions of the teacher's were checked, and how many were hit."""
    checked = sum(made.counts[item].total for item in WRITTEN if item in made.counts)
    hits = Counter(row.reason for row in made.dropped if row.item in WRITTEN and row.reason.startswith(KINDS))
    return {"new_questions_checked": checked, "new_question_hits": dict(hits.most_common())}


def training_set(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, diagnoses: Artifact, profiled: Artifact
) -> Artifact:
    """Return the rows that the recipe makes, none of them a held-out question."""
    recipe, seed = run.config.data_recipe, run.config.seed
    embedder = getattr(recipe, "embedder", TFIDF)

    def build(folder: Path) -> Counts:
        if embedder != TFIDF:
            run.free_gpus()
        diagnosed = read_diagnosed(questions, diagnoses, profiled)
        left_out = left_out_rows(run, overlapping)
        source, unusable = make_source(open_pool(questions.folder), open_pool_skills(skill_map.folder), left_out)
        check = Decontaminator(held_out_questions(run, questions)).check
        tools = Tools(run.teacher, run.grader, check, NearCopies(near_copy_similarity(run)))
        skills = sorted(names_for(read_skill_list(skill_map.folder / "skills.json"), None))
        made = make_training_set(source, diagnosed, recipe, tools, run.prompt, seed, skills)
        write_records(folder / ROWS, made.examples)
        write_table(folder, made.examples)
        write_records(folder / "dropped.jsonl", [*unusable, *made.dropped])
        pool = json.loads((overlapping.folder / "certificate.json").read_text())
        summary = made.summary | {"decontamination": pool | of_new_questions(made)}
        write_json(folder / "curation.json", summary)
        write_card(folder, about(run, summary, made.examples, source.pool))
        came = overlapping.counts()["pool question"]["kept"]
        return {"pool question": Count(came, len(source.rows))} | made.counts

    identity: Summary = {
        "recipe": recipe.identity(),
        "teacher": run.teacher_identity(*PROMPTS.get(recipe.name, ("rewrite",))),
    }
    identity |= {
        "embedder": embedder if embedder == TFIDF else run.fingerprint(embedder),
        "near_copy_similarity": near_copy_similarity(run),
        "seed": seed,
        "prompt": run.prompt.model_dump(),
        "grader": run.grader_identity(),
    }
    inputs = [questions, skill_map, overlapping, diagnoses, profiled]
    artifact = run.make("curate", 5, inputs, identity, build, ROWS, TABLE, CARD, "curation.json")
    run.say_all(told(json.loads((artifact.folder / "curation.json").read_text())))
    return artifact


def gathered(run: Run, made: Artifact) -> Artifact:
    """Return the rows that are trained on: those of earlier rounds, where they count, and then those just made.

    Each has its round before its id, as every round counts its rows from 0.
    """
    if not run.round.earlier:
        return made
    every = [*run.round.earlier, made]

    def build(folder: Path) -> Counts:
        rows = [
            row.model_copy(update={"id": f"round_{number}-{row.id}"})
            for number, rows_of in enumerate(every, 1)
            for row in rows_of.records(ROWS, TrainingExample)
        ]
        write_records(folder / ROWS, rows)
        return {"pair": Count(len(rows), len(rows))}

    artifact = run.make("gather", 1, every, {}, build)
    run.link("training_set_of_all_rounds.jsonl", artifact.folder / ROWS)
    run.say(f"{artifact.counts()['pair']['kept']:,} rows of {len(every)} rounds")
    return artifact


def publish(run: Run, made: Artifact) -> None:
    """Put the training set on the hub, where that is wanted."""
    if run.config.push_to_hub:
        run.say(f"uploaded to {push(made.folder, run.config.push_to_hub)}")


def about(run: Run, summary: dict[str, Any], examples: Sequence[TrainingExample], pool: Dataset) -> dict[str, Any]:
    """Return what the card says beside the summary: for whom, by whom, at what price, under which licences."""
    task, teacher, student = run.config.task, run.config.teacher, run.config.student
    seeds = {id for example in examples for id in example.origin.seed_ids}
    return {
        "curation": summary,
        "task": task.name,
        "pool": task.pool if isinstance(task, TextTask) else "made questions",
        "student": student.name if isinstance(student, RecordedStudent) else model_name(student.model),
        "teacher": teacher.model if isinstance(teacher, OpenAITeacher) else teacher.name,
        "cost": cost_in_words(run.cache_dir, {id for example in examples for id in example.origin.call_ids}),
        "licences": licences(examples, licences_of(pool, seeds)),
    }


def licences_of(pool: Dataset, ids: set[str]) -> dict[str, str | None]:
    """Return the licences of some pool questions, by id."""
    import pyarrow
    from pyarrow import compute

    wanted = compute.is_in(pool.data.column("id"), value_set=pyarrow.array(sorted(ids), pyarrow.string()))
    rows = pool.data.table.select(["id", "licence"]).filter(wanted).to_pylist()
    return {row["id"]: row["licence"] for row in rows}


def cost_in_words(cache_dir: Path, call_ids: set[str]) -> str:
    """Return how many calls are behind the rows, and what they cost when they were made, by whichever run."""
    if not call_ids:
        return "nothing: no call was made"
    calls = find_calls(cache_dir, call_ids).values()
    payments = [payment for call in calls for payment in call.payments]
    tokens = sum(payment.tokens for payment in payments if payment.settled)
    words = f"{len(calls):,} calls, {tokens:,} tokens"
    if not all(call.priced for call in calls):
        return f"unknown prices: {words}"
    usd, more = (sum(payment.usd for payment in payments if payment.settled is known) for known in (True, False))
    # A call that was under way when a run was killed may have been made, and made again.
    return f"{in_dollars(usd)}: {words}{f'; at most {in_dollars(more)} for interrupted ones' if more else ''}"


def replay(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, profiled: Artifact, made: Artifact
) -> Artifact:
    """Return the rows that protect what the student can do: `replay.jsonl`, trained on beside the set `made`."""
    share = run.config.train.replay_fraction if isinstance(run.config.train, SftTraining) else 0.0
    trained_on = made.folder / ROWS

    def build(folder: Path) -> Counts:
        pool, skills = open_pool(questions.folder), open_pool_skills(skill_map.folder)
        source, _ = make_source(pool, skills, left_out_rows(run, overlapping))
        rows, profile = read_records(trained_on, TrainingExample), read_profile(profiled)
        chosen = make_replay(source, profile, rows, share, run.prompt, run.config.seed)
        write_records(folder / REPLAY, chosen.examples)
        write_json(folder / "replay.json", chosen.summary)
        return {"replay row": Count(len(chosen.examples), len(chosen.examples))}

    identity: Summary = {"share": share, "seed": run.config.seed, "prompt": run.prompt.model_dump()}
    # The rows of the training set count, not how they came about: arms may share one.
    identity |= {"training_set": file_hash(trained_on, run.cache_dir)}
    artifact = run.make("replay", 2, [questions, skill_map, overlapping, profiled], identity, build, REPLAY)
    run.say(replay_told(json.loads((artifact.folder / "replay.json").read_text())))
    return artifact

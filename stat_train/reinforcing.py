"""Reinforcement learning as artifacts: the questions that are asked, and the training on the answers to them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from stat_train import stage
from stat_train.counts import Count, Counts, seen
from stat_train.curating import held_out_questions, left_out_rows
from stat_train.curation.decontamination import Decontaminator
from stat_train.curation.inputs import read_profile
from stat_train.curation.rl_questions import (
    Askable,
    askable_pool,
    draw,
    of_pool,
    of_profile,
    of_training_set,
    require_answers,
    without_copies,
)
from stat_train.errors import InputError, UserError
from stat_train.models.places import Weights
from stat_train.records import Dropped, Question, TrainingExample
from stat_train.run import Run, Summary
from stat_train.store import Artifact, file_hash, read_records, write_json, write_records
from stat_train.task_settings import FieldNames, TextTask
from stat_train.tasks.arithmetic import world
from stat_train.tasks.load import open_pool, open_pool_skills
from stat_train.tasks.text import USUAL_FIELDS, read_questions
from stat_train.train_contradictions import LONGER_CHAINS, PROMPTS
from stat_train.train_settings import GrpoTraining
from stat_train.training.job import rl_job
from stat_train.training.world import world_of


def require_prompts(run: Run, questions: Artifact) -> None:
    """Refuse questions for reinforcement learning that cannot be read, or be rewarded, first of all."""
    settings = run.config.rl
    if not isinstance(settings, GrpoTraining) or not run.config.reaches("rl"):
        return
    if settings.prompts in ("pool", "profile") and run.grader.needs_gold:
        require_answers(open_pool(questions.folder))
    if settings.prompts not in PROMPTS:
        _file_questions(run, settings.prompts, [])


def rl_questions(
    run: Run,
    settings: GrpoTraining,
    questions: Artifact,
    skill_map: Artifact,
    overlapping: Artifact,
    profiled: Artifact,
    trained_on: Artifact,
) -> Artifact:
    """Return the questions that are asked: `questions.jsonl`, each with the skills that it needs.

    Each has a gold answer, unless the grader judges without one.
    """
    known = settings.prompts in PROMPTS
    of_the_run = known and settings.prompts != LONGER_CHAINS
    rows = trained_on.folder / "training_set.jsonl"

    gold = run.grader.needs_gold

    def build(folder: Path) -> Counts:
        random, count, dropped = Random(f"{run.config.seed}/rl"), settings.questions, list[Dropped]()
        if not of_the_run:
            given = _longer_chains(run, count) if known else _file_questions(run, settings.prompts, dropped)
            check, twins = Decontaminator(held_out_questions(run, questions)).check, run.config.decontaminate
            kept, copies = without_copies(given, check, twins.template_twins == "drop")
            return _write(folder, draw(kept, gold, count, random), settings, [*dropped, *copies])
        pool, skills = open_pool(questions.folder), open_pool_skills(skill_map.folder)
        source, unanswered = askable_pool(pool, skills, left_out_rows(run, overlapping), gold)
        if settings.prompts == "training_set":
            trained = of_training_set(read_records(rows, TrainingExample), source)
            return _write(folder, draw(trained, gold, count, random), settings, [])
        if settings.prompts == "profile":
            found = of_profile(source, read_profile(profiled), count, random)
        else:
            found = of_pool(source, count, random)
        return _write(folder, found, settings, unanswered)

    identity: Summary = {"questions": settings.questions, "seed": run.config.seed, "needs_gold": gold}
    identity |= {"prompts": settings.prompts if known else run.fingerprint(settings.prompts)}
    inputs = [questions, skill_map, overlapping]
    if settings.prompts == "profile":
        inputs.append(profiled)
    if settings.prompts == "training_set":
        identity |= {"training_set": file_hash(rows, run.cache_dir)}
    if not of_the_run:
        identity |= {"held_out": [[place, run.fingerprint(place)] for place in run.config.decontaminate.against]}
        identity |= {"fields": _fields(run).model_dump(), "template_twins": run.config.decontaminate.template_twins}
    if settings.prompts == LONGER_CHAINS:
        identity |= {"lengths": list(world.LONGER_CHAINS.items())}
    artifact = run.make("rl_questions", 1, inputs, identity, build)
    run.link("rl_questions.jsonl", artifact.folder / "questions.jsonl")
    about = json.loads((artifact.folder / "about.json").read_text())
    run.say(f"{about['questions']:,} of {about['available']:,} questions (rl.prompts = {settings.prompts})")
    return artifact


def _write(folder: Path, found: Askable, settings: GrpoTraining, more_dropped: list[Dropped]) -> Counts:
    """Write the questions; what could be asked of them is kept, though fewer may be wanted.

    Raises UserError when they do not make a batch.
    """
    least = settings.questions_per_batch
    if len(found.questions) < least:
        raise UserError(
            f"rl.prompts = {settings.prompts}: gives {len(found.questions)} questions that can be asked, and "
            f"rl.questions_per_batch = {least} make a batch; use other questions, or fewer a batch"
        )
    write_records(folder / "questions.jsonl", found.questions)
    write_json(folder / "about.json", {"questions": len(found.questions), "available": found.available})
    dropped = [*more_dropped, *found.dropped]
    write_records(folder / "dropped.jsonl", dropped)
    item = "pool question" if settings.prompts in ("pool", "profile") else "question"
    return {item: seen(found.available, dropped, item)}


def _longer_chains(run: Run, count: int | None) -> list[Question]:
    """Return questions that the embedded task makes for this, beside its pool, by the seed of the run."""
    assert count is not None
    return world.longer_chains(f"{run.config.seed}/rl", count)


def _file_questions(run: Run, place: str, bad: list[Dropped]) -> list[Question]:
    task = run.config.task
    most_bad = task.max_bad_rows if isinstance(task, TextTask) else 0
    found = list(read_questions(place, "train", _fields(run), bad, most_bad, "rl.prompts"))
    if run.grader.needs_gold and not any(question.answer for question in found):
        raise InputError(f"rl.prompts = {place}: none of {len(found)} questions has a gold answer to reward by")
    return found


def _fields(run: Run) -> FieldNames:
    return run.config.task.fields if isinstance(run.config.task, TextTask) else USUAL_FIELDS


def reinforced(run: Run, settings: GrpoTraining, start: Weights, asked: Artifact) -> Weights:
    """Return the model after reinforcement learning from these weights, on these questions."""
    job = rl_job(run.config, Path(), asked.folder / "questions.jsonl", start.place, start.revision, run.stop_file)
    # Which questions they are counts, not how they came about.
    known_by = {name: value for name, value in settings.identity().items() if name not in ("prompts", "questions")}
    identity: Summary = {"rl": known_by, "prompt": run.prompt.model_dump(), "seed": run.config.seed}
    identity |= {"model": start.known_by, "revision": start.revision, "grader": run.grader_identity()}
    identity |= {"questions": file_hash(job.questions, run.cache_dir)}

    def build(folder: Path) -> Counts:
        run.tracker.follow("rl", folder / "metrics.jsonl")
        run.free_gpus(for_long=True)
        stage.train("rl", job.model_copy(update={"folder": folder}), folder, world_of(settings), job.strategy)
        given = read_records(job.questions, Question)
        return {"question": Count(len(given), json.loads((folder / "training.json").read_text())["questions"])}

    made = run.make("rl", 1, [], identity, build)
    run.tracker.follow("rl", made.folder / "metrics.jsonl")
    for name, file in (
        ("rl_checkpoint", "checkpoint"),
        ("rl_metrics.jsonl", "metrics.jsonl"),
        ("rl_training.json", "training.json"),
    ):
        run.link(name, made.folder / file)
    return Weights(str((made.folder / "checkpoint").absolute()), None, made.name, made)

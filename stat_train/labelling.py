"""The skill map as an artifact: the list of skills, and which of them each question requires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from stat_train import stage
from stat_train.config import OpenAITeacher
from stat_train.counts import Count, Counts, seen
from stat_train.diagnosis.skill_map import NAME, find_list, label
from stat_train.progress import track
from stat_train.records import Dropped, Question, QuestionSkills
from stat_train.run import Run
from stat_train.store import Artifact, write_json, write_records
from stat_train.tasks.load import open_pool, pool_questions, subject_counts, write_pool_skills
from stat_train.teacher.ahead import LabelJob
from stat_train.teacher.discovery import FOUND, SAMPLED
from stat_train.teacher.skill_list import (
    SkillList,
    found_in_words,
    labels,
    read_skill_list,
    require_lists,
    using_every_list,
)


def skill_labels(run: Run, questions: Artifact) -> Artifact:
    """Return the skills of each question of pool and validation set, and the list that they are from."""
    teacher = run.config.teacher
    subjects = Counter(subject_counts(open_pool(questions.folder)))
    subjects.update(question.subject or "" for question in questions.records("validation.jsonl", Question))
    require_lists(read_skill_list(questions.folder / "skills.json"), subjects)

    def build(folder: Path) -> Counts:
        validation = questions.records("validation.jsonl", Question)
        pool = open_pool(questions.folder)
        known, left_out = read_skill_list(questions.folder / "skills.json"), list[Dropped]()
        groups: Mapping[str, Mapping[str, Sequence[str]]] = {}
        if isinstance(teacher, OpenAITeacher) and not known:
            found = find_list(lambda: chain(validation, pool_questions(pool)), run.teacher, teacher.discovery_questions)
            write_json(folder / "discovery.json", found.groups)
            known, groups, left_out = found.skills, found.groups, found.left_out
        known = known or labels(chain(validation, pool_questions(pool)))
        if isinstance(teacher, OpenAITeacher):
            unlabelled = (each for each in chain(validation, pool_questions(pool)) if not each.skills)
            if stage.label(_ahead(run, teacher, folder, known), unlabelled):
                run.read_ledger_anew()
        every = chain(validation, track(pool_questions(pool), "Reading labels", len(pool)))
        labelled, dropped = label(every, run.teacher, known)
        write_json(folder / "skills.json", known)
        write_records(folder / "skill_map.jsonl", labelled)
        write_pool_skills(folder, pool, {row.id: row.skills for row in labelled})
        write_records(folder / "dropped.jsonl", [*left_out, *dropped])
        asked = len(validation) + len(pool)
        return {"question": Count(asked, len(labelled))} | _counts_of_names(labelled, groups, left_out, dropped)

    # Labels without a language model do not depend on the teacher's settings.
    settings = run.teacher_identity("required_skills", "name_skills", "group_skills")
    identity = settings if isinstance(teacher, OpenAITeacher) else teacher.name
    artifact = run.make("label", 4, [questions], {"teacher": identity}, build, "skill_map.jsonl", "skills.json")
    if (artifact.folder / "discovery.json").exists():
        run.say(f"found {found_in_words(read_skill_list(artifact.folder / 'skills.json'))}")
    run.say_all(using_every_list(read_skill_list(artifact.folder / "skills.json"), subjects))
    return artifact


def _ahead(run: Run, teacher: OpenAITeacher, folder: Path, known: SkillList) -> LabelJob:
    """Return what the tasks of an array are told that ask the teacher first, where a batch job has one."""
    return LabelJob(
        folder=folder,
        cache_dir=run.cache_dir,
        teacher=teacher,
        skills=known,
        caps=run.config.budget,
        budget_run=run.pays_as,
        elsewhere=run.spent_beside(),
        processes=run.config.slurm.shards,
    )


def _counts_of_names(
    labelled: Sequence[QuestionSkills],
    groups: Mapping[str, Mapping[str, Sequence[str]]],
    left_out: Sequence[Dropped],
    dropped: Sequence[Dropped],
) -> Counts:
    """Return how many names of skills were given, and how many of those that a list was found from have a group."""
    counts = {NAME: seen(sum(len(row.skills) for row in labelled), dropped, NAME)}
    if not groups:
        return counts
    placed = sum(len(names) for found in groups.values() for names in found.values())
    return counts | {FOUND: seen(placed, left_out, FOUND), SAMPLED: seen(0, left_out, SAMPLED)}

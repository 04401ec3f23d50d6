"""Labels that several processes ask a teacher for, before the stage that uses them finds them in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel

from stat_train.chunks import Chunked, write_chunks
from stat_train.config import BudgetCaps, OpenAITeacher
from stat_train.models.budget import Budget
from stat_train.models.ledger import Ledger, Spent
from stat_train.records import Question, QuestionSkills
from stat_train.store import read_records
from stat_train.teacher.prompt_files import read_prompts
from stat_train.teacher.skill_list import SkillList

CHUNK_SIZE = 200
QUESTIONS_FILE = "to_label.jsonl"


class LabelJob(BaseModel):
    """What the asking processes are told: whom they ask, about the questions of `folder`/QUESTIONS_FILE.

    `budget_run` is the run that pays, and `elsewhere` is what its other rounds spent. Its `caps`, and how fast the
    teacher may be asked, are shared by `processes`.
    """

    folder: Path
    cache_dir: Path
    teacher: OpenAITeacher
    skills: SkillList
    caps: BudgetCaps
    budget_run: str
    elsewhere: Spent
    processes: int


def labels_file(job: LabelJob) -> Chunked:
    """Return the file that shows which questions were asked about, and in which chunks it is made."""
    return Chunked(job.folder / "labelled.jsonl", len(_questions(job)), CHUNK_SIZE)


def label_ahead(job: LabelJob, launch: str) -> None:
    """Ask the teacher about chunks of the job's questions until other processes of this launch have the rest.

    Raises BudgetReached when this process has spent its share of what the run may still spend.
    """
    from stat_train.models.endpoint import Attempts, EndpointGenerator
    from stat_train.teacher.llm import LanguageModelTeacher

    settings, every = _share_of_pace(job.teacher, job.processes), _questions(job)
    with Ledger(job.cache_dir) as ledger:
        budget = Budget(job.caps, job.budget_run, ledger, job.elsewhere)
        budget.share_with(job.processes)
        attempts = Attempts(settings.max_attempts, settings.retry_bad)
        with EndpointGenerator(settings, ledger, budget, "teacher", attempts, settings.sampling_seed) as generator:
            teacher = LanguageModelTeacher(settings, read_prompts(settings.prompts), lambda: generator)

            def work(chunk: Sequence[Question], index: int) -> Iterable[QuestionSkills]:
                return list(teacher.required_skills(chunk, job.skills))

            write_chunks(labels_file(job), every, launch, work)


def _share_of_pace(teacher: OpenAITeacher, processes: int) -> OpenAITeacher:
    limits = {name: getattr(teacher, name) for name in ("max_concurrency", "requests_per_minute", "tokens_per_minute")}
    return teacher.model_copy(update={name: limit and max(1, limit // processes) for name, limit in limits.items()})


def _questions(job: LabelJob) -> list[Question]:
    return read_records(job.folder / QUESTIONS_FILE, Question)

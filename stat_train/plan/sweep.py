"""The plan of a sweep: what each of its runs will pay, and all of them together, who pay for what they share once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from stat_train.config import NOT_OF_A_RUN, Config
from stat_train.plan.estimate import StageEstimate, total
from stat_train.plan.show import Plan, absent_note, as_numbers, in_words, make_plan
from stat_train.plan.training import TrainingPlan
from stat_train.store import content_hash
from stat_train.sweeping.expand import SweepJob
from stat_train.task_settings import ArithmeticTask

# What the calls of a stage depend on beside task and teacher; those of the others also depend on the recipe.
ANSWERS = ("student", "difficulty", "seed", "audit")
DEPENDS_ON: Mapping[str, tuple[str, ...]] = {
    "discover": (),
    "label": (),
    "answer": ANSWERS,
    "grade": ANSWERS,
    "diagnose": ANSWERS,
    "audit": ANSWERS,
}
OF_A_WHOLE_RUN = ("train", "evaluate")


class JobPlan(NamedTuple):
    """What one run adds to those before it: `new` by stage, and trainings; `shared` calls are paid for by them."""

    name: str
    plan: Plan
    new: list[StageEstimate]
    shared: int
    trainings: list[TrainingPlan]

    @property
    def total(self) -> StageEstimate:
        """Return what the run adds in all."""
        return total(self.new)


def plan_sweep(jobs: Sequence[SweepJob]) -> list[JobPlan]:
    """Return the plans of the runs in their order; no call is made."""
    seen, trained, found = dict[str, int](), set[str](), list[JobPlan]()
    for job in jobs:
        plan = make_plan(job.settings)
        new = [_new(stage, job.settings.config, seen) for stage in plan.stages]
        shared = sum(stage.calls for stage in plan.stages) - sum(stage.calls for stage in new)
        trainings = {_training_hash(job.settings.config, each): each for each in plan.training}
        own = [each for key, each in trainings.items() if key not in trained]
        found.append(JobPlan(job.name, plan, new, shared, own))
        trained |= trainings.keys()
    return found


def _new(stage: StageEstimate, config: Config, seen: dict[str, int]) -> StageEstimate:
    """Return the part of a stage that no run before has; `seen` counts the calls so far, and is brought up to date."""
    own = _hash(config, stage, _depends_on(config, stage.stage))
    if own in seen:
        return stage.part(0)._replace(in_ledger=0)
    seen[own] = calls = stage.calls
    if stage.different is not None:
        # Rewrites of the pool: another recipe draws others, of which there are only so many.
        of_all = _hash(config, stage, ())
        calls = min(calls, max(0, stage.different - seen.get(of_all, 0)))
        seen[of_all] = seen.get(of_all, 0) + calls
    return stage.part(calls)


def _training_hash(config: Config, training: TrainingPlan) -> str:
    """Return what two runs share that train alike: fine-tuning is the same whatever comes after it."""
    after = ("rl", "evaluate") if training.stage == "train" else ()
    identity = {key: value for key, value in config.identity().items() if key not in (*NOT_OF_A_RUN, *after)}
    return content_hash([training.stage, identity])


def _depends_on(config: Config, stage: str) -> tuple[str, ...]:
    if stage == "evaluate" and "judge" not in config.graders():
        # The labels that worked examples are chosen by.
        return ("benchmark",)
    if stage in OF_A_WHOLE_RUN:
        return tuple(name for name in config.identity() if name not in NOT_OF_A_RUN)
    return DEPENDS_ON.get(stage, (*ANSWERS, "data_recipe"))


def _hash(config: Config, stage: StageEstimate, depends_on: Sequence[str]) -> str:
    identity = config.identity()
    # Made questions are others with another seed.
    names = {"task", "teacher", *depends_on, *(["seed"] if isinstance(config.task, ArithmeticTask) else [])}
    return content_hash([stage.stage, stage.role, {name: identity[name] for name in sorted(names)}])


# -- shown ------------------------------------------------------------------------------------------------------------


def as_json(found: Sequence[JobPlan]) -> dict[str, Any]:
    """Return the plans as plain JSON values."""
    jobs = [
        {"name": each.name, "shared_calls": each.shared}
        | {"total": as_numbers(each.total), "training": {one.stage: one.numbers for one in each.trainings}}
        for each in found
    ]
    return {"jobs": jobs, "total": as_numbers(_in_all(found)), "notes": _notes(found) + _absent(found)}


def print_sweep(found: Sequence[JobPlan], console: Console) -> None:
    """Print a row for each run, and their sum."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("run")
    for name in ("calls", "paid for above", "input tokens", "output tokens", "US dollars"):
        table.add_column(name, justify="right")
    for each in found:
        table.add_row(each.name, *_cells(each.total, each.shared))
    table.add_row("in all", *_cells(_in_all(found), sum(each.shared for each in found)))
    console.print(table)
    console.print()
    for note in _notes(found):
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    console.print("\nNo call was made.", highlight=False)
    for line in [*_trained(found), *_absent(found)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _in_all(found: Sequence[JobPlan]) -> StageEstimate:
    return total(stage for each in found for stage in each.new)


def _cells(stage: StageEstimate, shared: int) -> list[str]:
    words = in_words(stage)
    return [f"{stage.calls:,}", f"{shared:,}", *words]


def _notes(found: Sequence[JobPlan]) -> list[str]:
    """Return what all plans say alike, each once; what one run alone assumes is in its own plan."""
    notes = ["what several runs need alike is counted in the first that needs it; later runs find it in cache_dir"]
    if any(stage.different is not None for each in found for stage in each.plan.stages):
        notes.append(
            "of rewrites there are as many as pool questions x data_recipe.answers_per_question, whoever draws"
        )
    every = [set(each.plan.notes) for each in found if each.plan.models]
    alike = set.intersection(*every) if every else set()
    return notes + [note for each in found[:1] for note in each.plan.notes if note in alike]


def _absent(found: Sequence[JobPlan]) -> list[str]:
    return absent_note(line for each in found for line in each.plan.absent)


def _trained(found: Sequence[JobPlan]) -> Iterator[str]:
    training = [one.numbers for each in found for one in each.trainings if one.stage == "train"]
    if training:
        steps = sum(numbers["trainings"] * numbers["steps"] for numbers in training)
        yield f"train: {sum(numbers['trainings'] for numbers in training):,} trainings, {steps:,} steps in all"
    completions = [one.numbers["completions"] for each in found for one in each.trainings if one.stage == "rl"]
    if completions and None not in completions:
        yield f"rl: {len(completions)} trainings, {sum(completions):,} answers in all"

"""Benchmarks of lm-evaluation-harness: which tasks there are, and what a model gets right in one of them.

The harness asks the questions and scores the answers. What it leaves here are the scores question by question, so that
two arms can be paired as on any other benchmark, and its own aggregates beside them.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from glob import glob
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from stat_train.errors import UserError, did_you_mean
from stat_train.records import Record
from stat_train.store import read_records, write_json, write_records, write_text

RESULTS, SCORES, SAMPLES = "harness.json", "harness_scores.jsonl", "harness_samples.jsonl"
# What tasks call a data set of files, in the place of a name on the hub.
FORMATS = ("json", "csv", "parquet", "text", "arrow")
NO_CODE = "would run code that the model writes, which is never done here; take it off the list"
# What loading a task raises where its data, a package that it needs, or one of its settings is not there.
CANNOT_LOAD = (OSError, ValueError, LookupError, ImportError, RuntimeError, AttributeError, TypeError)
OF_THE_MODEL = ("model", "model_args", "model_revision", "model_sha")
# How a place on this machine begins, where it cannot be a name on the hub.
SAYS_WHERE = (".", "/", "~")
# How far the mean of the scores may be from the harness's own aggregate, which adds in another order.
SAME = 1e-6


class HarnessJob(BaseModel):
    """What the process is told: which model answers which task, and how; `tasks` is the folder of the user's own."""

    folder: Path
    task: str
    tasks: Path | None
    limit: int | None
    model: str
    revision: str | None
    chat_template_arguments: dict[str, Any]
    batch_size: int


class HarnessScore(Record):
    """What one answer is worth by one metric, from 0 to 1; `benchmark` is `TASK METRIC`, with a filter in brackets."""

    benchmark: str
    question_id: str
    score: float


def read_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Return the scores of a task: by benchmark, which is `TASK METRIC`, and by question."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for row in read_records(folder / SCORES, HarnessScore):
        scores[row.benchmark][row.question_id] = row.score
    return dict(scores)


def read_aggregates(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the harness itself says of each metric, by benchmark: its `metric`, `value` and `stderr`.

    One that has no scores by question says why in `reason`.
    """
    found: dict[str, dict[str, Any]] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["benchmarks"]
    return found


# -- which tasks there are --------------------------------------------------------------------------------------------


def require_tasks(names: Sequence[str], folder: Path | None) -> None:
    """Refuse names that the harness does not know, and tasks that would run what the model writes."""
    known = _index(folder)
    for name in names:
        if name not in known:
            where = f" or in {folder}" if folder else "; your own: evaluate.harness_tasks=FOLDER"
            raise UserError(
                f"evaluate.harness = {name}: no such task, group or tag in lm-evaluation-harness {version('lm_eval')}"
                f"{where}.{did_you_mean(name, known)} See: lm-eval ls tasks"
            )
        unsafe = [settings["task"] for settings in _tasks_of(name, known) if settings.get("unsafe_code", False)]
        if unsafe:
            raise _refused(name, unsafe[0], NO_CODE)


def local_data(name: str, folder: Path | None) -> list[Path]:
    """Return the files and folders on this machine that a task takes its questions from.

    Raises UserError when its settings name some that are not there.
    """
    found: set[Path] = set()
    for settings in _tasks_of(name, _index(folder)):
        for place in _named_places(settings):
            there = _matching(place)
            if not there and place.startswith(SAYS_WHERE):
                why = (
                    f"takes its questions from {place}, where there is nothing; correct dataset_path or dataset_kwargs"
                )
                raise _refused(name, str(settings.get("task", name)), f"{why}, or put them there")
            found |= there
    return sorted(found)


def hub_data(name: str, folder: Path | None) -> list[tuple[str, str | None]]:
    """Return the data sets of the hub that a task takes its questions from, each with its configuration."""
    every = [
        (settings.get("dataset_path"), settings.get("dataset_name")) for settings in _tasks_of(name, _index(folder))
    ]
    named = [(path, part) for path, part in every if isinstance(path, str) and path not in FORMATS]
    return [(path, part) for path, part in dict.fromkeys(named) if not _matching(path)]


def _named_places(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places that a task names for its data; those that are no place on this machine may be on the hub.

    A folder, or a data set of the hub, has its files within: of these, only the absolute are places of their own.
    """
    path, given = settings.get("dataset_path"), settings.get("dataset_kwargs") or {}
    (parent,) = [*_texts(given.get("data_dir"))] or [""]
    files = [text for text in _texts(given.get("data_files")) if "://" not in text]
    yield from _texts(path)
    within = isinstance(path, str) and "/" in path
    # Not joined by `Path`, which takes the dot away that says where a place is.
    for place in [os.path.join(parent, os.path.expanduser(text)) for text in files] or _texts(parent):
        if place and (not within or os.path.isabs(place)):
            yield place


def _matching(place: str) -> set[Path]:
    path = Path(place).expanduser()
    return {path} if path.exists() else {Path(each) for each in glob(str(path), recursive=True)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from _texts(inner)


@cache
def _manager(folder: Path | None) -> Any:
    """Return what knows the tasks; it reads thousands of files, which takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(folder) if folder else None)


def _index(folder: Path | None) -> Mapping[str, Any]:
    index: Mapping[str, Any] = _manager(folder).task_index
    return index


def _tasks_of(name: str, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of a task, or of all tasks of a group or a tag."""
    entry = known[name]
    if entry.kind.name == "TAG":
        members: Iterable[Any] = sorted(entry.tags & known.keys())
    elif entry.kind.name == "GROUP":
        members = entry.cfg.get("task") or []
    else:
        yield entry.cfg
        return
    for member in members:
        yield from _members(member, known)


def _members(member: str | dict[str, Any], known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of a group's member: a name, or settings of its own in the place of some of the member's."""
    own = {} if isinstance(member, str) else member
    name = member if isinstance(member, str) else member.get("group") or member.get("task")
    if isinstance(name, str) and name in known:
        yield from ({**settings, **own, "task": settings["task"]} for settings in _tasks_of(name, known))
    elif isinstance(inner := own.get("task"), list):
        for each in inner:
            yield from _members(each, known)
    else:
        yield {"task": name, **own}


def _refused(name: str, task: str, why: str) -> UserError:
    return UserError(f"evaluate.harness = {name}: {'' if task == name else f'its task {task} '}{why}")


# -- in a process of its own ------------------------------------------------------------------------------------------


def run_harness(job: HarnessJob) -> None:
    """Let the model do a task, and write what came of it: the aggregates, the scores by question, the answers."""
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.utils import handle_non_serializable

    # It asks git for the version of the folder that the run was started in, and git says so where it is none.
    evaluator.get_git_commit_hash = lambda: None
    built = _built(job)
    model, chat = _model(job)
    found = simple_evaluate(
        model=model,
        tasks=built,
        limit=job.limit,
        batch_size=job.batch_size,
        apply_chat_template=chat,
        task_manager=_manager(job.tasks),
    )
    for rows in found["samples"].values():
        for row in rows:
            # Prompts and documents are the data set's, and may hold what JSON does not.
            row.pop("doc"), row.pop("arguments")
    plain = json.loads(json.dumps(found, default=handle_non_serializable))
    summary = summarise(job.task, plain)
    write_records(job.folder / SCORES, summary.scores)
    write_text(job.folder / SAMPLES, "".join(_sample_lines(job.task, plain["samples"])))
    write_json(job.folder / RESULTS, {"task": job.task, "chat_template": chat} | _results(plain, summary))


def _built(job: HarnessJob) -> list[Any]:
    """Return the task, the tasks of a tag, or the group, their data loaded."""
    try:
        loaded = _manager(job.tasks).load([job.task])
    except CANNOT_LOAD as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise _refused(job.task, job.task, f"cannot be loaded ({type(error).__name__}: {reason})") from error
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise _refused(job.task, name, NO_CODE)
        if getattr(task, "MULTIMODAL", False):
            raise _refused(job.task, name, "shows images or sound, which students are not asked here")
    return [loaded["groups"][job.task]] if job.task in loaded["groups"] else list(loaded["tasks"].values())


def _model(job: HarnessJob) -> tuple[Any, bool]:
    """Return the model as the harness takes it, loaded as for any other benchmark, and whether it is a chat model.

    Its chat template and the template's arguments are the student's own. The system text and the template of
    `student.prompt` are not: a task of the harness words its questions itself. Log-likelihoods are added in single
    precision, which bfloat16 would round until choices tie.
    """
    import torch
    from lm_eval.models.huggingface import HFLM

    from stat_train.models.transformers import load_model, load_tokenizer

    # It warns that a loaded model ignores settings that we do not give.
    logger = logging.getLogger("lm_eval.models.huggingface")
    logger.setLevel(logging.ERROR)
    tokenizer = load_tokenizer(job.model, job.revision)
    model = HFLM(
        pretrained=load_model(job.model, job.revision),
        backend="causal",
        tokenizer=tokenizer,
        batch_size=job.batch_size,
        softmax_dtype=torch.float32,
        chat_template_args=job.chat_template_arguments,
    )
    logger.setLevel(logging.NOTSET)
    return model, tokenizer.chat_template is not None


# -- what came of it --------------------------------------------------------------------------------------------------


class Summary(NamedTuple):
    """The scores by question, and by benchmark what the harness says of the metric."""

    scores: list[HarnessScore]
    benchmarks: dict[str, dict[str, Any]]


def summarise(task: str, found: Mapping[str, Any]) -> Summary:
    """Return the scores by question of a task, or of all tasks of a group together, and the aggregates.

    A metric is scored by question where each score is a share of 1, more is better, and the harness's own aggregate
    of every task is their mean. Perplexity, BLEU of a corpus, or shares of instructions are aggregates only.
    """
    scores, benchmarks = [], {}
    for (metric, filtered), by_task in _by_metric(found["samples"]).items():
        key = f"{metric},{filtered}"
        name = f"{task} {metric}" if filtered == "none" else f"{task} {metric} ({filtered})"
        whole = found["results"].get(task, {})
        about = {"metric": key, "value": whole.get(key), "stderr": _number(whole.get(f"{metric}_stderr,{filtered}"))}
        reasons = {_not_by_question(each, metric, key, values, found) for each, values in by_task.items()} - {None}
        if reasons:
            benchmarks[name] = about | {"n": 0, "reason": " and ".join(sorted(filter(None, reasons)))}
            continue
        rows = [
            HarnessScore(benchmark=name, question_id=id, score=float(value))
            for values in by_task.values()
            for id, value in _with_ids(task, values)
        ]
        benchmarks[name] = about | {"n": len(rows)}
        scores += rows
    return Summary(scores, benchmarks)


class _Scored(NamedTuple):
    """What one metric says of one document of a task."""

    task: str
    sample: Mapping[str, Any]
    value: Any


def _by_metric(samples: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, list[_Scored]]]:
    """Return by metric and filter, and then by task, what each document scored."""
    found: dict[tuple[str, str], dict[str, list[_Scored]]] = defaultdict(lambda: defaultdict(list))
    for task, rows in samples.items():
        for row in rows:
            for metric in row["metrics"]:
                found[metric, row["filter"]][task].append(_Scored(task, row, row[metric]))
    return found


def _not_by_question(
    task: str, metric: str, key: str, values: Sequence[_Scored], found: Mapping[str, Any]
) -> str | None:
    """Return why a metric is no score by question in a task, or None when it is one."""
    numbers = [each.value for each in values]
    if not all(isinstance(number, int | float) and 0 <= number <= 1 for number in numbers):
        return "its values for single questions are no shares of 1"
    if found["higher_is_better"].get(task, {}).get(metric) is False:
        return "less of it is better"
    aggregate = found["results"][task].get(key)
    if not isinstance(aggregate, int | float) or not math.isclose(
        sum(numbers) / len(numbers), aggregate, rel_tol=0, abs_tol=SAME
    ):
        return "its aggregate is not the mean over the questions"
    return None


def _with_ids(task: str, values: Iterable[_Scored]) -> Iterator[tuple[str, Any]]:
    return ((_question_id(task, each.task, each.sample), each.value) for each in values)


def _question_id(asked: str, task: str, sample: Mapping[str, Any]) -> str:
    """Return what a document is known by: its place and its content, so that other data are other questions."""
    own = f"{sample['doc_id']}-{sample['doc_hash'][:12]}"
    return own if task == asked else f"{task}/{own}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _sample_lines(asked: str, samples: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the model answered, and what that is worth by each metric."""
    for task, rows in samples.items():
        for row in rows:
            kept = {key: row[key] for key in ("filter", "target", "resps", "filtered_resps", *row["metrics"])}
            line = {"task": task, "question_id": _question_id(asked, task, row)} | kept
            yield json.dumps(line, ensure_ascii=False) + "\n"


def _results(found: Mapping[str, Any], summary: Summary) -> dict[str, Any]:
    """Return what is kept of the harness's own results: all but the samples, and what it says of the machine."""
    kept = ("results", "groups", "group_subtasks", "versions", "n-shot", "n-samples", "higher_is_better", "configs")
    about = {"lm_eval": found["lm_eval_version"], "transformers": found["transformers_version"]}
    # The model was loaded here, so what the harness believes of where it is from is wrong.
    settings = {key: value for key, value in found["config"].items() if key not in OF_THE_MODEL}
    return {**about, "benchmarks": summary.benchmarks, "config": settings} | {
        key: found[key] for key in kept if key in found
    }

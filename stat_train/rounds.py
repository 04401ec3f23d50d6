"""A run as often as `rounds` says: each round is the method once more, for what the model before cannot do yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from stat_train import __version__, pipeline
from stat_train.compose import Settings, changed
from stat_train.config import Config, LocalStudent
from stat_train.errors import BudgetReached
from stat_train.evaluating import evaluation_of
from stat_train.evaluation.round_gain import Ending, why_to_end
from stat_train.evaluation.rounds_table import in_one_line, print_rounds, result_words, round_row, rounds_html
from stat_train.evaluation.summary import BASE
from stat_train.evaluation.tables import say
from stat_train.models.places import Weights
from stat_train.pipeline import Finished
from stat_train.run import Round, Run, Summary
from stat_train.store import Artifact, write_json, write_text
from stat_train.tasks.load import others_of, validation_of
from stat_train.track_settings import WandbTracking

ROUNDS_FILE, PAGE = "rounds.json", "rounds.html"


def carry_out(settings: Settings, command: Sequence[str], console: Console) -> Path:
    """Carry out all rounds of a run, the last as far as `until`; return the run folder.

    Round k has the run folder `round_k/` in it, and its student is the model of round k-1. They end before
    `rounds.count` when one was not worth it or nothing is missing any more: `round_gain.why_to_end` has the rule. The
    run folder shows the round that is the result: its files, and `evaluation.json` against the first student.
    A run that is started again finds what its rounds have made, and where they ended.
    Raises BudgetReached with the table of the finished rounds printed.
    """
    config = settings.config
    if config.rounds.count == 1:
        return pipeline.run(settings, command, console).folder
    with Run(settings, command, console) as whole:
        whole.folder.open(settings.yaml)
        done = list[Finished]()
        try:
            for number in range(1, config.rounds.count + 1):
                console.print(f"\nRound {number} of at most {config.rounds.count}", style="bold", highlight=False)
                done.append(_carry_out_one(whole, number, done))
                _show(whole, done)
                if done[-1].ended:
                    break
        except BudgetReached:
            _tell(whole, done, "the budget is reached")
            raise
        _show_result(whole, done)
        _tell(whole, done, _why_ended(config, done))
    return whole.folder.folder


def _carry_out_one(whole: Run, number: int, before: Sequence[Finished]) -> Finished:
    config, folder = whole.config, whole.folder.folder
    student = _model(before[-1]) if before else None
    from_first = bool(before) and config.rounds.start == "base"
    round = Round(
        number=number,
        student=student,
        start=before[0].arms[BASE] if from_first else None,
        earlier=tuple(_made(each, "curate") for each in before) if from_first else (),
        others=others_of(config, number),
        whole=folder,
        beside=_accounts(folder, [other for other in range(1, config.rounds.count + 1) if other != number]),
    )

    def ends(now: Path) -> Ending | None:
        return why_to_end(number, before[-1].folder, now) if before else None

    return pipeline.run(settings_of(config, number, student), whole.command, whole.console, round, ends)


def settings_of(config: Config, number: int, student: Weights | None) -> Settings:
    """Return the settings of one round, as those of a run of its own that asks the model of the round before."""
    folder = _folder(Path(config.run_dir).expanduser(), number)
    changes: dict[str, Any] = {"run_dir": str(folder), "rounds": config.rounds.model_copy(update={"count": 1})}
    if number < config.rounds.count:
        # A round that others follow is carried out whole.
        changes["until"] = "report"
    if student:
        assert isinstance(config.student, LocalStudent)
        changes["student"] = config.student.model_copy(update={"model": student.place, "revision": student.revision})
    if number > 1 and isinstance(config.rounds.validation, list):
        changes["task"] = config.task.model_copy(update={"validation": validation_of(config, number)})
    if config.push_to_hub:
        changes["push_to_hub"] = f"{config.push_to_hub}-{folder.name}"
    if isinstance(config.track, WandbTracking):
        name = f"{config.track.run_name or folder.parent.name}-{folder.name}"
        changes["track"] = config.track.model_copy(update={"run_name": name})
    return changed(Settings(config, ""), **changes)


def _folder(whole: Path, number: int) -> Path:
    return whole / f"round_{number}"


def _accounts(whole: Path, numbers: Iterable[int]) -> tuple[Path, ...]:
    """Return the folders as which rounds pay, in the way of `Run.pays_as`."""
    return tuple(whole if number == 1 else _folder(whole, number) for number in numbers)


def _model(finished: Finished) -> Weights:
    """Return the model that a round ended with."""
    return list(finished.arms.values())[-1]


def _made(finished: Finished, stage: str) -> Artifact:
    return next(artifact for artifact in finished.made if artifact.stage == stage)


# -- what the whole shows ---------------------------------------------------------------------------------------------


def _result(done: Sequence[Finished]) -> int:
    """Return the round whose model is the result, as far as is known; 0 for the student as it was."""
    if done and done[-1].ended:
        return done[-1].ended.result
    return max((number for number, each in enumerate(done, 1) if len(each.arms) > 1), default=0)


def _rows(done: Sequence[Finished]) -> list[dict[str, Any]]:
    """Return the numbers of the rounds, but of a last one that ended before its profile."""
    known, rows = set[str](), list[dict[str, Any]]()
    for number, each in enumerate(done, 1):
        fresh = [artifact for artifact in each.made if artifact.name not in known]
        known |= {artifact.name for artifact in fresh}
        if any(artifact.stage == "profile" for artifact in each.made):
            rows.append(round_row(number, each.folder, done[0].folder, sum(artifact.seconds for artifact in fresh)))
    return rows


def _show(whole: Run, done: Sequence[Finished]) -> None:
    """Show the result so far in the folder of the whole, and say what the last round came to."""
    result = _result(done)
    whole.folder.show(done[result - 1].folder if result else None)
    rows = _write(whole, done, None)
    if len(rows) == len(done):
        say(whole.console, in_one_line(rows[-1]))


def _write(whole: Run, done: Sequence[Finished], ended: str | None) -> list[dict[str, Any]]:
    """Write `rounds.json` and the page of the same; return the numbers of the rounds."""
    result, rows = _result(done), _rows(done)
    about = whole.config.rounds.model_dump() | {"stat_train": __version__, "rounds": rows}
    about |= {"result": result or None, "ended": ended}
    write_json(whole.folder.folder / ROUNDS_FILE, about)
    write_text(whole.folder.folder / PAGE, rounds_html(about, whole.config.run_dir))
    return rows


def _why_ended(config: Config, done: Sequence[Finished]) -> str:
    if done[-1].ended:
        return done[-1].ended.reason
    reached = f"rounds.count = {len(done)} is reached"
    return reached if config.until == "report" else f"{reached}, with until = {config.until}"


def _show_result(whole: Run, done: Sequence[Finished]) -> None:
    """Show what the result scores beside the first student, and write the manifest: the rounds are complete."""
    result = _result(done)
    whole.folder.made = list({artifact.name: artifact for each in done for artifact in each.made}.values())
    if result > 1 and any(artifact.stage == "evaluate" for artifact in done[result - 1].made):
        _evaluate_against_first(whole, done[0], done[result - 1])
    whole.folder.close(whole.command, costs=_costs(done, result, whole.config.rounds.start), result=result or None)


def _tell(whole: Run, done: Sequence[Finished], ended: str) -> None:
    """Print the table of rounds, why they ended and what the result is, and write it down."""
    rows, result = _write(whole, done, ended), _result(done)
    if rows:
        whole.console.print()
        print_rounds(rows, whole.console)
    say(whole.console, f"The rounds ended: {ended}. {result_words(result)}")
    whole.console.print(str(whole.folder.folder / PAGE), soft_wrap=True, markup=False, highlight=False)


def _evaluate_against_first(whole: Run, first: Finished, last: Finished) -> None:
    """Evaluate the result against the first student; what both answered is there."""
    arms = {BASE: first.arms[BASE]} | {name: weights for name, weights in last.arms.items() if name != BASE}
    questions, skill_map, overlapping = (_made(first, stage) for stage in ("questions", "label", "decontaminate"))
    evaluation_of(whole, questions, skill_map, overlapping, arms)


def _costs(done: Sequence[Finished], result: int, start: str) -> Summary:
    """Return what all rounds cost; the result's own fine-tuning are all trainings that it went through."""
    told = [each.costs for each in done]
    paid = [costs["paid"] for costs in told]
    usd = [each["usd"] for each in paid]
    own = told[:result] if start == "last" else told[max(0, result - 1) : result]
    seconds: dict[str, Any] = {}
    for costs in told:
        seconds |= costs["device_seconds"]
    return {
        "paid": {
            "calls": sum(each["calls"] for each in paid),
            "tokens": sum(each["tokens"] for each in paid),
            "usd": None if None in usd else round(sum(usd), 6),
            "at_most": any(each["at_most"] for each in paid),
        },
        "device_seconds": seconds,
        "fine_tuning_tokens": sum(costs["fine_tuning_tokens"] for costs in own),
        "all_fine_tuning_tokens": sum(costs["all_fine_tuning_tokens"] for costs in told),
        "reinforcement_tokens": sum(costs["reinforcement_tokens"] for costs in told),
    }

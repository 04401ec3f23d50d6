"""The plan of a run: made, and shown as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from stat_train.compose import Settings
from stat_train.config import BudgetCaps, Endpoint, EndpointStudent
from stat_train.diagnosis.answering import as_asked
from stat_train.models.budget import in_dollars
from stat_train.models.ledger import Spent
from stat_train.packages import absent_packages
from stat_train.plan.answers import AnswersPlan, answers_of, sizes_in, sizes_of
from stat_train.plan.asked import asked_of
from stat_train.plan.estimate import Between, StageEstimate, counting_for, estimate, total
from stat_train.plan.stand_in import look_at
from stat_train.plan.training import TrainingPlan, training_of
from stat_train.teacher.second import second_teacher

PRICES = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")


class Plan(NamedTuple):
    """What a run will ask, pay and train; `notes` say what was taken for granted, and what to look out for.

    `absent` are the settings that need a package which this machine has not.
    """

    models: dict[str, str]
    stages: list[StageEstimate]
    total: StageEstimate
    notes: list[str]
    training: list[TrainingPlan]
    answers: AnswersPlan | None
    absent: list[str]


def make_plan(settings: Settings) -> Plan:
    """Return the plan of a run; no call is made. The questions are read, and kept for the run."""
    config = settings.config
    asked_models = {"teacher": config.teacher, "student": config.student}
    if config.audit.sample:
        asked_models["audit"] = second_teacher(config).settings
    endpoints = {role: _as_called(node) for role, node in asked_models.items() if isinstance(node, Endpoint)}
    if not endpoints:
        answers = answers_of(config, sizes_in(config))
        return Plan({}, [], total([]), [], training_of(config), answers, absent_packages(config))
    counting = {role: counting_for(node.model) for role, node in endpoints.items()}
    speed = config.plan.output_tokens_per_second
    with look_at(settings) as (look, notes):
        stages = [estimate(a, endpoints[a.role], speed, look.ledger, counting[a.role]) for a in asked_of(look)]
        spent, sizes = look.budget.spent, sizes_of(look)
    whole = total(stages)
    notes = notes + [text for stage in stages for text in stage.assumed]
    notes += [_counting_note(node.model, counting[role].exact) for role, node in endpoints.items()]
    notes.append("replies are taken to be half to twice as long as plan.*_tokens; second tries are not counted")
    notes += _price_notes(endpoints) + _budget_notes(config.budget, whole, spent)
    models = {role: node.model for role, node in endpoints.items()}
    answers, notes = answers_of(config, sizes), list(dict.fromkeys(notes))
    return Plan(models, stages, whole, notes, training_of(config), answers, absent_packages(config))


def _as_called(endpoint: Endpoint) -> Endpoint:
    return as_asked(endpoint) if isinstance(endpoint, EndpointStudent) else endpoint


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON values."""
    whole = as_numbers(plan.total)
    stages = [_stage_json(stage) for stage in plan.stages]
    notes = plan.notes + absent_note(plan.absent)
    return {"models": plan.models, "stages": stages, "total": whole, "notes": notes} | {
        "training": {each.stage: each.numbers for each in plan.training},
        "answers": plan.answers and plan.answers.numbers,
    }


def as_numbers(whole: StageEstimate) -> dict[str, Any]:
    """Return the sum of several stages as plain JSON values."""
    return {name: value for name, value in _stage_json(whole).items() if name not in ("stage", "role", "limit")}


def print_plan(plan: Plan, console: Console) -> None:
    """Print what is paid for as a table, and a line for each training and for the answers."""
    _print_payments(plan, console)
    lines = [f"{each.stage}: {each.words}" for each in plan.training]
    lines += [f"answers of the student: {plan.answers.words}"] if plan.answers else []
    for line in lines + absent_note(plan.absent):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def absent_note(absent: Iterable[str]) -> list[str]:
    """Return the note that names the packages a run would need, each with its remedy; none when all are here."""
    told = "; ".join(dict.fromkeys(absent))
    return [f"to run it on this machine, a package is to be installed: {told}"] if told else []


def _print_payments(plan: Plan, console: Console) -> None:
    if not plan.models:
        console.print("Nothing in this run is paid for: neither teacher nor student is behind an endpoint.")
        return
    if not any(stage.calls for stage in plan.stages):
        console.print("Nothing is left to pay for: the ledger and earlier results have it all.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("stage", "asked"):
        table.add_column(name)
    for name in ("calls", "in ledger", "input tokens", "output tokens", "US dollars", "hours"):
        table.add_column(name, justify="right")
    for stage in [*plan.stages, plan.total]:
        table.add_row(*_cells(stage))
    console.print(table)
    console.print()
    for note in plan.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    console.print("\nNo call was made.", highlight=False)


def _cells(stage: StageEstimate) -> list[str]:
    calls = f"{'about ' if stage.assumed else ''}{stage.calls:,}"
    return [stage.stage, stage.role, calls, f"{stage.in_ledger:,}", *in_words(stage), f"{stage.hours:.2f}"]


def in_words(stage: StageEstimate) -> tuple[str, str, str]:
    """Return the tokens of prompts, those of replies, and the dollars of a stage for reading."""
    usd = "unknown" if stage.usd is None else f"{in_dollars(stage.usd.low)} to {in_dollars(stage.usd.high)}"
    return _range(stage.input_tokens), _range(stage.output_tokens), usd


def _range(value: Between) -> str:
    if round(value.low) == round(value.high):
        return f"{value.expected:,.0f}"
    return f"{_short(value.low)} to {_short(value.high)}"


def _short(value: float) -> str:
    if value >= 999_500:
        return f"{value / 1e6:,.1f} M"
    return f"{value / 1e3:,.0f} k" if value >= 1000 else f"{value:,.0f}"


def _counting_note(model: str, exact: bool) -> str:
    if exact:
        return f"{model}: the tokens of prompts are counted with its own tokenizer"
    return f"{model}: the tokens of prompts are estimated (characters / 4, give or take a quarter)"


def _price_notes(endpoints: Mapping[str, Endpoint]) -> list[str]:
    # The teacher that is asked again itself has one price.
    again = "audit" in endpoints and endpoints["audit"].model == endpoints["teacher"].model
    asked = {role: node for role, node in endpoints.items() if not (again and role == "audit")}
    unpriced = [f"{role}.{name}" for role, node in asked.items() for name in PRICES if getattr(node, name) is None]
    remedy = f"give {' and '.join(unpriced)} (0 for a server of your own)"
    return [f"THE PRICE IS UNKNOWN, so the dollars are: {remedy}"] if unpriced else []


def _budget_notes(caps: BudgetCaps, whole: StageEstimate, spent: Spent) -> list[str]:
    """Return which caps the run will probably reach, with what it has spent before."""
    tokens = spent.tokens + whole.input_tokens.expected + whole.output_tokens.expected
    needs = {"max_calls": float(spent.calls + whole.calls), "max_tokens": tokens}
    before = {"max_calls": spent.calls, "max_tokens": spent.tokens, "max_usd": spent.usd}
    needs["max_usd"] = spent.usd + (whole.usd.expected if whole.usd else 0.0)
    return [
        f"budget.{name} = {cap:,} will {'' if cap < before[name] else 'probably '}be reached: about "
        f"{in_dollars(needed) if name == 'max_usd' else f'{needed:,.0f}'} in all. The run stops there, and keeps what "
        "it has"
        for name, needed in needs.items()
        if (cap := getattr(caps, name)) is not None and needed > cap
    ]


def _stage_json(stage: StageEstimate) -> dict[str, Any]:
    values = stage._asdict() | {"assumed": list(stage.assumed), "hours": round(stage.hours, 4)}
    del values["different"]
    for name in ("input_tokens", "output_tokens"):
        values[name] = {key: round(number) for key, number in getattr(stage, name)._asdict().items()}
    if stage.usd:
        values["usd"] = {key: round(number, 4) for key, number in stage.usd._asdict().items()}
    return values

"""A row's history, or a list of rows, as a user reads it; texts of models are shown as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stat_train.evaluation.tables import EDGES, GAP, add_row, new_table, plain, say, shortened
from stat_train.models.budget import in_dollars
from stat_train.models.calls import Call, Payment
from stat_train.records import TrainingExample
from stat_train.trace.lineage import Downstream, RowTrace, Seed, Step, TracedCall, WrongAnswer

if TYPE_CHECKING:
    from rich.console import Console

INDENT = "  "
SHORTEST_TEXT = 16


def print_trace(found: RowTrace | Downstream, console: Console) -> None:
    """Print what was traced: a row with whole texts, or rows one a line."""
    if isinstance(found, RowTrace):
        _print_row(found, console)
    else:
        _print_rows(found, console)


# -- one row ----------------------------------------------------------------------------------------------------------


def _print_row(found: RowTrace, console: Console) -> None:
    row = found.row
    say(console, plain(f"Training row {row.id} of {found.run}"), "bold")
    _line(console, f"recipe {row.recipe}, drawn {found.drawn}")
    _line(console, f"skills: {', '.join(row.skills) or 'no label'}")
    _texts(console, ("question", row.question), ("answer", row.answer))
    if found.wrong:
        _print_wrong(found.wrong, console)
    _head(console, f"Seed questions: {len(found.seeds) or 'none'}")
    for seed in found.seeds:
        _print_seed(seed, row, console)
    _head(console, f"Calls behind it: {len(found.calls) or 'none'}")
    for call in found.calls:
        _print_call(call, found.run, console)


def _print_wrong(wrong: WrongAnswer, console: Console) -> None:
    question, rule = wrong.question, f", by {wrong.difficulty.rule}" if wrong.difficulty else ""
    _head(console, f"Difficult question {question.id}{rule}")
    if wrong.label:
        reason = f" ({wrong.label.reason})" if wrong.label.reason else ""
        _line(console, f"requires: {', '.join(wrong.label.skills)}{reason}")
    _texts(console, ("question", question.question), ("right answer", question.answer))
    _print_answer(wrong, console)
    if wrong.diagnosis is None:
        _head(console, "Diagnosis: none")
        return
    _head(console, f"Diagnosis: {wrong.diagnosis.judgement}")
    _line(console, f"missing skills: {', '.join(wrong.diagnosis.missing_skills) or 'none'}")
    _texts(console, ("explanation", wrong.diagnosis.explanation))


def _print_answer(wrong: WrongAnswer, console: Console) -> None:
    if wrong.answer is None:
        _head(console, "Student's answer: none")
        return
    grade = wrong.grade
    verdict = f"{grade.verdict}{f' ({grade.reason})' if grade.reason else ''}" if grade else "not graded"
    nothing = "" if wrong.answer.text.strip() else ", without a word"
    _head(console, f"Student's answer: {verdict}, attempt {wrong.answer.attempt}{nothing}")
    if wrong.unscored:
        _line(console, f"no step rewards: {wrong.unscored}")
    scored = any(step.reward is not None for step in wrong.steps)
    if scored:
        _line(console, "reward  step")
    for step in wrong.steps:
        _print_step(step, console)


def _print_step(step: Step, console: Console) -> None:
    first = "" if step.reward is None else f"{step.reward:>6.2f}  "
    for index, line in enumerate(step.text.splitlines()):
        _line(console, f"{' ' * len(first) if index else first}{line}")


def _print_seed(seed: Seed, row: TrainingExample, console: Console) -> None:
    """Print a pool question; what is the row's own, word for word, stands above."""
    _line(console, f"{seed.id}, skills: {', '.join(seed.skills) or 'no label'}")
    if seed.question is None:
        _line(console, "not in the run's pool", 2)
        return
    own_question, own_solution = seed.question.question == row.question, seed.question.solution == row.answer
    question = "as in the row" if own_question else seed.question.question
    solution = "as in the row" if own_solution else seed.question.solution
    _texts(console, ("question", question), ("solution", solution), depth=2)


def _texts(console: Console, *parts: tuple[str, str | None], depth: int = 1) -> None:
    """Print texts whole, each under its name, or beside it when it is one line."""
    for name, text in parts:
        lines = (text or "none").splitlines()
        if len(lines) == 1:
            _line(console, f"{name}: {lines[0]}", depth)
            continue
        _line(console, f"{name}:", depth)
        for line in lines:
            _line(console, line, depth + 1)


# -- calls ------------------------------------------------------------------------------------------------------------


def _print_call(call: TracedCall, run: Path, console: Console) -> None:
    _line(console, f"{call.id}  {call.purpose}")
    for line in _call_words(call.known, run):
        _line(console, line, 2)


def _call_words(call: Call | None, run: Path) -> Iterator[str]:
    """Yield in words who was asked, what came, and who paid what for it."""
    if call is None:
        yield "not in the ledger of this run's cache_dir, so neither model nor price are known"
        return
    version = f", version {call.prompt_version}" if call.prompt_version else ""
    revision = f" at {call.revision}" if call.revision else ""
    yield f"{call.model}{revision}, prompt {call.prompt_name or 'unknown'}{version}"
    tries = f" (reply {call.attempts}: those before it could not be used)" if call.attempts > 1 else ""
    state = "" if call.outcome == "ok" else f", {call.outcome}"
    yield f"{call.input_tokens:,} + {call.output_tokens:,} tokens{state}{tries}"
    yield "; ".join(_paid(call, run)) or "no run has paid for it"


def _paid(call: Call, run: Path) -> Iterator[str]:
    """Yield what each run paid; a folder may be named in another way now than when it ran."""
    for payer in dict.fromkeys(payment.run for payment in call.payments):
        own = Path(payer).resolve() == run.resolve()
        who = "this run" if own else f"{payer} (this run found it in the ledger)"
        yield f"{_price([each for each in call.payments if each.run == payer], call.priced)}, paid by {who}"


def _price(payments: list[Payment], priced: bool) -> str:
    settled, lost = ([each.usd for each in payments if each.settled is state] for state in (True, False))
    if not priced:
        return "price unknown"
    replies = f" for {len(settled)} replies" if len(settled) > 1 else ""
    more = f" and at most {in_dollars(sum(lost))} for what was under way when a process or a connection ended"
    return f"{in_dollars(sum(settled))}{replies}{more if lost else ''}"


# -- rows -------------------------------------------------------------------------------------------------------------


def _print_rows(found: Downstream, console: Console) -> None:
    name = {"skill": "Skill", "question": "Question", "call": "Call"}[found.kind]
    say(console, plain(f"{name} {found.id} in {found.run}"), "bold")
    for text in found.about:
        _line(console, text)
    for call in found.calls:
        _print_call(call, found.run, console)
    _head(console, f"Training rows: {len(found.rows)}")
    if found.rows:
        _print_table(found.rows, console)


def _print_table(rows: list[TrainingExample], console: Console) -> None:
    """Print a row a line: what it was drawn for, what it was made from, and the beginning of its question."""
    table = new_table()
    cells = [(row.id, row.origin.question_id or "–", row.origin.skill or "–", _seeds(row)) for row in rows]
    names = ("row", "difficult question", "skill", "made from")
    taken = sum(
        max(len(name), *map(len, column)) + GAP for name, column in zip(names, zip(*cells, strict=True), strict=True)
    )
    room = max(SHORTEST_TEXT, console.width - taken - EDGES)
    for name in (*names, "question"):
        table.add_column(name, no_wrap=True)
    for row, first in zip(rows, cells, strict=True):
        add_row(table, *first, shortened(plain(row.question), room))
    console.print(table)


def _seeds(row: TrainingExample) -> str:
    first, more = row.origin.seed_ids[:1], len(row.origin.seed_ids) - 1
    return "".join(first or ["–"]) + (f" +{more}" if more > 0 else "")


# -- lines ------------------------------------------------------------------------------------------------------------


def _head(console: Console, text: str) -> None:
    console.print()
    say(console, plain(text), "bold")


def _line(console: Console, text: str, depth: int = 1) -> None:
    """Print a line as it is, and whole: a terminal may wrap it, we do not."""
    console.print((INDENT * depth + plain(text)).rstrip(), markup=False, highlight=False, soft_wrap=True)

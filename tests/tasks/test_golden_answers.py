"""The golden table of answers: real and made-up pairs, each with the verdict that is right."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from stat_train.tasks.answer_text import as_latex, as_text, for_algebra, same_without_algebra
from stat_train.tasks.answers import compare

TABLE = Path(__file__).parents[1] / "golden" / "answers.json"
CASES: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
KINDS = {
    *("fractions", "radicals", "intervals", "sets", "tuples", "units", "percent", "degrees", "matrices"),
    *("text answers", "multiple choice", "thousands separators", "text wrappers", "times of day", "mixed numbers"),
    *("bases", "expressions", "equations", "plus minus", "decimals", "scientific notation", "currency", "infinity"),
    *("complex numbers", "logarithms and trigonometry", "unicode", "punctuation and markup"),
}
SIZE = 300_000


def _parameter(case: dict[str, Any]) -> Any:
    marks = [pytest.mark.xfail(strict=True, reason=case["known"])] if "known" in case else []
    return pytest.param(case, marks=marks, id=f"{case['kind']}: {case['gold']} | {case['given']}")


@pytest.mark.parametrize("case", [_parameter(case) for case in CASES])
def test_verdict(case: dict[str, Any]) -> None:
    assert compare(case["gold"], case["given"], case.get("grader", "math"))[0] == case["verdict"]


def test_the_table_is_whole() -> None:
    assert len(CASES) >= 150
    pairs = Counter((case["gold"], case["given"], case.get("grader", "math")) for case in CASES)
    assert [pair for pair, times in pairs.items() if times > 1] == []
    assert [case for case in CASES if not case["source"].strip()] == []
    assert sum("known" in case for case in CASES) <= 5


def test_every_kind_has_right_and_wrong_answers() -> None:
    verdicts: dict[str, list[str]] = defaultdict(list)
    for case in CASES:
        verdicts[case["kind"]].append(case["verdict"])
    assert set(verdicts) == KINDS
    assert [kind for kind, of in verdicts.items() if len(of) < 6 or not {"correct", "wrong"} <= set(of)] == []


def test_the_table_is_grouped_by_kind() -> None:
    """One case a line and one kind after the other, so that a change of the table reads well."""
    kinds = [case["kind"] for case in CASES]
    assert kinds == sorted(kinds, key=list(dict.fromkeys(kinds)).index)
    assert len(TABLE.read_text(encoding="utf-8").splitlines()) == len(CASES) + 2


def test_every_gold_answer_taken_from_the_data_is_in_it(shared_data: Path) -> None:
    lines = [line for part in ("train", "test") for line in (shared_data / "math" / f"{part}.jsonl").open()]
    answers = {row["id"]: row["answer"] for row in map(json.loads, lines)}
    taken = [case for case in CASES if case["source"].startswith(("MATH train ", "MATH test "))]
    ids = ["math-" + case["source"].removeprefix("MATH ").replace(" ", "-", 1) for case in taken]
    assert [case for case, id_ in zip(taken, ids, strict=True) if answers[id_] != case["gold"]] == []


HOSTILE = [
    "1",
    "1 ",
    "a",
    "A,",
    "(",
    "{",
    "\\",
    "\\text{",
    "\\text{a} ",
    "^\\circ",
    "1^\\circ ",
    "√(",
    "²",
    "and ",
    "1=",
]


@pytest.mark.parametrize("start", ["", "\\sin 5", "\\text{"])
@pytest.mark.parametrize(
    "unit", [*HOSTILE, "sqrt(", "1/", "[1,", "\\{1,", "5 cm ", "p.m.", "1:", "\\frac1", "1{,}000", "_"]
)
def test_reading_text_is_linear(unit: str, start: str) -> None:
    """It takes a fraction of a second; a quadratic scan would take many minutes."""
    clock = time.perf_counter()
    latex = as_latex(start + unit * (SIZE // len(unit)))
    as_text(latex), for_algebra(latex)
    for other in ("5", r"\text{4:30 p.m.}", r"\text{even}", "101_2"):
        same_without_algebra(other, latex), same_without_algebra(latex, other)
    assert time.perf_counter() - clock < 10

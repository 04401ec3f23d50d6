"""Whether gold answers are found and recognised, and what comparing in worker processes costs.

    STAT_TRAIN_DATA=FOLDER python benchmarks/answers.py

FOLDER holds math/train.jsonl, math/test.jsonl (MATH with solutions and answers) and math/responses.jsonl (sampled
answers with the verdicts of another grader). Three parts:

    solutions   every MATH solution graded against its own answer, extraction included: how many are correct, wrong and
                unscored (goal: none wrong, at most 0.1 % unscored), next to math-verify on the whole solution
    responses   the recorded answers: how often our extraction and our verdict agree with the recorded ones
    speed       pairs of different answers, which take mathematics: answers per second of one worker process over those
                of math-verify called in this process, in turn in one run (goal 0.5)

Cost: about three minutes on one core.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stat_train.tasks.answer_pool import PooledGrader  # noqa: E402
from stat_train.tasks.answers import extract_final  # noqa: E402
from stat_train.tasks.graders import Pair  # noqa: E402

TIMEOUT_SECONDS = 5.0
SPEED_PAIRS, ROUNDS = 2000, 5


def rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of the data folder."""
    folder = os.environ.get("STAT_TRAIN_DATA")
    if not folder:
        sys.exit("set STAT_TRAIN_DATA to the folder that holds math/train.jsonl")
    return [json.loads(line) for line in (Path(folder) / name).read_text(encoding="utf-8").splitlines()]


def bare(gold: str, given: str) -> bool:
    """Compare with math-verify alone, as its documentation shows, without its time limits by signal."""
    from math_verify import parse, verify

    return bool(verify(parse(gold, parsing_timeout=None), parse(given, parsing_timeout=None), timeout_seconds=None))


def solutions() -> None:
    """Grade every solution against its own answer."""
    asked = [row for name in ("math/train.jsonl", "math/test.jsonl") for row in rows(name) if row["answer"]]
    pairs = [Pair(row["question"], row["answer"], extract_final(row["solution"])) for row in asked]
    with PooledGrader("math", TIMEOUT_SECONDS, processes=1) as grader:
        start = time.perf_counter()
        found = grader.compare(pairs)
        seconds = time.perf_counter() - start
    counts = Counter(each.verdict for each in found)
    print(f"\nMATH solutions against their own answers: {len(pairs):,}")
    print(f"  ours         {_words(counts)}, {len(pairs) / seconds:,.0f} answers/s (most are equal to the letter)")
    for row, each in zip(asked, found, strict=True):
        if each.verdict != "correct":
            print(f"    {row['id']}: {each.verdict}, {each.reason}")
    whole = Counter("correct" if bare(f"${row['answer']}$", row["solution"]) else "wrong" for row in asked)
    print(f"  math-verify  {_words(whole)}, on whole solutions")


def responses() -> None:
    """Compare extraction and verdicts with the recorded ones."""
    recorded = rows("math/responses.jsonl")
    finals = [extract_final(text) or "" for row in recorded for text in row["responses"]]
    extracted = [text for row in recorded for text in row["extracted"]]
    verdicts = [correct for row in recorded for correct in row["correct"]]
    golds = [row["answer"] for row in recorded for _ in row["responses"]]
    with PooledGrader("math", TIMEOUT_SECONDS, processes=1) as grader:
        found = grader.compare([Pair("", gold, final) for gold, final in zip(golds, finals, strict=True)])
    same = sum(final.replace(" ", "") == text for final, text in zip(finals, extracted, strict=True))
    agree = sum((each.verdict == "correct") == right for each, right in zip(found, verdicts, strict=True))
    texts = sum(
        (gold.replace(" ", "") == text) == right for gold, text, right in zip(golds, extracted, verdicts, strict=True)
    )
    print(f"\nRecorded answers: {len(finals)}")
    print(f"  extraction agrees on {same}, verdict on {agree}; equality of texts would err on {len(finals) - texts}")


def speed() -> None:
    """Compare pairs of different answers in a worker, and in this process."""
    answers = list(dict.fromkeys(row["answer"] for row in rows("math/test.jsonl")))
    pairs = [Pair("", *two) for two in pairwise(answers)][:SPEED_PAIRS]

    def plain() -> None:
        for _, gold, given in pairs:
            bare(f"${gold}$", f"${given}$")

    ratios = []
    with PooledGrader("math", TIMEOUT_SECONDS, processes=1) as grader:
        grader.compare([Pair("", "1/2", "0.5")])
        bare("$1/2$", "$0.5$")
        print(f"\n{len(pairs):,} pairs of different answers, one worker")
        for _ in range(ROUNDS):
            mine, theirs = _per_second(lambda: grader.compare(pairs), pairs), _per_second(plain, pairs)
            ratios.append(mine / theirs)
            print(f"  ours {mine:,.0f} answers/s, math-verify in this process {theirs:,.0f}: {mine / theirs:.2f}")
    print(f"  median {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), goal 0.5")


def _per_second(work: Callable[[], object], pairs: Sequence[Pair]) -> float:
    start = time.perf_counter()
    work()
    return len(pairs) / (time.perf_counter() - start)


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in ("correct", "wrong", "unscored"))


if __name__ == "__main__":
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    solutions()
    responses()
    speed()

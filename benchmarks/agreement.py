"""How many wrong solutions agreement leaves in a training set, and what it costs.

    python benchmarks/agreement.py [--quick]

New questions have no known answer. Several solutions of each are asked for, and those that end in the commonest answer
are kept when enough of them do: 2 of 3, or 3 of 5 (`stat_train/curation/agreement.py`). Here a made-up teacher is wrong
with probability e. A wrong solution makes the question's usual error with probability sqrt(c), and else an error of its
own, so that two wrong solutions are the same with probability c. Every answer in agreement is kept
(`answers_per_question` equals `solutions`). Measured through the real code, seed by seed, beside the exact value:

    of n solutions, Binomial(n, 1 - e) are right and Binomial(n, e sqrt(c)) make the usual error; a group is kept when
    it has m, and two groups cannot, since m is more than half of n. Stopping early changes nothing: a question is given
    up only when no group can reach m. So the mean number kept is the sum over k >= m of k C(n, k) p^k (1 - p)^(n - k),
    with p = 1 - e for right ones and p = e sqrt(c) for wrong ones

What agreement cannot catch: it sees only whether solutions differ. An error that most solutions share (c near 1: a step
that the teacher always takes wrongly, a question that it always misreads) passes as often as a right answer of the same
frequency, and a question that is wrong in itself has nothing right to agree on. More solutions do not help then: where
the teacher is wrong more often than not, in the same way, they make its error surer. The right answer by a wrong way is
kept too. What helps is another judge of the answer (a program, another model, a person), not another sample.

Cost: about two minutes on one core, a few seconds with --quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from math import comb, sqrt
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stat_train.curation.agreement import Filter, solve  # noqa: E402
from stat_train.tasks.graders import PlainGrader  # noqa: E402
from stat_train.teacher.contract import SolveRequest, Written  # noqa: E402

RULES = (Filter(solutions=3, must_agree=2, kept=3), Filter(solutions=5, must_agree=3, kept=5))
WRONG = (0.1, 0.2, 0.3, 0.4, 0.5)
# A call of `stat_syn` writes two new questions.
CALLS_FOR_A_QUESTION = 0.5
SAME = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


class Kept(NamedTuple):
    """What is kept of the solutions of some questions, and how many solutions were asked for."""

    right: int
    wrong: int
    questions: int
    asked: int

    @property
    def wrong_percent(self) -> float:
        """The share of wrong ones among those that are kept."""
        return 100 * self.wrong / (self.right + self.wrong)


class Teacher:
    """Solves questions, rightly or not, and counts what it was asked."""

    def __init__(self, random: Random, wrong: float, same: float) -> None:
        self.random, self.wrong, self.usual = random, wrong, sqrt(same)
        self.asked = 0

    def solve(self, requests: Sequence[SolveRequest]) -> Iterator[Written]:
        """Yield a solution for each request."""
        for _ in requests:
            self.asked += 1
            yield Written(f"So it is.\n\nThe final answer is: \\boxed{{{self._answer()}}}", [])

    def _answer(self) -> str:
        if self.random.random() >= self.wrong:
            return "right"
        return "usual" if self.random.random() < self.usual else f"own {self.asked}"


def simulated(rule: Filter, wrong: float, same: float, questions: int, seed: int) -> Kept:
    """Return what the filter keeps of a teacher's solutions."""
    teacher = Teacher(Random(f"{seed}/{rule}/{wrong}/{same}"), wrong, same)
    solved = solve({str(n): str(n) for n in range(questions)}, teacher.solve, PlainGrader("exact"), rule)
    kept = ["right" in (each.solutions[place].text or "") for each in solved for place in each.agreed(rule)]
    return Kept(sum(kept), len(kept) - sum(kept), questions, teacher.asked)


def exact_wrong_percent(rule: Filter, wrong: float, same: float) -> float:
    """Return the share of wrong ones among those that are kept, by the sum that is derived above."""

    def kept(p: float) -> float:
        n = rule.solutions
        return sum(k * comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(rule.must_agree, n + 1))

    left = kept(wrong * sqrt(same))
    return 100 * left / (left + kept(1 - wrong))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean (Student's t)."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean(values) - half, mean(values) + half


def print_table(title: str, cells: dict[tuple[float, float], str]) -> None:
    """Print a table with a line for each rate of wrong solutions and a column for each probability of the same one."""
    print(f"\n{title}\n\n| wrong | " + " | ".join(f"c = {same:g}" for same in SAME) + " |")
    print("|---:|" + "---:|" * len(SAME))
    for wrong in WRONG:
        print(f"| {wrong:g} | " + " | ".join(cells[wrong, same] for same in SAME) + " |")


def main() -> None:
    """Simulate every teacher under every rule and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few questions; the intervals are wide")
    seeds, questions = (4, 200) if parser.parse_args().quick else (10, 2000)
    print("# How many wrong solutions agreement leaves\n")
    print(f"`python benchmarks/agreement.py`: {seeds} seeds, {questions:,} questions each. The teacher is wrong at the")
    print("rate of the line; two wrong solutions are the same error with probability c.")
    held = 0
    for rule in RULES:
        left, yields = dict[tuple[float, float], str](), dict[tuple[float, float], str]()
        for wrong, same in ((wrong, same) for wrong in WRONG for same in SAME):
            found = [simulated(rule, wrong, same, questions, seed) for seed in range(seeds)]
            (low, high), exact = (
                interval([each.wrong_percent for each in found]),
                exact_wrong_percent(rule, wrong, same),
            )
            held += low <= exact <= high
            middle = mean(each.wrong_percent for each in found)
            left[wrong, same] = f"**{middle:.1f}** ({low:.1f} to {high:.1f}), {exact:.1f}"
            kept, asked = sum(each.right + each.wrong for each in found), sum(each.asked for each in found)
            yields[wrong, same] = f"{kept / asked:.2f}, {(asked + seeds * questions * CALLS_FOR_A_QUESTION) / kept:.2f}"
        name = f"{rule.must_agree} of {rule.solutions}"
        print_table(f"{name}: wrong among kept in %, measured (95 % interval), exact", left)
        print_table(
            f"{name}: kept of the solutions asked for, and calls for each kept row (with half a call for the question)",
            yields,
        )
    print(f"\nThe exact value is in {held} of {len(RULES) * len(WRONG) * len(SAME)} intervals.")


if __name__ == "__main__":
    main()

"""Which solutions are trusted, and how many wrong ones are left: against the closed form that is derived here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import comb, prod, sqrt
from random import Random

import pytest

from stat_train.curation.agreement import Filter, Solved, solve
from stat_train.tasks.graders import PlainGrader
from stat_train.teacher.contract import SolveRequest, Written

EXACT = PlainGrader("exact")
PAPER = Filter(solutions=3, must_agree=2, kept=3)


class Solver:
    """Gives the answers that are written down for each question, and counts what it was asked."""

    def __init__(self, answers: Mapping[str, Sequence[str | None]]) -> None:
        self.answers, self.asked = answers, list[tuple[str, int]]()
        self.rounds = 0

    def __call__(self, requests: Sequence[SolveRequest]) -> Iterator[Written]:
        self.rounds += 1
        for id, question, sample in requests:
            self.asked.append((id, sample))
            answer = self.answers[question][sample]
            text = None if answer is None else f"So it is.\n\nThe final answer is: \\boxed{{{answer}}}"
            yield Written(text, [f"{id}#{sample}"], "refused" if text is None else None)


def _solve(answers: Mapping[str, Sequence[str | None]], rule: Filter = PAPER) -> tuple[dict[str, Solved], Solver]:
    solver = Solver(answers)
    found = solve({id: id for id in answers}, solver, EXACT, rule)
    return {each.id: each for each in found}, solver


@pytest.mark.parametrize(
    ("answers", "kept", "agreed", "asked"),
    [
        ("112", 3, [0, 1], 3),  # decided after two, but a third could be trained on
        ("111", 3, [0, 1, 2], 3),
        ("112", 2, [0, 1], 2),  # decided after two, and no more is wanted
        ("112", 1, [0], 2),
        ("121", 2, [0, 2], 3),
        ("122", 2, [1, 2], 3),
        ("123", 2, [], 3),
    ],
)
def test_two_of_three(answers: str, kept: int, agreed: list[int], asked: int) -> None:
    rule = Filter(3, 2, kept)
    found, solver = _solve({"q": list(answers)}, rule)
    assert (found["q"].agreed(rule), len(solver.asked)) == (agreed, asked)


def test_no_solution_is_asked_for_when_no_group_can_become_large_enough() -> None:
    """Three of four have to agree: after 1, 2, 3 one more cannot make three."""
    found, solver = _solve({"q": list("1234")}, Filter(4, 3, 4))
    assert (found["q"].agreed(Filter(4, 3, 4)), len(solver.asked)) == ([], 3)


def test_all_questions_are_asked_about_together_and_each_as_often_as_it_needs() -> None:
    found, solver = _solve({"same": list("11x"), "late": list("121"), "none": list("123")}, Filter(3, 2, 2))
    assert Counter(id for id, _ in solver.asked) == {"same": 2, "late": 3, "none": 3}
    assert solver.rounds == 2
    assert [len(each.solutions) for each in found.values()] == [2, 3, 3]


def test_a_solution_that_is_none_agrees_with_nothing() -> None:
    """Neither with another one that is none: two refusals are not an answer."""
    found, _ = _solve({"q": [None, None, "1"], "r": [None, "1", "1"]})
    assert (found["q"].agreed(PAPER), found["r"].agreed(PAPER)) == ([], [1, 2])


def test_answers_are_compared_by_the_tasks_grader() -> None:
    solver = Solver({"q": ["0.5", "1/2", "2"]})
    (found,) = solve({"q": "q"}, solver, PlainGrader("numeric"), PAPER)
    assert found.agreed(PAPER) == [0, 1]


# -- how many wrong solutions are left --------------------------------------------------------------------------------


def kept_solutions(wrong: float, same: float) -> tuple[float, float]:
    """Return how many right and wrong solutions two-of-three keeps of a question, on average.

    A solution is wrong with probability e. Each wrong one makes the question's usual error with probability s, so that
    two are the same with probability c = s * s, and else an error of its own. With r = 1 - e, of three solutions
    - all are right with r^3: three right ones are kept;
    - two are right with 3 r^2 e: two right ones are kept;
    - one is right with 3 r e^2: the two wrong ones are kept when they are the same, with c;
    - none is right with e^3: all three are kept when all make the usual error, with s^3, and two when just two do, with
      3 s^2 (1 - s).
    """
    e, r, c, s = wrong, 1 - wrong, same, sqrt(same)
    right = 3 * r**3 + 2 * 3 * r**2 * e
    return right, 2 * 3 * r * e**2 * c + e**3 * (3 * s**3 + 2 * 3 * s**2 * (1 - s))


def _simulated(wrong: float, same: float, questions: int) -> tuple[int, int]:
    random = Random(0)

    def answer(sample: int) -> str:
        if random.random() >= wrong:
            return "right"
        return "usual" if random.random() < sqrt(same) else f"own {sample}"

    answers = {str(n): [answer(sample) for sample in range(3)] for n in range(questions)}
    found, _ = _solve(answers)
    kept = Counter(answers[id][place] == "right" for id, each in found.items() for place in each.agreed(PAPER))
    return kept[True], kept[False]


@pytest.mark.parametrize("same", [0.1, 0.5, 1.0])
def test_what_is_kept_of_a_teacher_that_is_wrong_three_times_in_ten(same: float) -> None:
    """Within four standard errors, which are at most sqrt(3) a question: the number kept is between 0 and 3."""
    questions = 8_000
    found, expected = _simulated(0.3, same, questions), kept_solutions(0.3, same)
    assert found == pytest.approx([questions * count for count in expected], abs=4 * sqrt(3 * questions))


@pytest.mark.parametrize("rule", [PAPER, Filter(5, 3, 5), Filter(4, 3, 4)])
@pytest.mark.parametrize(("wrong", "same"), [(0.3, 0.0), (0.3, 0.25), (0.5, 0.5), (0.2, 1.0)])
def test_every_outcome_weighted_by_its_probability(rule: Filter, wrong: float, same: float) -> None:
    """A group is kept when it has m of n, and two cannot; what is stopped early could not have reached m.

    Right ones are Binomial(n, 1 - e) and usual errors Binomial(n, e s): on average, the sum over k >= m of
    k C(n, k) p^k (1 - p)^(n - k) is kept of each.
    """
    chances = {"right": 1 - wrong, "usual": wrong * sqrt(same), "own": wrong * (1 - sqrt(same))}
    outcomes = dict(enumerate(product(chances, repeat=rule.solutions)))
    answers = {
        str(n): [f"own {place}" if kind == "own" else kind for place, kind in enumerate(kinds)]
        for n, kinds in outcomes.items()
    }
    kept, found = dict.fromkeys(chances, 0.0), _solve(answers, rule)[0]
    for n, kinds in outcomes.items():
        for place in found[str(n)].agreed(rule):
            kept[kinds[place]] += prod(chances[kind] for kind in kinds)
    ks = range(rule.must_agree, rule.solutions + 1)
    for kind in ("right", "usual"):
        p, n = chances[kind], rule.solutions
        assert kept[kind] == pytest.approx(sum(k * comb(n, k) * p**k * (1 - p) ** (n - k) for k in ks))
    assert kept["own"] == 0
    if rule == PAPER:
        assert (kept["right"], kept["usual"]) == pytest.approx(kept_solutions(wrong, same))


def test_of_independent_errors_less_than_a_twentieth_is_left_and_of_common_ones_a_fifth() -> None:
    """Two errors that are the same one time in ten: 0.051 wrong ones to 1.911 right ones, 2.6 %."""
    shares = [wrong / (right + wrong) for right, wrong in (kept_solutions(0.3, same) for same in (0.1, 1.0))]
    assert shares == pytest.approx([0.0262, 0.1937], abs=0.0001)

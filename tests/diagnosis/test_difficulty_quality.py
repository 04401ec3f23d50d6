"""How good a strategy is, against tables worked out by hand, and what other thresholds would give."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.config import ConsistencyDifficulty, GoldDifficulty, LengthDifficulty, StepRewardDifficulty
from stat_train.diagnosis.difficulty import Rewards, Settings, by_rewards, find_difficult
from stat_train.diagnosis.difficulty_quality import (
    CONSISTENCY,
    MIN_WORDS,
    TAU1,
    TAU2,
    Evidence,
    agreement,
    difficulty_quality,
    sweep,
)
from stat_train.records import Answer, Grade, Question, Verdict
from stat_train.tasks.graders import PlainGrader

VERDICTS: Mapping[str, Verdict] = {"+": "correct", "-": "wrong", "?": "unscored"}
EXACT = PlainGrader("exact")
LENGTH = LengthDifficulty(name="length", samples=5, temperature=1.0, min_words=3)


def _gold(attempts: str) -> GoldDifficulty:
    return GoldDifficulty.model_validate({"name": "gold", "attempts": attempts})


def _by_steps(attempts: str = "first", tau1: float = 0.85, tau2: float = 0.7) -> StepRewardDifficulty:
    usual: Any = read_settings([]).config.difficulty
    assert isinstance(usual, StepRewardDifficulty)
    return usual.model_copy(update={"attempts": attempts, "tau1": tau1, "tau2": tau2})


def _answer(id: str, attempt: int, text: str) -> Answer:
    return Answer(
        question_id=id,
        attempt=attempt,
        text=text,
        final=text.split()[-1],
        finish_reason="stop",
        output_tokens=0,
        prompt_hash="",
    )


def _evidence(given: Mapping[str, Sequence[tuple[str, str]]], rewards: Rewards | None = None) -> Evidence:
    """Return evidence from (verdict, text) of each attempt; the final answer is the last word of the text."""
    questions = {id: Question(id=id, question="?") for id in given}
    answers = [_answer(id, n, text) for id, attempts in given.items() for n, (_, text) in enumerate(attempts)]
    grades = [
        Grade(question_id=id, attempt=n, verdict=VERDICTS[sign])
        for id, attempts in given.items()
        for n, (sign, _) in enumerate(attempts)
    ]
    return Evidence(questions, answers, grades, rewards)


def _quality(settings: Settings, evidence: Evidence, free: bool = True) -> dict[str, Any]:
    if isinstance(settings, StepRewardDifficulty):
        assert evidence.step_rewards is not None
        found = by_rewards(evidence.step_rewards, settings.attempts, settings.tau1, settings.tau2)
    else:
        found, _ = find_difficult(settings, evidence.questions, evidence.answers, evidence.grades, EXACT)
    return difficulty_quality(settings, found, evidence, EXACT, comparing_is_free=free)


def _rows(quality: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["strategy"]: row for row in quality["strategies"]}


# -- the measures -----------------------------------------------------------------------------------------------------


def _flags(difficult_and_wrong: int, difficult: int, wrong: int, neither: int) -> tuple[dict[str, bool], ...]:
    pairs = [(True, True)] * difficult_and_wrong + [(True, False)] * difficult
    pairs += [(False, True)] * wrong + [(False, False)] * neither
    return {str(n): pair[0] for n, pair in enumerate(pairs)}, {str(n): pair[1] for n, pair in enumerate(pairs)}


@pytest.mark.parametrize(
    ("counts", "accuracy", "precision", "recall", "f1"),
    [
        # 3 hits, 1 false alarm, 2 missed, 4 left alone: 7 of 10 right, 3 of 4 called, 3 of 5 wrong, 2 x 3 of 4 + 5.
        ((3, 1, 2, 4), 0.7, 0.75, 0.6, 0.666667),
        ((2, 0, 0, 3), 1.0, 1.0, 1.0, 1.0),
        ((0, 2, 3, 0), 0.0, 0.0, 0.0, 0.0),
        ((0, 0, 3, 1), 0.25, None, 0.0, 0.0),  # nothing is called difficult
        ((0, 3, 0, 1), 0.25, 0.0, None, 0.0),  # nothing is
        ((0, 0, 0, 4), 1.0, None, None, None),
        ((0, 0, 0, 0), None, None, None, None),
    ],
)
def test_agreement(
    counts: tuple[int, int, int, int],
    accuracy: float | None,
    precision: float | None,
    recall: float | None,
    f1: float | None,
) -> None:
    found = agreement(*_flags(*counts))
    assert (found.n, found.accuracy) == (sum(counts), accuracy)
    assert (found.precision, found.recall, found.f1) == (precision, recall, f1)


def test_a_question_counts_only_with_both_a_decision_and_a_truth() -> None:
    found = agreement({"both": True, "no truth": True}, {"both": True, "no decision": True})
    assert (found.n, found.precision, found.recall) == (1, 1.0, 1.0)


# -- the table of strategies ------------------------------------------------------------------------------------------

# Answers of one word, or of three, which is long here.
SHORT, LONG = "1", "it is 1"
# Long and wrong 3, long and right 1, short and wrong 2, short and right 4; and one long without a scored answer.
TEN = [("-", LONG)] * 3 + [("+", LONG)] + [("-", SHORT)] * 2 + [("+", SHORT)] * 4 + [("?", LONG)]


def test_the_strategy_in_use_comes_first_with_its_measures() -> None:
    """An unscored question is judged and difficult, and not in the measures. The interval is that of 7 of 10.

    At each bound of it, seven or more (seven or fewer) of ten have a probability of exactly 0.025.
    """
    row, *others = _quality(LENGTH, _evidence({str(n): [each] for n, each in enumerate(TEN)}))["strategies"]
    low, high = row.pop("low"), row.pop("high")
    expected = {"strategy": "length", "used": True, "judged": 11, "difficult": 5, "n": 10}
    assert row == expected | {"accuracy": 0.7, "precision": 0.75, "recall": 0.6, "f1": 0.666667}
    at_least = sum(comb(10, k) * low**k * (1 - low) ** (10 - k) for k in range(7, 11))
    at_most = sum(comb(10, k) * high**k * (1 - high) ** (10 - k) for k in range(8))
    assert (at_least, at_most) == pytest.approx((0.025, 0.025), abs=1e-5)
    assert [(other["strategy"], other["used"], other["judged"], other["difficult"]) for other in others] == [
        ("gold/first", False, 10, 5)
    ]


# Verdicts and final answers of three attempts; wrong at first a b; ever a b c d; mostly a c.
THREE = {
    "a": [("-", "7"), ("-", "8"), ("-", "9")],  # no two agree
    "b": [("-", "7"), ("+", "1"), ("+", "1")],
    "c": [("+", "1"), ("-", "2"), ("-", "2")],
    "d": [("+", "1"), ("+", "1"), ("-", "3")],
    "e": [("+", "1"), ("+", "1"), ("?", "1")],
}


@pytest.mark.parametrize(("used", "difficult"), [("first", 2), ("any", 4), ("majority", 2)])
def test_with_several_attempts_gold_is_shown_by_each_rule(used: str, difficult: int) -> None:
    quality = _quality(_gold(used), _evidence(THREE))
    rows = _rows(quality)
    assert {name: rows[f"gold/{name}"]["difficult"] for name in ("first", "any", "majority")} == {
        "first": 2,
        "any": 4,
        "majority": 2,
    }
    assert [row["strategy"] for row in quality["strategies"] if row["used"]] == [f"gold/{used}"]
    own = quality["strategies"][0]
    assert (own["strategy"], own["difficult"], own["accuracy"]) == (f"gold/{used}", difficult, 1.0)


def test_consistency_is_measured_by_what_is_wrong_mostly() -> None:
    """It calls a difficult, and a and c are wrong in two of three: 4 of 5 right, 1 of 1 called, 1 of 2 found."""
    for settings in (_gold("majority"), CONSISTENCY):
        row = _rows(_quality(settings, _evidence(THREE)))["consistency"]
        assert (row["difficult"], row["accuracy"], row["precision"], row["recall"]) == (1, 0.8, 1.0, 0.5)


def test_half_of_two_is_not_mostly() -> None:
    evidence = _evidence({"half": [("+", "1"), ("-", "2")], "both": [("-", "1"), ("-", "2")]})
    row = _rows(_quality(CONSISTENCY, evidence))["consistency"]
    assert (row["n"], row["difficult"], row["accuracy"], row["precision"]) == (2, 2, 0.5, 0.5)


def test_consistency_needs_answers_to_compare_and_a_grader_that_costs_nothing() -> None:
    one = _evidence({id: attempts[:1] for id, attempts in THREE.items()})
    assert "consistency" not in _rows(_quality(_gold("any"), one))
    assert "consistency" not in _rows(_quality(_gold("any"), _evidence(THREE), free=False))
    # What was paid for as the strategy of the run is shown.
    assert _rows(_quality(CONSISTENCY, _evidence(THREE), free=False))["consistency"]["used"]


# The last step of b alone is low, and the first of c: difficult at first a; ever a b c; mostly a.
REWARDS = {
    "a": {0: [0.1], 1: [0.1], 2: [0.1]},
    "b": {0: [1.0], 1: [1.0, 0.5], 2: [1.0]},
    "c": {0: [1.0], 1: [1.0], 2: [0.5, 1.0, 1.0]},
    "d": {0: [1.0], 1: [1.0], 2: [1.0]},
    "e": {0: [1.0], 1: [1.0], 2: [1.0]},
}


@pytest.mark.parametrize(
    ("settings", "name", "difficult", "recall"),
    [
        (_gold("first"), "step_rewards/first", 1, 0.5),
        (_gold("any"), "step_rewards/any", 3, 0.75),
        (LENGTH, "step_rewards/majority", 1, 0.5),
        (_by_steps("any"), "step_rewards/any", 3, 0.75),
    ],
)
def test_step_rewards_are_measured_by_their_own_rule(
    settings: Settings, name: str, difficult: int, recall: float
) -> None:
    """Beside another strategy they take its rule; a strategy without one judges all answers, as most of them do."""
    rows = _rows(_quality(settings, _evidence(THREE, REWARDS)))
    assert [each for each in rows if each.startswith("step_rewards")] == [name]
    assert (rows[name]["difficult"], rows[name]["precision"], rows[name]["recall"]) == (difficult, 1.0, recall)


def test_without_a_gold_answer_only_the_counts_are_there() -> None:
    unscored = {id: [("?", text) for _, text in attempts] for id, attempts in THREE.items()}
    for settings, others in ((CONSISTENCY, {"length"}), (_gold("any"), {"consistency", "length"})):
        own, *rest = _quality(settings, _evidence(unscored))["strategies"]
        assert {row["strategy"] for row in rest} == others
        for row in (own, *rest):
            assert (row["n"], row["accuracy"], row["low"], row["f1"]) == (0, None, None, None)
        assert own["difficult"] == (1 if settings is CONSISTENCY else 0)


def test_what_is_compared_with_are_the_defaults() -> None:
    by_name = {name: read_settings([f"difficulty={name}", "student.max_new_tokens=2048"]).config for name in NAMES}
    found = {name: config.difficulty for name, config in by_name.items()}
    consistency, length, steps = (found[name] for name in NAMES)
    assert isinstance(consistency, ConsistencyDifficulty) and consistency == CONSISTENCY
    assert isinstance(length, LengthDifficulty) and length.min_words == MIN_WORDS
    assert isinstance(steps, StepRewardDifficulty) and (steps.tau1, steps.tau2) == (TAU1, TAU2)


NAMES = ("consistency", "length", "step_rewards")


# -- the sweep --------------------------------------------------------------------------------------------------------

# a is low by its last step when tau1 >= 0.8, and by the other when tau2 >= 0.9. b is low by its mean of 0.867 when
# tau1 >= 0.9, and by its first step when tau2 >= 0.6. c is low everywhere. Wrong are a and c.
SMALL = {"a": {0: [0.9, 0.8]}, "b": {0: [0.6, 1.0, 1.0]}, "c": {0: [0.4]}}
SMALL_TRUTH = {"a": [("-", "1")], "b": [("+", "1")], "c": [("-", "1")]}
ALL = (1.0, 0.666667, 0.666667, 1.0, 0.8)


@pytest.mark.parametrize(
    ("tau1", "tau2", "expected"),
    [
        (0.5, 0.5, (0.333333, 0.666667, 1.0, 0.5, 0.666667)),  # c
        (0.75, 0.5, (0.333333, 0.666667, 1.0, 0.5, 0.666667)),
        (0.5, 0.6, (0.666667, 0.333333, 0.5, 0.5, 0.5)),  # b c
        (0.75, 0.85, (0.666667, 0.333333, 0.5, 0.5, 0.5)),
        (0.8, 0.5, (0.666667, 1.0, 1.0, 1.0, 1.0)),  # a c
        (0.85, 0.5, (0.666667, 1.0, 1.0, 1.0, 1.0)),
        (0.85, 0.7, ALL),
        (0.9, 0.5, ALL),
        (0.5, 0.9, ALL),
    ],
)
def test_a_cell_of_the_sweep(tau1: float, tau2: float, expected: tuple[float, ...]) -> None:
    """Share difficult, accuracy, precision, recall and F1 of three answers."""
    evidence = _evidence(SMALL_TRUTH, SMALL)
    cells = {(cell["tau1"], cell["tau2"]): cell for cell in sweep(_by_steps(), SMALL, evidence.grades)["cells"]}
    names = ("difficult", "accuracy", "precision", "recall", "f1")
    assert tuple(cells[tau1, tau2][name] for name in names) == expected


def _random(questions: int) -> tuple[dict[str, dict[int, list[float]]], Evidence]:
    random = Random(0)
    rewards = {
        str(q): {n: [random.random() ** 0.2 for _ in range(random.randint(0, 6))] for n in range(3)}
        for q in range(questions)
    }
    truth = {id: [(random.choice("+-?"), "1") for _ in range(3)] for id in rewards}
    return rewards, _evidence(truth, rewards)


@pytest.mark.parametrize("attempts", ["first", "any", "majority"])
def test_the_run_s_own_thresholds_are_in_the_grid_and_say_what_the_run_says(attempts: str) -> None:
    _, evidence = _random(80)
    quality = _quality(_by_steps(attempts, 0.83, 0.72), evidence)
    swept, own = quality["sweep"], quality["strategies"][0]
    assert (swept["used"], 0.83 in swept["tau1"], 0.72 in swept["tau2"]) == ([0.83, 0.72], True, True)
    places = [(cell["tau1"], cell["tau2"]) for cell in swept["cells"]]
    assert places == [(tau1, tau2) for tau1 in swept["tau1"] for tau2 in swept["tau2"]]
    assert swept["tau1"] == sorted(set(swept["tau1"])) and len(places) == 81
    cell = swept["cells"][places.index((0.83, 0.72))]
    assert cell["difficult"] == pytest.approx(own["difficult"] / own["judged"], abs=1e-6)
    assert {name: cell[name] for name in ("accuracy", "precision", "recall", "f1")} == {
        name: own[name] for name in ("accuracy", "precision", "recall", "f1")
    }


@pytest.mark.parametrize("attempts", ["first", "any", "majority"])
def test_higher_thresholds_call_more_questions_difficult_and_find_more(attempts: str) -> None:
    rewards, evidence = _random(80)
    swept = sweep(_by_steps(attempts), rewards, evidence.grades)
    assert len(swept["cells"]) == 64
    at = {(cell["tau1"], cell["tau2"]): cell for cell in swept["cells"]}
    for name in ("difficult", "recall"):
        for tau in swept["tau1"]:
            for line in ([at[tau, other][name] for other in swept["tau2"]], [at[o, tau][name] for o in swept["tau1"]]):
                assert line == sorted(line)
        assert at[0.5, 0.5][name] < at[0.95, 0.95][name]


def test_a_sweep_without_gold_answers_has_shares_only() -> None:
    unscored = _evidence({id: [("?", "1")] for id in SMALL}, SMALL)
    swept = _quality(_by_steps(), unscored)["sweep"]
    assert {cell["difficult"] for cell in swept["cells"]} == {0.333333, 0.666667, 1.0}
    assert {cell[name] for cell in swept["cells"] for name in ("accuracy", "precision", "recall", "f1")} == {None}


def test_a_run_without_thresholds_has_no_sweep() -> None:
    assert _quality(_gold("first"), _evidence(SMALL_TRUTH, SMALL))["sweep"] is None


# -- in a run ---------------------------------------------------------------------------------------------------------


def _run(folder: Path, *settings: str) -> dict[str, Any]:
    asked = ["task.pool=60", "task.validation=40", "task.benchmark=20", "student.max_new_tokens=48", "until=diagnose"]
    assert main([*asked, *settings, f"run_dir={folder / 'run'}", f"cache_dir={folder / 'cache'}"]) == 0
    found: dict[str, Any] = json.loads((folder / "run/difficulty_quality.json").read_text())
    return found


def _attempts(folder: Path) -> Counter[int]:
    lines = (folder / "run/answers.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["attempt"] for line in lines)


def test_a_run_of_the_embedded_task_sweeps_its_step_rewards(tmp_path: Path) -> None:
    """A right final answer whose steps are right too is easy; so the checker finds all that gold finds."""
    quality = _run(tmp_path)
    rows = _rows(quality)
    assert list(rows) == ["step_rewards/first", "gold/first", "length"]
    assert rows["step_rewards/first"]["recall"] == 1.0 and rows["gold/first"]["difficult"] > 0
    assert (quality["sweep"]["used"], len(quality["sweep"]["cells"])) == ([0.85, 0.7], 64)
    assert _attempts(tmp_path) == {0: 40}


def test_a_run_that_goes_by_length_samples_its_answers(tmp_path: Path) -> None:
    """Of three samples each; step rewards and consistency cost nothing, so they are there too."""
    quality = _run(tmp_path, "difficulty=length", "difficulty.samples=3", "difficulty.min_words=16")
    rows = _rows(quality)
    assert _attempts(tmp_path) == {0: 40, 1: 40, 2: 40}
    gold = ["gold/first", "gold/any", "gold/majority"]
    assert list(rows) == ["length", *gold, "step_rewards/majority", "consistency"]
    assert 0 < rows["length"]["difficult"] < 40 and quality["sweep"] is None

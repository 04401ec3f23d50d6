"""What the report draws and shows: curves, axes, examples by a rule, what it cost elsewhere."""

from __future__ import annotations

import hashlib
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from large_run import large_numbers
from rich.console import Console

from stat_train.evaluation.curves import Training, curves
from stat_train.evaluation.report import duration, on_devices, report_html, trained_on
from stat_train.evaluation.report_charts import BOTTOM, HEIGHT, TOP, change_bound, line_chart, nice_ticks, tick_labels
from stat_train.evaluation.report_samples import TEXT_SHOWN, chosen, cut, diagnosed
from stat_train.evaluation.report_scores import elsewhere
from stat_train.evaluation.terminal import print_summary
from stat_train.records import Answer, Diagnosis, Origin, Question, TrainingExample, Verdict

# -- curves -----------------------------------------------------------------------------------------------------------


def training(values: list[float | None], key: str = "loss") -> Training:
    return Training("fine-tuning", "rate 1", True, [{"step": i + 1, key: value} for i, value in enumerate(values)])


def test_a_long_training_is_thinned_by_means_and_keeps_its_extremes() -> None:
    """1,000 steps in at most 300 points: 4 steps a point, 250 points; the first is the mean of 0, 1, 2, 3."""
    (curve,) = curves([training([float(i) for i in range(1000)])])
    (line,) = curve["lines"]
    assert (line["together"], len(line["points"]), line["points"][0]) == (4, 250, [2.5, 1.5])
    assert (line["first"], line["last"], line["highest"], line["highest_step"]) == (0, 999, 999, 1000)


def test_steps_that_logged_nothing_or_no_number_are_left_out() -> None:
    (curve,) = curves([training([0.5, None, float("nan"), 0.25])])
    assert curve["lines"][0]["points"] == [[1, 0.5], [4, 0.25]]
    assert curves([training([None])]) == []


def test_each_number_has_a_chart_with_a_line_a_training() -> None:
    rows = [{"step": 1, "loss": 1.0, "learning_rate": 1e-4}]
    found = curves([Training("fine-tuning", name, name == "b", rows) for name in "ab"])
    assert [curve["title"] for curve in found] == ["Loss", "Learning rate"]
    assert [(line["name"], line["chosen"]) for line in found[0]["lines"]] == [("a", False), ("b", True)]


def test_a_line_runs_from_the_lower_to_the_upper_edge() -> None:
    """From 0 at step 1 to 1 at step 3: the ends of both axes."""
    chart = line_chart(curves([training([0.0, 0.5, 1.0])])[0])
    first, middle, last = (tuple(map(float, point.split(","))) for point in chart.lines[0].split())
    assert (first, last) == ((chart.left, HEIGHT - BOTTOM), (chart.right, TOP))
    assert middle[1] == pytest.approx((first[1] + last[1]) / 2, abs=0.1)
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]


def test_a_constant_is_drawn_in_the_middle() -> None:
    chart = line_chart(curves([training([3.0])])[0])
    assert float(chart.lines[0].split(",")[1]) == pytest.approx((TOP + HEIGHT - BOTTOM) / 2, abs=1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]),
        (0.43, 0.61, [0.4, 0.45, 0.5, 0.55, 0.6, 0.65]),
        (-3.0, 8.0, [-5.0, 0.0, 5.0, 10.0]),
        (1.0, 3564.0, [0.0, 1000.0, 2000.0, 3000.0, 4000.0]),
    ],
)
def test_ticks_are_round_and_reach_around_all(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high, 4) == expected


def test_ticks_have_the_same_decimals_and_small_ones_a_power() -> None:
    assert tick_labels([0.0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]
    assert tick_labels([-1000.0, 0.0, 1000.0]) == ["−1,000", "0", "1,000"]
    assert tick_labels([0.0, 5e-6, 1e-5]) == ["0", "5e−6", "1e−5"]


def test_the_axis_of_changes_holds_every_interval() -> None:
    rows = [{"change": {"difference": 0.05, "low": -0.02, "high": 0.11}}, {"change": None}]
    assert change_bound(rows) == 0.2
    assert change_bound([]) == 0.01


def test_a_time_is_told_in_what_people_count() -> None:
    assert [duration(s) for s in (0.04, 59.0, 125.2, 7265)] == ["0.0 s", "59.0 s", "2 min 5 s", "2 h 1 min"]


# -- examples ---------------------------------------------------------------------------------------------------------


def test_examples_are_the_first_by_the_hash_of_their_id() -> None:
    """Ten gained, one lost, one unscored after, which is of no kind."""
    before: dict[str, Verdict] = {f"q{i}": "wrong" for i in range(10)} | {"l": "correct", "u": "wrong"}
    after: dict[str, Verdict] = {f"q{i}": "correct" for i in range(10)} | {"l": "wrong", "u": "unscored"}
    by_hash = sorted((f"q{i}" for i in range(10)), key=lambda id: hashlib.sha256(id.encode()).hexdigest())
    assert chosen(before, after) == {"gained": (10, by_hash[:3]), "lost": (1, ["l"])}
    assert chosen(dict(reversed(before.items())), after) == chosen(before, after)


def test_long_texts_are_cut_at_the_length_that_is_told() -> None:
    assert cut("a" * TEXT_SHOWN) == "a" * TEXT_SHOWN
    assert (len(cut("a" * 9999)), cut("a" * 9999)[-1]) == (TEXT_SHOWN, "…")


def row(id: str, question_id: str | None) -> TrainingExample:
    origin = Origin(question_id=question_id, skill="s", seed_ids=[])
    return TrainingExample(id=id, messages=[], question="q", answer="a", skills=[], recipe="stat_sel", origin=origin)


def diagnosis(question_id: str, attempt: int = 1) -> Diagnosis:
    return Diagnosis(
        question_id=question_id, attempt=attempt, judgement="wrong", missing_skills=["s"], explanation="why"
    )


def test_a_diagnosis_is_shown_with_its_own_answer_and_rows() -> None:
    questions = {id: Question(id=id, question=id) for id in "ab"}
    answers = {
        ("a", attempt): Answer(
            question_id="a",
            attempt=attempt,
            text=f"try {attempt}",
            finish_reason="stop",
            output_tokens=1,
            prompt_hash="h",
        )
        for attempt in (0, 1)
    }
    rows = [*(row(f"r{i}", "a") for i in range(5)), row("other", None)]
    found = diagnosed(questions, answers, [diagnosis("a"), diagnosis("b")], rows)
    assert found is not None and found["of"] == 1
    (shown,) = found["questions"]
    assert (shown["answer"], shown["gold"], shown["rows"]) == ("try 1", None, 5)
    assert [each["id"] for each in shown["shown"]] == ["r0", "r1", "r2"]


def test_a_recipe_that_does_not_look_at_the_student_has_no_such_rows() -> None:
    assert diagnosed({}, {}, [diagnosis("a")], [row("r", None)]) is None


# -- elsewhere --------------------------------------------------------------------------------------------------------


def change(difference: float, verdict: str = "unchanged") -> dict[str, Any]:
    return {"difference": difference, "low": difference - 0.02, "high": difference + 0.02, "verdict": verdict}


def test_what_it_cost_elsewhere_names_the_worst_and_the_benchmarks_that_fell() -> None:
    verdicts = [("a", -0.1, "regressed"), ("b", -0.2, "regressed"), ("c", 0.1, "improved"), ("d", -0.5, "too few")]
    skills = [{"skill": skill, "change": change(by, verdict)} for skill, by, verdict in verdicts]
    skills.append({"skill": "never asked", "change": None})
    benchmarks = [{"benchmark": name, "change": change(by)} for name, by in (("first", 0.1), ("x", -0.05), ("y", 0.01))]
    found = elsewhere(skills, benchmarks)
    assert found["verdicts"] == {"improved": 1, "unchanged": 0, "regressed": 2, "too few": 1}
    assert (found["skills"], found["worst"]["skill"], found["others"]) == (4, "b", 2)
    assert ([row["benchmark"] for row in found["fell"]], found["rose"]) == (["x"], [])
    assert elsewhere([], [])["verdicts"] is None


@pytest.mark.parametrize(
    ("own", "every", "reinforced", "words"),
    [
        (250_000, 250_000, 0, "250,000 tokens of fine-tuning"),
        (250_000, 500_000, 0, "250,000 tokens of fine-tuning, 500,000 with the rates that were not taken"),
        (0, 0, 9_000, "9,000 tokens of reinforcement learning"),
        (None, None, 0, "an unknown number of tokens of fine-tuning, which was done elsewhere"),
        (0, 0, 0, ""),
    ],
)
def test_tokens_of_rates_that_were_not_taken_are_named_beside_the_models_own(
    own: int | None, every: int | None, reinforced: int, words: str
) -> None:
    costs = {"fine_tuning_tokens": own, "all_fine_tuning_tokens": every, "reinforcement_tokens": reinforced}
    assert trained_on(costs) == words


def test_seconds_on_devices_are_those_of_every_stage_or_not_counted() -> None:
    both = {"cpu": 15.4, "gpu": 1_030.5}
    assert (
        on_devices({"device_seconds": {"x": both}, "device_seconds_in_all": both})
        == "15 CPU seconds and 1,030 GPU seconds"
    )
    assert on_devices({"device_seconds": {"x": None}, "device_seconds_in_all": None}).endswith(
        "not counted in every stage"
    )
    assert on_devices({"device_seconds": {}, "device_seconds_in_all": None}) == ""


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_summary_of_ten_benchmarks_keeps_to_25_lines(width: int) -> None:
    output = StringIO()
    print_summary(large_numbers(), Path("runs/math"), Console(file=output, width=width, color_system=None))
    lines = output.getvalue().splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= width
    text = " ".join(output.getvalue().split())
    assert "skills: " in text and "0 regressed" in text and "cost: $4.31 for 17,078 calls" in text
    named = [line.split(":")[0] for line in lines if line.startswith(("gsm8k:", "amc23 "))]
    assert named == ["gsm8k", "amc23 (average@64)"]
    assert "… and 6 more; of all others 5 rose, 1 fell" in text


def test_the_name_of_the_worst_skill_cannot_steer_the_terminal() -> None:
    found = large_numbers()
    worst = {"skill": "\x1b[31mred\nnext", "difference": -0.4, "low": -0.5, "high": -0.2}
    output = StringIO()
    print_summary(
        found | {"elsewhere": found["elsewhere"] | {"worst": worst}},
        Path("runs/math"),
        Console(file=output, width=110, color_system=None),
    )
    assert "worst: ?[31mred next −40.0 points [−50.0, −20.0]" in output.getvalue() and "\x1b" not in output.getvalue()


@pytest.mark.parametrize(
    ("change", "told", "words"),
    [
        ({"n": 0, "difference": None}, "No change to report", "no question was scored both times"),
        ({"n": 9, "difference": 0.12}, "Not tested: +12.0 points", "chosen by the untrained student’s failures"),
    ],
)
def test_a_headline_without_an_interval_says_why(change: dict[str, Any], told: str, words: str) -> None:
    found = large_numbers()
    headline = found["headline"] | {
        "change": found["headline"]["change"] | {"low": None, "high": None, "p": None} | change
    }
    glance = report_html(found | {"headline": headline}).partition('<dl class="glance">')[0]
    assert f'<p class="headline">{told}</p>' in glance and words in glance
    assert "alike" not in glance and "clear" not in glance.partition("<main>")[2]


def test_of_many_pairs_of_skills_the_worst_are_shown() -> None:
    found = large_numbers()["composition"]
    assert len(found["weakest_link"]["after"]["list"]) == 10
    assert [row["name"] for row in found["counts"]] == ["1", "2", "3", "4"]
    html = report_html(large_numbers())
    assert "of 40 pairs of skills that were asked together and each alone, 75 % are right about as often" in html
    assert "or of a skill alone: 912." in html

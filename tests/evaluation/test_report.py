"""The report page, its numbers and the terminal summary, from invented results."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from html import unescape
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from stat_train.evaluation.model_card import model_card
from stat_train.evaluation.report import Findings, command, points, report_html, report_numbers, verdict
from stat_train.evaluation.scores import scored
from stat_train.evaluation.summary import evaluation
from stat_train.evaluation.terminal import print_profile, print_summary
from stat_train.records import Grade, Question, SkillCount, SkillGap, SkillPair, SkillProfile, SubjectGap

ATTACK = "<script>alert(1)</script>"
CONFIG: dict[str, Any] = {
    "run_dir": "runs/my run",
    "seed": 0,
    "until": "report",
    "task": {"name": "arithmetic", "mix": "a", "benchmarks": ["standard", "longer_chains"]},
    "student": {
        "name": "tiny",
        "model": "tiny",
        "revision": None,
        "prompt": {"system": 'Say "yes" \\', "template": "Q: {question}\nA:", "chat_template_arguments": {}},
    },
    "data_recipe": {"name": "stat_sel", "pairs": 5000, "allow_short": False},
    "train": {"name": "sft", "learning_rate": 1e-05},
    "evaluate": {"temperature": 0.0},
    "rl": {"name": "none"},
    "deepspeed": {"name": "none", "config": {}},
}
SKILLS = ("addition", "greatest_common_divisor", "linear_equation", ATTACK)


def gap(skill: str, missing: int, exposed: int) -> SkillGap:
    """Return a gap with bounds a little around its rate."""
    rate = missing / exposed
    low, high = rate * 0.9, min(1, rate * 1.1)
    return SkillGap(
        skill=skill,
        missing=missing,
        exposed=exposed,
        rate=rate,
        low=low,
        high=high,
        posterior_mean=rate,
        posterior_low=low,
        posterior_high=high,
        too_few=exposed < 5,
    )


def profile(skills: tuple[str, ...] = SKILLS) -> SkillProfile:
    """Return a profile in which each skill is missing more often than the one before."""
    gaps = [gap(skill, 10 * (index + 1), 200) for index, skill in enumerate(skills)]
    ranked = sorted(gaps, key=lambda gap: -gap.missing)
    return SkillProfile(
        student="tiny", task="arithmetic", questions=1000, difficult=420, skills=ranked, subjects=[], together=[]
    )


def subject(name: str, difficult: int, skill: str = ATTACK) -> SubjectGap:
    """Return a subject of 100 questions."""
    rate = difficult / 100
    skills = [SkillCount(skill=skill, missing=difficult, exposed=50)]
    return SubjectGap(subject=name, questions=100, difficult=difficult, rate=rate, low=rate, high=rate, skills=skills)


def pair(first: str, second: str, together: int, expected: float = 1.0) -> SkillPair:
    """Return a pair of skills that went missing together."""
    return SkillPair(first=first, second=second, together=together, expected=expected, p=0.01)


def full_profile() -> SkillProfile:
    """Return a profile with subjects, pairs, and a skill that was hardly seen."""
    found = profile()
    return found.model_copy(
        update={
            "skills": [*found.skills, gap("rare", 1, 4)],
            "subjects": [subject(ATTACK, 20), subject("algebra", 10)],
            "together": [pair(ATTACK, "linear_equation", 8), pair("addition", "linear_equation", 2)],
        }
    )


DIFFICULTY: dict[str, Any] = {
    "strategies": [
        {
            "strategy": "length",
            "used": True,
            "judged": 50,
            "difficult": 8,
            "n": 40,
            "accuracy": 0.75,
            "low": 0.588,
            "high": 0.873,
            "precision": 0.5,
            "recall": None,
            "f1": 0.25,
        },
        {
            "strategy": ATTACK,
            "used": False,
            "judged": 48,
            "difficult": 12,
            "n": 0,
            "accuracy": None,
            "low": None,
            "high": None,
            "precision": None,
            "recall": None,
            "f1": None,
        },
    ],
    "sweep": None,
}
AUDIT: dict[str, Any] = {
    "sample": 50,
    "compared": 48,
    "identical": 0.7,
    "jaccard": 0.8,
    "judgement_agreement": 0.9,
    "asked": "the same teacher, skill list shuffled",
    "alpha": 0.614,
    "agreement": 0.7,
    "skills": [{"skill": ATTACK, "n": 20, "alpha": None, "agreement": 0.55}],
}


CHOICE: dict[str, Any] = {
    "questions": "validation",
    "candidates": [
        {"learning_rate": 1e-4, "step": 8, "checkpoint": "checkpoint", "chosen": True}
        | {"n": 60, "correct": 45, "unscored": 0, "accuracy": 0.75, "low": 0.621, "high": 0.853},
        {"learning_rate": 2e-3, "step": 8, "checkpoint": "checkpoint", "chosen": False}
        | {"n": 60, "correct": 0, "unscored": 60, "accuracy": None, "low": None, "high": None},
    ],
}


def sweep(accuracy: bool) -> dict[str, Any]:
    """Return a sweep over two by two thresholds, with or without gold answers."""
    cells = [
        {"tau1": tau1, "tau2": tau2, "difficult": tau1 * tau2, "accuracy": tau1 - tau2 if accuracy else None}
        for tau1 in (0.5, 0.85)
        for tau2 in (0.25, 0.5)
    ]
    rest = dict.fromkeys(("precision", "recall", "f1"))
    return {"tau1": [0.5, 0.85], "tau2": [0.25, 0.5], "used": [0.85, 0.5], "cells": [cell | rest for cell in cells]}


@cache
def scores(
    skills: tuple[str, ...] = SKILLS, questions_per_skill: int = 60, arms: tuple[str, ...] = ("base", "sft")
) -> dict[str, Any]:
    """Return an evaluation in which half of the wrong answers become right ones and few right ones are lost."""
    random = Random(0)
    names = [f"{skill}{index}" for skill in skills for index in range(questions_per_skill)]
    questions = [Question(id=name, question=ATTACK, skills=[re.sub(r"\d+$", "", name)]) for name in names]
    before = [random.random() < 0.4 for _ in names]
    after = [random.random() < (0.95 if right else 0.5) for right in before]
    found = {arm: before if arm == "base" else after for arm in arms}
    return evaluation({arm: {"standard": scored(questions, _grades(names, right))} for arm, right in found.items()})


def _grades(ids: list[str], right: list[bool]) -> list[Grade]:
    verdicts = zip(ids, right, strict=True)
    return [Grade(question_id=id, attempt=0, verdict="correct" if found else "wrong") for id, found in verdicts]


def numbers(**changes: Any) -> dict[str, Any]:
    """Return the numbers of an invented run, with some of its parts replaced."""
    parts: dict[str, Any] = {
        "config": CONFIG,
        "profile": profile(),
        "curation": {"pairs_carrying_skill": {"addition": 1000, "linear_equation": 3000}},
        "evaluation": scores(),
        "dropped": {"curate": {"answer does not match": 12, ATTACK: 3}},
        "stages": [
            {"name": "train", "hash": "train-0a1b2c", "seconds": 61.25, "counts": {}}
            | dict.fromkeys(("processes", "device"))
        ],
    }
    findings = Findings(**{name: changes.pop(name) for name in Findings._fields if name in changes})
    return report_numbers(**{**parts, **changes}, findings=findings)


class Page(HTMLParser):
    """The structure of a page: its tags with attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag; called by `feed`."""
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        """Return how often a tag opens."""
        return sum(name == tag for name, _ in self.tags)


def test_names_and_texts_cannot_become_markup() -> None:
    html = report_html(numbers(profile=full_profile(), difficulty=DIFFICULTY, audit=AUDIT))
    assert Page(html).count("script") == 0
    assert html.count("&lt;script&gt;alert(1)") >= 10


def test_the_page_needs_no_network_and_no_javascript() -> None:
    html = report_html(numbers())
    assert not re.search(r"https?://|//\w|@import|url\(", html)
    attributes = [pair for _, attributes in Page(html).tags for pair in attributes.items()]
    assert not {name for name, _ in attributes if name.startswith("on") or name == "src"}
    assert all((value or "").startswith("#") for name, value in attributes if name == "href")


def test_tables_have_captions_and_headers_and_charts_have_text() -> None:
    page = Page(
        report_html(numbers(profile=full_profile(), difficulty=DIFFICULTY | {"sweep": sweep(True)}, audit=AUDIT))
    )
    assert page.count("table") == page.count("caption") == 13
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(chart.get("aria-hidden") or chart.get("aria-label") for chart in charts)
    # One for each skill, and the change on the one benchmark.
    assert sum("aria-label" in chart for chart in charts) == len(SKILLS) + 1


def test_headings_do_not_skip_a_level() -> None:
    html = report_html(numbers(profile=full_profile(), difficulty=DIFFICULTY | {"sweep": sweep(True)}, audit=AUDIT))
    levels = [int(tag[1]) for tag, _ in Page(html).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert levels.count(1) == 1


def test_the_headline_is_the_gain_of_evaluation_json() -> None:
    found = numbers()
    change = scores()["differences"]["sft - base"]["standard"]
    html = report_html(found)
    assert found["headline"]["change"]["difference"] == change["difference"] > 0.1
    assert f"Gain: {points(change['difference'])} points" in html


def test_skills_come_most_often_missing_first_with_their_shares() -> None:
    """10 + 20 + 30 + 40 missing; 1,000 and 3,000 rows."""
    skills = numbers()["skills"]
    assert [row["skill"] for row in skills] == list(reversed(SKILLS))
    assert [row["gap_share"] for row in skills] == [0.4, 0.3, 0.2, 0.1]
    assert [row["row_share"] for row in skills] == [0, 0.75, 0, 0.25]


def test_a_skill_that_was_never_missing_is_still_listed() -> None:
    skills = numbers(profile=None)["skills"]
    assert {row["skill"] for row in skills} == set(SKILLS)
    assert all(row["gap_share"] is None and row["before"]["n"] == 60 for row in skills)


def test_a_run_that_ended_early_has_a_page_that_says_so() -> None:
    html = report_html(numbers(evaluation=None, curation={}))
    assert "Not evaluated" in html
    assert "Benchmarks" not in html and "Where the training rows went" not in html
    assert "What the student was missing" in html


def test_a_run_without_training_shows_the_base_alone() -> None:
    base = {"arms": {"base": scores()["arms"]["base"]}, "differences": {}}
    html = report_html(numbers(evaluation=base))
    assert "No model was trained" in html
    assert "Each skill before and after" in html


def test_a_student_without_gaps_has_a_page() -> None:
    html = report_html(numbers(profile=profile(()).model_copy(update={"difficult": 0})))
    assert "0 of 1000 validation questions were difficult" in html
    # The skill linear_equation has three of the four rows, which is the longest bar; no skill has a share of the gaps.
    assert '<rect class="after" width="100.0" height="10"/>' in html
    assert '<rect class="before" width="0.0" height="10"/>' in html


def test_numbers_are_json() -> None:
    found = numbers()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.01, 0.05, "Gain"), (-0.05, -0.01, "Worse"), (-0.01, 0.02, "No clear change"), (None, None, "Not tested")],
)
def test_a_gain_is_claimed_only_when_the_interval_excludes_none(
    low: float | None, high: float | None, expected: str
) -> None:
    assert verdict({"low": low, "high": high}) == expected


def test_points_carry_their_sign() -> None:
    assert [points(share) for share in (0.0512, -0.03, 0.0001, -0.0001, None)] == ["+5.1", "−3.0", "0.0", "0.0", "–"]


def test_the_command_gives_back_every_setting() -> None:
    """The shell and Hydra's own grammar read the command; the settings must be those of the run."""
    words = shlex.split(command(CONFIG).replace("\\\n", " "))
    assert words[0] == "stat-train"
    overrides = OverridesParser.create().parse_overrides(words[1:])
    found = {override.key_or_group: override.value() for override in overrides}
    assert found["task"] == "arithmetic" and found["data_recipe"] == "stat_sel"
    assert found["student.prompt.system"] == CONFIG["student"]["prompt"]["system"]
    assert found["student.prompt.template"] == CONFIG["student"]["prompt"]["template"]
    assert found["student.prompt.chat_template_arguments"] == {}
    assert found["student.revision"] is None
    assert found["task.benchmarks"] == ["standard", "longer_chains"]
    assert found["run_dir"] == "runs/my run"
    assert (found["train.learning_rate"], found["data_recipe.allow_short"]) == (1e-05, False)


@pytest.mark.parametrize("text", ["null", "True", "7", "1e3", "a,b", "it's", "", 'end"', "${x}", "a\\"])
def test_awkward_texts_stay_texts(text: str) -> None:
    config = {**CONFIG, "until": text}
    words = shlex.split(command(config).replace("\\\n", " "))
    overrides = OverridesParser.create().parse_overrides([word for word in words if word.startswith("until=")])
    assert overrides[0].value() == text


def printed(width: int = 80) -> tuple[Console, StringIO]:
    """Return a console and what is printed on it."""
    output = StringIO()
    return Console(file=output, width=width, color_system=None), output


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("arms", [("base", "sft"), ("base", "adaptmi", "sft")], ids=len)
def test_the_summary_keeps_to_25_lines_with_many_skills(arms: tuple[str, ...], width: int) -> None:
    many = tuple(f"skill_with_a_rather_long_name_{chr(97 + index)}" for index in range(26))
    console, output = printed(width)
    found = numbers(
        profile=profile(many), evaluation=scores(many, 10, arms), dropped={f"stage{i}": {"x": 9} for i in range(9)}
    )
    print_summary(found, Path("/a/long/path/" * 9), console)
    lines = output.getvalue().splitlines()
    assert 15 < len(lines) <= 25
    assert any("skill_with" in line for line in lines)


def test_the_summary_says_gain_left_out_and_where_the_report_is() -> None:
    console, output = printed()
    print_summary(numbers(), Path("runs/x"), console)
    text = output.getvalue()
    assert text.startswith("Gain: +")
    assert "left out: curate 15" in text
    assert "unscored: none" in text
    assert "runs/x/report.html" in text


def test_the_summary_without_a_training_says_what_the_student_can_do() -> None:
    found = numbers(evaluation=scores(arms=("base",)))
    base = found["benchmarks"][0]["before"]
    console, output = printed()
    print_summary(found, Path("runs/x"), console)
    words = f"{100 * base['accuracy']:.1f} % right on the {base['n']} questions of standard; no gain to report"
    assert words in " ".join(output.getvalue().split())


def test_the_summary_of_an_early_end_claims_nothing() -> None:
    console, output = printed()
    print_summary(numbers(evaluation=None), Path("runs/x"), console)
    assert "no gain to report, the run did not train and evaluate a model" in " ".join(output.getvalue().split())
    assert "unscored" not in output.getvalue()


# -- prompting ---------------------------------------------------------------------------------------------------------


@cache
def prompted_scores(trained: bool) -> dict[str, Any]:
    """Return an evaluation of four questions that need addition and four that need ATTACK.

    Asked plainly 1 and 2 of them are right, with examples 3 and 2, after training 4 and 3.
    """
    names = [f"{skill}{index}" for skill in ("addition", ATTACK) for index in range(4)]
    questions = [Question(id=name, question=name, skills=[name[:-1]]) for name in names]
    marks = {"base": "+---++--", "adaptmi": "+++--++-", "sft": "+++++++-"}
    return evaluation(
        {
            arm: {"standard": scored(questions, _grades(names, [mark == "+" for mark in found]))}
            for arm, found in marks.items()
            if trained or arm != "sft"
        }
    )


PROMPTING = {**CONFIG, "evaluate": {"prompting": "adaptmi", "exemplars": 5, "temperature": 0.0}}


@pytest.mark.parametrize("trained", [True, False])
def test_each_skill_says_what_examples_in_the_prompt_did(trained: bool) -> None:
    """ATTACK: one of the two that were right is lost, and one is gained."""
    found = numbers(config=PROMPTING, evaluation=prompted_scores(trained))
    skills = {row["skill"]: row for row in found["skills"]}
    assert skills["addition"]["prompted"]["accuracy"] == 0.75
    assert skills["addition"]["prompted_change"]["difference"] == 0.5
    assert skills[ATTACK]["prompted_change"]["difference"] == 0
    assert (skills["addition"]["change"] or {}).get("difference") == (0.75 if trained else None)
    text = text_of(report_html(found))
    assert "asked again after 5 worked examples" in text
    assert re.search(r"standard 37\.5 % \S+ to \S+ 62\.5 % \S+ to \S+ \+25\.0", text)
    assert re.search(r"addition 25\.0 % 75\.0 % \+50\.0 \S+ to \S+ " + (r"\+75\.0" if trained else "–"), text)


def test_a_page_without_that_arm_does_not_speak_of_it() -> None:
    assert "worked examples" not in report_html(numbers())
    assert numbers()["benchmarks"][0]["prompted"] is None


@pytest.mark.parametrize("trained", [True, False])
def test_the_summary_shows_both_arms_beside_the_base(trained: bool) -> None:
    console, output = printed()
    print_summary(numbers(config=PROMPTING, evaluation=prompted_scores(trained)), Path("runs/x"), console)
    text = output.getvalue()
    assert "untrained, examples in prompt: 37.5 % -> 62.5 %, +25.0 points [" in text
    (row,) = (line.split() for line in text.splitlines() if line.split()[:1] == ["addition"])
    after = ["100.0", "%", "+75.0"] if trained else []
    assert row == ["addition", "10", "1000", "25.0", "%", "75.0", "%", "+50.0", *after]


# -- the profile on the page ------------------------------------------------------------------------------------------


def text_of(html: str) -> str:
    """Return what a page says, its tags left out and white space put together."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html.replace("<wbr>", ""))))


def test_each_gap_has_a_bar_with_its_interval_and_what_is_likely() -> None:
    """Addition: 10 of 200, invented bounds 0.9 and 1.1 times that, the same for the posterior."""
    html = report_html(numbers(profile=full_profile()))
    assert "addition 10 of 200 5.0 % 4.5 to 5.5 5.0 % 4.5 to 5.5" in text_of(html)
    assert '<rect class="before" width="5.0" height="10"/><rect class="whisker" x="4.5" y="4.2" width="1.0"' in html
    assert '<path class="likely" d="M5.0 0V10"/>' in html


def test_a_skill_that_was_hardly_seen_is_marked() -> None:
    html = report_html(numbers(profile=full_profile()))
    assert "rare too few to tell 1 of 4" in text_of(html)
    assert html.count("too few to tell") == 1


def test_subjects_have_a_table_when_there_are_several() -> None:
    assert f"algebra 10 of 100 10.0 % 10.0 to 10.0 {ATTACK} 10 of 50" in text_of(
        report_html(numbers(profile=full_profile()))
    )
    one = full_profile().model_copy(update={"subjects": [subject("algebra", 10)]})
    assert "By subject" not in report_html(numbers(profile=one))


def test_skills_that_go_missing_together_are_a_table_of_shaded_numbers() -> None:
    """Most often missing: ATTACK 40, linear_equation 30, greatest_common_divisor 20, addition 10, rare 1."""
    grid = numbers(profile=full_profile())["together"]
    assert grid["skills"][:2] == [ATTACK, "linear_equation"]
    assert [cell["count"] for cell in grid["rows"][1]] == [8, 30, None, 2, None]
    assert [cell["shade"] for cell in grid["rows"][1]] == [1, None, 0, 0.25, 0]
    assert [[row[i]["count"] for row in grid["rows"]] for i in range(5)] == [
        [cell["count"] for cell in row] for row in grid["rows"]
    ]
    html = report_html(numbers(profile=full_profile()))
    assert 'style="--share: 1.0">8</td>' in html and 'style="--share: 0.25">2</td>' in html
    assert "2 linear_equation 8 30 · 2 ·" in text_of(html)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_numbers_can_be_read_on_the_strongest_shade(scheme: int) -> None:
    """The shade is laid over the page at 0.55 of its strength; WCAG 2 wants a contrast of 4.5 (level AA)."""
    html = report_html(numbers())
    assert "calc(.55 * var(--share, 0))" in html
    page, text = (_rgb(re.findall(rf"--{name}: #(\w{{6}})", html)[scheme]) for name in ("page", "text"))
    shade = [int(part) for part in re.findall(r"--shade: ([\d ]+);", html)[scheme].split()]
    mixed = [0.55 * over + 0.45 * under for over, under in zip(shade, page, strict=True)]
    light, dark = sorted((_luminance(mixed), _luminance(text)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _rgb(text: str) -> list[float]:
    return [float(int(text[i : i + 2], 16)) for i in (0, 2, 4)]


def _luminance(rgb: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_map_shows_twelve_skills_and_is_absent_without_pairs() -> None:
    many = profile(tuple(f"skill{index}" for index in range(20)))
    grid = numbers(profile=many.model_copy(update={"together": [pair("skill18", "skill19", 3)]}))["together"]
    assert (len(grid["skills"]), {len(row) for row in grid["rows"]}) == (12, {12})
    assert numbers(profile=many)["together"] is None
    assert "No two skills were missing in the same question more than once." in report_html(numbers(profile=many))


def test_gold_is_not_praised_for_agreeing_with_itself() -> None:
    own = DIFFICULTY["strategies"][0] | {"strategy": "gold/any", "accuracy": 1.0, "precision": 1.0}
    assert "gold/any of this run 8 of 50 – – – –" in text_of(
        report_html(numbers(difficulty={"strategies": [own], "sweep": None}))
    )


def test_the_difficulty_section_compares_strategies() -> None:
    text = text_of(report_html(numbers(difficulty=DIFFICULTY)))
    assert "length of this run 8 of 50 75.0 % 58.8 to 87.3 of 40 50.0 % – 25.0 %" in text
    assert f"{ATTACK} 12 of 48 – – – –" in text
    assert "Other thresholds" not in text
    assert "Which questions are difficult" not in report_html(numbers())


@pytest.mark.parametrize(
    ("accuracy", "shown", "values"),
    [
        (True, "Accuracy of the difficulty rule", "25.0 60.0 0.5 0.0 35.0"),
        (False, "Share of questions", "12.5 21.2 0.5 25.0 42.5"),
    ],
)
def test_the_sweep_shows_accuracy_or_else_the_share_of_difficult_questions(
    accuracy: bool, shown: str, values: str
) -> None:
    """Accuracy was made tau1 - tau2, the share tau1 * tau2; rows are tau2."""
    html = report_html(numbers(difficulty=DIFFICULTY | {"sweep": sweep(accuracy)}))
    assert shown in text_of(html)
    assert f"0.25 {values}" in text_of(html)
    framed = [attributes for tag, attributes in Page(html).tags if tag == "td" and attributes.get("class") == "used"]
    assert len(framed) == 1
    assert framed[0]["aria-label"] == ("35.0 %" if accuracy else "42.5 %") + ", thresholds of this run"


def test_a_sweep_without_the_runs_own_thresholds_frames_no_cell() -> None:
    html = report_html(numbers(difficulty=DIFFICULTY | {"sweep": sweep(True) | {"used": [0.9, 0.9]}}))
    assert 'class="used"' not in html
    assert "tau1 = 0.9, tau2 = 0.9" in html


def test_the_audit_says_how_far_to_trust_the_diagnoses() -> None:
    text = text_of(report_html(numbers(audit=AUDIT)))
    assert "50 diagnoses were asked again (the same teacher, skill list shuffled); 48 could be compared." in text
    assert "The same skills: 70.0 %" in text and "(Jaccard): 80.0 %" in text and "judgement: 90.0 %" in text
    assert "alpha over all: 0.61" in text and f"{ATTACK} 20 55.0 % –" in text
    unknown = text_of(report_html(numbers(audit=AUDIT | {"alpha": None, "agreement": None, "skills": []})))
    assert "alpha over all: –" in unknown and "Agreement on whether" not in unknown


# -- the profile on the terminal --------------------------------------------------------------------------------------


def profile_text(found: SkillProfile, width: int) -> str:
    """Return what is printed of a profile on a terminal of a width."""
    console, output = printed(width)
    print_profile(found, console)
    return output.getvalue()


def test_the_profile_is_ranked_and_prints_brackets_as_they_are() -> None:
    text = profile_text(profile(("rare", "[bold]common")), 110)
    assert text.index("[bold]common") < text.index("rare")
    assert "420 of 1000 questions were difficult for tiny" in text
    # 20 of 200 missing; the bounds are 0.9 and 1.1 times that. The longest bar is 20 blocks, the other half of it.
    assert re.search(r"20 of 200 .* 10\.0 % \[9, 11\] +10\.0 %", text)
    assert re.findall("█+", text) == ["█" * 20, "█" * 10]


def test_bars_are_shorter_on_a_narrow_terminal_and_never_vanish() -> None:
    """1 of the most 100 is 8/100 of a block, which rounds to one eighth of a block."""
    found = profile().model_copy(update={"skills": [gap("often", 100, 200), gap("once", 1, 200), gap("never", 0, 200)]})
    lines = {line.split()[0]: line for line in profile_text(found, 80).splitlines() if line.split()}
    assert (lines["often"].count("█"), lines["once"].count("▏")) == (8, 1)
    assert not set(lines["never"]) & set("▏▎▍▌▋▊▉█")


def test_too_few_exposures_stand_in_place_of_what_is_likely() -> None:
    lines = {line.split()[0]: line for line in profile_text(full_profile(), 80).splitlines() if line.split()}
    assert lines["rare"].rstrip().endswith("25.0 % [22, 28]  too few to tell")
    assert re.search(r"5\.0 % \[5, 6\] +5\.0 %$", lines["addition"].rstrip())


@pytest.mark.parametrize("width", [80, 110])
def test_a_long_profile_fits_the_terminal(width: int) -> None:
    """Forty skills with long names and large counts: 25 are shown, and no number is cut."""
    names = tuple(f"a_skill_with_a_name_that_no_terminal_can_hold_in_full_{index}" for index in range(40))
    counts = [gap(name, 9000 - index, 10000) for index, name in enumerate(names)]
    few = gap("too", 4, 4).model_copy(update={"high": 1.0})
    subjects = [subject(f"{name}[red]", 20, names[0]) for name in names[:30]]
    found = profile().model_copy(
        update={"skills": [few, *counts], "subjects": subjects, "together": [pair(names[0], names[1], 9)] * 6}
    )
    text = profile_text(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert "… and 16 more skills: profile.json" in text and "… and 5 more subjects: profile.json" in text
    assert "9000 of 10000" in text and "90.0 % [81, 99]" in text and "too few to tell" in text
    assert text.count(" 20 of 100 ") == 25 and text.count(" 20 of 50") == 25


def test_skills_missing_together_more_often_than_by_chance_stand_on_at_most_two_lines() -> None:
    pairs = [pair(f"first{index}", f"second{index}", 9 - index, 1.5) for index in range(6)]
    found = profile().model_copy(update={"together": [pair("rarely", "met", 10, 12.5), *pairs]})
    lines = profile_text(found, 80).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Missing together"))
    assert lines[start:] == [
        "Missing together (by chance): first0 + second0 9 (1.5); first1 + second1 8 (1.5)",
        "first2 + second2 7 (1.5); first3 + second3 6 (1.5); first4 + second4 5 (1.5)",
    ]
    assert "Missing together" not in profile_text(found.model_copy(update={"together": pairs[:0]}), 80)


def test_one_subject_needs_no_table() -> None:
    one = profile().model_copy(update={"subjects": [subject("algebra", 10)]})
    assert "algebra" not in profile_text(one, 80)
    two = profile().model_copy(update={"subjects": [subject("[b]algebra", 10), subject("geometry", 0)]})
    lines = [line.split() for line in profile_text(two, 110).splitlines()]
    assert ["[b]algebra", "10", "of", "100", "10.0", "%", "[10,", "10]", ATTACK, "10", "of", "50"] in lines
    assert ["geometry", "0", "of", "100", "0.0", "%", "[0,", "0]", "–"] in lines


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = profile_text(profile(("\x1b[31mred\nnext", "\u202etxt")), 110)
    assert "?[31mred next" in text and "?txt" in text and "\x1b" not in text


# -- several checkpoints, and two trainings ---------------------------------------------------------------------------


def test_the_checkpoint_that_was_taken_is_told_with_what_each_scored() -> None:
    found = numbers(choice=CHOICE)
    assert found["choice"] == CHOICE
    html = report_html(found)
    rows = re.findall(r"<tr><th scope=\"row\">(?:0.0001|0.002)</th>.*?</tr>", html)
    assert ["75.0 %" in row and "<td>yes</td>" in row for row in rows] == [True, False]
    assert "<td>yes</td>" not in rows[1] and "–" in rows[1]
    assert "Which checkpoint was taken" not in report_html(numbers())


def test_the_last_training_is_the_headline_and_the_one_before_is_shown_too() -> None:
    """Of ten questions the student has 2 right, after fine-tuning 4, after reinforcement learning 7."""
    ids = [f"q{index}" for index in range(10)]
    questions = [Question(id=id, question=id, skills=["addition"]) for id in ids]
    right = {"base": 2, "sft": 4, "rl": 7}
    arms = {
        arm: {"standard": scored(questions, _grades(ids, [n < most for n in range(10)]))} for arm, most in right.items()
    }
    found = numbers(evaluation=evaluation(arms))
    row = found["benchmarks"][0]
    shares = {name: row[name]["accuracy"] for name in ("before", "fine_tuned", "after")}
    assert shares == {"before": 0.2, "fine_tuned": 0.4, "after": 0.7}
    changes = {name: row[name]["difference"] for name in ("change", "fine_tuned_change", "added")}
    assert changes == {"change": 0.5, "fine_tuned_change": 0.2, "added": 0.3}
    assert found["headline"]["change"]["difference"] == 0.5
    console = Console(file=(output := StringIO()), width=100, color_system=None)
    print_summary(found, Path("run"), console)
    assert "20.0 % -> 70.0 % right on the same 10 questions" in output.getvalue()
    assert "fine-tuned, before reinforcement learning: 20.0 % -> 40.0 %, +20.0 points" in output.getvalue()
    assert "Fine-tuning and reinforcement learning apart" in report_html(found)
    card = model_card(found, evaluation(arms), "ab12")
    assert card is not None
    assert "| benchmark | measure | questions | before | fine-tuned | after | change, points |" in card
    assert re.search(
        r"\| standard \| accuracy \| 10 \| 20.0 % \[.*\] \| 40.0 % \[.*\] \| 70.0 % \[.*\] \| \+50.0 \[", card
    )
    assert "- SHA-256 of training&#95;set.jsonl: ab12" in card or "- SHA-256 of training_set.jsonl: ab12" in card


def test_without_fine_tuning_there_is_nothing_in_between() -> None:
    found = numbers(evaluation=scores(arms=("base", "rl")))
    assert (found["benchmarks"][0]["fine_tuned"], found["benchmarks"][0]["added"]) == (None, None)
    assert found["headline"]["change"]["difference"] > 0.1
    assert "Fine-tuning and reinforcement learning apart" not in report_html(found)


def test_a_model_card_cannot_be_broken_by_what_it_names_and_names_no_folder() -> None:
    config = CONFIG | {"student": CONFIG["student"] | {"model": "/home/someone/secret/model|x"}}
    card = model_card(numbers(config=config, choice=CHOICE), scores(), "ab12")
    assert card is not None and "secret" not in card
    assert "- base model: model&#124;x" in card
    assert "rate 0.0001, step 8" in card
    assert model_card(numbers(evaluation=None), None, "ab12") is None

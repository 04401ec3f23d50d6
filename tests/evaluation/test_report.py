"""The report page, its numbers and the terminal summary, from invented results."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from stat_train.evaluation.report import command, points, report_html, report_numbers, verdict
from stat_train.evaluation.summary import evaluation
from stat_train.evaluation.terminal import print_profile, print_summary
from stat_train.records import Grade, Question, SkillGap, SkillProfile

ATTACK = "<script>alert(1)</script>"
CONFIG: dict[str, Any] = {
    "run_dir": "runs/my run",
    "seed": 0,
    "until": "report",
    "task": {"name": "arithmetic", "mix": "a", "benchmarks": ["standard", "longer_chains"]},
    "student": {
        "name": "tiny",
        "revision": None,
        "prompt": {"system": 'Say "yes" \\', "template": "Q: {question}\nA:", "chat_template_arguments": {}},
    },
    "data_recipe": {"name": "stat_sel", "pairs": 5000, "allow_short": False},
    "train": {"name": "sft", "learning_rate": 1e-05},
    "evaluate": {"temperature": 0.0},
}
SKILLS = ("addition", "greatest_common_divisor", "linear_equation", ATTACK)


def gap(skill: str, missing: int, exposed: int) -> SkillGap:
    """Return a gap with bounds a little around its rate."""
    rate = missing / exposed
    return SkillGap(skill=skill, missing=missing, exposed=exposed, rate=rate, low=rate * 0.9, high=min(1, rate * 1.1))


def profile(skills: tuple[str, ...] = SKILLS) -> SkillProfile:
    """Return a profile in which each skill is missing more often than the one before."""
    gaps = [gap(skill, 10 * (index + 1), 200) for index, skill in enumerate(skills)]
    return SkillProfile(student="tiny", task="arithmetic", questions=1000, difficult=420, skills=gaps)


@cache
def scores(skills: tuple[str, ...] = SKILLS, questions_per_skill: int = 60) -> dict[str, Any]:
    """Return an evaluation in which half of the wrong answers become right ones and few right ones are lost."""
    random = Random(0)
    names = [f"{skill}{index}" for skill in skills for index in range(questions_per_skill)]
    questions = [Question(id=name, question=ATTACK, skills=[re.sub(r"\d+$", "", name)]) for name in names]
    before = [random.random() < 0.4 for _ in names]
    after = [random.random() < (0.95 if right else 0.5) for right in before]
    return evaluation(
        {arm: {"standard": (questions, _grades(names, found))} for arm, found in (("base", before), ("sft", after))}
    )


def _grades(ids: list[str], right: list[bool]) -> list[Grade]:
    verdicts = zip(ids, right, strict=True)
    return [Grade(question_id=id, attempt=0, verdict="correct" if found else "wrong") for id, found in verdicts]


def numbers(**changes: Any) -> dict[str, Any]:
    """Return the numbers of an invented run, with some of its parts replaced."""
    parts: dict[str, Any] = {
        "config": CONFIG,
        "profile": profile(),
        "training_rows_per_skill": {"addition": 1000, "linear_equation": 3000},
        "evaluation": scores(),
        "dropped": {"curate": {"answer does not match": 12, ATTACK: 3}},
        "stages": [{"name": "train", "hash": "train-0a1b2c", "seconds": 61.25}],
        "versions": {"stat-train": "0.1.0", "torch": "2.9"},
    }
    return report_numbers(**{**parts, **changes})


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
    html = report_html(numbers())
    assert Page(html).count("script") == 0
    assert "&lt;script&gt;alert(1)" in html


def test_the_page_needs_no_network_and_no_javascript() -> None:
    html = report_html(numbers())
    assert not re.search(r"https?://|//\w|@import|url\(", html)
    attributes = {name for _, attributes in Page(html).tags for name in attributes}
    assert not {name for name in attributes if name.startswith("on") or name in ("src", "href")}


def test_tables_have_captions_and_headers_and_charts_have_text() -> None:
    page = Page(report_html(numbers()))
    assert page.count("table") == page.count("caption") == 7
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(chart.get("aria-hidden") or chart.get("aria-label") for chart in charts)
    assert sum("aria-label" in chart for chart in charts) == len(SKILLS)


def test_headings_do_not_skip_a_level() -> None:
    levels = [int(tag[1]) for tag, _ in Page(report_html(numbers())).tags if re.fullmatch(r"h\d", tag)]
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
    html = report_html(numbers(evaluation=None, training_rows_per_skill={}))
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
    [(0.01, 0.05, "Gain"), (-0.05, -0.01, "Loss"), (-0.01, 0.02, "No clear change"), (None, None, "No clear change")],
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
def test_the_summary_keeps_to_25_lines_with_many_skills(width: int) -> None:
    many = tuple(f"skill_with_a_rather_long_name_{chr(97 + index)}" for index in range(26))
    console, output = printed(width)
    found = numbers(
        profile=profile(many), evaluation=scores(many, 10), dropped={f"stage{i}": {"x": 9} for i in range(9)}
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


def test_the_summary_of_an_early_end_claims_nothing() -> None:
    console, output = printed()
    print_summary(numbers(evaluation=None), Path("runs/x"), console)
    assert "no gain to report" in output.getvalue()
    assert "unscored" not in output.getvalue()


def test_the_profile_is_ranked_and_prints_brackets_as_they_are() -> None:
    console, output = printed()
    print_profile(profile(("rare", "[bold]common")), console)
    text = output.getvalue()
    assert text.index("[bold]common") < text.index("rare")
    assert "420 of 1000 questions were difficult for tiny" in text
    # 20 of 200 missing; the bounds are 0.9 and 1.1 times that. The longest bar is 20 blocks, the other half of it.
    assert "10.0 % [9, 11]" in text
    assert re.findall("█+", text) == ["█" * 20, "█" * 10]

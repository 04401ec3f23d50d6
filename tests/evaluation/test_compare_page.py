"""The page of a comparison: whole in itself, in order for a screen reader, and safe from names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from run_folders import standard, write_run

from stat_train.cli import main
from stat_train.evaluation.compare import Comparison, compare
from stat_train.evaluation.compare_page import compare_html, scale

NAME = '<img src=x onerror="alert(1)">'
SKILLS = ["<b>bold</b>"] * 4 + ["plain_skill"] * 4


class Page(HTMLParser):
    """The tags of a page with their attributes, its visible text, and the tags that were open at each table cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag; those that hold nothing are never open."""
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that tags are closed in the order in which they were opened."""
        if tag in ("line", "circle"):
            return
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all tags of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return the comparison of two runs on two benchmarks, with skills; one run has markup for a name."""
    folder = tmp_path_factory.mktemp("runs")
    arms = {arm: {"standard": marks, "longer": marks} for arm, marks in (("base", "+---+---"), ("sft", "++--++--"))}
    config = {"task": {"name": "arithmetic", "benchmarks": ["standard"]}, "train": {"epochs": "</td><script>"}}
    runs = [
        write_run(folder / "first", arms, skills=SKILLS),
        write_run(
            folder / NAME, arms | {"sft": {"standard": "-+++++++", "longer": "--------"}}, "pool", 0, SKILLS, config
        ),
    ]
    return compare(runs, "all", with_skills=True)


@pytest.fixture(scope="module")
def page(found: Comparison) -> Page:
    """Return the page, parsed."""
    return Page(compare_html(found, ["stat-train", "compare", "a b", NAME]))


def test_headings_come_in_order_and_tables_are_named(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert levels.count(3) == 2, "one table of skills a benchmark"
    # Scores and skills of each benchmark, costs, settings.
    assert len(page.all("table")) == len(page.all("caption")) == 6
    assert page.open == []


def test_every_heading_of_a_table_says_what_it_heads(page: Page) -> None:
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    regions = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert len(regions) == 6
    assert all(region["role"] == "region" and region["tabindex"] == "0" and region["aria-label"] for region in regions)


def test_charts_can_be_read_without_being_seen(page: Page) -> None:
    charts = page.all("svg")
    # A forest plot a benchmark, and a line a skill.
    assert len(charts) == 2 + 2 * 2
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    plots = [chart["aria-label"] or "" for chart in charts if "Gain over" in (chart["aria-label"] or "")]
    assert len(plots) == 2 and "first +25.0 (" in plots[0] and "in points with 95 % intervals" in plots[0]


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    assert not {"script", "img", "link", "iframe", "object", "embed", "image", "use"} & {tag for tag, _ in page.tags}
    given = {name for _, attributes in page.tags for name in attributes}
    assert not {"src", "href", "srcset", "action", "style"} & given
    assert not [name for name in given if name.startswith("on")]


def test_names_are_text(found: Comparison, page: Page) -> None:
    html = compare_html(found, ["stat-train", "compare", NAME])
    assert "<img" not in html and "<b>" not in html and "<script" not in html and "url(" not in html
    assert html.count("&lt;img src=x") >= 4
    text = "".join(page.words)
    assert NAME in text and "<b>bold</b>" in text and "</td><script>" in text


def test_what_the_page_says_is_what_was_found(page: Page) -> None:
    """The second model lost q0 and gained six: +62.5 over its base, and on `longer` it lost both: −25."""
    text = " ".join("".join(page.words).split())
    assert "87.5 % on standard" in text and "+62.5" in text and "−25.0" in text
    assert "data_recipe.name" in text and "train.epochs" in text
    assert "stat-train compare 'a b'" in text


@pytest.mark.parametrize(
    ("values", "low", "high", "ticks"),
    [
        ([0.101, 0.088, 0.113], 0.0, 0.15, [0.0, 0.05, 0.1, 0.15]),
        ([-0.028, -0.037, -0.018, 0.086], -0.05, 0.1, [-0.05, 0.0, 0.05, 0.1]),
        ([None, 0.0], -0.01, 0.01, [-0.01, -0.005, 0.0, 0.005, 0.01]),
    ],
)
def test_a_scale_holds_nothing_and_all_values(
    values: list[float | None], low: float, high: float, ticks: list[float]
) -> None:
    found = scale(values)
    assert (found.low, found.high, found.ticks) == (pytest.approx(low), pytest.approx(high), pytest.approx(ticks))
    assert (found.x(found.low), found.x(found.high)) == (5.0, 95.0)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_run(tmp_path / "a", standard("+-", "++")))
    place = tmp_path / "comparison.html"
    assert main(["compare", "--html", str(place), run]) == 0
    assert f"stat-train compare --html {place} {run}" in place.read_text(encoding="utf-8")
    assert main(["compare", "--html", str(tmp_path / "no" / "file.html"), run]) == 2
    assert "cannot be written" in capsys.readouterr().err

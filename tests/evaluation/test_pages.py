"""The report page in a real browser: readable at every width, in both schemes, by keyboard, and on paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from large_run import HOSTILE, SKILLS, large_numbers
from pages import Browser, browser, check_file, check_page, opened
from run_folders import write_run

from stat_train.evaluation.compare import compare
from stat_train.evaluation.compare_page import compare_html
from stat_train.evaluation.report import report_html

__all__ = ["browser"]
pytestmark = pytest.mark.slow
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a run of the size of MATH."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_html(json.loads(json.dumps(large_numbers()))), encoding="utf-8")
    return path


def test_the_page_is_readable_everywhere(browser: Browser, page_file: Path) -> None:
    check_file(browser, page_file)


def test_the_page_of_a_comparison_is_readable_everywhere(browser: Browser, tmp_path: Path) -> None:
    """Two runs on two benchmarks, one of them with markup for a name."""
    marks = {
        arm: {"standard": 4 * found, "longer": 4 * found} for arm, found in (("base", "+---+---"), ("sft", "++--++--"))
    }
    skills = ["digit_sum"] * 16 + ["a_skill_with_a_rather_long_name_that_must_break_somewhere"] * 16
    for name in ("first", HOSTILE.replace("/", " ")):
        write_run(tmp_path / name, marks, skills=skills)
    runs = sorted(tmp_path.iterdir())
    compared, command = compare(runs, "all", with_skills=True), ["stat-train", "compare", *map(str, runs)]
    (page := tmp_path / "compare.html").write_text(compare_html(compared, command), encoding="utf-8")
    check_file(browser, page)


def test_a_large_run_has_a_small_page(page_file: Path) -> None:
    assert page_file.stat().st_size < MOST_BYTES
    assert len(json.dumps(large_numbers(), indent=2)) < MOST_BYTES
    assert page_file.read_text().count('class="compared"') >= SKILLS - 1


def test_what_a_model_wrote_does_nothing(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        assert page.evaluate("window.hit") is None
        assert page.locator("script, img, svg[onload]").count() == 0
        assert page.locator("pre", has_text=HOSTILE).count() > 0


BAD = """<!doctype html><html><title>x</title><body style="width: 2000px"><main><h1>a</h1><h3 id="i">b</h3>
<table id="i"><tr><th>no scope</th></tr></table><a href="#gone" style="color: #bbb">pale</a>
<svg role="img" aria-label="Loss" viewBox="0 0 99 99" width="99"><text x="90" y="50">cut off</text>
<text x="5" y="20">first</text><text x="9" y="22">second</text></svg>
<div style="overflow: auto; width: 50px">averylongwordthatscrolls</div></main></html>"""


@pytest.mark.parametrize(
    "problem",
    [
        "no language",
        "a level is skipped",
        "an id twice",
        "a link to nowhere",
        "no caption",
        "no scope",
        "the page is too wide",
        "scrolls, and no key reaches it",
        "a chart without a unit: Loss",
        "a label is cut",
        "labels overlap",
        "hard to read",
    ],
)
def test_the_checks_find_what_is_wrong(bad_page: str, problem: str) -> None:
    assert problem in bad_page


@pytest.fixture(scope="module")
def bad_page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what is said of a page with everything wrong."""
    path = tmp_path_factory.mktemp("bad") / "bad.html"
    path.write_text(BAD)
    with opened(browser, path) as page, pytest.raises(AssertionError) as error:
        check_page(page)
    return str(error.value)

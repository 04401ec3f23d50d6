"""The report page in a real browser: readable at every width, in both schemes, by keyboard, and on paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from large_run import HOSTILE, SKILLS, large_numbers
from pages import Browser, browser, check_file, check_page, opened

from stat_train.evaluation.report import report_html

__all__ = ["browser"]
pytestmark = pytest.mark.slow
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a run of the size of MATH."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_html(large_numbers()), encoding="utf-8")
    return path


def test_the_page_is_readable_everywhere(browser: Browser, page_file: Path) -> None:
    check_file(browser, page_file)


def test_a_large_run_has_a_small_page(page_file: Path) -> None:
    assert page_file.stat().st_size < MOST_BYTES
    assert len(json.dumps(large_numbers(), indent=2)) < MOST_BYTES
    assert page_file.read_text().count('class="compared"') >= SKILLS


def test_what_a_model_wrote_does_nothing(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        assert page.evaluate("window.hit") is None
        assert page.locator("script, img, svg[onload]").count() == 0
        assert page.locator("pre", has_text=HOSTILE).count() > 0

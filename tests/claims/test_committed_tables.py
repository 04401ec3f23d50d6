"""The tables of the repository are those of its raw results."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from stat_train.claims.write import write_tables

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
SUITE = RESULTS / "arithmetic_suite.md"
TEXT = "{http://www.w3.org/2000/svg}text"
FOLDERS = sorted({file.parent for file in RESULTS.glob("*/*.json")})


@pytest.mark.slow
@pytest.mark.skipif(not FOLDERS, reason="no sweep's raw results are in benchmarks/results yet")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_table_is_that_of_its_raw_results(folder: Path, tmp_path: Path) -> None:
    """With the pictures that it shows, word by word; their own bytes are another matplotlib's."""
    pytest.importorskip("matplotlib")
    shutil.copytree(folder, tmp_path / folder.name)
    write_tables(tmp_path / folder.name)
    assert (tmp_path / f"{folder.name}.md").read_bytes() == folder.with_name(f"{folder.name}.md").read_bytes()
    assert words_of_pictures(RESULTS, folder.name) == words_of_pictures(tmp_path, folder.name)


def words_of_pictures(place: Path, name: str) -> dict[str, set[str]]:
    """Return what is written in each picture that a table shows, but for numbers along an axis."""
    shown = re.findall(r"\]\((.+\.svg)\)", (place / f"{name}.md").read_text(encoding="utf-8"))
    texts = {picture: [each.text or "" for each in ElementTree.parse(place / picture).iter(TEXT)] for picture in shown}
    assert texts
    return {picture: {text for text in written if re.search("[a-z]", text)} for picture, written in texts.items()}


@pytest.mark.skipif(not FOLDERS, reason="no sweep's raw results are in benchmarks/results yet")
def test_the_readme_shows_curves_as_they_are() -> None:
    """The tables of mean gains by a setting, of every sweep that has one."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    every = [folder.with_name(f"{folder.name}.md").read_text(encoding="utf-8") for folder in FOLDERS]
    curves = [
        table for text in every for table in re.findall(r"means of the seeds:\n\n((?:^\|.*\n)+)", text, re.MULTILINE)
    ]
    assert curves and all(table in readme for table in curves)


@pytest.mark.skipif(not SUITE.exists(), reason="the suite has no table in benchmarks/results yet")
def test_the_readme_shows_the_suites_tables_as_they_are() -> None:
    """What was gained, and which claims hold: lines that do not hold stay beside those that do."""
    tables = re.findall(r"(?:^\|.*\n)+", SUITE.read_text(encoding="utf-8"), re.MULTILINE)
    gains, verdicts = tables[0], next(table for table in tables if table.startswith("| claim |"))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert gains in readme and verdicts in readme

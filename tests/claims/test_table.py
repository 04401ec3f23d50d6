"""The tables, cell by cell, and the files that are written: the same bytes from the same results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from raw_results import result, right

from stat_train.claims.figures import MISSING, draw
from stat_train.claims.measures import gain, trainings
from stat_train.claims.results import Result, write_result
from stat_train.claims.table import markdown
from stat_train.claims.verdicts import points
from stat_train.claims.write import main, write_tables
from stat_train.errors import UserError

TWO = {"standard": right(0.25), "longer_chains": right(0)}
RUNS = [
    *(result("pool", seed, 0, base=TWO, sft=TWO) for seed in (0, 1)),
    *(result("stat|sel", seed, 1, base=TWO, sft=TWO | {"standard": right(0.5 + seed / 4)}) for seed in (0, 1)),
    result("pool", 0, 2, base=TWO, sft=TWO, rl=TWO | {"longer_chains": right(0.1)})._replace(fine_tuning_tokens=None),
]


def folder_of(place: Path, results: Sequence[Result]) -> Path:
    for each in results:
        write_result(place / "my_suite", each)
    return place / "my_suite"


def cells(text: str, opening: str) -> list[list[str]]:
    """Return the cells of the first table after these words."""
    table = re.search(r"(^\|.*\n)+", text[text.index(opening) :], re.MULTILINE)
    assert table
    lines = [re.split(r" (?<!\\)\| ", line.removeprefix("| ").removesuffix(" |")) for line in table[0].splitlines()]
    assert lines[1] == ["---"] * len(lines[0])
    return [lines[0], *lines[2:]]


def test_the_tables(tmp_path: Path) -> None:
    """From 25 % to 50 and 75 %: 37.5 points gained. Two of its baselines are alike, so the first is the best."""
    text = markdown(folder_of(tmp_path, RUNS), ["my_suite.svg"])
    targeted = trainings(RUNS)[1]
    gained = points(gain(targeted, "standard"))
    assert gained.startswith("+37.5 (")
    head, *rows = cells(text, "# My suite\n\n5 runs; seeds (and the student of each): 0 (tiny), 1 (tiny).")
    assert head == ["", "standard", "gain", "against `pool`", "against the best baseline", "pairs", "tokens, M", "rate"]
    cost = ["5,000", "1.25", "0.0004"]
    best = r"`stat\|sel` (best baseline)"
    assert rows[0] == ["base", "25.0", *"––––––"]
    assert [row[:2] + row[5:] for row in rows[1:]] == [
        ["`pool`", "25.0", *cost],
        [best, "62.5", *cost],
        ["`pool + GRPO`", "25.0", "5,000", "–", "0.0004"],
    ]
    assert rows[2][2:5] == [gained, gained, "–"]
    assert rows[1][3] == "–" and rows[1][4].startswith("-37.5 (")
    assert rows[3][3].startswith("+0.0 (") and rows[3][4].startswith("-25.0 (")
    others = cells(text, "Gains on the other benchmarks:")
    assert others[:2] == [["", "longer_chains"], ["base", "0.0"]] and others[4][1].startswith("+10.0 (")
    added = cells(text, "What GRPO added to the model that it started from:")
    assert [row[0] for row in added] == ["", "`pool + GRPO`"] and added[1][2].startswith("+10.0 (")
    assert cells(text, "Gain on standard, seed by seed:") == [
        ["", "0", "1"],
        ["`pool`", "+0.0", "+0.0"],
        [r"`stat\|sel`", "+25.0", "+50.0"],
        ["`pool + GRPO`", "+0.0", "–"],
    ]
    assert text.endswith("\n\n![my suite](my_suite.svg)\n")


def test_a_benchmark_that_not_all_have_is_in_no_table_of_all(tmp_path: Path) -> None:
    without = result("hard", place=3, base=right(0), sft=right(0))
    assert "longer_chains" not in markdown(folder_of(tmp_path, [*RUNS[:2], without]))


def test_the_table_and_the_picture_are_the_same_bytes_whoever_makes_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = []
    for name in ("once", "again"):
        folder = folder_of(tmp_path / name, RUNS)
        written = write_tables(folder)
        assert written == [f"{folder}.md", f"{folder}.svg"]
        made.append([Path(place).read_bytes() for place in written])
    assert made[0] == made[1]
    svg = ElementTree.fromstring(made[0][1])
    texts = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"pool", "stat|sel", "pool + GRPO", "points gained on standard (95 % intervals)"} <= texts
    assert b"![my suite](my_suite.svg)" in made[0][0]


def test_where_a_setting_takes_three_numbers_the_picture_has_a_line_a_recipe(tmp_path: Path) -> None:
    """More recipes than there are colours, and none is left out."""
    pytest.importorskip("matplotlib")
    recipes = [f"recipe{index}" for index in range(9)]
    runs = [
        result(recipe, varies={"data_recipe.pairs": pairs}, base=right(0), sft=right(0.5))
        for recipe in recipes
        for pairs in ("500", "1000", "4000")
    ]
    folder = folder_of(tmp_path, runs)
    (place,) = draw(folder, folder)
    assert place == tmp_path / "my_suite_pairs.svg"
    texts = {text.text for text in ElementTree.parse(place).iter("{http://www.w3.org/2000/svg}text")}
    assert {*recipes, "500", "1,000", "4,000", "data_recipe.pairs"} <= texts


def test_without_the_library_that_draws_the_table_is_written_and_one_line_says_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stat_train.claims.figures.find_spec", lambda name: None)
    folder = folder_of(tmp_path, RUNS)
    monkeypatch.setattr("sys.argv", ["write", str(folder)])
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [f"{folder}.md", MISSING]
    assert MISSING == "figures need matplotlib; pip install 'stat-train[figures]'"
    assert "![" not in folder.with_suffix(".md").read_text()
    with pytest.raises(UserError, match="figures need matplotlib"):
        draw(folder, folder)


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "no folder given; expected"), (["gone"], "gone: holds no raw results")]
)
def test_what_holds_no_results_is_refused(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["write", *arguments])
    assert main() == 2
    assert words in capsys.readouterr().err

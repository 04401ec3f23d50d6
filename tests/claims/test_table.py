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
# The mean over the seeds is what the table shows: 1.25 million.
RUNS[:2] = [
    run._replace(fine_tuning_tokens=tokens) for run, tokens in zip(RUNS[:2], (1_000_000, 1_500_000), strict=True)
]
RUNS = [run._replace(student="tiny_b") if run.seed else run for run in RUNS]


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
    """From 25 % to 50 and 75 %: 37.5 points gained. With GRPO there is the pool alone, on one seed."""
    text = markdown(folder_of(tmp_path, RUNS), ["my_suite.svg"])
    targeted = trainings(RUNS)[1]
    gained = points(gain(targeted, "standard"))
    assert gained.startswith("+37.5 (")
    head, *rows = cells(text, "# My suite\n\n5 runs; seeds (and the student of each): 0 (tiny), 1 (tiny_b).")
    columns = ["standard", "gain", "against `pool`", "against the best baseline", "pairs", "tokens, M", "rate", "seeds"]
    assert head == ["", *columns]
    cost = ["5,000", "1.25", "4e-4", "2"]
    best = r"`stat\|sel` (best baseline)"
    assert rows[0] == ["base", "25.0", *"––––––", "2"]
    assert [row[:2] + row[5:] for row in rows[1:]] == [
        ["`pool`", "25.0", *cost],
        [best, "62.5", *cost],
        # The best of those that end with GRPO is no baseline when there is no other.
        ["`pool + GRPO`", "25.0", "5,000", "–", "4e-4", "1"],
    ]
    assert rows[2][2:5] == [gained, gained, "–"]
    assert rows[1][3] == "–" and rows[1][4].startswith("-37.5 (")
    assert rows[3][3:5] == ["–", "–"]
    assert "\n\nQuestions of a seed: standard 40; longer_chains 40.\n\n" in text
    others = cells(text, "Gains on the other benchmarks:")
    assert others[:2] == [["", "longer_chains"], ["base", "0.0"]] and others[4][1].startswith("+10.0 (")
    added = cells(text, "What GRPO added to the model that it started from:")
    assert [row[0] for row in added] == ["", "`pool + GRPO`"] and added[1][2].startswith("+10.0 (")
    assert cells(text, "Gain on standard, seed by seed:") == [
        ["", "0 (tiny)", "1 (tiny_b)"],
        ["`pool`", "+0.0", "+0.0"],
        [r"`stat\|sel`", "+25.0", "+50.0"],
        ["`pool + GRPO`", "+0.0", "–"],
    ]
    assert text.endswith("\n\n![my suite](my_suite.svg)\n")


def test_rates_differ_where_the_validation_questions_chose_them(tmp_path: Path) -> None:
    chosen = [run._replace(learning_rate=rate) for run, rate in zip(RUNS[:2], (4e-4, 1e-4), strict=True)]
    assert cells(markdown(folder_of(tmp_path, chosen)), "# My suite")[2][-2:] == ["1e-4, 4e-4", "2"]


def test_questions_are_counted_and_what_has_no_score_is_told(tmp_path: Path) -> None:
    """Of four answers of one seed and six of the other one has no score: a tenth."""
    runs = [result(base="+-", sft="+?"), result(seed=1, own=["standard"], base="+--", sft="+++")]
    text = markdown(folder_of(tmp_path, runs))
    assert "Questions of a seed: standard 2 to 3 (10.0% of the answers not scored)." in text


def test_where_each_row_has_questions_of_its_own_no_student_stands_beside_them_all(tmp_path: Path) -> None:
    """By an exact profile other skills are missing than by a bad one: what was kept is not the same questions."""
    both = {"standard": "+-", "not_missing": "++"}
    runs = [
        result(varies={"teacher.error_rate": rate}, own=own, base=both, sft=both)
        for rate, own in (("0", []), ("0.6", ["not_missing"]))
    ]
    note = "(not_missing: each row has questions of its own, by its own profile)"
    _, base, *rows = cells(markdown(folder_of(tmp_path, runs)), f"Gains on the other benchmarks {note}:")
    assert base == ["base", "–"] and [row[1].partition(" ")[0] for row in rows] == ["+0.0", "+0.0"]


def test_the_untrained_row_is_of_all_seeds_though_the_first_training_has_one(tmp_path: Path) -> None:
    """Seeds with 50 and 100 %: their mean, not that of the one seed of the first row."""
    runs = [result("hard", base=right(0.5), sft=right(0.5))]
    runs += [result("pool", seed, 1, base=right(share), sft=right(0.5)) for seed, share in ((0, 0.5), (1, 1.0))]
    _, base, *_ = cells(markdown(folder_of(tmp_path, runs)), "# My suite")
    assert (base[0], base[1], base[-1]) == ("base", "75.0", "2")


def test_each_student_that_is_trained_with_the_same_seeds_has_its_row(tmp_path: Path) -> None:
    runs = [
        result(varies={"student.model": student}, base=right(share), sft=right(0.5))._replace(student=student)
        for student, share in (("tiny", 0.25), ("tiny_b", 0.1))
    ]
    text = markdown(folder_of(tmp_path, runs))
    assert "seeds (and the student of each): 0 (tiny, tiny_b)." in text
    assert [row[:2] for row in cells(text, "# My suite")[1:3]] == [["base (tiny)", "25.0"], ["base (tiny_b)", "10.0"]]


def test_sets_of_other_sizes_have_no_margin(tmp_path: Path) -> None:
    sizes = {"pool": 4000, "embed_syn": 1000, "stat_sel": 1000}
    runs = [
        result(recipe, place=place, base=right(0), sft=right(0.5))._replace(pairs=pairs, fine_tuning_tokens=pairs)
        for place, (recipe, pairs) in enumerate(sizes.items())
    ]
    _, *rows = cells(markdown(folder_of(tmp_path, runs)), "By how much a set for missing skills is above another")
    assert [(name, change.partition(" ")[0]) for name, change in rows] == [("`pool`", "–"), ("`embed_syn`", "+0.0")]


def test_gains_by_a_setting_with_several_numbers(tmp_path: Path) -> None:
    """Numbers in their order, a recipe without one of them, and no table where two trainings have the same number."""
    gained = {("stat_sel", "0.6"): 0.5, ("stat_sel", "0.3"): 0.75, ("stat_sel", "0.0"): 1, ("stat_syn", "0.3"): 0.25}
    runs = [
        result(recipe, place=place, varies={"teacher.error_rate": rate}, base=right(0), sft=right(share))
        for place, ((recipe, rate), share) in enumerate(gained.items())
    ]
    assert cells(markdown(folder_of(tmp_path, runs)), "Points gained on standard, means of the seeds:") == [
        ["`teacher.error_rate`", "0.0", "0.3", "0.6"],
        ["`stat_sel`", "+100.0", "+75.0", "+50.0"],
        ["`stat_syn`", "–", "+25.0", "–"],
    ]
    again = runs[0]._replace(name="again", varies=runs[0].varies | {"difficulty": "gold"})
    assert "means of the seeds" not in markdown(folder_of(tmp_path / "two", [*runs, again]))


def test_thresholds_that_grow_together_are_one_line(tmp_path: Path) -> None:
    """Under both names; a setting with an order of its own has its own line."""
    thresholds = [("0.5", "0.3", "7"), ("0.7", "0.5", "9"), ("0.9", "0.8", "8")]
    runs = [
        result(
            "stat_sel",
            place=place,
            varies={"difficulty.tau1": tau1, "difficulty.tau2": tau2, "data_recipe.nearest": nearest},
            base=right(0),
            sft=right(0.25 * (place + 1)),
        )
        for place, (tau1, tau2, nearest) in enumerate(thresholds)
    ]
    text = markdown(folder_of(tmp_path, runs))
    assert (
        "| `difficulty.tau1` / `difficulty.tau2` | 0.5 / 0.3 | 0.7 / 0.5 | 0.9 / 0.8 |\n| --- | --- | --- | --- |\n"
        "| `stat_sel` | +25.0 | +50.0 | +75.0 |" in text
    )
    assert (
        "| `data_recipe.nearest` | 7 | 8 | 9 |\n| --- | --- | --- | --- |\n| `stat_sel` | +25.0 | +75.0 | +50.0 |"
        in text
    )
    assert "| `difficulty.tau2` |" not in text


def test_each_set_for_missing_skills_stands_against_each_other_set(tmp_path: Path) -> None:
    """75 % against 50 and 25: 25 and 50 points."""
    shares = {"pool": 0.25, "embed_syn": 0.5, "stat_sel": 0.75}
    runs = [
        result(recipe, place=place, base=right(0), sft=right(share))
        for place, (recipe, share) in enumerate(shares.items())
    ]
    head, *rows = cells(markdown(folder_of(tmp_path, runs)), "By how much a set for missing skills is above another")
    assert head == ["", "`stat_sel`"]
    assert [(name, change.partition(" ")[0]) for name, change in rows] == [
        ("`pool`", "+50.0"),
        ("`embed_syn`", "+25.0"),
    ]
    # With one other set it is in the main table.
    assert "By how much" not in markdown(folder_of(tmp_path / "two", runs[1:]))


def test_without_a_baseline_each_is_compared_with_the_first_of_its_recipe(tmp_path: Path) -> None:
    """From 100 % with an exact teacher to 50 with a bad one."""
    runs = [
        result(recipe, varies={"teacher.error_rate": rate}, base=right(0), sft=right(share))
        for recipe in ("stat_sel", "stat_syn")
        for rate, share in (("0.0", 1), ("0.6", 0.5))
    ]
    head, base, *rows = cells(markdown(folder_of(tmp_path, runs)), "# My suite")
    assert head[2:5] == ["gain", "against the first of its recipe", "pairs"] and len(base) == len(head)
    assert [row[3].partition(" ")[0] for row in rows] == ["–", "-50.0", "–", "-50.0"]


def test_a_benchmark_that_not_all_have_is_in_no_table_of_all(tmp_path: Path) -> None:
    without = result("hard", place=3, base=right(0), sft=right(0))
    text = markdown(folder_of(tmp_path, [*RUNS[:2], without]))
    assert "| longer_chains" not in text and "Gains on the other" not in text


def test_where_its_failures_chose_the_questions_nothing_is_sure_of_a_gain_over_the_student(tmp_path: Path) -> None:
    """All was wrong by choice; half of it right is no gain that an interval could tell, but one row to another's."""
    base, tuned = (TWO | {"difficult": right(share)} for share in (0, 0.5))
    every = [
        *(result("pool", seed, 0, base=base, sft=tuned) for seed in (0, 1)),
        *(result("pool", seed, 1, base=base, sft=base, rl=tuned) for seed in (0, 1)),
        *(result("pool", seed, 2, base=base, rl=tuned) for seed in (0, 1)),
    ]
    text = markdown(folder_of(tmp_path, [run._replace(only_difficult=["difficult"]) for run in every]))
    note = "(difficult: chosen by the untrained student's failures, so any other model scores higher; compare the rows)"
    head, base_row, *rows = cells(text, f"Gains on the other benchmarks {note}:")
    assert (head, base_row) == (["", "longer_chains", "difficult"], ["base", "0.0", "0.0"])
    assert [row[2] for row in rows] == ["+50.0"] * 3 and rows[0][1].startswith("+0.0 (")
    # What GRPO adds to a fine-tuned model is judged, on questions that this one's failures did not choose.
    _, after_tuning, alone = cells(text, "What GRPO added to the model that it started from:")
    assert after_tuning[3].startswith("+50.0 (") and alone[3] == "+50.0"


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


def test_where_a_number_goes_with_the_recipe_the_picture_has_bars(tmp_path: Path) -> None:
    """Three recipes, each with its own number of pairs, are three points and no line."""
    pytest.importorskip("matplotlib")
    sizes = {"pool": "4000", "stat_sel": "3800", "stat_syn": "3700"}
    runs = [
        result(recipe, varies={"data_recipe.pairs": pairs}, base=right(0), sft=right(0.5))
        for recipe, pairs in sizes.items()
    ]
    folder = folder_of(tmp_path, runs)
    assert draw(folder, folder) == [tmp_path / "my_suite.svg"]


def test_where_two_settings_take_several_numbers_the_picture_has_bars(tmp_path: Path) -> None:
    """Points that share a number of pairs and differ in their steps lie on no line."""
    pytest.importorskip("matplotlib")
    runs = [
        result("stat_sel", varies={"data_recipe.pairs": pairs, "train.epochs": epochs}, base=right(0), sft=right(0.5))
        for pairs in ("500", "1000", "4000")
        for epochs in ("1", "2", "3")
    ]
    folder = folder_of(tmp_path, runs)
    assert draw(folder, folder) == [tmp_path / "my_suite.svg"]
    assert "means of the seeds" not in markdown(folder)


def test_results_in_the_current_folder_are_written_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stat_train.claims.figures.find_spec", lambda name: None)
    monkeypatch.chdir(folder_of(tmp_path, RUNS))
    assert write_tables(Path())[0] == str(tmp_path / "my_suite.md") and (tmp_path / "my_suite.md").is_file()


def test_unless_every_training_has_the_number_the_picture_has_bars(tmp_path: Path) -> None:
    """One training without the setting would have no place on its axis."""
    pytest.importorskip("matplotlib")
    runs = [
        result("stat_sel", varies={"difficulty.tau1": tau1}, base=right(0), sft=right(0.5))
        for tau1 in ("0.5", "0.6", "0.7")
    ]
    usual = result("stat_sel", base=right(0), sft=right(0.5))
    assert [place.name for place in draw(folder_of(tmp_path / "a", runs), tmp_path / "all")] == ["all_tau1.svg"]
    (place,) = draw(folder_of(tmp_path / "b", [*runs, usual]), tmp_path / "some")
    texts = {text.text for text in ElementTree.parse(place).iter("{http://www.w3.org/2000/svg}text")}
    assert place.name == "some.svg" and {"stat_sel", "stat_sel, tau1=0.7"} <= texts


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

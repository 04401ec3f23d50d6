"""What the command line says: help, version, settings, and what to do when a word is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stat_train import __version__
from stat_train.cli import main
from stat_train.compose import choices, config_dir, leaves, read_settings
from stat_train.config import STAGES

# A printed page has 66 lines.
PAGE_LINES, PAGE_COLUMNS = 66, 100


class Said:
    """What a command printed, and how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        try:
            self.code: int | str | None = main(arguments)
        except SystemExit as end:
            self.code = end.code
        self.out, self.err = capsys.readouterr()


# -- help and version -------------------------------------------------------------------------------------------------


def test_help_names_everything_that_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "--help")
    assert (said.code, said.err) == (0, "")
    # A long list of choices goes on in the next line.
    lines = said.out.replace(",\n" + " " * 17, ", ").splitlines()
    listed = {words[0]: words[1:] for line in lines if (words := line.replace(",", "").split())}
    files = {
        path.name: sorted(file.relative_to(path).with_suffix("").as_posix() for file in path.rglob("*.yaml"))
        for path in config_dir().iterdir()
        if path.is_dir()
    }
    assert len(files) >= 7
    sweeps = set(files.pop("sweep"))
    assert {group: listed.get(group) for group in files} == files
    assert sweeps - {"none"} <= set(Said(capsys, "-m", "--help").out.replace(",", "").split())
    assert all(stage in said.out.split() for stage in STAGES)
    assert str(config_dir()) in said.out


def test_help_says_how_a_run_ends_and_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Said(capsys, "--help").out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Exit codes:"))
    codes = " ".join(lines[start : start + 2])
    assert all(f" {code} " in codes for code in (0, 1, 2, 3, 75, 130, 143))
    first_example = lines[lines.index("Try it") + 1]
    assert first_example.split("  ")[1] == "stat-train", "the first example needs no argument"


def test_help_is_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Said(capsys, "--help").out.splitlines()
    assert len(lines) <= PAGE_LINES
    # Where the package is installed is no choice of ours.
    assert [line for line in lines if len(line) > PAGE_COLUMNS and str(config_dir()) not in line] == []
    assert not any("{" in line for line in lines), "a placeholder was left"


def test_the_examples_of_help_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Said(capsys, "--help").out.splitlines()
    examples = [line.strip().split("  ")[0] for line in lines[lines.index("Try it") :] if "  stat-train" in line]
    assert len(examples) >= 3
    for example in examples:
        assert read_settings(example.split()[1:]).config.seed == 0


@pytest.mark.parametrize("arguments", [["-h"], ["run", "--help"], ["seed=1", "--help"]], ids=" ".join)
def test_help_is_given_wherever_it_is_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert Said(capsys, *arguments).out == Said(capsys, "--help").out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "--version")
    assert (said.code, said.out, said.err) == (0, f"stat-train {__version__}\n", "")


# -- the settings of a run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [["--cfg", "job"], ["-c", "job"], ["--cfg=job"]], ids=" ".join)
def test_cfg_prints_settings_that_give_the_same_run(
    ask: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["data_recipe=pool", "difficulty=consistency", "train.epochs=7", "run_dir=here/${seed}", "seed=5"]
    given += ["benchmark=[aime24]", "benchmark.mine.path=owner/name", "benchmark.mine.grader=exact"]
    said = Said(capsys, *given[:2], *ask, *given[2:])
    assert (said.code, said.err, list(tmp_path.iterdir())) == (0, "", [])
    printed = yaml.safe_load(said.out)
    assert (printed["run_dir"], printed["train"]["epochs"]) == ("here/5", 7)
    chosen = [f"{group}={printed[group]['name']}" for group in choices() if "name" in printed.get(group, ())]
    single = [f"{key}={as_argument(value)}" for key, value in leaves(printed) if not key.endswith(".name")]
    assert read_settings([*chosen, *single]).config == read_settings(given).config
    assert read_settings([*chosen, *single]).yaml == said.out


def as_argument(value: object) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else str(value).lower()


@pytest.mark.parametrize("given", [["--cfg"], ["--cfg", "hydra"], ["--cfg", "seed=1"]], ids=" ".join)
def test_cfg_has_one_argument(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, *given)
    assert (said.code, said.out) == (2, "")
    assert "`--cfg job`" in said.err


# -- words that are wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["comapre", "a", "b"],
            ["comapre", "run, plan, doctor, compare, profiles", 'Did you mean "compare"?', "--help"],
        ),
        (["runn"], ["runn", 'Did you mean "run"?']),
        (["frobnicate"], ["frobnicate", "run, plan, doctor, compare, profiles", "KEY=VALUE"]),
        (["--frobnicate", "seed=1"], ["--frobnicate", "KEY=VALUE", "--help"]),
        (["--multirun", "seed=1"], ["-m", "nothing varies", "seed=0,1", "sweep=NAME"]),
        (["seed=1", "-m", "-x"], ["-x", "KEY=VALUE"]),
        (["seed=1", "--dry-run"], ["--dry-run", "-m", "stat-train plan"]),
    ],
    ids=lambda part: part[0],
)
def test_an_unknown_word_is_refused(
    given: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = Said(capsys, *given)
    assert (said.code, said.out, list(tmp_path.iterdir())) == (2, "", [])
    assert [text for text in expected if text not in said.err] == []
    assert ("Did you mean" in said.err) == any("Did you mean" in text for text in expected)


# -- compare ----------------------------------------------------------------------------------------------------------


def test_compare_refuses_a_run_without_evaluation_and_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "stat_sel"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 0\n")
    said = Said(capsys, "compare", str(run))
    assert (said.code, said.out) == (2, "")
    assert str(run) in said.err
    assert "evaluation.json" in said.err
    assert "until=evaluate" in said.err


def test_compare_suggests_the_run_that_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stat_sel").mkdir()
    (tmp_path / "stat_sel" / "config.yaml").write_text("seed: 0\n")
    said = Said(capsys, "compare", str(tmp_path / "stat_sell"))
    assert (said.code, said.out) == (2, "")
    assert 'Did you mean "stat_sel"?' in said.err


def test_what_goes_with_the_seed_needs_runs_that_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "compare", "run", "--with-seed", "task.mix")
    assert (said.code, said.out) == (2, "")
    assert "--with-seed" in said.err and "give --over-seeds too" in said.err


@pytest.mark.parametrize("given", [["compare"], ["compare", "run", "--frobnicate"]], ids=" ".join)
def test_compare_refuses_arguments_that_it_does_not_have(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, *given)
    assert (said.code, said.out) == (2, "")
    assert "usage: stat-train compare" in said.err
    assert (given[2] if given[2:] else "RUN") in said.err.splitlines()[-1]

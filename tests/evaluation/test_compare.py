"""Run folders side by side, from folders written by the test."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from run_folders import standard, write_run

from stat_train.errors import UserError
from stat_train.evaluation.compare import as_json, compare
from stat_train.evaluation.compare_runs import load_run
from stat_train.evaluation.compare_table import print_comparison


def test_a_run_is_compared_with_its_base_and_with_the_first_run(tmp_path: Path) -> None:
    """Second run against the first: q2 and q3 gained, q0 lost, of five: difference 1/5.

    Its mid-p is 2 P(X <= 1) - P(X = 1) for X ~ Binomial(3, 1/2) = (2 * 4 - 3) / 8.
    """
    first = write_run(tmp_path / "pool", standard("+----", "++---"), recipe="pool")
    second = write_run(tmp_path / "sel", standard("+----", "-+++-"))
    pool, sel = compare([first, second]).rows
    assert (pool.name, pool.recipe, pool.n, pool.base.value, pool.trained.value) == ("pool", "pool", 5, 0.2, 0.4)
    assert (pool.gain.difference, pool.to_first) == (0.2, None)
    assert (sel.recipe, sel.gain.difference) == ("stat_sel", 0.4)
    assert sel.to_first is not None
    assert (sel.to_first.n, sel.to_first.difference) == (5, 0.2)
    assert sel.to_first.p == pytest.approx(5 / 8)


def test_prompting_has_a_row_of_its_own_after_the_trained_model(tmp_path: Path) -> None:
    """Against the trained model of the first run, its prompting lost q1, and the prompting of the second gained q3."""
    both = standard("+----", "+++--") | {"adaptmi": {"standard": "+-+--"}}
    runs = [
        write_run(tmp_path / "both", both),
        write_run(tmp_path / "untrained", {"base": {"standard": "+----"}, "adaptmi": {"standard": "++++-"}}),
    ]
    found = compare(runs)
    rows = found.rows
    assert [(row.name, row.arm, row.pairs) for row in rows] == [
        ("both", "sft", 5000),
        ("both", "adaptmi", 0),
        ("untrained", "adaptmi", 0),
    ]
    assert [row.trained.value for row in rows] == [0.6, 0.4, 0.8]
    assert [row.gain.difference for row in rows] == [0.4, 0.2, 0.6]
    assert [row.to_first and row.to_first.difference for row in rows] == [None, -0.2, 0.2]
    print_comparison(found, Console(file=(output := StringIO()), width=110, color_system=None))
    assert output.getvalue().count("untrained, prompted") == 2


def test_each_training_has_a_row_the_last_first(tmp_path: Path) -> None:
    """Reinforcement learning gained q3 over fine-tuning, which gained q1 and q2."""
    arms = standard("+----", "+++--") | {"rl": {"standard": "++++-"}}
    found = compare([write_run(tmp_path / "run", arms)])
    rows = found.rows
    assert [(row.arm, row.trained.value, row.gain.difference) for row in rows] == [("rl", 0.8, 0.6), ("sft", 0.6, 0.4)]
    assert rows[1].to_first is not None and rows[1].to_first.difference == -0.2
    print_comparison(found, Console(file=(output := StringIO()), width=110, color_system=None))
    lines = output.getvalue().splitlines()
    made_by = [line.split("  ")[0].strip() for line in lines if "5000 pairs" in line]
    assert made_by == ["stat_sel, 5000 pairs, then rl", "stat_sel, 5000 pairs"]


@pytest.mark.parametrize(
    ("training", "arm", "words"),
    [("external", "sft", "trained elsewhere"), ("external", "rl", "trained elsewhere, then rl"), ("none", "rl", "rl")],
)
def test_what_was_not_trained_on_the_pairs_has_none(training: str, arm: str, words: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"base": {"standard": "+-"}, arm: {"standard": "++"}})
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"train": {"name": training}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    found = compare([run])
    (row,) = found.rows
    assert (row.pairs, row.training) == (0, training)
    print_comparison(found, Console(file=(output := StringIO()), width=110, color_system=None))
    assert words in [line.split("  ")[0].strip() for line in output.getvalue().splitlines()]


def test_the_pairs_of_a_run_are_those_that_were_trained_on(tmp_path: Path) -> None:
    """A hundred were drawn and all but 12 were too long for train.max_length."""
    run = write_run(tmp_path / "run", standard("-", "+"))
    (run / "training_set.jsonl").write_text("{}\n" * 100)
    assert compare([run]).rows[0].pairs == 100
    (run / "training.json").write_text('{"rows": 12}')
    assert compare([run]).rows[0].pairs == 12


def test_runs_of_one_name_are_told_apart_by_their_place(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / seed / "pool", standard("-", "+")) for seed in ("seed0", "seed1")]
    assert [row.name for row in compare(runs).rows] == [str(run) for run in runs]


def test_runs_pair_on_the_questions_that_both_scored(tmp_path: Path) -> None:
    """The runs share q2, q3 and q4; the second could not score q4."""
    first = write_run(tmp_path / "a", standard("-----", "--+-+"))
    second = write_run(tmp_path / "b", standard("-----", "-+?++"), first_question=2)
    change = compare([first, second]).rows[1].to_first
    assert change is not None
    assert (change.n, change.difference) == (2, 0.0)


def test_runs_without_a_common_question_have_no_difference(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{start}", standard("--", "+-"), first_question=start) for start in (0, 2)]
    compared = compare(runs)
    assert compared.rows[1].to_first == (0, None, None, None, None)
    print_comparison(compared, Console(file=(output := StringIO()), width=200, color_system=None))
    assert "no question" in output.getvalue()


def test_pairs_are_the_rows_of_the_training_set_where_there_is_one(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "a", standard("-", "+"))
    assert load_run(run_dir).pairs == 5000
    (run_dir / "training_set.jsonl").write_text("{}\n{}\n{}\n")
    assert load_run(run_dir).pairs == 3


def test_the_benchmark_is_one_that_all_runs_have(tmp_path: Path) -> None:
    both = {"base": {"standard": "--", "longer": "--"}, "sft": {"standard": "+-", "longer": "++"}}
    one = {"base": {"longer": "--"}, "sft": {"longer": "-+"}}
    first, second = write_run(tmp_path / "a", both), write_run(tmp_path / "b", one)
    assert [row.benchmark for row in compare([first]).rows] == ["standard"]
    assert [row.benchmark for row in compare([first, second]).rows] == ["longer", "longer"]
    with pytest.raises(UserError, match=r"benchmark long: .*\(longer\).*Did you mean \"longer\""):
        compare([first, second], benchmark="long")


def test_prompting_that_was_not_asked_a_benchmark_does_not_hide_it(tmp_path: Path) -> None:
    """Prompting has no harness tasks; both trained models were asked `mmlu`."""
    arms = {arm: {"standard": marks, "mmlu": marks} for arm, marks in (("base", "+-"), ("sft", "++"))}
    first = write_run(tmp_path / "a", arms | {"adaptmi": {"standard": "+-"}})
    found = compare([first, write_run(tmp_path / "b", arms)], "all")
    assert [(row.benchmark, row.name, row.arm) for row in found.rows] == [
        *(("standard", "a", "sft"), ("standard", "a", "adaptmi"), ("standard", "b", "sft")),
        *(("mmlu", "a", "sft"), ("mmlu", "b", "sft")),
    ]
    assert found.notes == ["a, adaptmi: not asked mmlu"]


def test_runs_without_a_common_benchmark_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", standard("-", "+"))
    second = write_run(tmp_path / "b", {"base": {"other": "-"}, "sft": {"other": "+"}})
    with pytest.raises(UserError, match="no benchmark in common"):
        compare([first, second])


def test_a_wrong_folder_name_suggests_the_run_beside_it(tmp_path: Path) -> None:
    write_run(tmp_path / "arithmetic-tiny", standard("-", "+"))
    with pytest.raises(UserError, match=r'no run folder.*Did you mean "arithmetic-tiny"\?'):
        load_run(tmp_path / "arithmetic-tinny")


@pytest.mark.parametrize("absent", ["evaluation.json", "benchmark_scores.jsonl"])
def test_a_run_that_ended_early_says_what_to_run(tmp_path: Path, absent: str) -> None:
    run_dir = write_run(tmp_path / "a", standard("-", "+"))
    (run_dir / absent).unlink()
    with pytest.raises(UserError, match=f"{absent}.*until=evaluate"):
        load_run(run_dir)


def test_a_run_without_a_trained_model_is_refused(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "a", {"base": {"standard": "+-"}})
    with pytest.raises(UserError, match="train=sft"):
        load_run(run_dir)


@pytest.mark.parametrize(
    ("name", "text"), [("evaluation.json", "{"), ("config.yaml", "a: ["), ("benchmark_scores.jsonl", "{}\n")]
)
def test_a_damaged_file_is_a_user_error(tmp_path: Path, name: str, text: str) -> None:
    run_dir = write_run(tmp_path / "a", standard("-", "+"))
    (run_dir / name).write_text(text)
    with pytest.raises(UserError, match="cannot be read"):
        load_run(run_dir)


def test_rows_become_json_with_named_numbers(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, standard("+---", "++--")) for name in ("a", "b")]
    rows = json.loads(json.dumps(as_json(compare(runs).rows), allow_nan=False))
    assert rows[0]["to_first"] is None
    assert rows[1]["trained"]["value"] == 0.5
    assert rows[1]["gain"]["difference"] == 0.25
    # Nothing changed: the bounds are -+ z^2 / (n + z^2) with z = 1.959964.
    assert rows[1]["to_first"] == {"n": 4, "difference": 0.0, "low": -0.489891, "high": 0.489891, "p": 1.0}


def test_the_table_fits_80_columns(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"arithmetic-tiny-uniform_skill-seed{seed}", standard("-" * 50 + "+" * 50, marks))
        for seed, marks in ((0, "+" * 80 + "-" * 20), (1, "-" * 80 + "+" * 20))
    ]
    print_comparison(compare(runs), Console(file=(output := StringIO()), width=80, color_system=None))
    text = output.getvalue()
    assert "…" not in text
    assert "−60.0" in text and "p < 0.001" in text


def test_the_table_shows_accuracy_gain_and_difference(tmp_path: Path) -> None:
    first = write_run(tmp_path / "[a]", standard("+---", "++--"))
    second = write_run(tmp_path / "b", standard("+---", "++++"))
    print_comparison(compare([first, second]), Console(file=(output := StringIO()), width=200, color_system=None))
    lines = [line.strip() for line in output.getvalue().splitlines()]
    row = next(index for index, line in enumerate(lines) if line.startswith("b "))
    assert lines[row].split() == ["b", "4", "25.0", "100.0", "+75.0", "+50.0"]
    # Clopper-Pearson for 4 of 4: low^4 = 0.025. Mid-p for two gained, none lost: 1 / 2^2.
    assert "39.8 to 100.0" in lines[row + 1]
    assert lines[row + 2].endswith("p = 0.250")
    assert any(line.startswith("[a] ") for line in lines)


def test_one_name_for_two_measures_is_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, standard("+-", "++")) for name in ("a", "b")]
    path = runs[1] / "evaluation.json"
    path.write_text(path.read_text().replace('"measure": "accuracy"', '"measure": "pass@64"'))
    with pytest.raises(UserError, match=r"benchmark standard: .*\(accuracy in a, pass@64 in b\)"):
        compare(runs)


def test_one_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, standard("+-", "++"), skills=["add", "add"]) for name in ("a", "b")]
    path = runs[1] / "questions" / "benchmarks" / "standard.jsonl"
    path.write_text(path.read_text().replace('"question":"q1"', '"question":"another"'))
    with pytest.raises(UserError, match="benchmark standard: question q1 of b is another one"):
        compare(runs)


def test_a_run_is_given_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", standard("+-", "++"))
    with pytest.raises(UserError, match="named twice"):
        compare([run, tmp_path / "." / "a"])


def test_every_benchmark_that_all_runs_have_is_shown_the_headline_first(tmp_path: Path) -> None:
    arms = {arm: {"longer": marks, "standard": marks} for arm, marks in (("base", "+-"), ("sft", "++"))}
    config = {"task": {"name": "arithmetic", "benchmarks": ["standard", "longer"]}}
    runs = [write_run(tmp_path / name, arms, config=config) for name in ("a", "b")]
    found = compare(runs, "all")
    assert [(row.benchmark, row.name) for row in found.rows] == [
        *(("standard", "a"), ("standard", "b")),
        *(("longer", "a"), ("longer", "b")),
    ]
    assert found.rows[2].to_first is None and found.rows[3].to_first is not None
    print_comparison(found, Console(file=(output := StringIO()), width=80, color_system=None))
    assert output.getvalue().count("What it cost") == 1


def test_how_likely_the_reference_answers_are_stands_beside_the_scores(tmp_path: Path) -> None:
    """The second model finds q0 and q1 likelier than the first by 0.5 and 0.7 nats: 0.6 on average."""
    runs = [write_run(tmp_path / name, standard("+-", "++")) for name in ("a", "b")]
    nats = {"n": 2, "low": None, "high": None}
    for run, values in zip(runs, ([-1.0, -1.2], [-0.5, -0.5]), strict=True):
        rows = [json.loads(line) for line in (run / "benchmark_scores.jsonl").read_text().splitlines()]
        known = iter(values)
        rows = [row | ({"log_probability": next(known)} if row["arm"] == "sft" else {}) for row in rows]
        (run / "benchmark_scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = json.loads((run / "evaluation.json").read_text())
        found["arms"]["base"]["standard"]["log_probability"] = nats | {"mean": -2.0}
        found["arms"]["sft"]["standard"]["log_probability"] = nats | {"mean": sum(values) / 2}
        change = nats | {"difference": sum(values) / 2 + 2, "p": 0.5}
        found["differences"]["sft - base"]["standard"]["log_probability"] = change
        (run / "evaluation.json").write_text(json.dumps(found))
    compared = compare(runs)
    known_of = [row.log_probability for row in compared.rows]
    assert known_of[0] and known_of[1] and known_of[1].to_first
    assert (known_of[0].gain.difference, known_of[0].to_first) == (pytest.approx(0.9), None)
    assert known_of[1].to_first.difference == pytest.approx(0.6)
    print_comparison(compared, Console(file=(output := StringIO()), width=80, color_system=None))
    assert "log-probability of the reference answers" in output.getvalue() and "+0.600" in output.getvalue()


def test_a_benchmark_that_one_run_lacks_is_named(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", {arm: {"standard": "+-", "longer": "+-"} for arm in ("base", "sft")})
    second = write_run(tmp_path / "b", {arm: {"standard": "+-"} for arm in ("base", "sft")})
    assert "not compared: longer, on which b was not scored" in compare([first, second], "all").notes

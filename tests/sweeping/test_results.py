"""The raw results of a sweep: each is written when its run is done, and the table of all at the end."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest
from rich.console import Console
from run_folders import standard, write_run

from stat_train.claims.results import read_results
from stat_train.compose import changed, read_settings
from stat_train.diagnosis.profile import skill_profile
from stat_train.errors import UserError
from stat_train.sweeping.expand import Plan, SweepJob, jobs_of
from stat_train.sweeping.files import JOBS, Outcome, write_outcome
from stat_train.sweeping.results import keep_result, require_results_of, write_results
from stat_train.sweeping.table import JobRow
from stat_train.sweeping.watch import Watch

DONE, RUNNING = Outcome("done", 0, 75.0, None, "node"), Outcome("running", None, 0.0, None, "node")


@pytest.fixture(scope="module")
def swept() -> Plan:
    return sweep_with()


def sweep_with(*settings: str) -> Plan:
    """Return the runs of two recipes, each with its rate, by two seeds, each with its student."""
    students = "[{seed: '0', student.model: tiny, task.mix: a}, {seed: '1', student.model: tiny_b, task.mix: b}]"
    rates = "[{data_recipe: pool, train.learning_rate: '1e-4'}, {data_recipe: stat_sel, train.learning_rate: '2e-4'}]"
    return jobs_of(
        [f"sweep.together={{students: {students}, recipes: {rates}}}", "sweep.results='~/kept/suite'", *settings]
    )


def test_a_result_varies_in_what_does_not_go_with_the_seed(swept: Plan) -> None:
    assert swept.results == Path.home() / "kept" / "suite"
    assert [swept.varies(job) for job in swept.jobs[1:3]] == [
        {"data_recipe": "pool", "train.learning_rate": "1e-4"},
        {"data_recipe": "stat_sel", "train.learning_rate": "2e-4"},
    ]


def placed(plan: Plan, place: Path) -> Plan:
    """Return the sweep with its folders in this place."""
    jobs = [job._replace(settings=changed(job.settings, run_dir=str(place / job.name))) for job in plan.jobs]
    return plan._replace(folder=place, jobs=jobs, results=place / "kept")


def evaluate(job: SweepJob, before: str = "+---", after: str = "++--") -> None:
    """Write what an evaluated run leaves: a mark a question, before and after."""
    config = job.settings.config
    profile = skill_profile("tiny", "arithmetic", {"v": ["addition"]}, [], set(), {})
    arms = standard(before, after)
    write_run(Path(config.run_dir), arms, config=config.model_dump(mode="json"), profile=profile.model_dump())


def test_a_run_s_results_are_kept_when_it_is_done(
    swept: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, console = placed(swept, tmp_path), Console(width=200)
    (tmp_path / JOBS).mkdir()
    watch = Watch(tmp_path, plan.jobs, console, lambda job: keep_result(plan, console, job))
    last = plan.jobs[3]
    write_outcome(tmp_path, last.name, RUNNING)
    evaluate(last)
    watch.look()
    assert not (tmp_path / "kept").exists()
    write_outcome(tmp_path, last.name, DONE)
    watch.look()
    (kept,) = read_results(tmp_path / "kept")
    assert (kept.name, kept.place, kept.seed, kept.student) == ("stat_sel-seed1", 3, 1, "tiny_b")
    assert kept.varies == {"data_recipe": "stat_sel", "train.learning_rate": "2e-4"}
    assert kept.with_seed == ["student.model", "task.mix"]
    assert kept.settings["task.mix"] == "b" and kept.settings["train.learning_rate"] == 2e-4
    assert kept.scores == {"base": {"standard": [1, 0, 0, 0]}, "sft": {"standard": [1, 1, 0, 0]}}
    # Once, when it is done.
    (tmp_path / "kept" / "stat_sel-seed1.json").unlink()
    watch.look()
    assert not list((tmp_path / "kept").iterdir())


def test_the_table_at_the_end_has_all_results_also_those_of_before(
    swept: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run was done before, one failed, one was only begun, and one has no trained model to be judged by."""
    monkeypatch.setattr("stat_train.claims.figures.find_spec", lambda name: None)
    plan = placed(swept, tmp_path)
    evaluate(plan.jobs[0])
    base_only = {"base": {"standard": "+-"}}
    write_run(Path(plan.jobs[2].settings.config.run_dir), base_only)
    statuses = ["done before", "failed", "done", "done"]
    rows = [JobRow(job, status, None, "") for job, status in zip(plan.jobs, statuses, strict=True)]
    write_results(plan, rows, Console(width=200))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("stat_sel-seed0  no raw results: ") and "only its base was evaluated" in said[0]
    assert said[1] == str(tmp_path / "kept.md") and "matplotlib" in said[2] and len(said) == 3
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["pool-seed0.json"]
    assert "| `pool` | 50.0 | +25.0 (" in (tmp_path / "kept.md").read_text()


def test_what_cannot_be_written_or_told_does_not_end_the_sweep(
    swept: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First a file is where the folder should be; then no question is scored before and after."""
    plan, console = placed(swept, tmp_path), Console(width=400)
    (job, *_) = plan.jobs
    evaluate(job)
    row = JobRow(job, "done", None, "")
    (tmp_path / "kept").write_text("")
    write_results(plan, [row], console)
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("pool-seed0  no raw results: ") and str(tmp_path / "kept") in said
    (tmp_path / "kept").unlink()
    rmtree(job.settings.config.run_dir)
    evaluate(job, "?-", "+?")
    write_results(plan, [row], console)
    said = "no table of the raw results: standard: no question is scored by all of base of pool-seed0, sft of pool-s"
    assert capsys.readouterr().out.startswith(said)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["pool-seed0.json"]
    # Nor where the table has no place.
    rmtree(job.settings.config.run_dir)
    evaluate(job)
    (tmp_path / "kept.md").mkdir()
    write_results(plan, [row], console)
    assert capsys.readouterr().out.startswith("no table of the raw results: ")


def test_a_result_of_other_settings_is_not_written_over(swept: Plan, tmp_path: Path) -> None:
    plan, console = placed(swept, tmp_path), Console(width=200)
    require_results_of(plan)
    evaluate(plan.jobs[1])
    keep_result(plan, console, plan.jobs[1])
    # Where a run lies is not what it came to.
    require_results_of(placed(plan, tmp_path / "elsewhere")._replace(results=plan.results))
    jobs = [job._replace(settings=changed(job.settings, seed=7)) for job in plan.jobs]
    with pytest.raises(UserError) as error:
        require_results_of(plan._replace(jobs=jobs))
    assert str(error.value) == (
        f"{tmp_path / 'kept' / 'pool-seed1.json'}: is the result of other settings (seed = 1, not 7); expected those "
        "of this sweep, so give sweep.results=ANOTHER_FOLDER, or take the file away"
    )
    require_results_of(plan._replace(jobs=jobs, results=None))


def test_a_result_that_the_sweep_does_not_write_must_fit_into_its_table(swept: Plan, tmp_path: Path) -> None:
    """One table is made of all in the folder; what either varies, and the seed, may differ."""
    plan, console = placed(swept, tmp_path), Console(width=200)
    # The last is of another recipe, rate, seed and student than the first, by which it is judged.
    evaluate(plan.jobs[-1])
    keep_result(plan, console, plan.jobs[-1])
    (kept,) = plan.results.glob("*.json") if plan.results else ()
    kept.rename(kept.with_name("earlier.json"))
    require_results_of(plan)
    usual = plan.jobs[0].settings.config.task.validation
    with pytest.raises(UserError, match=rf"earlier\.json: .* \(task\.validation = {usual}, not 7\); expected those of"):
        require_results_of(sweep_with("task.validation=7")._replace(results=plan.results))
    # An exact checker has no rate of errors among what its results depend on.
    with pytest.raises(UserError, match=r"\(difficulty\.checker_error_rate = None, not 0\.13\)"):
        require_results_of(sweep_with("difficulty.checker_error_rate=0.13")._replace(results=plan.results))


def test_without_a_folder_for_results_or_an_evaluated_run_nothing_is_written(swept: Plan, tmp_path: Path) -> None:
    plan = placed(swept, tmp_path)
    rows = [JobRow(job, "done", None, "") for job in plan.jobs]
    write_results(plan, rows, Console())
    evaluate(plan.jobs[0])
    write_results(plan._replace(results=None), rows, Console())
    assert [path.name for path in tmp_path.iterdir()] == ["pool-seed0"]


def test_no_run_of_a_sweep_keeps_results_itself() -> None:
    (first, _) = jobs_of(["seed=0,1", "sweep.results=kept"]).jobs
    assert first.settings.config.sweep.results is None
    assert read_settings(["sweep.results=kept"]).config.sweep.results == "kept"

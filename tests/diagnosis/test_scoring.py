"""A run whose difficulty a reward model tells: from recorded answers to the profile, by one process or several."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from reward_model_files import save_causal, save_classifier, settings

from stat_train import stage
from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.device_seconds import DEVICE_SECONDS_FILE
from stat_train.diagnosis.reward_models import CausalRewarder
from stat_train.diagnosis.step_rewards import ScoreJob, step_rewards
from stat_train.errors import StatTrainError
from stat_train.evaluation.report import command
from stat_train.records import Answer, Question
from stat_train.store import lease, read_records, write_records

QUESTIONS = 6
LONG = "z" * 1500
# Two attempts each; the first of q1 is empty, both of q4 and the first of q5 are longer than the model takes.
RESPONSES = {
    "q0": ["1 + 0 = 1\n\nThe answer is 1.", "9\n\n8 * 7\n\nNobody knows"],
    "q1": ["", "2"],
    "q2": ["1 + 2 = 3\n\nSo it is 3.", "Let me see\n\nThe final answer is: \\boxed{3}"],
    "q3": ["4", "4"],
    "q4": [LONG, LONG],
    "q5": [LONG, "1 + 5 = 6"],
}
Said = Callable[..., tuple[Path, dict[str, str]]]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(path: Path, values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with questions, recorded answers to them, and a reward model of each form."""
    folder = tmp_path_factory.mktemp("files")
    asked = [
        {"id": f"q{n}", "question": f"What is 1 + {n}?", "answer": str(1 + n), "skills": ["addition"]}
        for n in range(QUESTIONS)
    ]
    written(folder / "test.jsonl", asked)
    pool = [row | {"id": f"p{n}", "question": f"Add {n}.", "solution": "It is so."} for n, row in enumerate(asked)]
    written(folder / "pool.jsonl", pool)
    written(folder / "responses.jsonl", [{"id": id, "responses": texts} for id, texts in RESPONSES.items()])
    save_causal(folder / "causal")
    save_classifier(folder / "classifier")
    return folder


def arguments(files: Path, *more: str, form: str = "prm", model: str = "causal") -> list[str]:
    places = [
        f"task.pool={files}/pool.jsonl",
        f"task.benchmark={files}/test.jsonl",
        f"student.path={files}/responses.jsonl",
    ]
    chosen = ["task=jsonl", "student=recorded", "teacher=labels", f"difficulty={form}", "until=profile"]
    return [*chosen, *places, f"difficulty.prm.model={files}/{model}", *more]


@pytest.fixture
def run(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that carries out a run and returns its folder, and the state of each stage."""

    def carry_out(*more: str, **chosen: str) -> tuple[Path, dict[str, str]]:
        places = [f"run_dir={tmp_path}/run", f"cache_dir={tmp_path}/cache"]
        code = main([*arguments(files, **chosen), *places, *more])
        said = capsys.readouterr()
        assert code == 0, said.err
        states = {
            line.split()[0]: "reused" if "done before" in line else "made"
            for line in said.out.splitlines()
            if line[:1].isalpha() and ("done before" in line or line.split()[2:3] == ["s"])
        }
        return tmp_path / "run", states

    return carry_out


def test_a_recorded_student_is_profiled_by_a_reward_model(run: Said, files: Path) -> None:
    """The rewards are those that the model gives in this process; the empty answer is difficult, the long ones neither.

    Of q4 and q5 the first attempts have no rewards, and no other takes their place.
    """
    folder, states = run()
    assert states["score"] == "made"
    scored = {(row["question_id"], row["attempt"]): row for row in rows(folder / "step_rewards.jsonl")}
    questions = {question.id: question for question in read_records(files / "test.jsonl", Question)}
    answers = read_records(folder / "answers.jsonl", Answer)
    first = [answer for answer in answers if answer.attempt == 0]
    here = step_rewards(CausalRewarder(settings(files / "causal", batch_size=8)), questions, first)
    for expected in here:
        row = scored.pop((expected.question_id, expected.attempt))
        assert row.get("rewards") == (expected.rewards and pytest.approx(expected.rewards, abs=2e-6))
        assert all(round(reward, 6) == reward for reward in row.get("rewards", []))
    assert not scored
    difficulty = {row["question_id"]: row for row in rows(folder / "difficulty.jsonl")}
    assert sorted(difficulty) == ["q0", "q1", "q2", "q3"]
    assert (difficulty["q1"]["difficult"], difficulty["q1"]["step_rewards"]) == (True, [])
    assert {id: row["attempt"] for id, row in difficulty.items()} == {"q0": 0, "q1": 0, "q2": 0, "q3": 0}
    long = [row for row in rows(folder / "dropped.jsonl") if row["reason"] == "too long for the reward model"]
    assert [(row["stage"], row["id"], row["detail"][:9]) for row in long] == [
        ("diagnose", "q4", "attempt 0"),
        ("diagnose", "q5", "attempt 0"),
    ]
    assert all("and it takes 1,024" in row["detail"] for row in long)
    assert json.loads((folder / "profile.json").read_text())["questions"] == 4


def test_other_thresholds_do_not_score_again(run: Said) -> None:
    """With both at 0 only the empty answer is difficult, with tau1 at 1 all are."""
    folder, _ = run("difficulty.tau1=0.0", "difficulty.tau2=0.0")
    assert [row["question_id"] for row in rows(folder / "difficulty.jsonl") if row["difficult"]] == ["q1"]
    _, states = run("difficulty.tau1=1.0")
    assert [row["question_id"] for row in rows(folder / "difficulty.jsonl") if row["difficult"]] == [
        "q0",
        "q1",
        "q2",
        "q3",
    ]
    assert (states["score"], states["diagnose"]) == ("reused", "made")
    # Only the first attempts were scored so far.
    _, states = run("difficulty.attempts=majority")
    assert (states["score"], states["diagnose"]) == ("made", "made")
    _, states = run("difficulty.attempts=any")
    assert (states["score"], states["diagnose"]) == ("reused", "made")
    _, states = run("difficulty.attempts=majority", "difficulty.prm.processes=2")
    assert (states["score"], states["diagnose"]) == ("reused", "reused")


@pytest.mark.slow
@pytest.mark.parametrize("change", [["difficulty.prm.batch_size=2"], ["difficulty.prm.system=Think."], []], ids=str)
def test_what_the_rewards_depend_on_scores_again(change: list[str], run: Said) -> None:
    run()
    other = {} if change else {"form": "token_prm", "model": "classifier"}
    _, states = run(*change, **other)
    assert (states["answer"], states["score"], states["diagnose"]) == ("reused", "made", "made")


def test_a_model_of_the_other_form_is_refused_with_one_message(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason is said by the stage's process, which ends the run with a user's mistake."""
    places = [f"run_dir={tmp_path}/run", f"cache_dir={tmp_path}/cache"]
    assert main([*arguments(files, model="classifier"), *places]) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.count(f"difficulty.prm.model = {files}/classifier: does not fit difficulty.step_rewarder=prm") == 1
    assert "stage score was refused; the reason is above" in said


# -- several processes ------------------------------------------------------------------------------------------------


def score_job(files: Path, folder: Path) -> ScoreJob:
    """Return a job of 250 answers, 3 chunks of 100, the last one short."""
    folder.mkdir()
    texts = [f"{n} + {n % 7} is\n\n{n + n % 7}" + "\n\nso" * (n % 5) for n in range(250)]
    answers = [
        Answer(
            question_id=f"q{n % QUESTIONS}", attempt=n, text=text, finish_reason="stop", output_tokens=0, prompt_hash=""
        )
        for n, text in enumerate(texts)
    ]
    write_records(folder.with_name("answers.jsonl"), answers)
    return ScoreJob(
        first_only=False,
        folder=folder,
        questions=files / "test.jsonl",
        answers=folder.with_name("answers.jsonl"),
        step_rewarder="prm",
        settings=settings(files / "causal", batch_size=16),
    )


def score(job: ScoreJob, processes: int) -> bytes:
    with lease(job.folder.with_suffix(".lease")):
        stage.score(job, processes)
    assert {path.name for path in job.folder.iterdir()} == {"step_rewards.jsonl", DEVICE_SECONDS_FILE}
    return (job.folder / "step_rewards.jsonl").read_bytes()


@pytest.mark.slow
def test_several_processes_give_the_same_bytes_and_keep_what_is_there(files: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    by_one = score(score_job(files, tmp_path / "one/score.partial"), 1)
    assert by_one.count(b"\n") == 250
    assert score(score_job(files, tmp_path / "two/score.partial"), 2) == by_one
    job = score_job(files, tmp_path / "three/score.partial")
    (job.folder / "step_rewards.jsonl.chunks").mkdir()
    (job.folder / "step_rewards.jsonl.chunks/000001").write_bytes(b"kept\n")
    lines = by_one.splitlines(keepends=True)
    assert score(job, 2) == b"".join([*lines[:100], b"kept\n", *lines[200:]])


def test_a_failure_is_said_once(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = score_job(files, tmp_path / "score.partial").model_copy(update={"settings": settings(tmp_path)})
    with lease(tmp_path / "score.lease"), pytest.raises(StatTrainError, match="stage score was refused"):
        stage.score(job, 2)
    assert capfd.readouterr().err.count("difficulty.prm.model") == 1


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["prm", "token_prm"])
def test_the_command_of_the_report_gives_back_the_run(choice: str, files: Path) -> None:
    """It names `difficulty=step_rewards`, which both are, and every setting of the model."""
    given = arguments(files, "difficulty.prm.revision=v1.0", "difficulty.tau1=0.5", form=choice)
    config = read_settings(given).config
    words = shlex.split(command(config.model_dump()).replace("\\\n", " "))
    assert "difficulty=step_rewards" in words
    assert read_settings(words[1:]).config == config


def doctor(capsys: pytest.CaptureFixture[str], *given: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", *given, "--json"])
    return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


def test_the_doctor_looks_for_the_models_files(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = [f"run_dir={tmp_path}/run", f"cache_dir={tmp_path}/cache"]
    code, said = doctor(capsys, *arguments(files), *here)
    assert (code, said["reward model"]["state"], said["torch"]["state"]) == (0, "ok", "ok")
    assert said["reward model"]["seen"].endswith(f"million parameters in {files}/causal")
    code, said = doctor(capsys, *arguments(files, model="pool.jsonl"), *here)
    assert (code, said["reward model"]["state"]) == (1, "failed")
    code, said = doctor(capsys, *arguments(files, "difficulty.prm.model=owner/name"), *here)
    assert (code, said["reward model"]["state"]) == (1, "failed")
    assert "difficulty.prm.model=FOLDER" in said["reward model"]["remedy"] or "offline" in said["reward model"]["seen"]
    for more in (["until=grade"], ["difficulty=gold"]):
        given = [one for one in arguments(files) if not ("difficulty" in one and more == ["difficulty=gold"])]
        code, said = doctor(capsys, *given, *more, *here)
        assert (code, said["reward model"]["state"]) == (0, "skipped")


def test_a_plan_counts_the_difficult_ones_when_they_are_scored(
    run: Said, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, it takes half of the six for difficult; after a run that diagnosed by labels, it knows of four."""
    places = [f"run_dir={tmp_path}/run", f"cache_dir={tmp_path}/cache", "difficulty.tau1=1.0"]
    asked = ["teacher=openai", "teacher.model=m", "until=diagnose", "plan.difficult_share=0.5"]
    planned = [*arguments(files), *places, *asked]

    def calls() -> int:
        assert main(["plan", *planned, "--json"]) == 0
        stages = {row["stage"]: row for row in json.loads(capsys.readouterr().out)["stages"]}
        return int(stages["diagnose"]["calls"])

    assert calls() == 3
    run("difficulty.tau1=1.0")
    assert calls() == 4

"""Tasks of lm-evaluation-harness on the shipped student: their scores, worked out here, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from rich.console import Console

pytest.importorskip("lm_eval")

from stat_train import packages, stage
from stat_train.compose import read_settings
from stat_train.config import Prompt
from stat_train.device_seconds import DEVICE_SECONDS_FILE
from stat_train.errors import ConfigError, UserError
from stat_train.evaluation.harness import (
    RESULTS,
    SAMPLES,
    SCORES,
    HarnessJob,
    local_data,
    read_aggregates,
    read_scores,
    require_tasks,
    run_harness,
    summarise,
)
from stat_train.measuring import harness_results, require_harness
from stat_train.models.generator import Request, Sampling
from stat_train.models.places import SHIPPED
from stat_train.packages import absent_packages
from stat_train.run import Run
from stat_train.store import Artifact, lease
from stat_train.student import Weights
from stat_train.tasks.arithmetic import world
from stat_train.tasks.prompts import messages

TINY = str(SHIPPED["tiny"])
PLAIN = Prompt(system=None, template="{question}", chat_template_arguments={})
ASKED = list(world.questions("harness", "benchmark", "standard", 20, world.Family(steps=(1, 1))))
FINAL = r"The answer is (-?[0-9]+)"
Rows = list[dict[str, Any]]


def chosen_from(random: Random, answer: int) -> dict[str, Any]:
    """Return four choices in a random order, and where the right one is."""
    choices = random.sample([answer, answer + 1, answer - 2, answer + 10], 4)
    return {"choices": [f"The answer is {choice}." for choice in choices], "gold": choices.index(answer)}


def rows() -> Rows:
    random = Random(0)
    return [
        {"question": each.question, "answer": each.answer} | chosen_from(random, int(each.answer or 0))
        for each in ASKED
    ]


def write_task(folder: Path, name: str, data: Path, **settings: Any) -> None:
    about = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
    about |= {"test_split": "test", "doc_to_text": "{{question}}", "metadata": {"version": 2.0}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(about | settings))


def write_tasks(folder: Path) -> Path:
    """Write a task that is answered freely, a group of two with choices, and one that runs code; and their questions.

    The group is asked 8 questions and 12, so that their plain mean is not the mean over the questions.
    """
    (folder / "tasks").mkdir()
    for name, part in (("all", rows()), ("first", rows()[:8]), ("rest", rows()[8:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    write = {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": 96},
        "filter_list": [
            {"name": "final", "filter": [{"function": "regex", "regex_pattern": FINAL}, {"function": "take_first"}]}
        ],
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
            {"metric": "bleu", "aggregation": "bleu", "higher_is_better": True},
        ],
    }
    choose = {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    write_task(folder / "tasks", "write_sums", folder / "all.jsonl", **write)
    write_task(folder / "tasks", "choose_first", folder / "first.jsonl", **choose)
    write_task(folder / "tasks", "choose_rest", folder / "rest.jsonl", **choose)
    write_task(folder / "tasks", "run_sums", folder / "all.jsonl", **write, unsafe_code=True)
    for name, members in (("choose_sums", ["choose_first", "choose_rest"]), ("risky", ["write_sums", "run_sums"])):
        group = {"group": name, "task": members}
        group |= {"aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]} if name != "risky" else {}
        (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(group))
    write_places(folder)
    return folder / "tasks"


def files(given: Any, path: str = "json", **more: str) -> dict[str, Any]:
    return {"dataset_path": path, "dataset_kwargs": {"data_files": given, **more}}


def places(data: Path) -> dict[str, dict[str, Any]]:
    """Return by task where its data are, in all ways that a task can say it; `data` is an absolute folder."""
    return {
        "a_folder": {"dataset_path": str(data)},
        "a_near_folder": {"dataset_path": "./data"},
        "a_bare_folder": {"dataset_path": "data"},
        "a_data_dir": {"dataset_path": "json", "dataset_kwargs": {"data_dir": str(data)}},
        "a_pattern": files({"test": f"{data}/*.jsonl"}),
        "a_list": files({"test": [str(data / "b.jsonl")], "train": [str(data / "a.jsonl")]}),
        "in_a_data_dir": files("a.jsonl", data_dir=str(data)),
        "a_near_pattern": files("data/[ab].jsonl"),
        "included": {"include": "shared"},
        "on_the_hub": files("data/a.jsonl", path="someone/something"),
        "on_the_web": files("https://example.org/a.jsonl"),
    }


def write_places(folder: Path) -> None:
    """Write tasks with their data in `data`, and some whose data are not there."""
    (folder / "data").mkdir()
    for name in "ab":
        (folder / "data" / f"{name}.jsonl").write_text(json.dumps({"question": name, "answer": "1"}) + "\n")
    (folder / "tasks" / "shared").write_text(yaml.safe_dump(files(str(folder / "data" / "a.jsonl"))))
    absent = {
        "no_folder": {"dataset_path": "./none"},
        "no_data_dir": {"dataset_path": "json", "dataset_kwargs": {"data_dir": "./none"}},
        "no_match": files({"test": ["./none/*.jsonl"]}),
        "nothing_in_a_data_dir": files("a.jsonl", data_dir="./none"),
    }
    for name, settings in (places(folder / "data") | absent).items():
        about = {"task": name, "output_type": "generate_until", "doc_to_text": "{{question}}", **settings}
        (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(about))


def job(folder: Path, tasks: Path, task: str) -> HarnessJob:
    folder.mkdir(parents=True)
    return HarnessJob(
        folder=folder,
        task=task,
        tasks=tasks,
        limit=None,
        model=TINY,
        revision=None,
        chat_template_arguments={},
        batch_size=8,
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("harness"))


@pytest.fixture(scope="module")
def done(tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return where the results of a task are; each is done without any network."""
    folder, offline = tmp_path_factory.mktemp("done"), pytest.MonkeyPatch()

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    with offline.context() as patched:
        patched.setattr(socket.socket, "connect", refuse)
        patched.setattr(socket, "getaddrinfo", refuse)
        for task in ("write_sums", "choose_sums"):
            run_harness(job(folder / task, tasks, task))
    return lambda task: folder / task


# -- scores -----------------------------------------------------------------------------------------------------------


def test_free_answers_are_scored_as_our_own_generator_gives_them(done: Callable[[str], Path]) -> None:
    """Greedy, under the same chat template: right where the number after "The answer is" is the gold one."""
    from stat_train.models.transformers import TransformersGenerator

    generator = TransformersGenerator("tiny", None, PLAIN, 8)
    asked = [Request(each.id, messages(PLAIN, each.question), Sampling(0, 96), 0) for each in ASKED]
    texts = {completion.id: completion.text for completion in generator.generate(asked)}
    finals = {id: match[1] if (match := re.search(FINAL, text)) else "" for id, text in texts.items()}
    right = [float(finals[each.id] == each.answer) for each in ASKED]
    assert 0 < sum(right) < len(right), "the same score for all would prove little"
    scores = read_scores(done("write_sums"))
    assert list(scores) == ["write_sums exact_match (final)"]
    assert list(scores["write_sums exact_match (final)"].values()) == right
    about = read_aggregates(done("write_sums"))["write_sums exact_match (final)"]
    assert about["value"] == pytest.approx(sum(right) / len(right))
    assert (about["metric"], about["n"]) == ("exact_match,final", len(right))
    samples = [json.loads(line) for line in (done("write_sums") / SAMPLES).read_text().splitlines()]
    assert [row["resps"][0][0] for row in samples] == [texts[each.id] for each in ASKED]


def log_likelihood(model: Any, tokenizer: Any, question: str, choice: str) -> float:
    """Return the log-probability of a choice after its question, token by token."""
    from torch import inference_mode, tensor

    seen, total = list(tokenizer(f"<|user|>{question}<|assistant|>")["input_ids"]), 0.0
    with inference_mode():
        for token in tokenizer(choice)["input_ids"]:
            total += float(model(tensor([seen])).logits[0, -1].log_softmax(-1)[token])
            seen.append(token)
    return total


def test_choices_are_scored_by_log_likelihoods_worked_out_by_hand(done: Callable[[str], Path]) -> None:
    """The group's tasks are one benchmark: 8 and 12 questions, each right where the gold choice is the likeliest."""
    from stat_train.models.transformers import load_model, load_tokenizer

    model, tokenizer = load_model("tiny", None).eval(), load_tokenizer("tiny", None)
    right = []
    for row in rows():
        likely = [log_likelihood(model, tokenizer, row["question"], choice) for choice in row["choices"]]
        right.append(float(likely.index(max(likely)) == row["gold"]))
    assert 0 < sum(right[:8]) < 8 and 0 < sum(right[8:]) < 12, "the same score for all would prove little"
    assert sum(right[:8]) / 8 != sum(right[8:]) / 12
    scores = read_scores(done("choose_sums"))
    assert list(scores) == ["choose_sums acc"]
    assert list(scores["choose_sums acc"].values()) == right
    about = read_aggregates(done("choose_sums"))["choose_sums acc"]
    assert about["value"] == pytest.approx(sum(right) / 20)
    assert about["n"] == 20 and about["stderr"] > 0


def test_questions_are_known_by_task_place_and_content(done: Callable[[str], Path]) -> None:
    ids = list(read_scores(done("choose_sums"))["choose_sums acc"])
    assert len(set(ids)) == 20
    places = [id.rpartition("-")[0] for id in ids]
    assert places == [f"choose_first/{n}" for n in range(8)] + [f"choose_rest/{n}" for n in range(12)]
    alone = list(read_scores(done("write_sums"))["write_sums exact_match (final)"])
    assert [id.rpartition("-")[0] for id in alone] == [str(n) for n in range(20)]
    # The content is the same, so its hash is.
    assert [id.rpartition("-")[2] for id in alone] == [id.rpartition("-")[2] for id in ids]


def test_what_made_the_results_is_kept_with_them(done: Callable[[str], Path]) -> None:
    results = json.loads((done("choose_sums") / RESULTS).read_text())
    assert (results["task"], results["chat_template"]) == ("choose_sums", True)
    assert results["versions"]["choose_first"] == 2.0
    assert results["n-samples"]["choose_rest"] == {"original": 12, "effective": 12}
    assert results["config"]["fewshot_seed"] == 1234 and "model" not in results["config"]
    assert re.fullmatch(r"0\.4\.\d+", results["lm_eval"])


def test_a_metric_of_the_whole_has_no_score_by_question(done: Callable[[str], Path]) -> None:
    about = read_aggregates(done("write_sums"))["write_sums bleu (final)"]
    assert about["reason"] == "its values for single questions are no shares of 1"
    assert about["n"] == 0 and about["value"] >= 0


@pytest.mark.parametrize(
    ("values", "aggregate", "higher", "reason"),
    [
        ([0.0, 1.0, 0.5], 0.5, True, None),
        ([True, False], 0.5, None, None),
        ([2.5, 1.0], 1.75, True, "its values for single questions are no shares of 1"),
        ([[True, False], [True]], 2 / 3, True, "its values for single questions are no shares of 1"),
        ([float("nan"), 1.0], float("nan"), True, "its values for single questions are no shares of 1"),
        ([0.2, 0.4], 0.3, False, "less of it is better"),
        ([1.0, 0.0, 1.0], 0.4, True, "its aggregate is not the mean over the questions"),
    ],
)
def test_only_shares_whose_mean_is_the_aggregate_are_scores(
    values: list[Any], aggregate: float, higher: bool | None, reason: str | None
) -> None:
    samples = [
        {"doc_id": n, "doc_hash": "abc", "filter": "none", "metrics": ["m"], "m": value}
        for n, value in enumerate(values)
    ]
    found = {
        "samples": {"t": samples},
        "results": {"t": {"m,none": aggregate, "m_stderr,none": "N/A"}},
        "higher_is_better": {"t": {} if higher is None else {"m": higher}},
    }
    scores, benchmarks = summarise("t", found)
    assert benchmarks["t m"].get("reason") == reason
    assert benchmarks["t m"]["stderr"] is None
    assert [row.score for row in scores] == ([] if reason else [float(value) for value in values])


# -- what is refused --------------------------------------------------------------------------------------------------


def test_known_tasks_groups_and_tags_are_taken(tasks: Path) -> None:
    require_tasks(["ifeval", "mmlu", "gsm8k", "ai2_arc", "choose_sums"], tasks)


@pytest.mark.parametrize(("name", "near"), [("ifevall", "ifeval"), ("choose_sum", "choose_sums")])
def test_an_unknown_task_is_refused_with_the_nearest(name: str, near: str, tasks: Path) -> None:
    with pytest.raises(UserError, match=rf'evaluate\.harness = {name}: no such task.*Did you mean "{near}"\?'):
        require_tasks(["ifeval", name], tasks)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run_sums", "run_sums: would run code"),
        ("risky", "risky: its task run_sums would run code"),
        ("humaneval", "humaneval: would run code"),
        ("mbpp", "mbpp: would run code"),
    ],
)
def test_a_task_that_runs_what_the_model_writes_is_refused(name: str, words: str, tasks: Path) -> None:
    with pytest.raises(UserError, match=words):
        require_tasks([name], tasks)


def test_such_a_task_is_refused_in_the_process_too(tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="risky: its task run_sums would run code"):
        run_harness(job(tmp_path / "risky", tasks, "risky"))
    assert list((tmp_path / "risky").iterdir()) == []


def test_a_task_whose_data_are_not_there_is_refused(tasks: Path, tmp_path: Path) -> None:
    """As on a machine without network, for data that were never downloaded."""
    with pytest.raises(UserError, match=r"evaluate\.harness = arc_easy: cannot be loaded \(.*allenai/ai2_arc"):
        run_harness(job(tmp_path / "arc", tasks, "arc_easy"))


def problems_of(*given: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_settings(given)
    return caught.value.problems


def test_the_extra_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    (problem,) = absent_packages(read_settings(["evaluate.harness=[ifeval]"]).config)
    assert problem == ("evaluate.harness = [ifeval]: needs lm-evaluation-harness; pip install 'stat-train[harness]'")
    assert absent_packages(read_settings(["evaluate.harness=[ifeval]", "until=train"]).config) == []
    assert absent_packages(read_settings([]).config) == []


# -- as a stage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_with(tmp_path: Path) -> Callable[..., Run]:
    def opened(*given: str) -> Run:
        places = [f"cache_dir={tmp_path}/cache", f"run_dir={tmp_path}/run", *given]
        run = Run(read_settings(places), [], Console(quiet=True))
        run.folder.open(run.settings.yaml)
        return run

    return opened


def test_a_task_more_does_not_run_the_others_again(
    tasks: Path, done: Callable[[str], Path], run_with: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With results that are there; a changed question is another artifact, though it is not in the folder of tasks."""
    ran: list[HarnessJob] = []

    def harness(given: HarnessJob) -> None:
        ran.append(given)
        for name in (RESULTS, SCORES):
            shutil.copy(done("choose_sums") / name, given.folder)

    monkeypatch.setattr(stage, "harness", harness)
    data, own = tasks.parent / "first.jsonl", f"evaluate.harness_tasks={tasks}"

    def made(task: str, *given: str, fingerprint: str = "tiny") -> Artifact:
        weights = Weights(TINY, None, fingerprint)
        return harness_results(run_with(own, "evaluate.harness_limit=3", *given), "base", task, weights)

    first = made("choose_first", "evaluate.harness=[choose_first]")
    assert first.counts() == {"question": {"total": 20, "kept": 20, "dropped": {}}}
    more = made("choose_first", "evaluate.harness=[choose_first,choose_rest]", "evaluate.batch_size=2", "seed=1")
    assert (more.name, more.reused) == (first.name, True)
    others = [made("choose_rest"), made("choose_first", "evaluate.harness_limit=2")]
    others.append(made("choose_first", fingerprint="trained"))
    before = data.read_text()
    data.write_text(before.replace("The answer is", "It is"))
    others.append(made("choose_first"))
    data.write_text(before)
    assert [(each.task, each.limit) for each in ran] == [
        *(("choose_first", 3), ("choose_rest", 3), ("choose_first", 2)),
        *(("choose_first", 3), ("choose_first", 3)),
    ]
    assert len({first.name, *(other.name for other in others)}) == 5


def test_a_run_asks_whether_its_tasks_are_there(tasks: Path, run_with: Callable[..., Run]) -> None:
    """Only a run that goes as far, and that has tasks."""
    own = f"evaluate.harness_tasks={tasks}"
    require_harness(run_with(own, "evaluate.harness=[write_sums]"))
    require_harness(run_with())
    require_harness(run_with("evaluate.harness=[run_sums]", "until=train"))
    with pytest.raises(UserError, match="would run code"):
        require_harness(run_with(own, "evaluate.harness=[run_sums]"))


def test_every_place_on_this_machine_that_a_task_names_is_found(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tasks.parent)
    data, near = tasks.parent / "data", Path("data")
    assert {name: local_data(name, tasks) for name in places(data)} == {
        "a_folder": [data],
        "a_near_folder": [near],
        "a_bare_folder": [near],
        "a_data_dir": [data],
        "a_pattern": [data / "a.jsonl", data / "b.jsonl"],
        "a_list": [data / "a.jsonl", data / "b.jsonl"],
        "in_a_data_dir": [data / "a.jsonl"],
        "a_near_pattern": [near / "a.jsonl", near / "b.jsonl"],
        "included": [data / "a.jsonl"],
        # `data/a.jsonl` of that data set, not of this folder.
        "on_the_hub": [],
        "on_the_web": [],
    }


@pytest.mark.parametrize("task", ["no_folder", "no_data_dir", "no_match", "nothing_in_a_data_dir"])
def test_data_that_should_be_on_this_machine_and_are_not_are_refused_before_a_run(
    task: str, tasks: Path, run_with: Callable[..., Run]
) -> None:
    with pytest.raises(UserError, match=rf"^evaluate\.harness = {task}: takes its questions from \./none.*nothing"):
        require_harness(run_with(f"evaluate.harness_tasks={tasks}", f"evaluate.harness=[{task}]"))


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same_for_the_first_questions(
    tasks: Path, done: Callable[[str], Path], tmp_path: Path
) -> None:
    """The limit is one for each task of the group."""
    given = job(tmp_path / "harness.partial", tasks, "choose_sums").model_copy(update={"limit": 5})
    with lease(given.folder.with_suffix(".lease")):
        stage.harness(given)
    assert {path.name for path in given.folder.iterdir()} == {RESULTS, SCORES, SAMPLES, DEVICE_SECONDS_FILE}
    every = read_scores(done("choose_sums"))["choose_sums acc"]
    first = {id: score for id, score in every.items() if re.search(r"/[0-4]-", id)}
    assert read_scores(given.folder) == {"choose_sums acc": first} and len(first) == 10

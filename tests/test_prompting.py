"""The arm `adaptmi` from settings to results: the untrained student, asked again after worked examples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from reward_model_files import save_causal

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.config import Prompt
from stat_train.curation.source import make_source, questions_at
from stat_train.diagnosis.answering import worked_example
from stat_train.errors import ConfigError
from stat_train.evaluation.exemplars import fixed_rows
from stat_train.models.ledger import Ledger, call_key
from stat_train.models.replies import model_identity
from stat_train.plan.asked import asked_of
from stat_train.plan.look import Look
from stat_train.tasks.load import open_pool, open_pool_skills
from stat_train.tasks.prompts import PromptRenderer, messages
from stat_train.tasks.text import normalised

Rows = list[dict[str, Any]]
# What the shipped student takes (its config.json), the room for its answers, and more examples than there is room for.
CONTEXT, ANSWER, EXAMPLES = 512, 48, 10
SMALL = [
    *("task.pool=600", "task.validation=40", "task.benchmark=60", f"student.max_new_tokens={ANSWER}"),
    *("train=none", "data_recipe.pairs=20", "evaluate.prompting=adaptmi", "evaluate.log_probabilities=false"),
]


def rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def artifact(run: Path, cache: Path, stage: str, which: int = 0) -> Path:
    """Return the folder of a stage's output, of several the one that was made as `which`."""
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    return cache / "artifacts" / [each["artifact"] for each in stages if each["stage"] == stage][which]


def carrying(run: Path, skills: list[str]) -> int:
    """Return how many pool questions carry one of the skills; of no skill, all of them."""
    pool = [set(row["skills"]) for row in rows(run / "skill_map.jsonl") if "-pool-" in row["id"]]
    return sum(not skills or bool(carried & set(skills)) for carried in pool)


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason", "remedy"),
    [
        (["difficulty=gold"], "answer key", "difficulty=step_rewards"),
        (["difficulty=consistency"], "5 samples of each answer", "difficulty=step_rewards"),
        (
            ["student=endpoint", "student.model=m", "student.base_url=http://h/v1", "train=none"],
            "endpoint",
            "student=local",
        ),
    ],
)
def test_what_would_choose_prompts_in_another_way_is_refused(given: list[str], reason: str, remedy: str) -> None:
    """Unless the run ends before the benchmarks are asked."""
    with pytest.raises(ConfigError) as caught:
        read_settings([*given, "evaluate.prompting=adaptmi"])
    (problem,) = caught.value.problems
    assert problem.startswith("evaluate.prompting = adaptmi: ")
    assert reason in problem and remedy in problem
    assert read_settings([*given, "evaluate.prompting=adaptmi", "until=curate"]).config.evaluate.exemplars == 5


# -- the embedded task ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the run folder and the cache of a run."""
    folder = tmp_path_factory.mktemp("prompting")
    places = [f"run_dir={folder}/run", f"cache_dir={folder}/cache"]
    assert main([*SMALL, f"evaluate.exemplars={EXAMPLES}", *places]) == 0
    return folder / "run", folder / "cache"


@pytest.mark.slow
def test_what_the_checker_finds_wrong_has_examples_of_its_skills(done: tuple[Path, Path]) -> None:
    """The checker gives 1 to a right step and 0 to a wrong one: difficult is what has a wrong last or earlier step."""
    from stat_train.records import Question
    from stat_train.tasks.arithmetic.checker import score_steps
    from stat_train.tasks.steps import split_steps

    run, cache = done
    (benchmark,) = (run / "questions/benchmarks").iterdir()
    asked = {row["id"]: row for row in rows(benchmark)}
    answers = {row["question_id"]: row["text"] for row in rows(artifact(run, cache, "benchmark") / "answers.jsonl")}
    labels = {row["id"]: row["skills"] for row in rows(run / "skill_map.jsonl")}
    prompts = {row["question_id"]: row for row in rows(run / "adaptmi_prompts.jsonl")}
    assert list(prompts) == list(asked)
    difficult = {
        id: not all(score_steps(Question.model_validate(row), split_steps(answers[id]))) for id, row in asked.items()
    }
    assert {id: row["difficult"] for id, row in prompts.items()} == difficult
    assert 5 < sum(difficult.values()) < 55
    for id, row in prompts.items():
        assert row["skills"] == (asked[id]["skills"] if difficult[id] and "reason" not in row else [])
        carried = [set(labels[example]) for example in row["exemplar_ids"]]
        assert all(skills & set(row["skills"]) for skills in carried) or not row["skills"]


@pytest.mark.slow
def test_every_prompt_leaves_room_for_an_answer_and_no_example_was_left_out_in_vain(done: tuple[Path, Path]) -> None:
    from stat_train.models.transformers import context_tokens, load_tokenizer

    run, cache = done
    made = artifact(run, cache, "prompts")
    examples = {row["id"]: (row["question"], row["solution"]) for row in rows(made / "exemplars.jsonl")}
    held_out = [*(run / "questions/benchmarks").iterdir(), run / "questions/validation.jsonl"]
    forbidden = {normalised(row["question"]) for place in held_out for row in rows(place)}
    assert not forbidden & {normalised(question) for question, _ in examples.values()}
    tokenizer = load_tokenizer("tiny", None)
    assert context_tokens("tiny", None, tokenizer) == CONTEXT
    prompt = Prompt(system=None, template="{question}", chat_template_arguments={})
    renderer = PromptRenderer(tokenizer, prompt)
    questions = {row["id"]: row["question"] for row in rows(held_out[0])}
    left_out = rows(made / "dropped.jsonl")
    assert {(row["item"], row["reason"]) for row in left_out} == {
        ("worked example", "does not fit the student's context")
    }

    def tokens(row: dict[str, Any], ids: list[str]) -> int:
        asked = messages(prompt, questions[row["question_id"]], exemplars=[examples[id] for id in ids])
        return len(renderer.token_ids(renderer.question_text(asked))) + ANSWER

    prompts = rows(made / "adaptmi_prompts.jsonl")
    assert max(tokens(row, row["exemplar_ids"]) for row in prompts) <= CONTEXT
    chosen = {row["question_id"]: min(EXAMPLES, carrying(run, row["skills"])) for row in prompts}
    lost = {row["question_id"]: chosen[row["question_id"]] - len(row["exemplar_ids"]) for row in prompts}
    assert Counter(row["id"] for row in left_out) == {id: count for id, count in lost.items() if count}
    # Of the fixed set it is known which example would have come next.
    copies = {row["row"] for row in rows(run / "overlaps.jsonl") if row["kind"] == "leak"}
    skill_map = open_pool_skills(artifact(run, cache, "label"))
    source, _ = make_source(open_pool(run / "questions"), skill_map, copies)
    whole = {each.id: worked_example(each) for each in questions_at(source.pool, fixed_rows(source, EXAMPLES, 0))}
    examples |= whole
    fixed, easy = list(whole), [row for row in prompts if not row["skills"]]
    assert easy
    for row in easy:
        count = len(row["exemplar_ids"])
        assert count < EXAMPLES and row["exemplar_ids"] == fixed[EXAMPLES - count :]
        assert tokens(row, fixed[EXAMPLES - count - 1 :]) > CONTEXT


@pytest.mark.slow
def test_the_arm_has_its_numbers_everywhere(done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run, cache = done
    found = json.loads((run / "evaluation.json").read_text())
    assert list(found["arms"]) == ["base", "adaptmi"]
    base, prompted = (found["arms"][arm]["standard"] for arm in ("base", "adaptmi"))
    change = found["differences"]["adaptmi - base"]["standard"]
    assert (base["n"], prompted["n"], change["n"]) == (60, 60, 60)
    assert change["difference"] == pytest.approx(prompted["accuracy"] - base["accuracy"], abs=2e-6)
    assert set(change["per_skill"]) == set(base["per_skill"])
    # After examples the student says other things than before: they were in the prompt.
    texts = [rows(artifact(run, cache, "benchmark", which) / "answers.jsonl") for which in (0, 1)]
    assert sum(one["text"] != two["text"] for one, two in zip(*texts, strict=True)) > 30
    report = json.loads((run / "report.json").read_text())
    assert report["benchmarks"][0]["prompted_change"]["difference"] == change["difference"]
    assert "with worked examples in the prompt" in (run / "report.html").read_text()
    assert main(["compare", str(run), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["arm"], row["gain"]["difference"]) == ("adaptmi", change["difference"])


@pytest.mark.slow
def test_the_same_settings_give_the_same_bytes_and_other_ones_ask_only_that_arm_again(
    done: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer examples leave the answers without examples as they are."""
    run, _ = done
    assert (
        main([*SMALL, f"evaluate.exemplars={EXAMPLES}", f"run_dir={tmp_path}/again", f"cache_dir={tmp_path}/cache"])
        == 0
    )
    for name in ("adaptmi_prompts.jsonl", "evaluation.json", "benchmark_answers.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    capsys.readouterr()
    assert main([*SMALL, "evaluate.exemplars=1", f"run_dir={tmp_path}/one", f"cache_dir={tmp_path}/cache"]) == 0
    said = capsys.readouterr().out
    lines = [
        line.split() for line in said.splitlines() if line[:1].isalpha() and ("done before" in line or " s" in line)
    ]
    states = [(words[0], "reused" if words[1:3] == ["done", "before"] else "made") for words in lines]
    assert [state for name, state in states if name == "benchmark"] == ["reused", "made"]
    assert all(len(row["exemplar_ids"]) == 1 for row in rows(tmp_path / "one/adaptmi_prompts.jsonl"))


# -- a paid teacher ---------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ChatServer]]:
    """Return a function that starts a teacher; the working folder holds questions without labels."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, count, first in (("pool", 40, 0), ("test", 25, 1000)):
        asked = [
            {
                "id": f"{name}{n}",
                "question": f"Add {first + n} to {n}." + " And what is that, in other words?" * (n % 2),
                "answer": f"{first + 2 * n}",
                "solution": f"It is {first + 2 * n}.",
            }
            for n in range(count)
        ]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    Path("skills.json").write_text(json.dumps(["adding", "saying", "counting"]))
    started: list[ChatServer] = []

    def server() -> ChatServer:
        started.append(ChatServer(tmp_path / "server", {"words": "teacher", "latency_seconds": 0.001}))
        return started[-1]

    yield server
    for one in started:
        one.stop()


@pytest.mark.slow
def test_a_paid_teacher_labels_difficult_questions_alone_and_the_plan_says_how_many_at_most(
    start: Callable[[], ChatServer], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 25 benchmark questions 10 are the validation set, so 15 are left, of which those with long answers are asked.

    Each label is one of the calls that the plan had foreseen.
    """
    settings = [
        *("task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.validation=10"),
        *("task.skills=skills.json", "teacher=openai", "teacher.model=m", "teacher.api_key_env=null"),
        *("student=tiny", "difficulty=length", "difficulty.samples=1", "difficulty.temperature=0.0"),
        *("difficulty.min_words=16", "data_recipe.pairs=5", "data_recipe.answers=own", "train=none"),
        *("evaluate.prompting=adaptmi", "evaluate.exemplars=2", "run_dir=runs/one", f"teacher.base_url={start().url}"),
        "evaluate.log_probabilities=false",
    ]

    def planned() -> dict[str, tuple[int, int]]:
        capsys.readouterr()
        assert main(["plan", *settings, "--json"]) == 0
        stages = json.loads(capsys.readouterr().out)["stages"]
        return {each["stage"]: (each["calls"], each["in_ledger"]) for each in stages}

    assert planned()["evaluate"] == (15, 0)
    assert main([*settings, "until=curate"]) == 0
    with Ledger(Path("runs/cache")) as ledger:
        before = set(ledger.index.replies)
    settled = read_settings(settings)
    with Look(settled) as look:
        (asked,) = asked_of(look)
        model = model_identity(settled.config.teacher, settled.config.teacher.sampling_seed)  # type: ignore[union-attr, arg-type]
        keys = {request.id: call_key(request, model) for request in asked.requests}
    assert (asked.stage, len(keys)) == ("evaluate", 15)
    assert any("at most 15 labels" in note for note in asked.assumed)
    assert main(settings) == 0
    prompts = rows(Path("runs/one/adaptmi_prompts.jsonl"))
    difficult = {row["question_id"] for row in prompts if row["difficult"]}
    assert 0 < len(difficult) < 15
    with Ledger(Path("runs/cache")) as ledger:
        assert set(ledger.index.replies) - before == {key for id, key in keys.items() if id.endswith(tuple(difficult))}
    assert all(row["skills"] for row in prompts if row["difficult"] and "reason" not in row)
    assert planned() == {}


# -- a reward model ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reward_model_tells_what_is_difficult_among_the_benchmarks_questions(
    start: Callable[[], ChatServer], tmp_path: Path
) -> None:
    """Its rewards of the benchmark's answers decide there; the run folder shows those of the validation set."""
    save_causal(tmp_path / "prm")
    settings = [
        *("task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.validation=10"),
        *("task.skills=skills.json", "teacher=openai", "teacher.model=m", "teacher.api_key_env=null"),
        *("student=tiny", "student.max_new_tokens=24", "difficulty=prm", f"difficulty.prm.model={tmp_path}/prm"),
        *("difficulty.tau1=0.5", "difficulty.tau2=0.0", "data_recipe.pairs=5", "data_recipe.answers=own"),
        *("train=none", "evaluate.prompting=adaptmi", "run_dir=runs/one", f"teacher.base_url={start().url}"),
    ]
    assert main(settings) == 0
    run, cache = Path("runs/one"), Path("runs/cache")
    prompts = {row["question_id"]: row for row in rows(run / "adaptmi_prompts.jsonl")}
    scored = rows(artifact(run, cache, "score", 1) / "step_rewards.jsonl")
    assert {row["question_id"] for row in scored} == set(prompts)
    for row in scored:
        rewards = row["rewards"]
        low = not rewards or rewards[-1] <= 0.5 or sum(rewards) / len(rewards) <= 0.5
        assert prompts[row["question_id"]]["difficult"] == low
    assert {row["difficult"] for row in prompts.values()} == {True, False}
    assert {row["question_id"] for row in rows(run / "step_rewards.jsonl")}.isdisjoint(prompts)

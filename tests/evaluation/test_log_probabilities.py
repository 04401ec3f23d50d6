"""How likely a model finds the reference answers: the value, and what it shows that accuracy does not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pytest
from rich.console import Console
from scipy.stats import ttest_ind, ttest_rel

from stat_train import stage
from stat_train.benchmarks import benchmark_at
from stat_train.chunks import join_chunks
from stat_train.compose import read_settings
from stat_train.config import Prompt
from stat_train.device_seconds import DEVICE_SECONDS_FILE
from stat_train.evaluation import log_probabilities as module
from stat_train.evaluation.log_probabilities import (
    LogProbability,
    LogProbabilityJob,
    left_out,
    log_probabilities_file,
    rate_with_weights,
    read_log_probabilities,
)
from stat_train.evaluation.statistics import paired_difference
from stat_train.measuring import reference_log_probabilities
from stat_train.models.generator import Request, Sampling
from stat_train.models.places import SHIPPED
from stat_train.records import Question
from stat_train.run import Run
from stat_train.store import Artifact, lease, read_records, write_records
from stat_train.student import Weights
from stat_train.tasks.arithmetic import world
from stat_train.tasks.prompts import messages

PLAIN = Prompt(system=None, template="{question}", chat_template_arguments={})
ASKED = list(world.questions("likely", "benchmark", "standard", 24, world.Family(steps=(1, 2))))
# What the shipped student takes (its config.json).
CONTEXT = 512
ODD = [
    Question(id="answer only", question="What is 2 + 2?", answer="4"),
    Question(id="nothing", question="What is 2 + 3?"),
    Question(id="blank", question="What is 2 + 4?", solution=" ", answer=""),
    Question(id="long", question="What is 2 + 5?", solution="7 " * CONTEXT),
]


def job(folder: Path, questions: list[Question], batch_size: int = 8) -> LogProbabilityJob:
    folder.mkdir(parents=True)
    write_records(folder.with_suffix(".jsonl"), questions)
    return LogProbabilityJob(
        folder=folder,
        questions=folder.with_suffix(".jsonl"),
        model=str(SHIPPED["tiny"]),
        revision=None,
        prompt=PLAIN,
        batch_size=batch_size,
    )


def rated(given: LogProbabilityJob) -> list[LogProbability]:
    rate_with_weights(given, "0" * 32)
    join_chunks(log_probabilities_file(given))
    return read_records(given.folder / module.FILE, LogProbability)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LogProbability]]:
    """Return the folder and the rows of all questions, in batches of 8."""
    given = job(tmp_path_factory.mktemp("found") / "likelihood", [*ASKED, *ODD])
    return given.folder, rated(given)


def token_by_token(question: Question, answer: str) -> tuple[float, int]:
    """Return the mean log-probability of an answer and its tokens, asked of the model one token after the other."""
    from torch import tensor

    from stat_train.models.transformers import load_model, load_tokenizer

    model, tokenizer = load_model("tiny", None).eval(), load_tokenizer("tiny", None)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": question.question}], add_generation_prompt=True)
    seen, values = list(asked["input_ids"]), []
    for token in [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]:
        values.append(model(tensor([seen])).logits[0, -1].log_softmax(-1)[token].item())
        seen.append(token)
    return sum(values) / len(values), len(values)


@pytest.mark.parametrize("question", [ASKED[0], ODD[0]], ids=["solution", "answer"])
def test_the_value_is_that_of_the_answer_token_by_token(
    question: Question, found: tuple[Path, list[LogProbability]]
) -> None:
    mean, tokens = token_by_token(question, question.solution or question.answer or "")
    (row,) = [row for row in found[1] if row.question_id == question.id]
    assert row.mean_log_probability == pytest.approx(mean, abs=2e-6)
    assert row.tokens == tokens


def test_rows_are_in_question_order_and_what_has_no_value_says_why(found: tuple[Path, list[LogProbability]]) -> None:
    """The long one: 512 times a number and a space, and more tokens around them than the context takes."""
    folder, rows = found
    assert [row.question_id for row in rows] == [*(question.id for question in ASKED), "answer only", "long"]
    assert [row.question_id for row in rows if row.mean_log_probability is None] == ["long"]
    assert list(read_log_probabilities(folder)) == [*(question.id for question in ASKED), "answer only"]
    dropped = left_out([*ASKED, *ODD], rows, "likelihood")
    assert [(row.id, row.reason) for row in dropped] == [
        ("nothing", "no reference answer"),
        ("blank", "no reference answer"),
        ("long", "too long for the context"),
    ]
    assert dropped[-1].detail == f"{rows[-1].tokens + tokens_asked(ODD[-1]):,} tokens, and the model takes {CONTEXT}"


def tokens_asked(question: Question) -> int:
    from stat_train.models.transformers import load_tokenizer

    return len(load_tokenizer("tiny", None)(f"<|user|>{question.question}<|assistant|>")["input_ids"])


@pytest.mark.parametrize(("batch_size", "at_a_time"), [(1, 8192), (100, 8192), (100, 150)])
def test_neither_batches_nor_the_order_of_questions_change_a_value(
    batch_size: int,
    at_a_time: int,
    found: tuple[Path, list[LogProbability]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_A_TIME", at_a_time)
    rows = rated(job(tmp_path / "other", [*ASKED, *ODD][::-1], batch_size))
    expected = read_log_probabilities(found[0])
    values = {row.question_id: row.mean_log_probability for row in rows if row.mean_log_probability is not None}
    assert list(values) == list(expected)[::-1]
    assert values == pytest.approx(expected, abs=2e-6)


def test_a_batch_holds_no_more_than_its_questions_and_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded to the longest: 2 of 6 tokens make 12, a third one 18; 3 of 4 tokens make 12; one of 20 is alone."""
    monkeypatch.setattr(module, "TOKENS_AT_A_TIME", 12)
    lengths = [4, 6, 20, 6, 4, 5, 3]
    shown = [module._Shown(str(index), [0] * length, 1) for index, length in enumerate(lengths)]
    batches = [[len(each.token_ids) for each in batch] for batch in module._batches(shown, 3)]
    assert batches == [[20], [6, 6], [5, 4], [4, 3]]
    monkeypatch.setattr(module, "TOKENS_AT_A_TIME", 100)
    assert [len(batch) for batch in module._batches(shown, 3)] == [3, 3, 1]


def test_a_reference_is_written_as_often_as_its_value_says(found: tuple[Path, list[LogProbability]]) -> None:
    """Sampled at temperature 1, an answer of L tokens is the reference itself with probability exp(L * mean).

    That is p^L with p the geometric mean of the tokens' probabilities. Over N answers the count is binomial, so it is
    within 4 deviations, 4 * sqrt(N q (1 - q)).
    """
    from torch import manual_seed

    from stat_train.models.transformers import TransformersGenerator

    manual_seed(0)
    shares = {row.question_id: math.exp(row.tokens * (row.mean_log_probability or -9)) for row in found[1]}
    question, count = max(ASKED, key=lambda question: shares[question.id]), 256
    share = shares[question.id]
    assert 0.05 < share < 0.95, "a share near 0 or 1 would prove little"
    generator = TransformersGenerator("tiny", None, PLAIN, count)
    asked = [
        Request("likely", messages(PLAIN, question.question), Sampling(1.0, 96), sample) for sample in range(count)
    ]
    written = [completion.text for completion in generator.generate(asked)].count(question.solution or "")
    assert written == pytest.approx(count * share, abs=4 * math.sqrt(count * share * (1 - share)))


def test_a_small_gain_shows_in_log_probability_while_exact_match_stays_near_zero() -> None:
    """200 answers of 60 tokens; the mean log-probability is -0.25 with a spread of 0.1 over questions, and rises 0.01.

    Exact match is exp(60 * mean): exp(-15) = 3e-7 in the middle and exp(-3) = 0.05 at two deviations and a half, so a
    few in a hundred at most, and the gain multiplies it by exp(0.6) = 1.8: nothing that 200 questions show. With a
    spread of the change of 0.03, t = 0.01 / (0.03 / sqrt(200)) = 4.7 when paired, and unpaired
    0.01 / (0.1 * sqrt(2 / 200)) = 1.0, which is nothing: the questions must be the same.
    """
    random, questions, tokens = numpy.random.default_rng(0), 200, 60
    before = numpy.minimum(random.normal(-0.25, 0.1, questions), -0.01)
    after = numpy.minimum(before + random.normal(0.01, 0.03, questions), -0.005)
    right, right_after = ((random.random(questions) < numpy.exp(tokens * means)).tolist() for means in (before, after))
    assert max(sum(right), sum(right_after)) <= 0.05 * questions
    accuracy = paired_difference(right, right_after)
    assert accuracy.p is not None and accuracy.p > 0.1
    assert ttest_rel(after, before).pvalue < 0.01
    assert ttest_ind(after, before).pvalue > 0.05


# -- as a stage -------------------------------------------------------------------------------------------------------


def test_it_is_known_by_questions_prompt_and_model_and_not_by_how_fast_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made in this process, which has the libraries loaded."""
    monkeypatch.setattr(stage, "likelihood", lambda given, _: rated(given))
    place = tmp_path / "standard.jsonl"
    write_records(place, [*ASKED[:4], *ODD])
    tiny = str(SHIPPED["tiny"])

    def made(*given: str, fingerprint: str = "tiny") -> Artifact:
        places = [f"cache_dir={tmp_path}/cache", f"run_dir={tmp_path}/run", *given]
        with Run(read_settings(places), [], Console(quiet=True)) as run:
            run.folder.open(run.settings.yaml)
            return reference_log_probabilities(run, "base", benchmark_at(run, place), Weights(tiny, None, fingerprint))

    first = made()
    assert first.counts() == {
        "question": {"total": 8, "kept": 5, "dropped": {"no reference answer": 2, "too long for the context": 1}}
    }
    assert set(read_log_probabilities(first.folder)) == {*(question.id for question in ASKED[:4]), "answer only"}
    for given in ("evaluate.batch_size=2", "student.processes=1", "seed=1", "student.max_new_tokens=50"):
        again = made(given)
        assert (again.name, again.reused) == (first.name, True), given
    other = made("student.prompt.template='Q: {question}'")
    assert not other.reused
    assert read_log_probabilities(other.folder) != read_log_probabilities(first.folder)
    assert not made(fingerprint="another").reused
    write_records(place, ASKED[:1])
    assert made().counts()["question"]["total"] == 1


@pytest.mark.slow
def test_several_processes_give_the_same_bytes(tmp_path: Path) -> None:
    """520 questions are two chunks."""
    questions = list(world.questions("many", "benchmark", "standard", 520, world.Family(steps=(1, 2))))
    alone, shared = job(tmp_path / "alone", questions, 64), job(tmp_path / "shared", questions, 64)
    with lease(shared.folder.with_suffix(".lease")):
        stage.likelihood(shared, 2)
    assert {path.name for path in shared.folder.iterdir()} == {module.FILE, DEVICE_SECONDS_FILE}
    assert read_records(shared.folder / module.FILE, LogProbability) == rated(alone)
    assert (alone.folder / module.FILE).read_bytes() == (shared.folder / module.FILE).read_bytes()

"""Fine-tuning as artifacts: one training for each learning rate, and which of their checkpoints goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from stat_train import stage
from stat_train.benchmarks import benchmark_at
from stat_train.counts import Count, Counts
from stat_train.doctor.student import adapter_base, what_is_wrong_with
from stat_train.errors import UserError
from stat_train.evaluation.choice import Candidate, choose, print_choice
from stat_train.evaluation.scores import scored
from stat_train.models.places import Weights, model_place
from stat_train.records import Answer, Question, TrainingExample
from stat_train.run import Run, Summary
from stat_train.store import Artifact, file_hash, read_records, write_json
from stat_train.student import benchmark_answers, weights_to_train
from stat_train.tasks.graders import grade
from stat_train.train_contradictions import cannot_reinforce, cannot_train
from stat_train.train_settings import ExternalTraining, GrpoTraining, SftTraining
from stat_train.training.job import TrainJob
from stat_train.training.world import require_launchable, require_packages, trains_here, world_of

# What is settled before a training starts: which rate it has, and which rows it is given.
NOT_OF_A_TRAINING = {"learning_rate", "learning_rates", "replay_fraction"}


# -- before anything is paid for --------------------------------------------------------------------------------------


def require_trainable(run: Run) -> None:
    """Refuse a run that could not be trained at its end, on these GPUs or from this checkpoint, before it starts.

    The GPUs are not looked at where another batch job does the training.
    """
    train, rl, strategy = run.config.train, run.config.rl, run.config.deepspeed
    if isinstance(train, SftTraining) and run.config.reaches("train") and trains_here("train"):
        require_launchable(world_of(train), strategy)
        _refuse(cannot_train(train, world_of(train).size), "train.processes")
        require_packages(train)
    if isinstance(train, ExternalTraining) and run.config.reaches("train"):
        _require_checkpoint(train, run.folder.folder, isinstance(rl, GrpoTraining))
    if isinstance(rl, GrpoTraining) and run.config.reaches("rl") and trains_here("rl"):
        require_launchable(world_of(rl), strategy, "rl")
        _refuse(cannot_reinforce(rl, world_of(rl).size), "rl.processes")
        require_packages(rl)


def _refuse(problem: str | None, key: str) -> None:
    if problem:
        raise UserError(f"{problem}. Without {key}, each visible GPU has a process")


def _require_checkpoint(train: ExternalTraining, run_dir: Path, goes_on: bool) -> None:
    folder, given = Path(model_place(train.checkpoint)), f"train.checkpoint = {train.checkpoint}"
    if folder.is_file():
        raise UserError(f"{given}: is a file; expected a checkpoint folder, or the name of a hub model")
    if not folder.is_dir():
        return
    if folder.is_symlink() and folder.absolute().parent == run_dir.absolute():
        raise UserError(
            f"{given}: is a link in this run's own run_dir, which is made anew; give where it leads, "
            f"{folder.resolve()}, or another run_dir"
        )
    if problem := what_is_wrong_with(folder):
        raise UserError(f"{given}: {problem}; expected a whole checkpoint folder, or the name of a hub model")
    if goes_on and adapter_base(folder):
        raise UserError(f"{given}: is an adapter, and rl starts from whole weights; merge it into its base, or rl=none")


def require_choosable(run: Run, questions: Artifact) -> None:
    """Refuse to choose between checkpoints where no validation question has a gold answer to tell them by."""
    train = run.config.train
    if not isinstance(train, SftTraining) or not run.config.reaches("train"):
        return
    if len(train.learning_rates or [0.0]) * train.keep_checkpoints == 1 or not run.grader.needs_gold:
        return
    asked = questions.records("validation.jsonl", Question)
    if not any(question.answer for question in asked):
        setting = "learning_rates" if train.learning_rates else "keep_checkpoints"
        raise UserError(
            f"train.{setting}: the best checkpoint is chosen on the validation questions, and none of the {len(asked)} "
            "has a gold answer to grade by. Give them (task.fields.answer), or one rate and one checkpoint"
        )


# -- training ---------------------------------------------------------------------------------------------------------


def external_weights(run: Run, settings: ExternalTraining) -> Weights:
    """Return a checkpoint that was trained elsewhere, shown in the run folder when it is a folder."""
    place = model_place(settings.checkpoint)
    known_by = run.fingerprint(place)
    if Path(place).is_dir():
        run.link("checkpoint", Path(place))
        if base := adapter_base(Path(place)):
            known_by += f" on {run.fingerprint(base)}"
    run.say(f"train=external: {settings.checkpoint} takes the place of training")
    return Weights(place, None, known_by)


def fine_tuned(
    run: Run, settings: SftTraining, questions: Artifact, trained_on: Artifact, replay: Artifact | None
) -> Weights:
    """Return the student after fine-tuning: the best candidate on the validation questions, where there are several."""
    rates = sorted(settings.learning_rates or [settings.learning_rate])
    names = {rate: f"train/rate_{rate:g}".replace(".", "_") if len(rates) > 1 else "train" for rate in rates}
    made = {rate: _train(run, _with_rate(settings, rate), trained_on, replay, names[rate]) for rate in rates}
    candidates = {each: _weights(trained, each) for rate, trained in made.items() for each in _kept(trained, rate)}
    chosen = _choose(run, questions, candidates) if len(candidates) > 1 else next(iter(candidates))
    trained = made[chosen.learning_rate]
    for name in ("metrics.jsonl", "training.json", "throughput.json"):
        run.link(name, trained.folder / name)
    run.link("checkpoint", Path(candidates[chosen].place))
    return candidates[chosen]


def _with_rate(settings: SftTraining, rate: float) -> SftTraining:
    return settings.model_copy(update={"learning_rate": rate, "learning_rates": None})


def _train(run: Run, settings: SftTraining, trained_on: Artifact, replay: Artifact | None, curve: str) -> Artifact:
    """Fine-tune the student on rows that are known by their content: arms, and lists of rates, may share a training.

    `curve` is what it is called where the run is tracked.
    """
    student = weights_to_train(run)
    job = TrainJob(
        folder=Path(),
        training_set=trained_on.folder / "training_set.jsonl",
        replay=replay.folder / "replay.jsonl" if replay else None,
        model=student.place,
        revision=student.revision,
        prompt=run.prompt,
        settings=settings,
        strategy=run.config.deepspeed,
        seed=run.config.seed,
        stop_file=run.stop_file,
    )
    known_by = {name: value for name, value in settings.identity().items() if name not in NOT_OF_A_TRAINING}
    identity: Summary = {"train": known_by | {"learning_rate": settings.learning_rate}}
    identity |= {"prompt": run.prompt.model_dump(), "seed": run.config.seed}
    identity |= {"model": student.known_by, "revision": student.revision}
    places = [place for place in (job.training_set, job.replay) if place]
    identity |= {place.stem: file_hash(place, run.cache_dir) for place in places}

    def build(folder: Path) -> Counts:
        run.tracker.follow(curve, folder / "metrics.jsonl")
        run.free_gpus(for_long=True)
        stage.train("train", job.model_copy(update={"folder": folder}), folder, world_of(settings), job.strategy)
        rows = json.loads((folder / "training.json").read_text())["rows"]
        given = sum(len(read_records(place, TrainingExample)) for place in places)
        return {"training row": Count(given, rows)}

    made = run.make("train", 4, [], identity, build)
    run.tracker.follow(curve, made.folder / "metrics.jsonl")
    told, how = (json.loads((made.folder / f"{name}.json").read_text()) for name in ("training", "throughput"))
    processes = f"{how['processes']} {'process' if how['processes'] == 1 else 'processes'}"
    run.say(
        f"rate {settings.learning_rate:g}: {told['steps']:,} steps, last loss {told['final_loss']:.4f}; {processes}, "
        f"{how['precision']}, {how['attention']}, {how['tokens_per_second']:,.0f} tokens a second"
    )
    return made


# -- choosing ---------------------------------------------------------------------------------------------------------


def _kept(trained: Artifact, rate: float) -> list[Candidate]:
    """Return the checkpoints that a training kept, by their steps; the last is the one that it ended with."""
    last = int(json.loads((trained.folder / "training.json").read_text())["steps"])
    folders = (trained.folder / "checkpoints").glob("step-*")
    places = {int(path.name.removeprefix("step-")): f"checkpoints/{path.name}" for path in folders}
    places |= {last: "checkpoint"}
    return [Candidate(rate, step, places[step]) for step in sorted(places)]


def _weights(trained: Artifact, candidate: Candidate) -> Weights:
    known_by = trained.name if candidate.checkpoint == "checkpoint" else f"{trained.name}/{candidate.checkpoint}"
    return Weights(str((trained.folder / candidate.checkpoint).absolute()), None, known_by, trained)


def _choose(run: Run, questions: Artifact, candidates: Mapping[Candidate, Weights]) -> Candidate:
    """Return the candidate that answers most validation questions right; the benchmark has no say."""
    # One answer each, however the benchmarks are sampled: there are several models to ask.
    asked_of = benchmark_at(run, questions.folder / "validation.jsonl")._replace(samples=1, pass_at=None)
    answers = {
        each: benchmark_answers(run, each.name, asked_of, weights, name="validate")
        for each, weights in candidates.items()
    }
    before = benchmark_answers(run, "before training", asked_of, weights_to_train(run), name="validate")

    def build(folder: Path) -> Counts:
        asked = read_records(asked_of.place, Question)
        by_id = {question.id: question for question in asked}
        given = {each: made.records("answers.jsonl", Answer) for each, made in answers.items()}
        graded = {each: grade(by_id, found, run.grader) for each, found in given.items()}
        first = scored(asked, grade(by_id, before.records("answers.jsonl", Answer), run.grader))
        write_json(
            folder / "choice.json", choose({each: scored(asked, grades) for each, grades in graded.items()}, first)
        )
        every = sum(map(len, graded.values()))
        return {"answer": Count(sum(map(len, given.values())), every)}

    trained = {weights.made.name: weights.made for weights in candidates.values() if weights.made}
    identity: Summary = {"grader": run.grader_identity(), "candidates": [list(each) for each in candidates]}
    inputs = [questions, *trained.values(), *answers.values(), before]
    artifact = run.make("choose", 1, inputs, identity, build, "choice.json")
    found = json.loads((artifact.folder / "choice.json").read_text())
    print_choice(found, run.console)
    return next(each for each, row in zip(candidates, found["candidates"], strict=True) if row["chosen"])

"""The method, top to bottom: which stage comes after which, and what each takes and gives.

    questions -> label -> answer -> grade -> diagnose -> profile -> decontaminate -> curate -> train -> evaluate
    -> report

Each stage is one short function here; what it does is in the room that it calls. A stage whose inputs and settings did
not change is not run again, whichever run made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from stat_train import stage
from stat_train.compose import Settings
from stat_train.config import (
    Endpoint,
    LocalStudent,
    RecordedStudent,
    TextTask,
)
from stat_train.counts import Count, Counts, dropped_counts
from stat_train.curating import pool_overlaps, publish, require_usable, training_set
from stat_train.curation.inputs import read_profile
from stat_train.diagnosis.answering import unfinished
from stat_train.diagnosis.audit import agreement, ask_again, sampled, to_ask_again
from stat_train.diagnosis.difficulty import find_difficult, require_gold, require_judged, rewards_of
from stat_train.diagnosis.difficulty_quality import Evidence, difficulty_quality
from stat_train.diagnosis.missing_skills import NAME, diagnosed_counts, find_missing, named
from stat_train.diagnosis.profile import skill_profile
from stat_train.diagnosis.skill_map import with_skills
from stat_train.evaluation.audit_table import print_audit
from stat_train.evaluation.difficulty_table import print_difficulty
from stat_train.evaluation.report import report_numbers
from stat_train.evaluation.results import write_evaluation, write_report
from stat_train.evaluation.terminal import print_profile, print_summary
from stat_train.labelling import skill_labels
from stat_train.models.places import model_place
from stat_train.models.recorded import read_recording
from stat_train.prompting import prompted_answers
from stat_train.records import (
    Answer,
    Diagnosis,
    Difficulty,
    Grade,
    Question,
    QuestionSkills,
    TrainingExample,
)
from stat_train.run import Run, Summary
from stat_train.scoring import step_rewards_of, step_scores
from stat_train.store import Artifact, file_hash, read_records, write_json, write_records
from stat_train.student import benchmark_answers, validation_answers
from stat_train.tasks.graders import grade as grade_answers
from stat_train.tasks.graders import unscored
from stat_train.tasks.load import (
    in_words,
    load_questions,
    made_by,
    open_pool,
    skills_fingerprint,
)
from stat_train.teacher.skill_list import (
    describe,
    names_for,
    read_skill_list,
)
from stat_train.train_settings import SftTraining
from stat_train.training.job import TrainJob
from stat_train.training.world import world_of

PLACES = ("pool", "benchmark", "validation")
# A file of this name in the run folder asks a training to save its state and end.
STOP = "STOP"


def run(settings: Settings, command: Sequence[str], console: Console) -> Path:
    """Carry out the method as far as `until`; return the run folder."""
    with Run(settings, command, console) as this:
        this.folder.open(settings.yaml)
        for artifact in method(this):
            if artifact.stage == this.config.until:
                break
        this.folder.close(command, skills=_skills_of(this))
        if this.config.audit.sample and not this.config.reaches("profile"):
            this.say("the audit comes with the profile: until=profile or later")
        _say_cost(this)
    fresh = sum(not artifact.reused for artifact in this.folder.made)
    words = f"{fresh} {'stage was' if fresh == 1 else 'stages were'} run"
    done = words if fresh else "all stages were done before; nothing was run"
    console.print(f"\nDone: {done}. Results in {this.folder.folder}", highlight=False)
    return this.folder.folder


def _skills_of(run: Run) -> Summary:
    """Return which list of skills the run used."""
    (labels,) = (artifact for artifact in run.folder.made if artifact.stage == "label")
    return describe(labels.folder / "skills.json")


def _say_cost(run: Run) -> None:
    if isinstance(run.config.teacher, Endpoint) or isinstance(run.config.student, Endpoint):
        run.console.print(f"\nPaid for by this run so far: {run.budget.summary()}", highlight=False, soft_wrap=True)


def method(run: Run) -> Iterator[Artifact]:
    """Yield the artifacts of the method in its order, each made when it is asked for."""
    yield (questions := load(run))
    yield (skill_map := label(run, questions))
    yield (answers := answer(run, questions))
    yield (grades := grade(run, questions, answers))
    yield (diagnoses := diagnose(run, questions, skill_map, answers, grades))
    profiled = profile(run, questions, skill_map, diagnoses)
    if run.config.audit.sample:
        audit(run, questions, skill_map, answers, diagnoses)
    yield profiled
    yield (overlapping := decontaminate(run, questions))
    made = curate(run, questions, skill_map, overlapping, diagnoses, profiled)
    publish(run, made)
    yield made
    checkpoint = None
    if isinstance(run.config.train, SftTraining):
        yield (checkpoint := train(run, run.config.train, made))
    if run.config.until == "train":
        return
    evaluation = None
    if isinstance(run.config.student, LocalStudent):
        yield (evaluation := evaluate(run, questions, skill_map, overlapping, checkpoint))
    yield report(run, profiled, made, evaluation)


# -- the questions, and which skills they need ------------------------------------------------------------------------


def load(run: Run) -> Artifact:
    """Where the questions come from: pool, validation set, benchmarks."""
    task, student = run.config.task, run.config.student
    recording = Path(student.path).expanduser() if isinstance(student, RecordedStudent) else None
    recorded = list(read_recording(recording)) if recording else None
    given = ((key, value) for key, value in task.identity().items() if key in PLACES and isinstance(value, str))
    places = {key: run.fingerprint(value) for key, value in given}
    if isinstance(task, TextTask) and task.skills:
        places["skills"] = skills_fingerprint(task.skills)
    identity = {
        # How answers are graded is no matter of the questions.
        "task": {key: value for key, value in task.identity().items() if key != "grader"} | places,
        "made": made_by(task, run.config.seed),
        "recorded": recorded,
    }

    def build(folder: Path) -> Counts:
        return load_questions(folder, task, run.config.seed, recorded)

    artifact = run.make("questions", 2, [], identity, build)
    run.link("questions", artifact.folder)
    require_usable(run, artifact)
    if run.config.reaches("diagnose"):
        require_gold(run.config.difficulty, artifact.records("validation.jsonl", Question), run.grader)
    run.say(in_words(open_pool(artifact.folder)))
    return artifact


def label(run: Run, questions: Artifact) -> Artifact:
    """Stage 0: which skills each question of pool and validation set requires; first a list of them, without one."""
    return skill_labels(run, questions)


# -- what the student cannot do ---------------------------------------------------------------------------------------


def answer(run: Run, questions: Artifact) -> Artifact:
    """Stage 1: the student's own answers to the validation questions."""
    return validation_answers(run, questions)


def grade(run: Run, questions: Artifact, answers: Artifact) -> Artifact:
    """Stage 1: whether each answer is right."""

    def build(folder: Path) -> Counts:
        asked = {question.id: question for question in questions.records("validation.jsonl", Question)}
        given = answers.records("answers.jsonl", Answer)
        graded = grade_answers(asked, given, run.grader)
        write_records(folder / "grades.jsonl", graded)
        left_out = unscored(graded)
        write_records(folder / "dropped.jsonl", left_out)
        return {"answer": Count(len(given), len(graded) - len(left_out))}

    artifact = run.make("grade", 4, [questions, answers], {"grader": run.grader_identity()}, build, "grades.jsonl")
    run.say_all(unfinished(answers.records("answers.jsonl", Answer)))
    return artifact


def score(run: Run, questions: Artifact, answers: Artifact) -> Artifact | None:
    """Stage 1: how good each step of the answers is, where a model is to tell."""
    return step_scores(run, questions.folder / "validation.jsonl", answers, "step_rewards.jsonl")


def diagnose(run: Run, questions: Artifact, skill_map: Artifact, answers: Artifact, grades: Artifact) -> Artifact:
    """Stages 1 and 2: which questions are difficult for the student, and which skills it missed there."""
    scores = score(run, questions, answers)

    def build(folder: Path) -> Counts:
        labelled = skill_map.records("skill_map.jsonl", QuestionSkills)
        asked = with_skills(questions.records("validation.jsonl", Question), labelled)
        given = answers.records("answers.jsonl", Answer)
        graded = grades.records("grades.jsonl", Grade)
        scored = step_rewards_of(run, asked, given, scores)
        found, dropped = find_difficult(run.config.difficulty, asked, given, graded, run.grader, scored)
        require_judged(run.config.difficulty, found, dropped)
        evidence = Evidence(asked, given, graded, rewards_of(scored) or None)
        free = run.config.task.grader in ("math", "exact", "numeric", "choice")
        quality = difficulty_quality(run.config.difficulty, found, evidence, run.grader, free)
        by_attempt = {(a.question_id, a.attempt): a for a in given}
        hard = [d for d in found if d.difficult]
        pairs = ((asked[d.question_id], by_attempt[d.question_id, d.attempt]) for d in hard)
        known = read_skill_list(skill_map.folder / "skills.json")
        diagnoses, without = find_missing(pairs, run.teacher, known)
        write_records(folder / "difficulty.jsonl", found)
        write_records(folder / "diagnoses.jsonl", diagnoses)
        write_records(folder / "dropped.jsonl", [*dropped, *without])
        write_json(folder / "difficulty_quality.json", quality)
        return diagnosed_counts(found, len(rewards_of(scored)), dropped, diagnoses, without)

    # What the model says of the answers is an input; which model that was, and how it was asked, is not looked at.
    rule = {name: value for name, value in run.config.difficulty.identity().items() if name != "prm"}
    identity: Summary = {"difficulty": rule}
    identity |= {"teacher": run.teacher_identity("missing_skills")}
    identity |= {"grader": run.grader_identity()}
    inputs = [questions, skill_map, answers, grades, *([scores] if scores else [])]
    links = ("difficulty.jsonl", "diagnoses.jsonl", "difficulty_quality.json")
    artifact = run.make("diagnose", 4, inputs, identity, build, *links)
    print_difficulty(json.loads((artifact.folder / "difficulty_quality.json").read_text()), run.console)
    return artifact


def audit(run: Run, questions: Artifact, skill_map: Artifact, answers: Artifact, diagnoses: Artifact) -> Artifact:
    """Ask for some diagnoses of stage 2 again: a profile deserves as much trust as its labels."""
    second = run.second

    def build(folder: Path) -> Counts:
        first = sampled(diagnoses.records("diagnoses.jsonl", Diagnosis), run.config.audit.sample)
        asked = {question.id: question for question in questions.records("validation.jsonl", Question)}
        pairs = to_ask_again(first, asked, answers.records("answers.jsonl", Answer))
        known = second.skills(read_skill_list(skill_map.folder / "skills.json"))
        again, dropped = ask_again(pairs, run.second_teacher, known)
        choices = {question.id: names_for(known, question.subject) for question, _ in pairs}
        found = agreement(first, again, choices)
        write_json(folder / "audit.json", {"sample": len(first), "asked": second.words} | found)
        write_records(folder / "second_diagnoses.jsonl", again)
        write_records(folder / "dropped.jsonl", dropped)
        return {"diagnosis": Count(len(first), found["compared"]), NAME: named(again, dropped)}

    identity: Summary = {"sample": run.config.audit.sample, "asked": second.words}
    identity |= {"teacher": run.teacher_identity("missing_skills", settings=second.settings)}
    artifact = run.make("audit", 3, [questions, skill_map, answers, diagnoses], identity, build, "audit.json")
    print_audit(json.loads((artifact.folder / "audit.json").read_text()), run.console)
    return artifact


def profile(run: Run, questions: Artifact, skill_map: Artifact, diagnoses: Artifact) -> Artifact:
    """Stage 2: the student's missing-skill profile."""
    name = run.config.student.name

    def build(folder: Path) -> Counts:
        skills = {row.id: row.skills for row in skill_map.records("skill_map.jsonl", QuestionSkills)}
        judged = diagnoses.records("difficulty.jsonl", Difficulty)
        required = {row.question_id: skills.get(row.question_id, []) for row in judged}
        difficult = [row.question_id for row in judged if row.difficult]
        found = diagnoses.records("diagnoses.jsonl", Diagnosis)
        subjects = {row.id: row.subject for row in questions.records("validation.jsonl", Question)}
        made = skill_profile(name, run.config.task.name, required, found, difficult, subjects)
        write_json(folder / "profile.json", made.model_dump())
        return {"question": Count(len(judged), made.questions)}

    artifact = run.make("profile", 4, [questions, skill_map, diagnoses], {"student": name}, build, "profile.json")
    print_profile(read_profile(artifact), run.console)
    return artifact


# -- the training set, the training, and what came of it --------------------------------------------------------------


def decontaminate(run: Run, questions: Artifact) -> Artifact:
    """Stage 3: which pool questions are copies or twins of those that must not be trained on."""
    return pool_overlaps(run, questions)


def curate(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, diagnoses: Artifact, profiled: Artifact
) -> Artifact:
    """Stage 3: a training set for what is missing, with no question of the benchmarks in it."""
    return training_set(run, questions, skill_map, overlapping, diagnoses, profiled)


def train(run: Run, settings: SftTraining, trained_on: Artifact) -> Artifact:
    """Stage 4: fine-tune the student on the training set, known by its content: arms may share one."""
    student = run.config.student
    assert isinstance(student, LocalStudent)
    weights = model_place(student.model)
    job = TrainJob(
        folder=Path(),
        training_set=trained_on.folder / "training_set.jsonl",
        model=weights,
        revision=student.revision,
        prompt=run.prompt,
        settings=settings,
        strategy=run.config.deepspeed,
        seed=run.config.seed,
        stop_file=run.folder.folder.absolute() / STOP,
    )
    world = world_of(settings)
    identity: Summary = {"train": settings.identity(), "prompt": run.prompt.model_dump(), "seed": run.config.seed}
    identity |= {"model": run.fingerprint(weights), "revision": student.revision}
    identity |= {"training_set": file_hash(job.training_set, run.cache_dir)}

    def build(folder: Path) -> Counts:
        stage.train("train", job.model_copy(update={"folder": folder}), folder, world, job.strategy)
        rows = json.loads((folder / "training.json").read_text())["rows"]
        return {"training row": Count(len(read_records(job.training_set, TrainingExample)), rows)}

    return run.make("train", 3, [], identity, build, "checkpoint", "metrics.jsonl", "training.json")


def evaluate(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, checkpoint: Artifact | None
) -> Artifact:
    """Stage 5: what the student could do before, and can do now; and without training, with examples in its prompt."""
    student = run.config.student
    assert isinstance(student, LocalStudent)
    before = model_place(student.model)
    arms = {"base": (before, run.fingerprint(before))}
    if checkpoint:
        arms["sft"] = (str(checkpoint.folder / "checkpoint"), checkpoint.name)
    benchmarks = sorted((questions.folder / "benchmarks").iterdir())
    made = {(arm, place): benchmark_answers(run, arm, place, *arms[arm]) for arm in arms for place in benchmarks}
    if run.config.evaluate.prompting == "adaptmi":
        base = {place: made["base", place] for place in benchmarks}
        prompted = prompted_answers(run, questions, skill_map, overlapping, base)
        made |= {("adaptmi", place): answers for place, answers in prompted.items()}

    def build(folder: Path) -> Counts:
        graded: dict[str, dict[str, Any]] = {arm: {} for arm, _ in made}
        for (arm, place), answers in made.items():
            asked = read_records(place, Question)
            known = {question.id: question for question in asked}
            given = answers.records("answers.jsonl", Answer)
            graded[arm][place.stem] = (asked, grade_answers(known, given, run.grader))
        write_evaluation(folder, graded)
        every = sum(len(grades) for found in graded.values() for _, grades in found.values())
        return {"answer": Count(sum(len(a.records("answers.jsonl", Answer)) for a in made.values()), every)}

    identity = {"arms": [[arm, place.stem] for arm, place in made], "grader": run.grader_identity()}
    inputs = [questions, *made.values()]
    return run.make("evaluate", 3, inputs, identity, build, "evaluation.json", "benchmark_grades.jsonl")


def report(run: Run, profiled: Artifact, trained_on: Artifact, evaluation: Artifact | None) -> Artifact:
    """Write the result for people: a page, the same as numbers, and a summary on the terminal."""
    made = list(run.folder.made)
    stages = [{"name": a.stage, "hash": a.hash, "seconds": a.seconds} for a in made]

    def build(folder: Path) -> Counts:
        curation = json.loads((trained_on.folder / "curation.json").read_text())
        scores = json.loads((evaluation.folder / "evaluation.json").read_text()) if evaluation else None
        numbers = report_numbers(
            config=run.config.model_dump(),
            profile=read_profile(profiled),
            curation=curation,
            evaluation=scores,
            dropped={a.stage: dropped_counts(a.dropped()) for a in made if a.dropped()},
            stages=stages,
            difficulty=_found_in(made, "difficulty_quality.json"),
            audit=_found_in(made, "audit.json"),
        )
        write_report(folder, numbers)
        return {}

    identity = {"settings": run.config.model_dump(), "stages": stages}
    artifact = run.make("report", 4, [], identity, build, "report.json", "report.html")
    print_summary(json.loads((artifact.folder / "report.json").read_text()), run.folder.folder, run.console)
    return artifact


def _found_in(made: Sequence[Artifact], name: str) -> Any:
    """Return the content of a JSON file that a stage of the run left, or None when none did."""
    place = next((artifact.folder / name for artifact in made if (artifact.folder / name).is_file()), None)
    return json.loads(place.read_text(encoding="utf-8")) if place else None

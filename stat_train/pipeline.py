"""The method, top to bottom: which stage comes after which, and what each takes and gives.

    questions -> label -> answer -> grade -> diagnose -> profile -> decontaminate -> curate -> train -> rl
    -> evaluate -> report

Benchmarks beside the task's own have a stage `benchmark_questions` after the questions.

Each stage is one short function here; what it does is in the room that it calls. A stage whose inputs and settings did
not change is not run again, whichever run made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from stat_train.benchmarks import benchmark_questions, require_answers
from stat_train.compose import Settings
from stat_train.config import Endpoint, LocalStudent, RecordedStudent
from stat_train.costs import costs_of
from stat_train.counts import Count, Counts
from stat_train.curating import gathered, pool_overlaps, publish, replay, require_usable, training_set
from stat_train.curation.inputs import read_profile
from stat_train.diagnosis.answering import unfinished
from stat_train.diagnosis.audit import agreement, ask_again, sampled, to_ask_again
from stat_train.diagnosis.difficulty import find_difficult, require_gold, require_judged, rewards_of
from stat_train.diagnosis.difficulty_quality import Evidence, difficulty_quality
from stat_train.diagnosis.missing_skills import NAME, diagnosed_counts, find_missing, named
from stat_train.diagnosis.profile import skill_profile
from stat_train.diagnosis.skill_map import with_skills
from stat_train.evaluating import evaluation_of, report_of
from stat_train.evaluation.audit_table import print_audit
from stat_train.evaluation.difficulty_table import print_difficulty
from stat_train.evaluation.round_gain import Ending
from stat_train.evaluation.summary import BASE
from stat_train.evaluation.terminal import print_profile
from stat_train.labelling import skill_labels
from stat_train.measuring import require_harness
from stat_train.models.places import Weights
from stat_train.models.recorded import read_recording
from stat_train.records import (
    Answer,
    Diagnosis,
    Difficulty,
    Grade,
    Question,
    QuestionSkills,
)
from stat_train.reinforcing import reinforced, require_prompts, rl_questions
from stat_train.run import ALONE, Round, Run, Summary
from stat_train.scoring import step_rewards_of, step_scores
from stat_train.store import Artifact, write_json, write_records
from stat_train.student import student_weights, validation_answers, weights_to_train
from stat_train.task_settings import TextTask
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
from stat_train.train_settings import ExternalTraining, GrpoTraining, SftTraining
from stat_train.tuning import (
    external_weights,
    fine_tuned,
    require_choosable,
    require_trainable,
)

PLACES = ("pool", "benchmark", "validation")


class Finished(NamedTuple):
    """A run as it ended: its folder, what it is made of, its models, what it cost, and why it ended early."""

    folder: Path
    made: list[Artifact]
    arms: dict[str, Weights]
    costs: Summary
    ended: Ending | None


def to_the_end(folder: Path) -> Ending | None:
    """Give no reason to end a run that has its profile."""
    return None


def run(
    settings: Settings,
    command: Sequence[str],
    console: Console,
    round: Round = ALONE,
    ends: Callable[[Path], Ending | None] = to_the_end,
) -> Finished:
    """Carry out the method as far as `until`, or to the profile where `ends` gives a reason once that is there."""
    ended = None
    with Run(settings, command, console, round) as this:
        require_trainable(this)
        require_harness(this)
        this.folder.open(settings.yaml)
        this.begin()
        if round.number == 1:
            this.clear_stop()
        this.start_tracking()
        for artifact in method(this):
            if artifact.stage == "profile":
                ended = ends(this.folder.folder)
            if ended or artifact.stage == this.config.until:
                break
        costs = costs_of(this)
        this.folder.close(command, skills=_skills_of(this), costs=costs)
        if this.config.audit.sample and not this.config.reaches("profile"):
            this.say("the audit comes with the profile: until=profile or later")
        _say_cost(this)
    fresh = sum(not artifact.reused for artifact in this.folder.made)
    words = f"{fresh} {'stage was' if fresh == 1 else 'stages were'} run"
    done = words if fresh else "all stages were done before; nothing was run"
    console.print(f"\nDone: {done}. Results in {this.folder.folder}", highlight=False)
    return Finished(this.folder.folder, this.folder.made, this.arms, costs, ended)


def _skills_of(run: Run) -> Summary | None:
    """Return which list of skills the run used; None when it ended before there was one."""
    labels = next((artifact for artifact in run.folder.made if artifact.stage == "label"), None)
    return describe(labels.folder / "skills.json") if labels else None


def _say_cost(run: Run) -> None:
    if isinstance(run.config.teacher, Endpoint) or isinstance(run.config.student, Endpoint):
        run.console.print(f"\nPaid for by this run so far: {run.budget.summary()}", highlight=False, soft_wrap=True)


def method(run: Run) -> Iterator[Artifact]:
    """Yield the artifacts of the method in its order, each made when it is asked for."""
    yield (questions := load(run))
    yield (skill_map := label(run, questions))
    yield (answers := answer(run, questions))
    yield (grades := grade(run, questions, answers))
    if scores := score(run, questions, answers):
        yield scores
    yield (diagnoses := diagnose(run, questions, skill_map, answers, grades))
    profiled = profile(run, questions, skill_map, diagnoses)
    if run.config.audit.sample:
        audit(run, questions, skill_map, answers, diagnoses)
    yield profiled
    yield (overlapping := decontaminate(run, questions))
    made = curate(run, questions, skill_map, overlapping, diagnoses, profiled)
    publish(run, made)
    yield made
    trained_on = gather(run, made)
    run.arms = train_arms(run, questions, skill_map, overlapping, profiled, trained_on)
    if not run.config.reaches("evaluate"):
        return
    evaluation = None
    if run.arms:
        yield (evaluation := evaluate(run, questions, skill_map, overlapping, run.arms))
    yield report(run, profiled, made, trained_on, evaluation)


def train_arms(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, profiled: Artifact, made: Artifact
) -> dict[str, Weights]:
    """Return the models to be compared, as far as the run goes: the student as it was, then after each training.

    A student without weights here has none.
    """
    if not isinstance(run.config.student, LocalStudent):
        return {}
    arms, rl, asked = {BASE: student_weights(run)}, run.config.rl, None
    if isinstance(rl, GrpoTraining) and run.config.reaches("rl"):
        # They need no weights, and it is better known before fine-tuning than after it that there are too few.
        asked = rl_questions(run, rl, questions, skill_map, overlapping, profiled, made)
    if trained := train(run, questions, skill_map, overlapping, profiled, made):
        arms["sft"] = trained
    if isinstance(rl, GrpoTraining) and asked:
        arms["rl"] = reinforce(run, rl, trained or weights_to_train(run), asked)
    return arms


# -- the questions, and which skills they need ------------------------------------------------------------------------


def load(run: Run) -> Artifact:
    """Where the questions come from: pool, validation set, benchmarks."""
    task, student = run.config.task, run.config.student
    recording = Path(student.path).expanduser() if isinstance(student, RecordedStudent) else None
    recorded = list(read_recording(recording)) if recording else None
    given = ((key, value) for key, value in task.identity().items() if key in PLACES and isinstance(value, str))
    places: Summary = {key: run.fingerprint(value) for key, value in given}
    if isinstance(task, TextTask) and task.skills:
        places["skills"] = skills_fingerprint(task.skills)
    if run.round.others.places:
        others = [run.fingerprint(place) if isinstance(place, str) else place for place in run.round.others.places]
        places["other_validation"] = others
    identity = {
        # How answers are graded is no matter of the questions.
        "task": {key: value for key, value in task.identity().items() if key != "grader"} | places,
        "made": made_by(task, run.config.seed, run.round.others),
        "recorded": recorded,
    }

    def build(folder: Path) -> Counts:
        return load_questions(folder, task, run.config.seed, recorded, run.round.others)

    artifact = run.make("questions", 2, [], identity, build)
    run.link("questions", artifact.folder)
    if chosen := benchmark_questions(run, artifact):
        require_answers(run, chosen)
    require_usable(run, artifact)
    if run.config.reaches("diagnose"):
        require_gold(run.config.difficulty, artifact.records("validation.jsonl", Question), run.grader)
    require_choosable(run, artifact)
    require_prompts(run, artifact)
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


def gather(run: Run, made: Artifact) -> Artifact:
    """Stage 3: the rows that are trained on, which in rounds from the first model are those of all rounds."""
    return gathered(run, made)


def train(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, profiled: Artifact, made: Artifact
) -> Weights | None:
    """Stage 4: fine-tune the student on the training set, and on some of what it can do already; or take it trained."""
    settings = run.config.train
    if isinstance(settings, ExternalTraining):
        return external_weights(run, settings)
    if not isinstance(settings, SftTraining):
        return None
    protects = settings.replay_fraction > 0
    rows = replay(run, questions, skill_map, overlapping, profiled, made) if protects else None
    return fine_tuned(run, settings, questions, made, rows)


def reinforce(run: Run, settings: GrpoTraining, start: Weights, asked: Artifact) -> Weights:
    """Stage 4: reinforcement learning on questions of which the right answer is known, after fine-tuning or without."""
    return reinforced(run, settings, start, asked)


def evaluate(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, arms: Mapping[str, Weights]
) -> Artifact:
    """Stage 5: what the student could do before, and can do now; and without training, with examples in its prompt."""
    return evaluation_of(run, questions, skill_map, overlapping, arms)


def report(run: Run, profiled: Artifact, made: Artifact, trained_on: Artifact, evaluation: Artifact | None) -> Artifact:
    """Write the result for people: a page, the same as numbers, and a summary on the terminal."""
    return report_of(run, profiled, made, trained_on, evaluation)

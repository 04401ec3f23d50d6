"""Which calls a run will make: the very requests where their inputs are there, examples and a number where not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from stat_train import pipeline
from stat_train.benchmarks import benchmarks_of
from stat_train.config import (
    ConsistencyDifficulty,
    EndpointStudent,
    LocalStudent,
    OpenAITeacher,
    RecordedStudent,
)
from stat_train.diagnosis.answering import answer_requests, how_asked
from stat_train.diagnosis.audit import sampled, to_ask_again
from stat_train.diagnosis.difficulty import find_difficult
from stat_train.diagnosis.skill_map import sample_of
from stat_train.models.generator import Sampling
from stat_train.plan.known import CHARACTERS_PER_TOKEN, Asked, Known
from stat_train.plan.look import Look, NotMade
from stat_train.plan.training_set import asked_to_curate, judged_note
from stat_train.prompting import prompt_groups, prompts_after_base
from stat_train.records import Answer, Diagnosis, Grade, Question
from stat_train.scoring import step_rewards_of
from stat_train.store import Artifact, read_records
from stat_train.tasks.graders import Pair, answer_pair
from stat_train.tasks.load import open_pool, pool_questions
from stat_train.teacher.discovery import NAMES_PER_CALL, naming
from stat_train.teacher.judge import judge_requests
from stat_train.teacher.llm import diagnosis_query, label_query
from stat_train.teacher.skill_list import SkillList, labels, read_skill_list
from stat_train.train_settings import SftTraining

# A name of about the usual length, where the list is not known yet.
USUAL_NAME = "a_skill_of_the_usual_length"


def asked_of(look: Look) -> Iterator[Asked]:
    """Yield the calls of the run's stages, as far as it goes and those that are not made yet."""
    config, known = look.config, _known(look)
    teacher = config.teacher
    if isinstance(teacher, OpenAITeacher) and known.skill_map is None:
        yield from _discovery(look, teacher, known)
        yield _labels(look, teacher, known)
    if isinstance(config.student, EndpointStudent) and known.answers is None and config.reaches("answer"):
        yield _answers(look, config.student, known.questions)
    if "judge" in config.graders() and isinstance(teacher, OpenAITeacher):
        yield from _verdicts(look, teacher, known)
    if not isinstance(teacher, OpenAITeacher):
        return
    if known.diagnoses is None and config.reaches("diagnose"):
        yield _diagnoses(look, teacher, known)
    if config.audit.sample and config.reaches("profile"):
        yield from _audit(look, known)
    if config.evaluate.prompting == "adaptmi" and config.reaches("evaluate"):
        yield from _labels_of_benchmarks(look, teacher, known)
    made = look.made(
        pipeline.curate, known.questions, known.skill_map, known.overlapping, known.diagnoses, known.profiled
    )
    if made is None and config.reaches("curate"):
        yield from asked_to_curate(look, teacher, known)


def _known(look: Look) -> Known:
    questions = pipeline.load(look)
    skill_map = look.made(pipeline.label, questions)
    answers = look.made(pipeline.answer, questions)
    grades = look.made(pipeline.grade, questions, answers)
    diagnoses = look.made(pipeline.diagnose, questions, skill_map, answers, grades)
    profiled = look.made(pipeline.profile, questions, skill_map, diagnoses)
    # A look at a large pool takes a while, and before there is a profile nothing is drawn from it.
    overlapping = look.made(pipeline.decontaminate, questions) if profiled else None
    place = skill_map.folder if skill_map else questions.folder
    skills = read_skill_list(place / "skills.json") or labels(_all_questions(questions))
    return Known(questions, skills, skill_map, answers, grades, diagnoses, profiled, overlapping)


def _judging(teacher: OpenAITeacher) -> Sampling:
    return Sampling(teacher.temperature, teacher.max_new_tokens)


def _all_questions(questions: Artifact) -> Iterator[Question]:
    return chain(questions.records("validation.jsonl", Question), pool_questions(open_pool(questions.folder)))


# -- labels -----------------------------------------------------------------------------------------------------------


def _usual_list(known: Known, teacher: OpenAITeacher) -> SkillList:
    return known.skills or {"": [f"{USUAL_NAME}_{n}" for n in range(teacher.skills_per_subject)]}


def _list_assumption(stage: str, teacher: OpenAITeacher) -> str:
    return f"{stage}: the list to be found has {teacher.skills_per_subject} names for each subject"


def _discovery(look: Look, teacher: OpenAITeacher, known: Known) -> Iterator[Asked]:
    """Yield the calls that find a list of skills, when there is none."""
    if known.skills:
        return
    sample = sample_of(_all_questions(known.questions), teacher.discovery_questions)
    requests = [naming(look.prompts["name_skills"], question, _judging(teacher)).request for question in sample]
    subjects = len({question.subject for question in sample})
    assumed = (
        f"discover: one call for each of {subjects} subjects groups up to {NAMES_PER_CALL} names; as long as a naming",
    )
    yield Asked("discover", "teacher", requests, len(requests) + subjects, look.config.plan.label_tokens, assumed)


def _labels(look: Look, teacher: OpenAITeacher, known: Known) -> Asked:
    skills = _usual_list(known, teacher)
    unlabelled = (question for question in _all_questions(known.questions) if not question.skills)
    requests = [label_query(look.prompts, _judging(teacher), each, skills).asked.request for each in unlabelled]
    assumed = () if known.skills else (_list_assumption("label", teacher),)
    return Asked("label", "teacher", requests, len(requests), look.config.plan.label_tokens, assumed)


def _labels_of_benchmarks(look: Look, teacher: OpenAITeacher, known: Known) -> Iterator[Asked]:
    """Yield the labels that worked examples are chosen by, as if the student found every question difficult."""
    groups = prompt_groups(known.questions, benchmarks_of(look, known.questions))
    inputs = (known.questions, known.skill_map, known.overlapping)
    left = [group for group in groups if not look.made(partial(prompts_after_base, group), *inputs)]
    if not left:
        return
    skills, judging = _usual_list(known, teacher), _judging(teacher)
    asked = (question for group in left for each in group for question in read_records(each.place, Question))
    unlabelled = [question for question in asked if not question.skills]
    requests = [label_query(look.prompts, judging, each, skills).asked.request for each in unlabelled]
    most = f"evaluate: at most {len(requests):,} labels: only questions that the student finds difficult need them"
    of_list = () if known.skills else (_list_assumption("evaluate", teacher),)
    yield Asked("evaluate", "teacher", requests, len(requests), look.config.plan.label_tokens, (most, *of_list))


# -- answers and diagnoses --------------------------------------------------------------------------------------------


def _answers(look: Look, student: EndpointStudent, questions: Artifact) -> Asked:
    sampling, attempts = how_asked(student, look.config.difficulty)
    asked = questions.records("validation.jsonl", Question)
    requests = answer_requests(asked, student.prompt, sampling, attempts)
    return Asked("answer", "student", requests, len(requests), look.config.plan.answer_tokens)


def _diagnoses(look: Look, teacher: OpenAITeacher, known: Known) -> Asked:
    """Return the diagnoses of the difficult questions, or of a share of all while it is not known which these are."""
    plan, skills = look.config.plan, _usual_list(known, teacher)
    validation = {question.id: question for question in known.questions.records("validation.jsonl", Question)}
    answers = known.answers.records("answers.jsonl", Answer) if known.answers else []
    hard = _difficult(look, known, validation, answers)
    first = {answer.question_id: answer for answer in reversed(answers)}
    judged = hard if hard is not None else [first.get(id) or _usual_answer(id, plan.answer_tokens) for id in validation]
    queries = (diagnosis_query(look.prompts, _judging(teacher), validation[a.question_id], a, skills) for a in judged)
    requests = [query.asked.request for query in queries]
    of_list = () if known.skills else (_list_assumption("diagnose", teacher),)
    if hard is not None:
        return Asked("diagnose", "teacher", requests, len(requests), plan.diagnosis_tokens, of_list)
    share = f"{plan.difficult_share:.0%} of {len(validation)} validation questions"
    assumed = [f"diagnose: {share} are difficult (plan.difficult_share)", *of_list]
    if not answers:
        assumed.append(f"diagnose: the student's answers are {plan.answer_tokens} tokens long (plan.answer_tokens)")
    calls = round(plan.difficult_share * len(validation))
    return Asked("diagnose", "teacher", requests, calls, plan.diagnosis_tokens, tuple(assumed))


def _audit(look: Look, known: Known) -> Iterator[Asked]:
    """Yield the diagnoses that are asked again; while there are none, as many as that of those that will be made."""
    second, sample, tokens = look.second, look.config.audit.sample, look.config.plan.diagnosis_tokens
    assert isinstance(second.settings, OpenAITeacher)
    made = look.made(pipeline.audit, known.questions, known.skill_map, known.answers, known.diagnoses)
    if made is not None:
        return
    if not (known.diagnoses and known.answers):
        first = _diagnoses(look, second.settings, known)
        calls = min(sample, first.calls)
        assumed = (f"audit: {calls} of the diagnoses are asked again (audit.sample)",)
        yield Asked("audit", "audit", first.requests, calls, tokens, assumed)
        return
    chosen = sampled(known.diagnoses.records("diagnoses.jsonl", Diagnosis), sample)
    validation = {question.id: question for question in known.questions.records("validation.jsonl", Question)}
    pairs = to_ask_again(chosen, validation, known.answers.records("answers.jsonl", Answer))
    skills, judging = second.skills(known.skills), _judging(second.settings)
    requests = [diagnosis_query(look.prompts, judging, *pair, skills).asked.request for pair in pairs]
    yield Asked("audit", "audit", requests, len(requests), tokens)


def _difficult(
    look: Look, known: Known, validation: dict[str, Question], answers: Sequence[Answer]
) -> list[Answer] | None:
    """Return the answers that will be diagnosed; None when they are not graded or scored yet."""
    compared = isinstance(look.config.difficulty, ConsistencyDifficulty) and look.config.task.grader == "judge"
    if known.grades is None or known.answers is None or compared:
        return None
    try:
        scores = pipeline.score(look, known.questions, known.answers)
    except NotMade:
        return None
    grades = known.grades.records("grades.jsonl", Grade)
    scored = step_rewards_of(look, validation, answers, scores)
    found, _ = find_difficult(look.config.difficulty, validation, answers, grades, look.grader, scored)
    by_attempt = {(answer.question_id, answer.attempt): answer for answer in answers}
    return [by_attempt[row.question_id, row.attempt] for row in found if row.difficult]


def _usual_answer(question_id: str, tokens: int) -> Answer:
    text = "x" * CHARACTERS_PER_TOKEN * tokens
    return Answer(
        question_id=question_id, attempt=0, text=text, finish_reason="stop", output_tokens=tokens, prompt_hash=""
    )


# -- verdicts ---------------------------------------------------------------------------------------------------------


def _verdicts(look: Look, teacher: OpenAITeacher, known: Known) -> Iterator[Asked]:
    """Yield the verdicts of the grader `judge`: on the student's answers, and on those to the benchmarks."""
    validation = {question.id: question for question in known.questions.records("validation.jsonl", Question)}
    of_task = look.config.task.grader == "judge"
    if of_task and known.grades is None and look.config.reaches("grade"):
        yield _verdicts_on_answers(look, teacher, known, validation)
    if isinstance(look.config.student, LocalStudent) and look.config.reaches("evaluate"):
        yield from _verdicts_on_benchmarks(look, teacher, known)
    train = look.config.train
    if of_task and isinstance(train, SftTraining) and look.config.reaches("train"):
        candidates = len(train.learning_rates or [train.learning_rate]) * train.keep_checkpoints
        if candidates > 1:
            # The untrained student stands beside them.
            yield _usual_verdicts("train", look, teacher, list(validation.values()), candidates + 1)


def _verdicts_on_benchmarks(look: Look, teacher: OpenAITeacher, known: Known) -> Iterator[Asked]:
    """Yield the verdicts on what each arm answers; where only difficult questions count, as if all were difficult."""
    config = look.config
    arms = 1 + (config.train.name != "none") + (config.rl.name != "none") + (config.evaluate.prompting == "adaptmi")
    judged = [each for each in benchmarks_of(look, known.questions) if each.grader == "judge"]
    # The same answers are judged once, whichever benchmark counts them.
    asked: dict[int, dict[Path, list[Question]]] = defaultdict(dict)
    for each in judged:
        asked[each.samples][each.place] = read_records(each.place, Question)
    for samples, places in asked.items():
        questions = [question for found in places.values() for question in found]
        yield _usual_verdicts("evaluate", look, teacher, questions, samples * arms)


def _verdicts_on_answers(look: Look, teacher: OpenAITeacher, known: Known, validation: dict[str, Question]) -> Asked:
    student = look.config.student
    if known.answers is None:
        attempts = 1 if isinstance(student, RecordedStudent) else how_asked(student, look.config.difficulty)[1]
        return _usual_verdicts("grade", look, teacher, list(validation.values()), attempts)
    given = known.answers.records("answers.jsonl", Answer)
    asked = [answer_pair(validation[a.question_id], a, look.grader) for a in given if a.finish_reason != "error"]
    requests = judge_requests(look.prompts, _judging(teacher), asked)
    return Asked("grade", "teacher", requests, len(requests), look.config.plan.label_tokens, _uncounted(look))


def _uncounted(look: Look) -> tuple[str, ...]:
    """Return what else the judge is asked that nobody can count before."""
    notes = []
    if isinstance(look.config.difficulty, ConsistencyDifficulty) and look.config.reaches("diagnose"):
        pairs = math.comb(look.config.difficulty.samples, 2)
        notes.append(f"diagnose: the judge compares samples too, up to {pairs} pairs a question (not counted)")
    if look.config.reaches("curate") and (note := judged_note(look)):
        notes.append(note)
    return tuple(notes)


def _usual_verdicts(
    stage: str, look: Look, teacher: OpenAITeacher, questions: Sequence[Question], attempts: int
) -> Asked:
    """Return verdicts on answers that are not there yet, as if none equalled its gold answer to the letter.

    Where there is no gold answer, the whole of an answer of the usual length is judged.
    """
    usual = _usual_answer("", look.config.plan.answer_tokens).text
    given = (f"{each.answer} (in other words)" if each.answer else usual for each in questions)
    asked = [Pair(each.question, each.answer, answer) for each, answer in zip(questions, given, strict=True)]
    requests = judge_requests(look.prompts, _judging(teacher), asked)
    assumed = f"{stage}: no answer equals its gold answer to the letter, which would need no verdict"
    if not all(each.answer for each in questions):
        tokens = look.config.plan.answer_tokens
        assumed = f"{stage}: answers without a gold one are {tokens} tokens long (plan.answer_tokens); {assumed}"
    notes = (assumed, *(_uncounted(look) if stage == "grade" else ()))
    return Asked(stage, "teacher", requests, len(requests) * attempts, look.config.plan.label_tokens, notes)

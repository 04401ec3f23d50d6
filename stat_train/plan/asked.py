"""Which calls a run will make: the very requests where their inputs are there, examples and a number where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from stat_train import pipeline
from stat_train.config import EndpointStudent, OpenAITeacher, PoolRecipe
from stat_train.curation.inputs import held_out, read_diagnosed
from stat_train.curation.source import OWN, fill, make_source, questions_at
from stat_train.curation.training_set import answer_source, draws
from stat_train.diagnosis.answering import answer_requests, how_asked
from stat_train.diagnosis.difficulty import find_difficult
from stat_train.diagnosis.skill_map import sample_of
from stat_train.models.generator import Request, Sampling
from stat_train.plan.look import Look
from stat_train.records import Answer, Grade, Question, QuestionSkills
from stat_train.store import Artifact
from stat_train.tasks.load import open_pool, pool_questions
from stat_train.teacher.contract import RewriteRequest
from stat_train.teacher.discovery import naming
from stat_train.teacher.llm import diagnosis_query, label_query, rewrite_request
from stat_train.teacher.skill_list import SkillList, labels, read_skill_list

EXAMPLES = 300
# A name of about the usual length, where the list is not known yet.
USUAL_NAME = "a_skill_of_the_usual_length"
CHARACTERS_PER_TOKEN = 4


class Asked(NamedTuple):
    """The calls of one stage: `requests` are those that will be made, or examples, and then `assumed` says for what."""

    stage: str
    role: Literal["teacher", "student"]
    requests: Sequence[Request]
    calls: int
    reply_tokens: int
    assumed: tuple[str, ...] = ()


class Known(NamedTuple):
    """What is there of a run: its questions, a list of skills, the results of its stages as far as they were made."""

    questions: Artifact
    skills: SkillList
    skill_map: Artifact | None
    answers: Artifact | None
    grades: Artifact | None


def asked_of(look: Look) -> Iterator[Asked]:
    """Yield the calls of the run's stages, as far as it goes and those that are not made yet."""
    config, questions = look.config, pipeline.load(look)
    skill_map = look.made(pipeline.label, questions)
    answers = look.made(pipeline.answer, questions)
    grades = look.made(pipeline.grade, questions, answers)
    known = Known(questions, {}, skill_map, answers, grades)
    if isinstance(config.teacher, OpenAITeacher):
        known = known._replace(skills=_skill_list(questions, skill_map, config.teacher))
        if skill_map is None:
            yield from _discovery(look, known)
            yield _labels(look, known)
    if isinstance(config.student, EndpointStudent) and answers is None and config.reaches("answer"):
        yield _answers(look, config.student, questions)
    if isinstance(config.teacher, OpenAITeacher):
        diagnoses = look.made(pipeline.diagnose, questions, skill_map, answers, grades)
        if diagnoses is None and config.reaches("diagnose"):
            yield _diagnoses(look, config.teacher, known)
        profiled = look.made(pipeline.profile, questions, skill_map, diagnoses)
        made = look.made(pipeline.curate, questions, skill_map, diagnoses, profiled)
        if made is None and config.reaches("curate") and answer_source(config.data_recipe, look.teacher) != "own":
            yield _rewrites(look, config.teacher, known, diagnoses, profiled)


def _judging(teacher: OpenAITeacher) -> Sampling:
    return Sampling(teacher.temperature, teacher.max_new_tokens)


def _all_questions(questions: Artifact) -> Iterator[Question]:
    return chain(questions.records("validation.jsonl", Question), pool_questions(open_pool(questions.folder)))


# -- labels -----------------------------------------------------------------------------------------------------------


def _skill_list(questions: Artifact, skill_map: Artifact | None, teacher: OpenAITeacher) -> SkillList:
    """Return the list of skills; empty when it has to be discovered."""
    place = skill_map.folder if skill_map else questions.folder
    return read_skill_list(place / "skills.json") or labels(_all_questions(questions))


def _usual_list(known: Known, teacher: OpenAITeacher) -> SkillList:
    return known.skills or {"": [f"{USUAL_NAME}_{n}" for n in range(teacher.skills_per_subject)]}


def _list_assumption(stage: str, teacher: OpenAITeacher) -> str:
    return f"{stage}: the list to be found has {teacher.skills_per_subject} names for each subject"


def _discovery(look: Look, known: Known) -> Iterator[Asked]:
    """Yield the calls that find a list of skills, when there is none."""
    teacher = look.config.teacher
    assert isinstance(teacher, OpenAITeacher)
    if known.skills:
        return
    sample = sample_of(_all_questions(known.questions), teacher.discovery_questions)
    requests = [naming(look.prompts["name_skills"], question, _judging(teacher)).request for question in sample]
    subjects = len({question.subject for question in sample})
    assumed = (f"discover: one call for each of {subjects} subjects groups the names; as long as a naming",)
    yield Asked("discover", "teacher", requests, len(requests) + subjects, look.config.plan.label_tokens, assumed)


def _labels(look: Look, known: Known) -> Asked:
    teacher = look.config.teacher
    assert isinstance(teacher, OpenAITeacher)
    skills = _usual_list(known, teacher)
    unlabelled = (question for question in _all_questions(known.questions) if not question.skills)
    requests = [label_query(look.prompts, _judging(teacher), each, skills).asked.request for each in unlabelled]
    assumed = () if known.skills else (_list_assumption("label", teacher),)
    return Asked("label", "teacher", requests, len(requests), look.config.plan.label_tokens, assumed)


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


def _difficult(
    look: Look, known: Known, validation: dict[str, Question], answers: Sequence[Answer]
) -> list[Answer] | None:
    """Return the answers that will be diagnosed; None when they are not graded yet."""
    if known.grades is None:
        return None
    grades = known.grades.records("grades.jsonl", Grade)
    config = look.config
    found, _ = find_difficult(config.difficulty, validation, answers, grades, config.task.grader)
    by_attempt = {(answer.question_id, answer.attempt): answer for answer in answers}
    return [by_attempt[row.question_id, row.attempt] for row in found if row.difficult]


def _usual_answer(question_id: str, tokens: int) -> Answer:
    text = "x" * CHARACTERS_PER_TOKEN * tokens
    return Answer(
        question_id=question_id, attempt=0, text=text, finish_reason="stop", output_tokens=tokens, prompt_hash=""
    )


# -- rewrites ---------------------------------------------------------------------------------------------------------


def _rewrites(
    look: Look, teacher: OpenAITeacher, known: Known, diagnoses: Artifact | None, profiled: Artifact | None
) -> Asked:
    """Return the rewrites that will be drawn, or the most that there can be while there is no profile."""
    plan, sampling = look.config.plan, Sampling(teacher.writing_temperature, teacher.max_new_tokens)
    exact = bool(known.skill_map and diagnoses and profiled)
    wanted = (
        _drawn(look, known, diagnoses, profiled) if known.skill_map and diagnoses and profiled else _examples(known)
    )
    requests = [rewrite_request(look.prompts, sampling, each) for each in wanted]
    anew = "curate: every rewrite can be used; for each that cannot, or ends in another answer, one more is paid"
    if exact:
        return Asked("curate", "teacher", requests, len(requests), plan.rewrite_tokens, (anew,))
    recipe = look.config.data_recipe
    rewrites = 1 if isinstance(recipe, PoolRecipe) else recipe.answers_per_question
    both = answer_source(recipe, look.teacher) == "both"
    calls = round(recipe.pairs * rewrites / (rewrites + 1)) if both else recipe.pairs
    assumed = [f"curate: each of {calls:,} pairs has a rewrite of its own; one that is drawn twice is paid once", anew]
    if recipe.name == "stat_sel":
        each = plan.skills_per_question * recipe.questions_per_skill * recipe.answers_per_question
        validation = len(known.questions.records("validation.jsonl", Question))
        once = round(plan.difficult_share * validation * each)
        assumed.append(
            f"curate: one pass over the profile draws about {once:,} pairs ({plan.skills_per_question:g} skills a "
            "question, plan.skills_per_question); further passes fill up"
        )
    return Asked("curate", "teacher", requests, calls, plan.rewrite_tokens, tuple(assumed))


def _examples(known: Known) -> list[RewriteRequest]:
    """Return rewrites of some of the pool's questions."""
    pool = open_pool(known.questions.folder)
    rows = range(0, len(pool), max(1, len(pool) // EXAMPLES))
    return [RewriteRequest(question, 0) for question in questions_at(pool, rows)]


def _drawn(look: Look, known: Known, diagnoses: Artifact | None, profiled: Artifact | None) -> list[RewriteRequest]:
    """Return the rewrites that the recipe draws first; those that replace unusable ones are not known."""
    assert known.skill_map and diagnoses and profiled
    recipe, seed = look.config.data_recipe, look.config.seed
    answers = answer_source(recipe, look.teacher)
    skills = {row.id: row.skills for row in known.skill_map.records("skill_map.jsonl", QuestionSkills)}
    pool = open_pool(known.questions.folder)
    source, _ = make_source(pool, skills, held_out(known.questions))
    diagnosed = read_diagnosed(known.questions, diagnoses, profiled)
    random, left = draws(source, diagnosed, recipe, answers, seed)
    chosen = dict.fromkeys((d.row, d.answer) for d in fill(left, recipe.pairs, random)[0] if d.answer != OWN)
    questions = questions_at(pool, [row for row, _ in chosen])
    return [RewriteRequest(question, answer) for question, (_, answer) in zip(questions, chosen, strict=True)]

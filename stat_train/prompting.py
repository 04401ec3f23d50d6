"""The arm `adaptmi` as artifacts: the untrained student, asked each benchmark question after worked examples.

AdaptMI (arXiv 2505.00147) trains nothing: what the student finds difficult is asked after examples of the skills that
it needs, and what is easy after fixed ones. Where that closes a gap, no training is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from stat_train.benchmarks import Benchmark
from stat_train.config import OpenAITeacher
from stat_train.counts import Count, Counts, seen
from stat_train.curating import left_out_rows
from stat_train.curation.source import make_source
from stat_train.diagnosis.answering import EXEMPLARS_FILE, PROMPTS_FILE, worked_example
from stat_train.diagnosis.skill_map import NAME, required_skills
from stat_train.evaluation.exemplars import EXAMPLE, Judged, choose_exemplars, shortened, told
from stat_train.evaluation.summary import BASE, PROMPTED
from stat_train.progress import track
from stat_train.records import Dropped, ExemplarPrompt, Question
from stat_train.run import Run, Summary
from stat_train.scoring import difficult_among, step_scores
from stat_train.store import Artifact, read_records, write_records
from stat_train.student import benchmark_answers, student_weights
from stat_train.tasks.load import open_pool, open_pool_skills
from stat_train.tasks.prompts import PromptRenderer, messages
from stat_train.teacher.skill_list import read_skill_list

Answered = Mapping[Benchmark, Artifact]


def prompted_answers(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, base: Answered
) -> dict[Benchmark, Artifact]:
    """Return the answers of the student as it is, after worked examples; `base` are those that it gave without."""
    found = dict[Benchmark, Artifact]()
    for group in prompt_groups(questions, base):
        prompts = exemplar_prompts(run, questions, skill_map, overlapping, {each: base[each] for each in group})
        for each in base:
            if each.place in {one.place for one in group}:
                found[each] = benchmark_answers(run, PROMPTED, each, student_weights(run), prompts.folder)
    return found


def prompt_groups(questions: Artifact, benchmarks: Iterable[Benchmark]) -> list[list[Benchmark]]:
    """Return the benchmarks whose prompts are chosen together: the task's own, and each other file on its own.

    So another benchmark leaves the prompts of those before it as they are. Of several that ask the same file only the
    first is named.
    """
    groups: dict[Path, dict[Path, Benchmark]] = {}
    for each in benchmarks:
        own = each.place.is_relative_to(questions.folder)
        groups.setdefault(questions.folder if own else each.place, {}).setdefault(each.place, each)
    return [list(group.values()) for group in groups.values()]


def prompts_after_base(
    group: Sequence[Benchmark], run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact
) -> Artifact:
    """Return the prompts where only questions and their skills are at hand: the base answers the benchmarks first."""
    base = {each: benchmark_answers(run, BASE, each, student_weights(run)) for each in group}
    return exemplar_prompts(run, questions, skill_map, overlapping, base)


def exemplar_prompts(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, base: Answered
) -> Artifact:
    """Return which worked examples stand before each benchmark question: `adaptmi_prompts.jsonl`, `exemplars.jsonl`.

    What is difficult is told by the run's own rule from the base's answers; no gold answer of a benchmark is used.
    """
    count, seed = run.config.evaluate.exemplars, run.config.seed
    room = max(each.sampling.max_new_tokens for each in base)
    scores = {each: step_scores(run, each.place, answers) for each, answers in base.items()}

    def build(folder: Path) -> Counts:
        asked = {question.id: question for each in base for question in read_records(each.place, Question)}
        judged, unlabelled = _judged(run, skill_map, base, scores)
        left_out = left_out_rows(run, overlapping)
        source, _ = make_source(open_pool(questions.folder), open_pool_skills(skill_map.folder), left_out)
        chosen, examples = choose_exemplars(list(asked.values()), judged, source, count, seed)
        fits = _fits(run, asked, examples, room)
        prompts, too_long = shortened(track(chosen, "Counting the prompts' tokens", len(chosen)), fits)
        shown = [id for prompt in prompts for id in prompt.exemplar_ids]
        write_records(folder / PROMPTS_FILE, prompts)
        write_records(folder / EXEMPLARS_FILE, (examples[id] for id in sorted(set(shown))))
        write_records(folder / "dropped.jsonl", [*unlabelled, *too_long])
        return {EXAMPLE: seen(len(shown), too_long, EXAMPLE)} | _counts_of_labels(judged, unlabelled)

    inputs = [questions, skill_map, overlapping, *base.values(), *(each for each in scores.values() if each)]
    # The run folder shows those of the task's own benchmarks.
    links = [PROMPTS_FILE] if all(each.place.is_relative_to(questions.folder) for each in base) else []
    artifact = run.make("prompts", 1, inputs, _identity(run, room), build, *links)
    run.say_all(told(artifact.records(PROMPTS_FILE, ExemplarPrompt), artifact.dropped(), count))
    return artifact


def _identity(run: Run, room: int) -> Summary:
    student, teacher = student_weights(run), run.config.teacher
    rule = {name: value for name, value in run.config.difficulty.identity().items() if name != "prm"}
    asked = run.teacher_identity("required_skills") if isinstance(teacher, OpenAITeacher) else teacher.name
    tokens: Summary = {"model": student.known_by, "revision": student.revision}
    tokens |= {"prompt": run.prompt.model_dump(), "max_new_tokens": room}
    chosen: Summary = {"exemplars": run.config.evaluate.exemplars, "seed": run.config.seed}
    return tokens | chosen | {"difficulty": rule, "teacher": asked}


def _counts_of_labels(judged: Judged, unlabelled: Sequence[Dropped]) -> Counts:
    names = sum(len(skills) for skills in judged.skills.values())
    return {"question": Count(sum(judged.difficult.values()), len(judged.skills)), NAME: seen(names, unlabelled, NAME)}


def _judged(
    run: Run, skill_map: Artifact, base: Answered, scores: Mapping[Benchmark, Artifact | None]
) -> tuple[Judged, list[Dropped]]:
    """Return what the student finds difficult, and the skills of that alone: a teacher may have to be paid for them."""
    difficult, unjudged, hard = dict[str, bool](), dict[str, str](), list[Question]()
    for each, answers in base.items():
        asked = {question.id: question for question in read_records(each.place, Question)}
        found, dropped = difficult_among(run, each.place, answers, scores[each])
        difficult |= {row.question_id: row.difficult for row in found}
        unjudged |= {row.id: row.reason for row in dropped}
        hard += [asked[row.question_id] for row in found if row.difficult]
    labelled, unlabelled = required_skills(hard, run.teacher, read_skill_list(skill_map.folder / "skills.json"))
    return Judged(difficult, unjudged, {row.id: row.skills for row in labelled}), unlabelled


def _fits(
    run: Run, asked: Mapping[str, Question], examples: Mapping[str, Question], room: int
) -> Callable[[ExemplarPrompt], bool]:
    """Return what tells whether a prompt leaves room for an answer of so many tokens in what the student takes."""
    from stat_train.models.transformers import context_tokens, load_tokenizer

    weights = student_weights(run)
    renderer = PromptRenderer(load_tokenizer(weights.place, weights.revision), run.prompt)
    most = context_tokens(weights.place, weights.revision, renderer.tokenizer)

    def fits(prompt: ExemplarPrompt) -> bool:
        shown = [worked_example(examples[id]) for id in prompt.exemplar_ids]
        text = renderer.question_text(messages(run.prompt, asked[prompt.question_id].question, exemplars=shown))
        return most is None or len(renderer.token_ids(text)) + room <= most

    return fits

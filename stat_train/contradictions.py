"""What is wrong between settings that are each right alone: choices that do not go together, files that are absent."""

from __future__ import annotations

from stat_train.config import (
    Config,
    ConsistencyDifficulty,
    Endpoint,
    EndpointStudent,
    LengthDifficulty,
    OpenAITeacher,
    RecordedStudent,
    RewardModel,
    StepRewardDifficulty,
    absent_file,
)
from stat_train.evaluation_contradictions import check_evaluation
from stat_train.recipe_settings import (
    AugmentRecipe,
    DataRecipe,
    EmbedSelRecipe,
    EmbedSynRecipe,
    SkillMixRecipe,
    StatSynRecipe,
)
from stat_train.setting_types import Node
from stat_train.task_settings import ArithmeticTask
from stat_train.train_contradictions import check_reinforcement, check_rounds, check_training


def contradictions(config: Config) -> list[str]:
    """Return what is wrong between settings that are each right alone, files that are absent included."""
    checks = (
        _check_task,
        _check_student,
        _check_served,
        _check_difficulty,
        _check_recipe,
        _check_decontamination,
        check_training,
        check_reinforcement,
        check_evaluation,
        _check_audit,
        _check_budget,
        _check_end,
        check_rounds,
    )
    return [problem for check in checks for problem in check(config)]


def _check_task(config: Config) -> list[str]:
    task, problems = config.task, []
    if isinstance(task, ArithmeticTask):
        if task.min_steps > task.max_steps:
            problems.append(f"task.min_steps = {task.min_steps}: expected at most task.max_steps = {task.max_steps}")
        return problems + _check_benchmark_sizes(task)
    if config.teacher.name == "arithmetic":
        problems.append(
            f"teacher = arithmetic: works for task=arithmetic only, not for {task.name}; try teacher=labels"
        )
    if isinstance(config.difficulty, StepRewardDifficulty) and config.difficulty.step_rewarder == "checker":
        problems.append(
            "difficulty.step_rewarder = checker: works for task=arithmetic only; "
            "try difficulty=prm, gold or consistency"
        )
    if task.grader == "judge" and not isinstance(config.teacher, OpenAITeacher):
        problems.append("task.grader = judge: asks the teacher, and needs teacher=openai")
    places = {"task.pool": task.pool, "task.benchmark": task.benchmark, "task.skills": task.skills}
    if isinstance(task.validation, str):
        places["task.validation"] = task.validation
    return problems + [problem for key, place in places.items() if place and (problem := absent_file(key, place))]


def _check_benchmark_sizes(task: ArithmeticTask) -> list[str]:
    if isinstance(task.benchmark, int) or set(task.benchmark) == set(task.benchmarks):
        return []
    absent = [name for name in task.benchmarks if name not in task.benchmark]
    others = [name for name in task.benchmark if name not in task.benchmarks]
    told = [f"it has none for {', '.join(absent)}"] if absent else []
    told += [f"{', '.join(others)}: not among them"] if others else []
    expected = f"expected a number for each of task.benchmarks = [{', '.join(task.benchmarks)}]"
    return [f"task.benchmark = {task.benchmark}: {expected}; {'; '.join(told)}; or give one number for all"]


def _check_student(config: Config) -> list[str]:
    student = config.student
    if isinstance(student, RecordedStudent):
        problem = absent_file("student.path", student.path, remedy="; give a JSONL file of id and responses")
        return ([problem] if problem else []) + _untrainable(config, "it has no weights to train")
    if isinstance(student, EndpointStudent):
        return _untrainable(config, "its weights cannot be trained")
    problem = absent_file("student.model", student.model) if student.model.startswith((".", "/", "~")) else None
    return [problem] if problem else []


def _check_served(config: Config) -> list[str]:
    """Return what is wrong with where models are served, or with the servers that the run is to start."""
    problems = []
    for role, endpoint in (("teacher", config.teacher), ("student", config.student)):
        if not isinstance(endpoint, Endpoint):
            continue
        given, server = f"{role} = {endpoint.name}", endpoint.server
        if endpoint.name != "served":
            if endpoint.base_url is None:
                problems.append(f"{role}.base_url = null: expected where the model is served; or use {role}=served")
            if server:
                problems.append(f"{given}: starts no server, and {role}.server describes one; use {role}=served")
        elif server is None:
            problems.append(f"{role}.server = null: {given} starts one; leave its settings as they are")
        elif endpoint.base_url is not None:
            problems.append(f"{role}.base_url = {endpoint.base_url}: {given} is at the server that the run starts")
        elif server.gpus and len(server.gpus) < server.tensor_parallel_size:
            most = f"{role}.server.tensor_parallel_size = {server.tensor_parallel_size}"
            problems.append(f"{role}.server.gpus = {server.gpus}: expected as many as {most}")
    return problems


def _untrainable(config: Config, why: str) -> list[str]:
    """Return why a student without weights here can neither be fine-tuned nor reinforced."""
    given, asked = f"student = {config.student.name}: {why}", {"train": config.train.name, "rl": config.rl.name}
    wanted = [f"{group}=none" for group, name in asked.items() if name != "none" and config.reaches(group)]
    return [f"{given}; add until=curate or {' '.join(wanted)}"] if wanted else []


def _check_difficulty(config: Config) -> list[str]:
    difficulty, student = config.difficulty, config.student
    if isinstance(difficulty, StepRewardDifficulty):
        problems = _check_reward_model(difficulty.step_rewarder, difficulty.prm)
        if difficulty.step_rewarder != "checker":
            asked = f"difficulty.step_rewarder={difficulty.step_rewarder} asks a model"
            problems += [
                f"difficulty.{name} = {value}: is how {what} the checker of task=arithmetic {does}, and {asked}; leave "
                "it at 0.0, or use difficulty=step_rewards"
                for name, what, does, value in (
                    ("checker_error_rate", "often", "errs", difficulty.checker_error_rate),
                    ("checker_spread", "unsure", "is", difficulty.checker_spread),
                )
                if value
            ]
        return problems
    if isinstance(student, RecordedStudent):
        return []
    if isinstance(difficulty, LengthDifficulty) and difficulty.min_words > student.max_new_tokens:
        given = f"difficulty.min_words = {difficulty.min_words}"
        most = f"student.max_new_tokens = {student.max_new_tokens}"
        return [f"{given}: expected at most {most}, or no question is difficult; a word is a token or more"]
    if isinstance(difficulty, ConsistencyDifficulty) and difficulty.min_agreement > difficulty.samples:
        given = f"difficulty.min_agreement = {difficulty.min_agreement}"
        return [f"{given}: expected at most difficulty.samples = {difficulty.samples}, or every question is difficult"]
    return []


def _check_end(config: Config) -> list[str]:
    model = config.reward_model()
    if config.until == "score" and model is None:
        return ["until = score: no reward model scores steps in this run; use until=grade, or difficulty=prm"]
    return []


def _check_reward_model(rewarder: str, model: RewardModel | None) -> list[str]:
    given = f"difficulty.step_rewarder = {rewarder}"
    if rewarder == "checker":
        return [f"{given}: asks no model, but difficulty.prm names one; try difficulty=step_rewards"] if model else []
    if model is None:
        return [f"{given}: needs a model and difficulty.prm is null; try difficulty={rewarder}"]
    problem = absent_file("difficulty.prm.model", model.model) if model.model.startswith((".", "/", "~")) else None
    problems = [problem] if problem else []
    if rewarder == "token_prm" and model.separator is None:
        problems.append(
            "difficulty.prm.separator = null: token_prm scores at a token after each step, such as <extra_0>"
        )
    if rewarder == "prm" and model.separator is not None:
        problems.append(
            f"difficulty.prm.separator = {model.separator}: prm has no use for one; try difficulty=token_prm"
        )
    return problems


def _check_recipe(config: Config) -> list[str]:
    recipe, problems = config.data_recipe, []
    if config.teacher.name == "labels" and config.reaches("curate"):
        problems += _check_without_writer(recipe)
    if isinstance(recipe, StatSynRecipe | EmbedSynRecipe):
        problems += _check_agreement(recipe)
    if isinstance(recipe, EmbedSelRecipe | EmbedSynRecipe):
        problems += _check_embedder(recipe)
    if isinstance(recipe, SkillMixRecipe) and (recipe.skills, recipe.skills_from) == ("teacher", "profile"):
        problems.append(
            "data_recipe.skills_from = profile: a profile is of the task's own skills; use data_recipe.skills=map, or "
            "data_recipe.skills_from=all with skills that the teacher is asked for"
        )
    return problems


def _check_decontamination(config: Config) -> list[str]:
    places = config.decontaminate.against
    problems = [problem for place in places if (problem := absent_file("decontaminate.against", place))]
    twice = sorted({place for place in places if places.count(place) > 1})
    return problems + [f"decontaminate.against = {place}: named twice; expected each file once" for place in twice]


def _check_without_writer(recipe: DataRecipe) -> list[str]:
    """Return what is wrong with a recipe where the teacher is no model that could write."""
    answers = getattr(recipe, "answers", None)
    if answers in ("rewrites", "both"):
        return [f"data_recipe.answers = {answers}: teacher=labels cannot rewrite; use data_recipe.answers=own"]
    if isinstance(recipe, AugmentRecipe):
        return ["data_recipe = augment: teacher=labels cannot rewrite; use data_recipe=random, or teacher=openai"]
    if isinstance(recipe, StatSynRecipe | EmbedSynRecipe | SkillMixRecipe):
        other = "embed_sel" if isinstance(recipe, EmbedSynRecipe) else "stat_sel"
        return [
            f"data_recipe = {recipe.name}: teacher=labels cannot write questions; use data_recipe={other}, or "
            "teacher=openai"
        ]
    return []


def _check_embedder(recipe: EmbedSelRecipe | EmbedSynRecipe) -> list[str]:
    problems = []
    if recipe.embedder.startswith((".", "/", "~")):
        problem = absent_file("data_recipe.embedder", recipe.embedder)
        problems += [problem] if problem else []
    if isinstance(recipe, EmbedSynRecipe) and recipe.references > recipe.nearest:
        problems.append(
            f"data_recipe.references = {recipe.references}: expected at most data_recipe.nearest = {recipe.nearest}"
        )
    return problems


def _check_agreement(recipe: StatSynRecipe | EmbedSynRecipe) -> list[str]:
    """Return what is wrong between the numbers of solutions: asked for, to agree, to train on."""
    problems = []
    given, most = f"data_recipe.must_agree = {recipe.must_agree}", f"data_recipe.solutions = {recipe.solutions}"
    if recipe.must_agree > recipe.solutions:
        problems.append(f"{given}: expected at most {most}, or no question is kept")
    if 2 * recipe.must_agree <= recipe.solutions:
        problems.append(f"{given}: expected more than half of {most}, or two answers could both be agreed on")
    if recipe.answers_per_question > recipe.solutions:
        problems.append(f"data_recipe.answers_per_question = {recipe.answers_per_question}: expected at most {most}")
    return problems


def _check_audit(config: Config) -> list[str]:
    audit, teacher = config.audit, config.teacher
    others = audit.model_dump(exclude={"sample"}, exclude_none=True).items()
    if not audit.sample:
        return [f"audit.model = {audit.model}: nothing is asked again; add audit.sample=50"] if audit.model else []
    if isinstance(teacher, OpenAITeacher):
        if teacher.name != "served" or audit.model in (None, teacher.model) or audit.base_url:
            return []
        return [f"audit.model = {audit.model}: teacher=served serves {teacher.model} alone; give audit.base_url too"]
    if teacher.name == "labels":
        given = f"audit.sample = {audit.sample}"
        return [f"{given}: teacher=labels reads labels, so there is nobody to ask again; use 0, or teacher=openai"]
    return [
        f"audit.{name} = {value}: is for teacher=openai only; teacher={teacher.name} has no model to replace"
        for name, value in others
    ]


def _check_budget(config: Config) -> list[str]:
    asked = {"teacher": config.teacher, "student": config.student}
    paid: list[tuple[str, Node]] = [(role, node) for role, node in asked.items() if isinstance(node, Endpoint)]
    if config.audit.sample and config.audit.model and isinstance(config.teacher, Endpoint):
        paid.append(("audit", config.audit))
    prices = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
    unpriced = [f"{role}.{name}" for role, node in paid for name in prices if getattr(node, name) is None]
    if config.budget.max_usd is None or not unpriced:
        return []
    given = f"budget.max_usd = {config.budget.max_usd}"
    return [f"{given}: needs the price of what is asked; give {' and '.join(unpriced)} (0 for a server of your own)"]

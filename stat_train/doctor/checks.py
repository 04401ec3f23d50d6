"""Everything that a run relies on, checked in the order in which it is quickly known."""

from __future__ import annotations

from collections.abc import Iterator

from stat_train.config import Config, OpenAITeacher
from stat_train.doctor.check import Check
from stat_train.doctor.endpoints import audit_checks, student_checks, teacher_checks
from stat_train.doctor.grader import grader_checks
from stat_train.doctor.machine import cache_check, gpu_check, package_checks, run_dir_check
from stat_train.doctor.student import find_checkpoint, find_reward_model, find_student, training_step
from stat_train.errors import UserError
from stat_train.teacher.prompt_files import read_prompts


def prompts_check(config: Config) -> Check:
    """Check the prompts of a teacher that is a language model."""
    if not isinstance(config.teacher, OpenAITeacher):
        return Check("prompts", "skipped", f"teacher={config.teacher.name} has none")
    try:
        prompts = read_prompts(config.teacher.prompts)
    except UserError as error:
        return Check("prompts", "failed", str(error), "mend the file, or take it away: the shipped one is used then")
    return Check("prompts", "ok", f"{len(prompts)}, of {config.teacher.prompts or 'the package'}")


def examine(config: Config) -> Iterator[Check]:
    """Yield each check as soon as it is made; what this run does not need is skipped."""
    packages = list(package_checks(config))
    yield from packages
    student = find_student(config)
    cache = cache_check(config, student.parameters)
    yield from (cache, run_dir_check(config), gpu_check(config), student.check, find_reward_model(config))
    yield find_checkpoint(config)
    yield from grader_checks(config)
    yield from student_checks(config)
    yield prompts_check(config)
    yield from teacher_checks(config)
    yield from audit_checks(config)
    failed = [check.name for check in (*packages, cache, student.check) if check.state == "failed"]
    yield training_step(config, f"needs what failed above: {', '.join(failed)}" if failed else None)

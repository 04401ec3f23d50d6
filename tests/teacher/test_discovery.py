"""A list of skills from questions that have none: what is named and grouped, and whether that is the truth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from random import Random

from stat_train.models.generator import Request, Sampling
from stat_train.models.scripted import ScriptedGenerator
from stat_train.records import Question
from stat_train.teacher.discovery import NAMES_PER_CALL, Discoverer, read_groups
from stat_train.teacher.prompt_files import read_prompts

# Skills, and the names that a namer uses for each.
SYNONYMS = {f"skill_{n}": [f"skill_{n}", f"about_skill_{n}", f"skill_{n}_problems"] for n in range(8)}
WRONG_SHARE = 0.1


def _discoverer(script: object) -> tuple[Discoverer, ScriptedGenerator]:
    generator = ScriptedGenerator(script)  # type: ignore[arg-type]
    return Discoverer(generator, read_prompts(None), Sampling(0.0, 500), 8), generator


def _question(number: int, subject: str | None = None) -> Question:
    return Question(id=f"q{number}", question=f"Question {number} of skill_{number % 8}?", subject=subject)


def _named(*skills: str) -> str:
    return json.dumps({"reason": "r", "skills": list(skills)})


def _grouped(*groups: str) -> str:
    return json.dumps({"reason": "r", "groups": list(groups)})


def _placed(request: Request) -> list[str]:
    """Return the names that a grouping request asks to place."""
    return request.messages[-1]["content"].split("one a line:\n")[2].split("\n\n")[0].split("\n")


def _oracle(request: Request) -> str:
    """Name the true skill by one of its synonyms, one time in ten another; group the synonyms of a skill."""
    if "Name the skills" in request.messages[-1]["content"]:
        random = Random(request.id)
        true = f"skill_{int(request.id[1:]) % 8}"
        skill = random.choice(list(SYNONYMS)) if random.random() < WRONG_SHARE else true
        return _named(random.choice(SYNONYMS[skill]))
    names = _placed(request)
    members = {skill: [name for name in names if name in SYNONYMS[skill]] for skill in SYNONYMS}
    return _grouped(*(f"{skill}: {', '.join(found)}" for skill, found in members.items() if found))


def test_the_groups_are_the_true_skills_in_spite_of_synonyms_and_wrong_names() -> None:
    """Nine names in ten are right: a question's group is its skill in 91 % of 400, less 4 deviations is 85 %."""
    discoverer, generator = _discoverer(_oracle)
    questions = [_question(number) for number in range(400)]
    found = discoverer.discover(questions)
    assert found.skills == {"": sorted(SYNONYMS)}
    assert {group: set(names) for group, names in found.groups[""].items()} == {s: set(n) for s, n in SYNONYMS.items()}
    group_of = {name: group for group, names in found.groups[""].items() for name in names}
    said = {request.id: json.loads(_oracle(request))["skills"][0] for request in generator.asked if request.id}
    right = sum(group_of[said[q.id]] == f"skill_{int(q.id[1:]) % 8}" for q in questions)
    assert right >= 0.85 * len(questions)


def test_subjects_are_grouped_apart() -> None:
    discoverer, generator = _discoverer(_oracle)
    found = discoverer.discover([_question(0, "b"), _question(1, "a"), _question(8, "b")])
    assert list(found.skills) == ["a", "b"]
    grouping = [request for request in generator.asked if "Place every one" in request.messages[-1]["content"]]
    assert [request.id for request in grouping] == ["a", "b"]


def test_names_are_lower_case_with_underscores_and_count_once_a_question() -> None:
    discoverer, generator = _discoverer(
        [_named("Long Division", "long_division"), _named("Carrying"), _grouped("g: long_division, carrying")]
    )
    found = discoverer.discover([_question(0), _question(1)])
    assert _placed(generator.asked[2]) == ["carrying", "long_division"]
    assert found.groups == {"": {"g": ["long_division", "carrying"]}}


def test_what_is_in_no_group_is_told() -> None:
    discoverer, _ = _discoverer([_named("a", "b"), _grouped("g: a")])
    found = discoverer.discover([_question(0)])
    assert found.skills == {"": ["g"]}
    assert [(row.stage, row.reason, row.detail) for row in found.left_out] == [
        ("label", "name in no group", "b (no group named)")
    ]


def test_names_on_one_line_are_several() -> None:
    discoverer, _ = _discoverer([_named("a, b; c"), _grouped("g: a, b, c")])
    assert discoverer.discover([_question(0)]).groups == {"": {"g": ["a", "b", "c"]}}


def test_a_question_without_a_usable_reply_names_nothing() -> None:
    discoverer, _ = _discoverer(lambda request: "what?" if request.id == "q0" else _oracle(request))
    found = discoverer.discover([_question(0), _question(1)])
    assert found.skills == {"": ["skill_1"]}
    assert [(row.id, row.reason, row.detail) for row in found.left_out] == [
        ("q0", "no names: no usable reply of the teacher", "the reply could not be read")
    ]


def test_a_subject_without_a_usable_grouping_has_no_list_and_all_its_names_are_told() -> None:
    discoverer, _ = _discoverer(lambda request: _oracle(request) if request.id else "what?")
    found = discoverer.discover([_question(0)])
    assert (found.skills, len(found.left_out)) == ({}, 1)


def test_many_names_are_grouped_in_parts_that_see_the_groups_so_far() -> None:
    count = NAMES_PER_CALL + 10

    def script(request: Request) -> str:
        if "Name the skills" in request.messages[-1]["content"]:
            return _named(f"name_{request.id}")
        return _grouped(f"all: {', '.join(_placed(request))}")

    discoverer, generator = _discoverer(script)
    found = discoverer.discover([_question(number) for number in range(count)])
    first, second = generator.asked[count:]
    assert (len(_placed(first)), len(_placed(second))) == (NAMES_PER_CALL, 10)
    assert "(none yet)" in first.messages[-1]["content"] and "one a line:\nall\n" in second.messages[-1]["content"]
    assert Counter(found.groups[""]["all"]) == Counter(f"name_q{n}" for n in range(count))


def test_groups_of_several_calls_are_brought_together_and_one_that_is_in_none_stays() -> None:
    count = NAMES_PER_CALL + 10
    first, second = (
        ", ".join(f"n{n:03}" for n in range(NAMES_PER_CALL)),
        ", ".join(f"n{n:03}" for n in range(150, count)),
    )
    replies = [_named(f"n{n:03}") for n in range(count)]
    replies += [_grouped(f"one: {first}"), _grouped(f"uno: {second.removesuffix(', n159')}", "two: n159")]
    discoverer, generator = _discoverer([*replies, _grouped("first: one, uno")])
    found = discoverer.discover([_question(number) for number in range(count)])
    assert _placed(generator.asked[-1]) == ["one", "uno", "two"]
    assert found.groups == {"": {"first": [f"n{n:03}" for n in range(159)], "two": ["n159"]}}
    assert (found.skills, found.left_out) == ({"": ["first", "two"]}, [])


def _groups(*lines: str, names: Iterable[str] = ("a", "b", "c")) -> object:
    return read_groups(lines, list(names))


def test_lines_of_groups() -> None:
    assert _groups("G One: a, B", "two: b, c, d") == {"g_one": ["a", "b"], "two": ["c"]}
    assert _groups("one: a", "one: b") == {"one": ["a", "b"]}
    assert _groups("one: d", "a", ": b") is None

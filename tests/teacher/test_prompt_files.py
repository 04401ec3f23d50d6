"""Prompts as files: what is filled in, what they are known by, and which files are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from stat_train.errors import UserError
from stat_train.models.generator import Sampling
from stat_train.teacher.prompt_files import SHIPPED, code_of, filled, read_prompts

NAMES = {
    "criticise_answer",
    "distinct_skills",
    "group_skills",
    "improve_answer",
    "judge",
    "judge_freely",
    "list_query_types",
    "list_topic_skills",
    "list_topics",
    "missing_skills",
    "name_skills",
    "new_question",
    "required_skills",
    "rewrite",
    "score_answer",
    "similar_question",
    "solve",
    "write_query",
}
SAMPLING = Sampling(0.0, 100)


def test_the_shipped_prompts() -> None:
    prompts = read_prompts(None)
    assert set(prompts) == NAMES
    assert {name for name, prompt in prompts.items() if not prompt.reply} == {"rewrite", "solve"}
    assert len({prompt.version for prompt in prompts.values()}) == len(NAMES)


def test_places_are_filled_in_once() -> None:
    """What a student wrote may look like a place; it is not one. TeX braces of the prompt itself stay."""
    text = filled(
        "{answer} to {question}: \\boxed{your answer} {unknown}", {"answer": "{question}", "question": "q"}, "c"
    )
    assert text == "{question} to q: \\boxed{your answer} {unknown}"


def test_the_code_depends_on_every_text_that_is_sent() -> None:
    """So no text can hold its own code, and a student who saw one cannot use it again."""
    values = {"question": "q", "answer": "a", "skills": "s"}
    codes = {code_of(values | {name: "other"}) for name in values} | {code_of(values)}
    assert len(codes) == 4


def test_a_request_has_form_schema_and_version() -> None:
    prompt = read_prompts(None)["missing_skills"]
    values = {"question": "1 + 1?", "answer": "It is 3.", "skills": "addition\ncarrying"}
    request = prompt.request("q", values, SAMPLING, 2, ["addition", "carrying"])
    system, user = request.messages
    assert (system["role"], user["role"], request.sample) == ("system", "user", 2)
    assert f"<student-{code_of(values)}>\nIt is 3.\n</student-{code_of(values)}>" in user["content"]
    assert request.schema and request.schema["properties"]["skills"]["items"]["enum"] == ["addition", "carrying"]
    assert f"<judgement-{code_of(values)}>" in request.format_hint
    assert request.prompt_version == prompt.version
    assert "{" not in system["content"] + user["content"]


def test_a_plain_prompt_has_no_form() -> None:
    request = read_prompts(None)["rewrite"].request("q", {"question": "q", "solution": "s"}, SAMPLING)
    assert (request.schema, request.format_hint) == (None, "")


# -- files of one's own -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a copy of two prompts."""
    for name in ("rewrite", "missing_skills"):
        shutil.copy(SHIPPED / f"{name}.yaml", tmp_path)
    return tmp_path


def _edit(path: Path, **changes: object) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def _read(folder: Path) -> dict[str, str]:
    return {name: prompt.version for name, prompt in read_prompts(str(folder)).items()}


def test_a_copy_is_the_shipped_prompt_and_comments_do_not_count(folder: Path) -> None:
    shipped = {name: prompt.version for name, prompt in read_prompts(None).items()}
    assert _read(folder) == shipped
    path = folder / "rewrite.yaml"
    path.write_text(f"# My own comment.\n{path.read_text()}")
    assert _read(folder) == shipped


def test_an_edited_prompt_has_another_version_and_the_others_keep_theirs(folder: Path) -> None:
    before = _read(folder)
    _edit(folder / "rewrite.yaml", user="Rewrite {solution} of {question}.")
    after = _read(folder)
    assert {name for name in NAMES if before[name] != after[name]} == {"rewrite"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": "Rewrite it."}, r"rewrite.yaml: does not hold \{question\}, \{solution\}; the shipped one does"),
        ({"user": None}, "rewrite.yaml: user: .*expected system, user and"),
        ({"sytem": "x"}, "rewrite.yaml: sytem: Extra inputs"),
        ({"reply": {"text": {"kind": "text", "about": "x"}}}, "rewrite.yaml: the parts of its reply are"),
        ({"again": "x"}, "rewrite.yaml: again: expected none"),
        ({"user": "{question} {solution} {solutions}"}, r'{solutions} is no place to fill in. Did you mean "solution"'),
    ],
)
def test_a_prompt_that_cannot_work_is_refused(folder: Path, change: dict[str, object], said: str) -> None:
    _edit(folder / "rewrite.yaml", **change)
    with pytest.raises(UserError, match=said):
        _read(folder)


@pytest.mark.parametrize("choices", [["right", "wrong"], ["Correct", "Incorrect"], ["incorrect", "correct"]])
def test_other_choices_than_the_shipped_ones_are_refused(folder: Path, choices: list[str]) -> None:
    """No reply could then be read, and each would be paid for as often as may be."""
    path = folder / "missing_skills.yaml"
    reply = yaml.safe_load(path.read_text())["reply"]
    _edit(path, reply=reply | {"judgement": reply["judgement"] | {"choices": choices}})
    with pytest.raises(UserError, match=r"the parts of its reply are .*; expected .*choice, correct, incorrect"):
        _read(folder)


def test_the_student_s_text_has_to_stand_in_tags_with_the_code(folder: Path) -> None:
    path = folder / "missing_skills.yaml"
    _edit(path, user=yaml.safe_load(path.read_text())["user"].replace("-{code}", ""))
    with pytest.raises(UserError, match=r"does not hold \{code\}"):
        _read(folder)


def test_a_place_that_nothing_fills_is_refused_and_braces_of_tex_are_text(folder: Path) -> None:
    user = "{question} {solution} \\boxed{answer} x_{n} x^{m} {level}"
    _edit(folder / "rewrite.yaml", user=user)
    with pytest.raises(UserError, match=r"\{level\} is no place to fill in. Expected question, solution"):
        _read(folder)
    _edit(folder / "rewrite.yaml", user=user.replace(" {level}", ""))
    assert set(_read(folder)) == NAMES


def test_what_is_filled_in_has_to_be_asked_the_first_time(folder: Path) -> None:
    path = folder / "missing_skills.yaml"
    user = yaml.safe_load(path.read_text())["user"].replace("{question}", "")
    _edit(path, user=user, again="{question} {outside} {skills}")
    with pytest.raises(UserError, match=r"does not hold \{question\}"):
        _read(folder)


def test_a_file_of_another_name_is_refused(folder: Path) -> None:
    (folder / "rewrites.yaml").write_text("system: a\nuser: b\n")
    with pytest.raises(UserError, match=r'rewrites.yaml: no such prompt; expected .* Did you mean "rewrite"\?'):
        _read(folder)


@pytest.mark.parametrize("text", ["system: [", "- a", "\x00"])
def test_a_file_that_is_no_prompt_is_refused(folder: Path, text: str) -> None:
    (folder / "rewrite.yaml").write_text(text)
    with pytest.raises(UserError, match=r"rewrite\.yaml: "):
        _read(folder)


def test_a_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.yaml file; expected some of criticise_answer"):
        _read(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        _read(tmp_path / "absent")

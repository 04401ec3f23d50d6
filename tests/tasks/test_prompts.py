"""One rendering for asking, training and evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from stat_train.config import Prompt
from stat_train.errors import UserError
from stat_train.records import Message
from stat_train.tasks.prompts import IGNORED, PromptRenderer, messages

CHAT = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{{ after }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{{ opening }}{% endif %}"
)
SPECIAL = ["<end>", "<begin>", "<unknown>", "<system>", "<user>", "<assistant>"]


def _prompt(system: str | None = None, template: str = "{question}", **arguments: Any) -> Prompt:
    return Prompt(system=system, template=template, chat_template_arguments=arguments)


def _tokenizer(chat_template: str | None, **special: str) -> Any:
    """Return a tokenizer that cuts characters, so that no token can hide where the answer begins."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *characters])}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unknown>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = tokenizers.decoders.Fuse()
    core.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    special = {"eos_token": "<end>"} | special
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unknown>",
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
        **special,
    )


@pytest.fixture(scope="module")
def chat() -> Any:
    """Return a tokenizer with a chat template."""
    return _tokenizer(CHAT)


@pytest.fixture(scope="module")
def base() -> Any:
    """Return a tokenizer of a base model: no chat template, a token that begins every text."""
    return _tokenizer(None, bos_token="<begin>")


def _conversation(prompt: Prompt) -> list[Message]:
    return messages(prompt, "1 + 1?", "It is 2.")


# -- conversations ----------------------------------------------------------------------------------------------------


def test_messages() -> None:
    prompt = _prompt("Be short.", "Question: {question}\nAnswer:")
    asked = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Question: 1 + 1?\nAnswer:"},
    ]
    assert messages(prompt, "1 + 1?") == asked
    assert messages(prompt, "1 + 1?", "2") == [*asked, {"role": "assistant", "content": "2"}]


def test_worked_examples_are_earlier_turns_in_the_form_of_the_question() -> None:
    prompt = _prompt("Be short.", "Question: {question}")
    assert messages(prompt, "3 + 3?", exemplars=[("1 + 1?", "2"), ("2 + 2?", "4")]) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Question: 1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Question: 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Question: 3 + 3?"},
    ]


def test_a_question_with_braces_is_asked_as_it_is() -> None:
    asked = "What is {question} in \\frac{1}{2} {0}?"
    assert messages(_prompt(), asked)[0]["content"] == asked


def test_an_empty_answer_is_an_answer() -> None:
    assert messages(_prompt(), "1 + 1?", "")[-1] == {"role": "assistant", "content": ""}


# -- texts ------------------------------------------------------------------------------------------------------------


def test_chat_format(chat: Any) -> None:
    prompt = _prompt("Be short.")
    renderer = PromptRenderer(chat, prompt)
    assert renderer.question_text(messages(prompt, "1 + 1?")) == "<system>Be short.<user>1 + 1?<assistant>"
    assert renderer.answer_text(_conversation(prompt)) == "It is 2.<end>"


def test_what_the_template_writes_after_an_answer_is_trained(chat: Any) -> None:
    renderer = PromptRenderer(chat, _prompt(after="\n"))
    assert renderer.answer_text(_conversation(renderer.prompt)) == "It is 2.<end>\n"


def test_a_template_that_opens_answers_in_its_own_way(chat: Any) -> None:
    """Asked with "think: ", which a finished conversation does not have: the answer still follows what was asked."""
    renderer = PromptRenderer(chat, _prompt(opening="think: "))
    assert renderer.question_text(messages(renderer.prompt, "1 + 1?")) == "<user>1 + 1?<assistant>think: "
    assert renderer.answer_text(_conversation(renderer.prompt)) == "It is 2.<end>"


def test_a_template_without_an_end_gets_one() -> None:
    renderer = PromptRenderer(
        _tokenizer("{% for message in messages %}{{ message['content'] }}\n{% endfor %}"), _prompt()
    )
    assert renderer.question_text(messages(renderer.prompt, "1 + 1?")) == "1 + 1?\n"
    assert renderer.answer_text(_conversation(renderer.prompt)) == "It is 2.<end>"


def test_plain_format(base: Any) -> None:
    prompt = _prompt("Be short.")
    renderer = PromptRenderer(base, prompt)
    assert renderer.question_text(messages(prompt, "1 + 1?")) == "<begin>Be short.\n\n1 + 1?\n\n"
    assert renderer.answer_text(_conversation(prompt)) == "It is 2.<end>"


def test_plain_format_without_special_tokens() -> None:
    renderer = PromptRenderer(_tokenizer(None, eos_token=None), _prompt())  # type: ignore[arg-type]
    assert renderer.question_text(messages(renderer.prompt, "1 + 1?")) == "1 + 1?\n\n"
    assert renderer.answer_text(_conversation(renderer.prompt)) == "It is 2."


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("chat", "<user>1 + 1?<assistant>2<end><user>3 + 3?<assistant>"),
        ("base", "<begin>1 + 1?\n\n2<end>\n\n3 + 3?\n\n"),
    ],
)
def test_a_worked_example_shows_where_an_answer_ends(request: pytest.FixtureRequest, kind: str, expected: str) -> None:
    """The template of this chat model opens an answer with <assistant> only where it is asked for one."""
    renderer = PromptRenderer(request.getfixturevalue(kind), _prompt())
    asked = messages(renderer.prompt, "3 + 3?", exemplars=[("1 + 1?", "2")])
    assert renderer.question_text(asked) == expected


# -- tokens -----------------------------------------------------------------------------------------------------------

PROMPTS = [_prompt(), _prompt("Be short."), _prompt(template="Q: {question}"), _prompt(after="\n", opening="so: ")]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("kind", ["chat", "base"])
def test_training_starts_with_what_is_asked_and_learns_the_answer_only(
    request: pytest.FixtureRequest, kind: str, prompt: Prompt
) -> None:
    renderer = PromptRenderer(request.getfixturevalue(kind), prompt)
    asked = renderer.token_ids(renderer.question_text(messages(prompt, "1 + 1?")))
    tokens, labels = renderer.training_tokens(_conversation(prompt))
    assert tokens[: len(asked)] == asked
    assert labels == [IGNORED] * len(asked) + tokens[len(asked) :]
    assert renderer.tokenizer.decode(tokens[len(asked) :]).startswith("It is 2.<end>")
    assert renderer.tokenizer.unk_token_id not in tokens


def test_special_tokens_are_one_token(chat: Any) -> None:
    """<user>, 6 characters of `1 + 1?`, <assistant>; 8 of `It is 2.` and <end>."""
    tokens, labels = PromptRenderer(chat, _prompt()).training_tokens(_conversation(_prompt()))
    assert (len(tokens), labels.count(IGNORED)) == (8 + 9, 8)


# -- the hash ---------------------------------------------------------------------------------------------------------


def test_the_hash_tells_renderings_apart(chat: Any, base: Any) -> None:
    prompts = [_prompt(), _prompt("Be short."), _prompt(template="Q: {question}"), _prompt(after="\n")]
    renderers = [PromptRenderer(tokenizer, prompt) for tokenizer in (chat, base) for prompt in prompts]
    hashes = [renderer.hash() for renderer in renderers]
    # A chat template's argument means nothing to plain text.
    assert hashes[7] == hashes[4]
    assert len(set(hashes)) == 7
    assert hashes[0] == PromptRenderer(_tokenizer(CHAT), _prompt()).hash()
    assert hashes[0] != PromptRenderer(_tokenizer(CHAT + " "), _prompt()).hash()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (_prompt(system="Be brief."), "no system here"),
        (_prompt(tokenize=True), "tokenize"),
    ],
)
def test_what_the_chat_template_refuses_is_the_user_s_to_mend(prompt: Prompt, said: str) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHAT
    with pytest.raises(UserError, match=rf"student\.prompt: .*{said}"):
        PromptRenderer(_tokenizer(refusing), prompt).answer_text(_conversation(prompt))

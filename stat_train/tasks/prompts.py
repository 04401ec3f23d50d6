"""The one place where a question becomes a prompt: answering, training and evaluation all call it.

A student that is asked in one form and trained in another is the commonest source of a false gain, so the hash of the
rendering is part of every artifact that depends on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from stat_train.config import Prompt
from stat_train.errors import UserError
from stat_train.records import Message

IGNORED = -100
_SAMPLE = "What is 1 + 1?"


def messages(
    prompt: Prompt, question: str, answer: str | None = None, exemplars: Iterable[tuple[str, str]] = ()
) -> list[Message]:
    """Return the conversation that asks a question, with the answer when one is given.

    `exemplars` are (question, answer) pairs that come first, each as a turn of the user's and one of the assistant's.
    """
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    earlier = [message for exemplar in exemplars for message in _turns(prompt, *exemplar)]
    return [*system, *earlier, *_turns(prompt, question, answer)]


def _turns(prompt: Prompt, question: str, answer: str | None) -> list[Message]:
    asked = {"role": "user", "content": prompt.template.replace("{question}", question)}
    return [asked] + ([{"role": "assistant", "content": answer}] if answer is not None else [])


class PromptRenderer:
    """Renders conversations for one tokenizer: its chat template, or plain text for a base model without one."""

    def __init__(self, tokenizer: Any, prompt: Prompt) -> None:
        self.tokenizer = tokenizer
        self.prompt = prompt

    def question_text(self, asked: Sequence[Message]) -> str:
        """Return the text that the model continues with its answer."""
        if self.tokenizer.chat_template is None:
            return (self.tokenizer.bos_token or "") + "".join(f"{self._plain(message)}\n\n" for message in asked)
        return self._template(asked, add_generation_prompt=True)

    def _plain(self, message: Message) -> str:
        """Return a message as plain text: an earlier answer with its end, or the model would learn never to stop."""
        ends = message["role"] == "assistant"
        return message["content"] + ((self.tokenizer.eos_token or "") if ends else "")

    def answer_text(self, conversation: Sequence[Message]) -> str:
        """Return the text of the answer as the model should have written it, its end token included."""
        answer = conversation[-1]["content"]
        if self.tokenizer.chat_template is not None:
            question = self.question_text(conversation[:-1])
            whole = self._template(conversation, add_generation_prompt=False)
            after = whole.removeprefix(question + answer)
            # A template that writes nothing there would teach the model never to stop.
            if after != whole and after.strip():
                return answer + after
        return answer + (self.tokenizer.eos_token or "")

    def training_tokens(self, conversation: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Return (token ids, labels) of a question with its answer; the question's labels are ignored by the loss."""
        question = self.token_ids(self.question_text(conversation[:-1]))
        # White space that a template writes after the end token belongs to the next turn: it is never asked for.
        answer = self.token_ids(self.answer_text(conversation).rstrip())
        return question + answer, [IGNORED] * len(question) + answer

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of rendered text; special tokens are in the text already."""
        # Whoever asks decides what is too long; the library would warn of it.
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def end_token_ids(self) -> set[int]:
        """Return the tokens that end an answer: what training teaches to write after it, and the tokenizer's own."""
        after = self.answer_text(messages(self.prompt, _SAMPLE, "2")).removeprefix("2")
        own = self.tokenizer.eos_token_id
        return set(self.token_ids(after)[:1]) | ({own} if own is not None else set())

    def hash(self) -> str:
        """Return a short hash of how this renderer writes prompts."""
        text = self.question_text(messages(self.prompt, _SAMPLE)) + self.answer_text(
            messages(self.prompt, _SAMPLE, "2")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _template(self, conversation: Sequence[Message], add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(conversation),
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    **self.prompt.chat_template_arguments,
                )
            )
        except (TemplateError, TypeError) as error:
            raise UserError(
                f"student.prompt: the student's chat template refuses it ({error}). Expected a system text only where "
                "the template takes one, and in chat_template_arguments only what the template knows"
            ) from error

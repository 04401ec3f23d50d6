"""An answer as a list of steps, the form in which step rewards judge it."""

from __future__ import annotations

import re

from stat_train.tasks.answers import extract_final

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_FINAL_WORDS = {"the", "final", "answer", "is", "boxed", "so", "therefore", "thus", "hence"}


def split_steps(text: str) -> list[str]:
    r"""Return the steps of an answer: its paragraphs, then its final answer as a step of its own.

    The last step is added ("The final answer is: \boxed{...}") unless the last paragraph says nothing else
    (arXiv 2510.10023, stage 1). A text without a final answer gets no such step.
    """
    steps = [step.strip() for step in _BLANK_LINE.split(text) if step.strip()]
    final = extract_final(text)
    if final is None or _states_only(steps[-1], final):
        return steps
    return [*steps, f"The final answer is: \\boxed{{{final}}}"]


def _states_only(paragraph: str, final: str) -> bool:
    # The last occurrence: an answer such as x is a letter of the words before it, too.
    before, found, after = paragraph.rpartition(final)
    words = re.findall(r"[^\W_]+", f"{before} {after}".lower())
    return bool(found) and set(words) <= _FINAL_WORDS

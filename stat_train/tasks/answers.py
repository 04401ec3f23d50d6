"""One definition of "same answer": the final answer of a text, and whether it equals the gold answer.

Used for grading, by evaluation, and wherever a solution's answer is needed.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from stat_train.records import Verdict

BuiltInGrader = Literal["math", "exact", "numeric", "choice"]


class Judgement(NamedTuple):
    """Whether an answer is right, and why where that is not plain."""

    verdict: Verdict
    reason: str | None = None


# At most four backslashes, so that a long run of them is not scanned again from each one.
_BOX_TOKEN = re.compile(r"\\{1,4}(?:boxed|fbox)(?![A-Za-z])\s*(\{)?|\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# A word is prose about boxes ("write \boxed around it"); a letter, a number or a command is an answer.
_UNBRACED = re.compile(r"(?![A-Za-z]{2})[^\s${}][^\s$]*")
_HASHES = re.compile(r"####[ \t]*([^\s#][^\n]*)")
_PHRASE = re.compile(
    r"\bthe[ \t]+(?:(?:final|correct)[ \t]+)?answer[ \t]+is\b[ \t]*:?"
    r"|^[*#>_ \t]{0,8}(?:final[ \t]+)?answer[*_ \t]{0,4}:",
    re.IGNORECASE | re.MULTILINE,
)

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")
# Longer ones are refused by Python's own conversion of text to int.
_MAX_NUMBER = 4000
# No answer to a question is longer; reading one as mathematics would take long.
MOST_CHARACTERS = 10_000
_LETTER = r"\(?([A-Z])\)?(?![A-Za-z])"
_CHOICE = re.compile(
    rf"(?:(?:option|answer|choice)\b\s*:?\s*)?({_LETTER}(?:\s*(?:,|and|&)\s*{_LETTER})*)(?:$|[.):]|(?<=\))\s|\s*[-\u2013]\s)",
    re.IGNORECASE,
)
_LETTERS = re.compile("[A-H]{2,8}")
_CHOICE_CHARACTERS = 200

_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"(?<=\d),\\!\s*(?=\d{3}(?!\d))|\\[!,;:]|\\q?quad(?![A-Za-z])|\\(?:left|right)(?![A-Za-z])|\\?\$")
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z]) | (?![A-Za-z])")
_WORDS = re.compile(r"[^\W\d_]{2}[^\d\\^_{}=+*/]*")


def extract_final(text: str) -> str | None:
    r"""Return the final answer that a text states, or None when it states none.

    The last `\boxed{...}` counts; without one, the last `#### x`; without that, the last "the answer is x" or
    line "Answer: x".
    A box that is empty or never closed states nothing.
    """
    return _last_box(text) or _last_hashes(text) or _last_phrase(text)


def compare(gold: str | None, given: str | None, grader: BuiltInGrader) -> Judgement:
    """Tell whether a final answer equals the gold answer, with the reason where that is not plain.

    `unscored` says that the gold answer cannot be compared with anything: never that the given one is wrong.
    """
    if not gold or not gold.strip():
        return Judgement("unscored", "no gold answer")
    if grader == "numeric" and _number(gold) is None:
        return Judgement("unscored", f"the gold answer is not a number: {_shown(gold)}")
    if grader == "choice" and not _choices(gold):
        return Judgement("unscored", f"the gold answer is not a choice such as B or (B): {_shown(gold)}")
    if given is None or not given.strip():
        return Judgement("wrong", "no final answer")
    if grader == "exact":
        return _verdict(_collapsed(gold) == _collapsed(given))
    if grader == "choice":
        return _compare_choices(gold, given)
    if grader == "numeric":
        return _compare_numbers(gold, given)
    return decided(gold, given) or _compare_math(gold, given)


def decided(gold: str | None, given: str | None) -> Judgement | None:
    """Return the verdict where it takes no mathematics: one answer is absent, too long, or the other to the letter."""
    if not gold or not gold.strip() or not given or not given.strip():
        return compare(gold, given, "exact")
    if len(gold) > MOST_CHARACTERS:
        return Judgement("unscored", f"the gold answer has {len(gold):,} characters")
    if len(given) > MOST_CHARACTERS:
        return Judgement("wrong", f"an answer of {len(given):,} characters")
    return Judgement("correct") if _collapsed(gold) == _collapsed(given) else None


def _last_box(text: str) -> str | None:
    """Return the content of the box that opens last, of those that are closed, in one pass over the text."""
    opened: list[int | None] = []  # where each open brace's content starts; None for a brace that is not a box
    last_start, last = -1, None
    for token in _BOX_TOKEN.finditer(text):
        start, end = None, token.start()
        if token[0] == "}":
            start = opened.pop() if opened else None
        elif token[1] or token[0] == "{":
            opened.append(token.end() if token[1] else None)
        elif token[0].lstrip("\\").startswith(("boxed", "fbox")) and (bare := _UNBRACED.match(text, token.end())):
            start, end = bare.span()
        if start is not None and start > last_start and (content := _tidied(text[start:end])):
            last_start, last = start, content
    return last


def _last_hashes(text: str) -> str | None:
    last = deque(_HASHES.finditer(text), maxlen=1)
    return _tidied(last[0][1]) or None if last else None


def _last_phrase(text: str) -> str | None:
    for phrase in reversed(list(_PHRASE.finditer(text))):
        stop = text.find("\n", phrase.end())
        # The closing sentence of the usual few-shot examples for MATH, on the same line as the answer.
        line = text[phrase.end() : stop if stop >= 0 else len(text)].strip().removesuffix("I hope it is correct.")
        # A box here is an empty or unclosed one, which states nothing.
        if (final := _tidied(line)) and not _BOX.search(final):
            return final
    return None


def _tidied(answer: str) -> str:
    answer = answer.strip().strip("*").strip()
    if answer.endswith(".") and not answer.endswith(r"\."):
        answer = answer[:-1].rstrip()
    if answer.startswith(r"\(") and answer.endswith(r"\)"):
        answer = answer[2:-2]
    # "\$" is a currency sign, not the end of a formula.
    return (answer if answer.endswith(r"\$") else answer.rstrip("$")).lstrip("$").strip()


def _compare_choices(gold: str, given: str) -> Judgement:
    chosen = _choices(given)
    if not chosen:
        return Judgement("wrong", f"not a choice such as B or (B): {_shown(given)}")
    return _verdict(chosen == _choices(gold))


def _choices(text: str) -> set[str]:
    """Return the letters that an answer chooses: `B`, `(B)`, `B. because`, `Option B`, `A and C`, `AC`."""
    plain = _TEXT_COMMAND.sub(r"\1", _SPACING.sub("", text[:_CHOICE_CHARACTERS].strip()))
    if _LETTERS.fullmatch(plain):
        return set(plain)
    found = _CHOICE.match(plain)
    return set(re.findall(r"(?<![A-Z])[A-Z](?![A-Z])", found[1].upper())) if found else set()


def _compare_numbers(gold: str, given: str) -> Judgement:
    number = _number(given)
    if number is None:
        return Judgement("wrong", f"not a number: {_shown(given)}")
    return _verdict(number == _number(gold))


def _number(text: str) -> Fraction | None:
    """Read a number or a fraction of two; thousands separators, $, % and a trailing period are no part of it."""
    plain = re.sub(r"\\?[$%]|\\!|\s", "", text.strip().removesuffix(".")).replace("{,}", ",").replace("\u2212", "-")
    top, slash, bottom = plain.partition("/")
    parts = [top, bottom] if slash else [top]
    if len(plain) > _MAX_NUMBER or not all(_NUMBER.fullmatch(part) and re.search("[0-9]", part) for part in parts):
        return None
    try:
        numerator, *rest = (Fraction(part.replace(",", "").removesuffix(".")) for part in parts)
        return numerator / rest[0] if rest else numerator
    except (ValueError, ZeroDivisionError):
        return None


def _compare_math(gold: str, given: str) -> Judgement:
    gold_text, given_text = _math_text(gold), _math_text(given)
    if _same_text(gold_text, given_text):
        return Judgement("correct")
    gold_values = _parsed(gold)
    if not gold_values:
        if not gold_text:
            return Judgement("unscored", f"the gold answer cannot be read: {_shown(gold)}")
        return Judgement("wrong", "compared as text: the gold answer cannot be read as mathematics")
    given_values = _parsed(given)
    if not given_values:
        return Judgement("wrong", f"the answer cannot be read as mathematics: {_shown(given)}")
    from math_verify import verify

    return _verdict(bool(verify(gold_values, given_values, timeout_seconds=None)))


def _parsed(answer: str) -> list[Any]:
    """Read an answer with math-verify; the list is empty when it cannot."""
    # The import takes a second, and only this grader needs it.
    from math_verify import parse

    # It warns that its timeouts are off; they must be, because they work by signals, which the main thread alone gets.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    latex = _math_latex(answer)
    values: list[Any] = []
    # It takes a letter after a space for a unit and drops it ("a + b + c" becomes "a + b +"): tried again without.
    for form in (latex, _LOOSE_SPACE.sub("", latex)):
        # Its fallback is a piece of the text, which can be cut in that way and then equal another answer's piece.
        values = values or parse(f"${form}$", fallback_mode="no_fallback", parsing_timeout=None)
    return values


def _math_latex(answer: str) -> str:
    """Drop what carries no meaning in a formula: spacing, currency signs, punctuation at the end."""
    return _collapsed(_SPACING.sub("", answer)).rstrip(".,; ")


def _math_text(answer: str) -> str:
    latex = _TEXT_COMMAND.sub(r"\1", _math_latex(answer))
    return re.sub(r"\s", "", latex.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))


def _same_text(gold: str, given: str) -> bool:
    # Words may differ in case ("monday"), names of variables may not.
    if _WORDS.fullmatch(gold):
        gold, given = gold.casefold(), given.casefold()
    return bool(gold) and gold == given


def _verdict(same: bool) -> Judgement:
    return Judgement("correct" if same else "wrong")


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")

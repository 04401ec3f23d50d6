"""One definition of "same answer": the final answer of a text, and whether it equals the gold answer.

Used for grading, by evaluation, and wherever a solution's answer is needed.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any, Literal, NamedTuple

from stat_train.records import Verdict
from stat_train.tasks.answer_text import (
    as_latex,
    as_text,
    collapsed,
    for_algebra,
    has_variables,
    same_without_algebra,
    with_distinct_case,
    without_markup,
    without_plus_minus,
    without_unit,
)

BuiltInGrader = Literal["math", "exact", "numeric", "choice"]


class Judgement(NamedTuple):
    """Whether an answer is right, and why where that is not plain."""

    verdict: Verdict
    reason: str | None = None


# At most four backslashes, so that a long run of them is not scanned again from each one.
_BOX_TOKEN = re.compile(r"\\{1,4}(?:boxed|fbox)(?![A-Za-z])\s*(\{)?|\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# A word is prose about boxes ("write \boxed around it"); a letter, a number or a command is an answer.
_UNBRACED = re.compile(r"(?![A-Za-z]{2})[^\s${}][^\s$]{0,200}")
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
    rf"(?:(?:option|answer|choice)\b\s*:?\s*)?({_LETTER}(?:\s*(?:,|and|&)\s*{_LETTER})*)"
    r"(?:$|[.):,;]|(?<=\))\s|\s*[-\u2013]\s|\s+because\b)",
    re.IGNORECASE,
)
_LETTERS = re.compile("[A-H]{2,8}")
# Another letter is considered as well, or the one that was named is taken back.
_HEDGED = re.compile(r"\([A-H]\)|(?:\bor|/|\bit is|\bit's)\s*\(?[A-H]\b|\b(?:wrong|incorrect)\b")
_NAMED = re.compile(
    r"\(([A-H])\)|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+(?:is\s+)?([A-H])\b|\b([A-H]) is (?:the )?(?:correct|right)\b"
)
_CHOICE_CHARACTERS = 200

_TINY = 1e-6
# A line that goes on for longer does not state an answer.
_LONGEST_LINE = 1000
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
        return Judgement("unscored", f"the gold answer is not a number: {shown(gold)}")
    if grader == "choice" and not _choices(gold):
        return Judgement("unscored", f"the gold answer is not a choice such as B or (B): {shown(gold)}")
    if given is None or not given.strip():
        return Judgement("wrong", "no final answer")
    if grader == "exact":
        return _verdict(collapsed(gold) == collapsed(given))
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
    return Judgement("correct") if collapsed(gold) == collapsed(given) else None


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
        stop = stop if stop >= 0 else len(text)
        if stop - phrase.end() > _LONGEST_LINE:
            continue
        line = text[phrase.end() : stop].strip().removesuffix("I hope it is correct.")
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
        return Judgement("wrong", f"not a choice such as B or (B): {shown(given)}")
    return _verdict(chosen == _choices(gold))


def _choices(text: str) -> set[str]:
    """Return the letters that an answer chooses: `B`, `(B)`, `B. because`, `Option B`, `A and C`, `AC`.

    A text that begins in no such way chooses the single letter that its end names.
    """
    plain = without_markup(text.strip()[:_CHOICE_CHARACTERS]).strip("*_ ")
    if _LETTERS.fullmatch(plain):
        return set(plain)
    if (found := _CHOICE.match(plain)) and not _HEDGED.search(plain, found.end(1)):
        return set(re.findall(r"(?<![A-Z])[A-Z](?![A-Z])", found[1].upper()))
    end = without_markup(text.strip()[-_CHOICE_CHARACTERS:])
    named = {letter for each in _NAMED.finditer(end) for letter in each.groups() if letter}
    return named if len(named) == 1 and not found else set()


def _compare_numbers(gold: str, given: str) -> Judgement:
    number = _number(given)
    if number is None:
        return Judgement("wrong", f"not a number: {shown(given)}")
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
    gold_latex, given_latex = as_latex(gold), as_latex(given)
    given_latex = without_unit(given_latex, among_numbers=not has_variables(gold_latex))
    gold_text = as_text(gold_latex)
    if _same_text(gold_text, as_text(given_latex)):
        return Judgement("correct")
    if gold_text and (same := same_without_algebra(gold_latex, given_latex)) is not None:
        return _verdict(same)
    gold_latex, given_latex = map(without_plus_minus, with_distinct_case(gold_latex, given_latex))
    gold_values = _parsed(gold_latex)
    if not gold_values:
        if _WORDS.fullmatch(gold_text):
            return Judgement("wrong", "other words")
        return Judgement("unscored", f"the gold answer cannot be read as mathematics: {shown(gold)}")
    given_values = _parsed(given_latex)
    if not given_values:
        return Judgement("wrong", f"the answer cannot be read as mathematics: {shown(given)}")
    return _verdict(_equal(gold_values, given_values))


def _equal(gold: list[Any], given: list[Any]) -> bool:
    from math_verify import verify

    if not verify(gold, given, allow_set_relation_comp=True, timeout_seconds=None):
        return False
    # It takes the difference of two tiny numbers for none.
    return not all(map(_is_tiny, (gold[0], given[0]))) or bool(abs((gold[0] / given[0]).evalf() - 1) < _TINY)


def _is_tiny(value: Any) -> bool:
    size = abs(value.evalf()) if getattr(value, "is_number", False) else None
    return size is not None and bool(size.is_comparable) and bool(0 < size < _TINY)


def _parsed(latex: str) -> list[Any]:
    """Read an answer with math-verify; the list is empty when it cannot."""
    # The import takes a second, and only this grader needs it.
    from math_verify import parse

    # It warns that its timeouts are off; they must be, because they work by signals, which the main thread alone gets.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # Its fallback is a piece of the text, which can be cut and then equal another answer's piece.
    values = parse(f"${for_algebra(latex)}$", _reading(), fallback_mode="no_fallback", parsing_timeout=None)
    return [_with_imaginary_unit(value) for value in values]


@cache
def _reading() -> list[Any]:
    """Return how math-verify reads: all of a formula, and no letter at its end taken for a unit."""
    from math_verify import LatexExtractionConfig

    usual = LatexExtractionConfig().normalization_config
    return [LatexExtractionConfig(normalization_config=replace(usual, units=False))]


def _with_imaginary_unit(value: Any) -> Any:
    """Read the letter i as the imaginary unit, which math-verify takes for a variable."""
    from sympy import I, Symbol

    symbols: set[Any] = getattr(value, "free_symbols", set())
    if all(symbol.name != "i" for symbol in symbols):
        return value
    try:
        return value.xreplace({each: I if each.name == "i" else Symbol(each.name, real=True) for each in symbols})
    except (TypeError, ValueError):  # in an inequality or an interval, it is a variable
        return value


def _same_text(gold: str, given: str) -> bool:
    # Words may differ in case ("monday"), names of variables may not.
    if _WORDS.fullmatch(gold):
        gold, given = gold.casefold(), given.casefold()
    return bool(gold) and gold == given


def _verdict(same: bool) -> Judgement:
    return Judgement("correct" if same else "wrong")


def shown(text: str) -> str:
    """Return a text for a message, cut off where it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")

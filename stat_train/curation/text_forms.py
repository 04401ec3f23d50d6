r"""The forms in which questions are compared: without white space, without numbers, as words, as letters alone.

In all of them capitals are small letters, and what TeX typesets alike is the same: `$x^{2} + 1$`, `$x^2+1$` and
`\(x^2\,+\,1\)` are one formula. Signs count, for they change a question.
"""

from __future__ import annotations

import re
import unicodedata

from stat_train.tasks.text import normalised

# Written in two ways on the web, with one meaning; what has no width vanishes.
_ALIKE = str.maketrans("‘’‚“”„«»‐‑−", '\'\'\'"""""---', "\u200b\u200c\u200d\u2060\ufeff\u00ad")
_DOLLAR = "\ue000"  # stands for `\$`, which opens no formula

_TEX_SPACE = re.compile(r"\\(?<!\\\\)(?:[,;:!]|(?:q?quad|left|right|displaystyle)(?![a-z]))")
_TEX_BLANK = re.compile(r"\\(?<!\\\\)\s|~")
_TEX_SIZE = re.compile(r"\\[dt](frac|binom)")
_TWO_DIGITS = re.compile(r"\\(frac|binom)(\d)(\d)")
_NEEDLESS_BRACES = re.compile(r"\{([^\\{}])\}")
# A `$` that opens a formula has it at its right, one that closes it at its left and no digit behind it (the rule of
# Pandoc's Markdown): so `$3 and $5` are two prices. The limit keeps a text full of opening marks from taking hours.
_FORMULA = re.compile(
    r"""\$\$(.{1,2000}?)\$\$
    | \$(?![\s$])([^$]{0,2000}?[^\s$])\$(?!\d)
    | \\(?<!\\\\)\((.{1,2000}?)\\\)
    | \\(?<!\\\\)\[(.{1,2000}?)\\\]""",
    re.DOTALL | re.VERBOSE,
)
_FORMULA_MARK = re.compile(r"\$|\\[()\[\]]")

_NEEDLESS_SPACE = re.compile(r" (?!\d)|(?<!\d) ")  # that between digits counts: `1 2/3` is not `12/3`
_SPACED_SIGN = re.compile(r"(?<![^\S\n])[^\S\n]+([-+*/=<>^×÷·])\s+")  # one word with its neighbours, as in a formula
_PARTING = str.maketrans(dict.fromkeys('"()[]{}?;—–…', " "))
_EDGE = re.compile(r"[,.:'*_](?:(?!\w)|(?<!\w.)(?<![,.])|(?<=[^\W\d][,.:]))")
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"\d+(?:(?:,|\{,\})\d{3}(?!\d))*(?:\.\d+)?")
_SIGN = re.compile(r"[-+](?<![\w)\]}].)(?=0)")


def plain(text: str) -> str:
    """Return a text in small letters, with each of TeX's notations in one form; braces and spaces are left."""
    text = text.casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_ALIKE)
    if "\\" in text:
        text = _TEX_SPACE.sub("", text.replace("\\$", _DOLLAR).replace("\\%", "%"))
        text = _TWO_DIGITS.sub(r"\\\1{\2}{\3}", _TEX_SIZE.sub(r"\\\1", text))
    return _TEX_BLANK.sub(" ", text) if "\\" in text or "~" in text else text


def letters(plain_text: str) -> str:
    """Return the letters of a plain text alone: where these differ, no other form of two questions is the same."""
    return "".join(filter(str.isalpha, plain_text))


def without_spaces(plain_text: str) -> str:
    """Return a plain text without white space, formula marks and braces that change nothing."""
    text = _NEEDLESS_BRACES.sub(r"\1", _FORMULA_MARK.sub("", plain_text)).replace(_DOLLAR, "")
    return _NEEDLESS_SPACE.sub("", " ".join(text.split()))


def words(plain_text: str) -> list[str]:
    """Return the words of a plain text. A formula is one word; those of prose are without the marks at their edges."""
    text = _NEEDLESS_BRACES.sub(r"\1", plain_text) if "{" in plain_text else plain_text
    if "$" not in text and "\\" not in text:
        return _prose(text)
    found, start = list[str](), 0
    for match in _FORMULA.finditer(text):
        found += _prose(text[start : match.start()])
        formula = "".join(match[match.lastindex or 0].split()).rstrip(",.:;?")
        found += [formula] if formula else []
        start = match.end()
    return found + _prose(text[start:])


def _prose(text: str) -> list[str]:
    text = _SPACED_SIGN.sub(r"\1", text.translate(_PARTING))
    return _EDGE.sub(" ", text).replace(_DOLLAR, "$").split()


def digits_masked(text: str) -> str:
    """Return a text in small letters and with single spaces, each run of digits a 0, and nothing else changed.

    By this measure 249 of the 7,498 questions of MATH's train split equal one of its test split.
    """
    return _DIGITS.sub("0", normalised(text))


def numbers_masked(plain_text: str) -> str:
    """Return a plain text in which each number is a 0: with its sign, its thousands and its decimals."""
    return _SIGN.sub("", _NUMBER.sub("0", plain_text))

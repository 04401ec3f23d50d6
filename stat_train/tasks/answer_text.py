r"""How answers are written: one form for each, and what can be told of two of them without algebra.

Everything here takes time in proportion to the answer's length: answers are long when a model runs wild.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SIGNS = {
    **{ord(sign): "-" for sign in "\u2212\u2010\u2011\u2012\u2013"},
    **{ord(sign): None for sign in "\u200b\u2060\ufeff€£¥"},
    **{full: full - 0xFEE0 for full in range(0xFF01, 0xFF5F)},
    **{
        ord(sign): r" \frac{" + unicodedata.normalize("NFKC", sign).replace("⁄", "}{") + "}"
        for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
    },
    ord("⁄"): "/",
    ord("÷"): "/",
    ord("°"): r"^\circ ",
}
_NAMES = {
    "π": "pi", "θ": "theta", "α": "alpha", "β": "beta", "∞": "infty", "±": "pm", "×": "times", "·": "cdot", "⋅": "cdot",
    "≤": "le", "≥": "ge", "≠": "ne", "≈": "approx", "∪": "cup", "∩": "cap", "∈": "in", "∅": "emptyset",
}  # fmt: skip
_SIGNS |= {ord(sign): rf"\{name} " for sign, name in _NAMES.items()}
_RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿ]+")
_LOWERED = re.compile("[₀-₉]+")
_ROOT = re.compile(r"√\s?(?:(\d+(?:\.\d+)?|[A-Za-z])|(?=\())?")

_TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf)|mbox)\s?"
_TEXT_COMMAND = re.compile(_TEXT + r"\{([^{}]*)\}")
_SPACING = re.compile(
    r"(?<=\d),\\!\s*(?=\d{3}(?!\d))|\\[!,;:]|\\q?quad(?![A-Za-z])|\\(?:left|right|displaystyle)(?![A-Za-z])|\\?\$"
)
_SPACE = re.compile(r"(?<!\\)\\ |~")
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_PERCENT = re.compile(rf"(?:{_TEXT}\{{ ?percent ?\}}| ?\bpercent\b)")
_AND = re.compile(rf" ?,? ?(?:{_TEXT}\{{ ?,? ?(?:and|or) ?\}}|(?<![A-Za-z])(?:and|or)(?![A-Za-z])) ?")
_DEGREES = re.compile(r" ?\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\})")
_DEGREES_OF = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)" + _DEGREES.pattern)
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_PUNCTUATION = ".,; "
# What a student writes without a backslash, and what TeX sets otherwise than it reads.
_PLAIN_NAMES = re.compile(r"(?<![A-Za-z\\])(sqrt|sin|cos|tan|cot|sec|csc|ln|log|pi)(?![A-Za-z])")
_PLAIN_INFINITY = re.compile(r"(?<![A-Za-z\\])(?:oo|infinity)(?![A-Za-z])")
_PLAIN_POWER = re.compile(r"(?:\*\*|\^) ?(-?\d{2,}|(?<=\*\*)-?\w|(?<=\*\* )-?\w)")
_E_NOTATION = re.compile(r"([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})")
_BARE_FRACTION = re.compile(r"\\frac ?(\\[A-Za-z]+) ?(\d)")
_PHANTOM = re.compile(r"\\phantom ?(?:\{[^{}]*\}|.)")
_VARIABLES = re.compile(rf"{_TEXT}\{{[^{{}}]*\}}|\\[A-Za-z]+|([A-Za-z])")
# Neither i nor e, which are numbers.
_SPARE_LETTERS = "abcdfghjklmnopqrstuvwxyz"

_POWER = r"(?: ?\^ ?(?:\d|\{\d\}))?"
_TEXT_UNIT = re.compile(rf"(?<=[A-Za-z0-9)\]}}]) ?{_TEXT}\{{([^{{}}]*)\}}{_POWER}$")
_BARE_UNIT = re.compile(rf"(?:(?<=[\d)}}])|(?<=\\pi)(?= ))( ?)([A-Za-z./ ]{{1,60}}){_POWER}$")
_SHORT_UNITS = {
    *("m", "g", "s", "h", "l", "L", "cm", "mm", "km", "ft", "in", "yd", "mi", "kg", "mg", "gm", "lb", "oz", "hr"),
    *("ml", "mL", "sq", "cu", "cc", "J", "N", "W", "V", "K", "Hz", "Pa"),
}
# Words after a number that change it, or say something of it: it is not the number alone then.
_NOT_UNIT = re.compile(
    "am|pm|or|and|not|cannot|is|are|more|less|remainder|mod|pi|sin|cos|tan|log|than|below|above|wrong|"
    "plus|minus|times|over|divided|by|squared|cubed|factorial|base|choose|root|raised|negative|infinity|"
    "(?:hundred|thousand|lakh|[a-z]*illion|dozen|third|half|halve|quarter)s?|(?!month)[a-z]{2,}ths?|"
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
)

_NUMBER = r"(?:\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_PART = rf"(?:\{{([+-]?{_NUMBER})\}}|(\d))"
_DECIMAL = re.compile(rf"([+-]?{_NUMBER})(?:(?:\\times|\\cdot|\*)10\^(?:\{{([+-]?\d{{1,3}})\}}|(\d)))?")
_FRACTION = re.compile(rf"([+-]?)(\d*)\\frac{_PART}{_PART}")
_SLASHED = re.compile(rf"([+-]?)(?:(\d+) )?({_NUMBER})/([+-]?{_NUMBER})")
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}")
# Longer ones are refused by Python's own conversion of text to int.
_MAX_NUMBER = 4000

_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?(?::(\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_BASES = dict(two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, twelve=12, sixteen=16)
_NUMERAL = re.compile(r"([+-]?)\(?([0-9A-Z.]+)\)?_\{?(\d{1,2}|[a-z]+)\}?")
_DIGITS = re.compile(r"[+-]?[0-9A-Z.]+")
_LETTERS = re.compile(r"\(?[A-Z]\)?(?:,\(?[A-Z]\)?)*")
_WORD = re.compile(rf"{_TEXT}\{{([^{{}}\d=]*)\}}|([A-Z]{{3,}})")
_PREFIX = re.compile(rf"{_TEXT}\{{[^{{}}]*(?:\bis|:|=) ?\}} ?(?=.)|\\approx(?![A-Za-z]) ?")
_ROOT_OF = re.compile(r"\\?sqrt ?\(([^()]*)\)")
_SET = re.compile(r"\\\{[^:|]*\\\}")
_TUPLE = re.compile(r"[(\[][^,]*,.*[)\]]")


def as_latex(answer: str) -> str:
    """Write an answer in LaTeX without what carries no meaning: spacing, currency signs, punctuation at the end."""
    latex = _SPACE.sub(" ", _SPACING.sub("", collapsed(_without_unicode(answer))))
    latex = collapsed(latex).strip("*").removeprefix(r"\[").removesuffix(r"\]").strip().rstrip(_PUNCTUATION)
    latex = _PERCENT.sub(r"\\%", _THOUSANDS.sub("", latex).replace(r"\varnothing", r"\emptyset"))
    latex = _with_backslashes(_AND.sub(", ", latex))
    if prefix := _PREFIX.match(latex):
        latex = latex[prefix.end() :]
    return without_unit(latex).rstrip(_PUNCTUATION)


def _with_backslashes(latex: str) -> str:
    """Write what was typed without TeX, or in a form of it that readers of formulas do not know."""
    if number := _E_NOTATION.fullmatch(latex):
        return rf"{number[1]}\times10^{{{int(number[2])}}}"
    latex = _PLAIN_INFINITY.sub(r"\\infty ", _PLAIN_NAMES.sub(r"\\\1 ", latex))
    latex = _PHANTOM.sub("", _BARE_FRACTION.sub(r"\\frac{\1}{\2}", latex))
    return _PLAIN_POWER.sub(r"^{\1}", latex).replace(r"\langle", "(").replace(r"\rangle", ")")


def with_distinct_case(gold: str, given: str) -> tuple[str, str]:
    """Give another letter to each capital whose small letter occurs too: to readers of formulas they are one."""
    letters = {each[1] for latex in (gold, given) for each in _VARIABLES.finditer(latex) if each[1]}
    twins = sorted(letter for letter in letters if letter.isupper() and letter.lower() in letters)
    spare = [letter for letter in _SPARE_LETTERS if letter not in letters and letter.upper() not in letters]
    names = dict(zip(twins, spare, strict=False))
    gold, given = (_VARIABLES.sub(lambda each: names.get(each[1], each[0]), latex) for latex in (gold, given))
    return gold, given


def without_plus_minus(latex: str) -> str:
    r"""Write `\frac{1 \pm x}{2}` as its two values; what begins with the sign is known to readers of formulas."""
    if latex.count(r"\pm") != 1 or "," in latex or not latex.startswith(r"\frac"):
        return latex
    return ", ".join(re.sub(r"\\pm(?![A-Za-z])", sign, latex) for sign in "+-")


def without_markup(text: str) -> str:
    """Drop spacing commands and the names of fonts around words."""
    return _TEXT_COMMAND.sub(r"\1", _SPACING.sub("", text))


def without_unit(latex: str, among_numbers: bool = False) -> str:
    r"""Drop the unit at an answer's end: `\text{ cm}^2`, or bare words after a number.

    Among numbers alone, a single letter or a short word can be nothing but a unit.
    """
    unit = _TEXT_UNIT.search(latex)
    if unit and _is_unit(unit[1], known=1, any_word=2):
        return latex[: unit.start()]
    unit = _BARE_UNIT.search(latex)
    known, any_word = (1, 3) if among_numbers and unit and unit[1] else (1, 4) if among_numbers else (2, 4)
    return latex[: unit.start()] if unit and _is_unit(unit[2], known=known, any_word=any_word) else latex


def has_variables(latex: str) -> bool:
    """Tell whether letters stand in an answer other than in names of commands and in text."""
    return bool(re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", _TEXT_COMMAND.sub("", latex.rpartition("=")[2]))))


def for_algebra(latex: str) -> str:
    """Write an answer as the reader of formulas takes it: without degree and percent signs."""
    latex = _ROOT_OF.sub(r"\\sqrt{\1}", re.sub(r" ?\\?%", "", latex))
    if _ANGLE_FUNCTION.search(latex):
        latex = _DEGREES_OF.sub(r"\\frac{\1\\pi}{180}", latex)
    return _DEGREES.sub("", latex)


def as_text(latex: str) -> str:
    """Write an answer so that the same text is the same answer."""
    text = _DEGREES.sub("", _TEXT_COMMAND.sub(r"\1", latex)).replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    # "2 1/2" is not "21/2", and "10, 100" is not "10,100".
    text = re.sub(r"(?<=\d), (?=\d)", ";", text)
    return re.sub(r"(?<!\d)\s|\s(?!\d)", "", text).rstrip(_PUNCTUATION)


def same_without_algebra(gold: str, given: str) -> bool | None:
    """Compare two answers in LaTeX that are not formulas; None where that takes algebra."""
    if (word := _WORD.fullmatch(gold)) and re.search("[A-Za-z]{2}", word[1] or word[2]):
        return False  # its text is another
    gold, given = as_text(gold), as_text(given)
    for same in (_same_time, _same_numeral, _same_letters, _same_value):
        if (verdict := same(gold, given)) is not None:
            return verdict
    shapes = _shape(gold), _shape(given)
    return False if all(shapes) and shapes[0] != shapes[1] else None


def collapsed(text: str) -> str:
    """Return a text with single spaces for its white space."""
    return " ".join(text.split())


def _without_unicode(answer: str) -> str:
    if answer.isascii():
        return answer
    answer = _RAISED.sub(lambda run: "^{" + unicodedata.normalize("NFKC", run[0]).replace("\u2212", "-") + "}", answer)
    answer = _LOWERED.sub(lambda run: "_{" + unicodedata.normalize("NFKC", run[0]) + "}", answer)
    answer = _ROOT.sub(lambda root: rf"\sqrt{{{root[1]}}}" if root[1] else r"\sqrt", answer.translate(_SIGNS))
    return answer


def _is_unit(words: str, known: int, any_word: int) -> bool:
    """Tell whether words are a unit: the first is a known one or any word, of at least so many letters."""
    words = re.sub(r"\^\d", "", words).replace(".m", "m")
    found = re.findall("[A-Za-z]+", words)
    if not found or re.search("[0-9=<>\\\\]", words) or any(_NOT_UNIT.fullmatch(word.lower()) for word in found):
        return False
    return len(found[0]) >= (known if found[0] in _SHORT_UNITS else any_word)


def _same_time(gold: str, given: str) -> bool | None:
    """Compare times of day; where the given one has minutes, it may leave out the half of the day."""
    times = [(time.groups() if time else None) for time in map(_TIME.fullmatch, (gold, given))]
    if not times[0] or not times[0][3]:
        return None
    if not times[1] or not (times[1][1] or times[1][3]):
        return False
    gold_clock, given_clock = ([int(part or 0) for part in time[:3]] for time in times if time)
    return gold_clock == given_clock and (times[1][3] or times[0][3]).lower() == times[0][3].lower()


def _same_numeral(gold: str, given: str) -> bool | None:
    """Compare numerals with a base: another base is another answer, one that is left out is the same."""
    numerals = _numeral(gold), _numeral(given)
    if not any(numerals):
        return None
    if all(numerals):
        return numerals[0] == numerals[1]
    plain = [text.rpartition("=")[2] for text in (gold, given)]
    if not numerals[0] and not _DIGITS.fullmatch(plain[0]):
        return None
    digits = [numeral[0] if numeral else text for numeral, text in zip(numerals, plain, strict=True)]
    return digits[0] == digits[1]


def _numeral(text: str) -> tuple[str, int] | None:
    """Read a numeral with a subscript that can be its base."""
    numeral = _NUMERAL.fullmatch(text.rpartition("=")[2])
    base = 0 if not numeral else int(numeral[3]) if numeral[3].isdigit() else _BASES.get(numeral[3], 0)
    if not numeral or not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in numeral[2].replace(".", "")):
        return None
    return numeral[1] + numeral[2], base


def _same_letters(gold: str, given: str) -> bool | None:
    """Compare the letters of choices, in any order."""
    if not _LETTERS.fullmatch(gold) or not _LETTERS.fullmatch(given):
        return None
    return set(re.findall("[A-Z]", gold)) == set(re.findall("[A-Z]", given))


def _same_value(gold: str, given: str) -> bool | None:
    """Compare numbers exactly; a percent sign may be left out, or stand for hundredths."""
    values = [_value(re.sub(r"\\?%$", "", _last_side(text))) for text in (gold, given)]
    if values[0] is None or values[1] is None:
        return None
    hundredths = gold.endswith("%") - given.endswith("%")
    return values[0] == values[1] or (hundredths != 0 and values[0] == values[1] * Fraction(100) ** hundredths)


def _last_side(text: str) -> str:
    """Return what an equation of two numbers ends with ("0.56=56%"), and any other text as it is."""
    first, _, last = text.partition("=")
    return last if last and _value(first) is not None else text


def _value(text: str) -> Fraction | None:
    """Read a decimal, a fraction, a mixed number, a repeating decimal or scientific notation."""
    if len(text) > _MAX_NUMBER:
        return None
    try:
        if decimal := _DECIMAL.fullmatch(text):
            return Fraction(_plain(decimal[1]) * Fraction(10) ** int(decimal[2] or decimal[3] or 0))
        if fraction := _FRACTION.fullmatch(text) or _SLASHED.fullmatch(text):
            sign, whole, *parts = fraction.groups()
            top, bottom = (_plain(part) for part in parts if part)
            return (int(whole or 0) + top / bottom) * (-1 if sign == "-" else 1)
        if repeating := _REPEATING.fullmatch(text):
            return _repeating(*repeating.groups())
    except ZeroDivisionError:
        pass
    return None


def _plain(number: str) -> Fraction:
    return Fraction(re.sub(r"[{},]", "", number).removesuffix("."))


def _repeating(sign: str, whole: str, once: str, again: str) -> Fraction:
    value = int(whole + once or 0) + Fraction(int(again), 10 ** len(again) - 1)
    return Fraction(value / 10 ** len(once) * (-1 if sign == "-" else 1))


def _shape(text: str) -> str:
    """Return how an answer is bracketed as a whole: as a set, as a tuple or interval, or in no such way."""
    return "set" if _SET.fullmatch(text) else "tuple" if _TUPLE.fullmatch(text) else ""

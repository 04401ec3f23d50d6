"""Decontamination: each rule at its threshold, and planted and true contamination of MATH.

Questions of made-up words (`w0 w1 ...`) make the expected numbers easy to derive: of 22 different words there are
22 - 13 + 1 = 10 shingles, so 9 of them are 90 %, and k words in a row hold k - 12 of them.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hash_seeds import said_under_two_hash_seeds

from stat_train.curation.decontamination import (
    LEAK_PERCENT,
    SHINGLE_WORDS,
    SHORTEST_CHARACTERS,
    SHORTEST_WORDS,
    Decontaminator,
    HeldOut,
    Hit,
)
from stat_train.curation.text_forms import digits_masked

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "decontamination.json"
FORMULA = "Let $f(x) = x^{2} + 1$. What is $f(3)$?"


def _words(start: int, count: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + count))


def _against(*questions: str) -> Decontaminator:
    return Decontaminator(HeldOut(str(number), question, "math") for number, question in enumerate(questions))


def _hit(row: str, *held_out: str) -> Hit | None:
    return _against(*held_out).check([row])[0]


def _how(row: str, *held_out: str) -> str | None:
    hit = _hit(row, *held_out)
    return hit and hit.how


# -- leaks: the same text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        FORMULA,
        FORMULA.upper(),
        "  " + FORMULA.replace(" ", "\n\t ") + "\n",
        FORMULA.replace(" ", "\u00a0"),
        "Let $f(x)=x^2+1$. What is $f(3)?$",
        "Let $ f(x) = x^2 + 1 $. What is $ f(3) $?",
        r"Let \(f(x) = x^2 + 1\). What is \(f(3)\)?",
        r"Let $f\left(x\right)\,=\,x^2\;+\;1$. What is~$f(3)\!$?",
        r"Let\ $f(x) = x^2 + 1$.\quad What is $\displaystyle f(3)$?",
        "Let f(x) = x^2 + 1. What is f(3)?",
        "Let $f(x) = x^{2} + 1$.\u200b What is $f(3)$?\ufeff",
    ],
)
def test_a_copy_is_a_leak_whatever_its_case_and_white_space(row: str) -> None:
    assert _hit(row, FORMULA) == Hit("leak", "equal", HeldOut("0", FORMULA, "math"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is $x+1$ at 2?", "What is $x-1$ at 2?"),
        ("What is $x + y$ now?", "What is $x - y$ now?"),
        ("What is 2 + 3 in words?", "What is 2 - 3 in words?"),
        ("Find the value of $5!$ as a number.", "Find the value of $5$ as a number."),
        ("Find the value of 5! as a number.", "Find the value of 5 as a number."),
        ("How much is 20% of it in the end?", "How much is 20 of it in the end?"),
        ("Compute $2(x+1)^2$ for all x.", "Compute $2x+1^2$ for all x."),
        (r"Compute $\frac{a}{b}+c$ for me.", r"Compute $\frac{a}{b+c}$ for me."),
        ("Add 1 2/3 to it. What is it then?", "Add 12/3 to it. What is it then?"),
        ("Solve $x<3$ for whole numbers.", "Solve $x>3$ for whole numbers."),
    ],
)
def test_signs_count(one: str, other: str) -> None:
    assert "leak" not in [hit and hit.kind for hit in (_hit(one, other), _hit(other, one))]


def test_a_sign_between_equal_numbers_makes_another_question() -> None:
    assert _hit("What is 312 + 335?", "What is 312 - 335?") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("STRASSE nach Köln", "straße nach Ko\u0308ln"),
        ("Tom’s “big” number − 3", 'tom\'s "big" number - 3'),
        (r"It costs \$5. Find \dfrac{1}{2} of 20\%.", r"It costs $5. Find \tfrac12 of 20%."),
        ("？", "？ "),
    ],
)
def test_what_is_written_in_two_ways_is_the_same(one: str, other: str) -> None:
    assert _how(one, other) == _how(other, one) == "equal"


# -- leaks: a text that holds a benchmark question --------------------------------------------------------------------


@pytest.mark.parametrize(("words", "kind"), [(22, "leak"), (21, "leak"), (20, "template twin")])
def test_a_row_with_ninety_percent_of_the_shingles_is_a_leak(words: int, kind: str) -> None:
    assert (SHINGLE_WORDS, LEAK_PERCENT) == (13, 90)
    row = f"before {_words(0, words)} after"
    hit = _hit(row, _words(0, 22))
    assert hit and hit.kind == kind


def test_shingles_count_once_however_often_they_appear() -> None:
    # 26 times the same word: one shingle, which 13 of them hold.
    assert _how("so " + "same " * 13, "same " * 26) == "contained"
    assert _how("so " + "same " * 12, "same " * 26) is None
    # Twice 20 of 22 words are still 8 of 10 shingles.
    assert _how(f"{_words(0, 20)} and {_words(0, 20)}", _words(0, 22)) == "13 words in a row"


def test_a_question_of_thirteen_words_is_one_shingle() -> None:
    assert _how(f"x {_words(0, 13)} y", _words(0, 13)) == "contained"
    assert _how(f"x {_words(0, 12)} y", _words(0, 13)) is None


def test_a_shorter_question_must_be_there_as_a_whole() -> None:
    assert _how(f"x {_words(0, 9)} y", _words(0, 9)) == "contained"
    assert _how(f"x {_words(0, 8)} y", _words(0, 9)) is None
    assert _how(f"x {_words(0, 5)} and {_words(5, 4)} y", _words(0, 9)) is None


def test_short_questions_are_looked_for_inside_others_only_when_they_say_something() -> None:
    assert (SHORTEST_WORDS, SHORTEST_CHARACTERS) == (8, 12)
    # Words of letters alone: 8 of them.
    assert _how("so a b c d e f g h then", "a b c d e f g h") == "contained"
    assert _how("so aaaa bbbb cccc dddd eeee ffff gggg then", "aaaa bbbb cccc dddd eeee ffff gggg") is None
    # With a number, 12 characters: 4 + 8, and 4 + 7.
    assert _how("Please find $14.6+215$ for me.", "Find $14.6+215$.") == "contained"
    assert _how("Please find $146+215$ for me.", "Find $146+215$.") is None
    # One word is never enough.
    assert _how("Now 12345678901234567890 is large.", "12345678901234567890") is None


@pytest.mark.parametrize("short", ["Why?", "Simplify.", "Find x.", "Find $x$.", "Find the value of $x$.", "What is 7?"])
def test_a_benchmark_question_of_a_few_words_leaves_other_rows_alone(short: str) -> None:
    longer = f"Let x be as large as y. {short} Give reasons."
    assert [_how(longer, short), _how(short, short)] == [None, "equal"]


@pytest.mark.parametrize(
    "around",
    [
        'A question: "{}" Show your work.',
        "({})",
        "[{}] is what I ask.",
        "«{}», said Tom, '{}'",
        "Question:{}",
        "Problem 4. {} Answer: ...",
        "**{}**\n\n1. Think. 2. Answer.",
        "He paid $5 and asked: {}!",
        "\\textbf{{Exercise.}} {} — hint: think",
        "{}{}",
        "…{}…",
    ],
)
@pytest.mark.parametrize(
    "question",
    [
        FORMULA,
        "Compute $\\cos 60^\\circ$.",
        "Janet's ducks lay 16 eggs per day, and she sells 9 of them for $2 each; how much does she make (in dollars)?",
        "What is 312 + 335 in the end, if 312 is less than 335?",
    ],
)
def test_a_question_is_found_inside_quotes_brackets_and_marks(around: str, question: str) -> None:
    assert _how(around.replace("{}", question), question) == "contained"


def test_a_longer_calculation_does_not_hold_a_shorter_one() -> None:
    assert _how("What is 312 + 335 + 4?", "What is 312 + 335?") is None
    assert _how("What is $312 + 335 + 4$?", "What is $312 + 335$?") is None


# -- template twins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers",
    [("7", "5"), ("1234", "5"), ("0.75", "5"), ("12,345", "5"), ("-3", "5"), ("12,345.5", "-0.5"), ("7", "5,000")],
)
@pytest.mark.parametrize(
    "template",
    ["Tom has {} apples and eats {}. How many are left?", "Find $x$ if $x = {} \\cdot {}$.", "Let $f({}) = {}$."],
)
def test_the_same_text_with_other_numbers_is_a_twin(template: str, numbers: tuple[str, str]) -> None:
    hit = _hit(template.format(*numbers), template.format(3, 11))
    assert hit and (hit.kind, hit.how) == ("template twin", "equal but for numbers")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Simplify $\frac{12}{35}$ now.", r"Simplify $\frac{1}{2}$ now."),
        (r"Simplify $\frac{12}{35}$ now.", r"Simplify $\dfrac12$ now."),
        (r"Solve $x^{12} = 5$.", r"Solve $x^2=77$."),
        (r"Round $12{,}345.5$ down.", r"Round $7$ down."),
        (r"Round $12,\!345$ down.", r"Round 7 down."),
        (r"Move to $(-2, 3)$.", r"Move to $(2,-3)$."),
        ("Pick n from {100,101,102}.", "Pick n from {1,2,3}."),
    ],
)
def test_numbers_in_tex_are_numbers(one: str, other: str) -> None:
    assert _how(one, other) == _how(other, one) == "equal but for numbers"


def test_a_twin_has_the_same_words_and_signs() -> None:
    assert _how("Tom has 3 pears. How many?", "Tom has 5 apples. How many?") is None
    assert _how("Solve $x+5=2$.", "Solve $x-3=2$.") is None


def test_thirteen_words_in_a_row_are_a_twin_and_twelve_are_not() -> None:
    assert _how(f"before {_words(5, 13)} after", _words(0, 22)) == "13 words in a row"
    assert _how(f"before {_words(5, 12)} after", _words(0, 22)) is None
    assert _how(f"before {_words(5, 6)} between {_words(11, 7)} after", _words(0, 22)) is None


# -- which benchmark question, which rule -----------------------------------------------------------------------------


def test_the_strongest_rule_is_named() -> None:
    held_out = [_words(0, 30), "then stop and say it now for 9 of us", "Add 5 to 6.", "Add 3 to 44."]
    rows = {
        "Add 3 to 44.": ("leak", "equal", "3"),  # and the numbers of 2 are other ones
        f"{_words(0, 13)} then stop and say it now for 9 of us": ("leak", "contained", "1"),  # and 13 words of 0
        "Add 7 to 6.": ("template twin", "equal but for numbers", "2"),
        _words(0, 13): ("template twin", "13 words in a row", "0"),
        _words(0, 30).replace("w29", "w30"): ("leak", "contained", "0"),  # 17 of 18 shingles; but for a number, equal
    }
    found = _against(*held_out).check(list(rows))
    assert [hit and (hit.kind, hit.how, hit.held_out.id) for hit in found] == list(rows.values())


def test_the_question_with_most_in_common_is_named_and_of_equals_the_first() -> None:
    longer, shorter = _words(0, 40), _words(10, 20)
    # 18 words in a row hold 6 of the 28 shingles of one and 6 of the 8 of the other.
    hit = _hit(f"x {_words(10, 18)} y", longer, shorter)
    assert hit and hit.held_out.id == "1"
    same = [HeldOut("a", FORMULA, "validation"), HeldOut("b", FORMULA, "math")]
    for row in (FORMULA, f"Well: {FORMULA}", FORMULA.replace("3", "4")):
        hit = Decontaminator(same).check([row])[0]
        assert hit and hit.held_out == same[0]


def test_rows_are_checked_each_alone() -> None:
    held_out = [_words(0, 13), _words(20, 22), "Tom has 3 apples. How many?", FORMULA]
    check = _against(*held_out)
    halves = [_words(0, 6), _words(6, 7)]
    assert check.check(halves) == [None, None]
    rows = [*halves, *held_out, f"x {_words(20, 13)}", "Tom has 4 apples. How many?", "nothing of it"]
    found = check.check(rows)
    assert found == [check.check([row])[0] for row in rows]
    assert check.check(rows[::-1]) == found[::-1]
    assert [hit is None for hit in found] == [True] * 2 + [False] * 6 + [True]


@pytest.mark.parametrize("empty", ["", "  \n", "$$", "\u200b", "$ $"])
def test_empty_texts_match_nothing(empty: str) -> None:
    assert _against(empty, FORMULA).check([empty, "", " ", FORMULA])[:3] == [None] * 3
    assert _against().check([empty, FORMULA]) == [None, None]
    assert _against(empty).check([]) == []


def test_what_is_found_does_not_depend_on_the_process() -> None:
    script = (
        "from stat_train.curation.decontamination import *\n"
        "text = 'Give all {} of the {} numbers so that x{}+1 is {} times y'\n"
        "held_out = [text.format(n % 7, n % 5, n % 3, n % 4) for n in range(99)]\n"
        "check = Decontaminator(HeldOut(str(n), text, 'math') for n, text in enumerate(held_out))\n"
        "rows = [f'{a} and {b}' for a, b in zip(held_out, reversed(held_out))] + [text + '0' for text in held_out]\n"
        "print(check.check(rows))"
    )
    said, again = said_under_two_hash_seeds(script)
    assert said == again
    assert said.count("Hit(") > 99


@pytest.mark.parametrize("part", ["\\(", "\\[", "$", "$a ", "{", " ", "\\ ", "1,", " + ", "'", "\n"])
def test_a_hostile_text_takes_no_time(part: str) -> None:
    """Looking from each mark to the end of the text would take minutes."""
    started = time.monotonic()
    assert _against(FORMULA).check([part * 20_000]) == [None]
    assert time.monotonic() - started < 20


# -- MATH -------------------------------------------------------------------------------------------------------------


class Math:
    """The questions of MATH, and the train questions that were found to be or to hold test questions."""

    def __init__(self, folder: Path) -> None:
        read = {name: _read(folder / f"math/{name}.jsonl") for name in ("train", "test")}
        self.train = {row["id"]: row["question"] for row in read["train"]}
        self.test = {row["id"]: row["question"] for row in read["test"]}
        self.check = Decontaminator(HeldOut(key, text, "math") for key, text in self.test.items()).check
        self.found = dict(zip(self.train, self.check(list(self.train.values())), strict=True))


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def math(shared_data: Path) -> Math:
    return Math(shared_data)


NUMBER = re.compile(r"\d+(?:\.\d+)?")
AROUND = (
    'Solve this with care. "{}" Show all steps.',
    "A friend asked me ({}), and I could not answer.",
    "Question: {}\nAnswer step by step, and put the result into a box.",
    "Warm-up: how much is 3 + 4? Then: [{}] Take your time.",
    "He paid $5 for the book where it says: «{}»",
    "**{}**",
)


def _spaced(random: Random, text: str) -> str:
    cased = "".join(random.choice([letter.upper(), letter.lower()]) for letter in text)
    signs = re.sub(r" ?([+=<>]) ?", lambda match: random.choice([" {} ", "{}", " {}"]).format(match[1]), cased)
    return re.sub(" ", lambda _: random.choice([" ", "  ", "\n", "\t"]), f" {signs}\n")


def _renumbered(random: Random, text: str) -> str:
    def other(match: re.Match[str]) -> str:
        digits = len(match[0].partition(".")[0])
        value = random.randrange(10 ** (digits - 1), 10**digits)
        return f"{value + 0.25}" if "." in match[0] else str(value)

    return NUMBER.sub(other, text)


@pytest.mark.parametrize(
    ("plant", "kinds", "least"),
    [
        (lambda random, text: text, {"leak"}, 50),
        (_spaced, {"leak"}, 50),
        (lambda random, text: random.choice(AROUND).replace("{}", text), {"leak"}, 50),
        (_renumbered, {"leak", "template twin"}, 45),
    ],
    ids=["copied", "spacing and case changed", "embedded in a longer text", "numbers changed"],
)
def test_planted_contamination_is_found(
    math: Math, plant: Callable[[Random, str], str], kinds: set[str], least: int
) -> None:
    random = Random(10023)
    suitable = [text for text in math.test.values() if plant is not _renumbered or NUMBER.search(text)]
    planted = [plant(random, text) for text in random.sample(suitable, 50)]
    assert sum(hit is not None and hit.kind in kinds for hit in math.check(planted)) >= least


def test_the_true_copies_and_few_other_questions_of_math_are_leaks(math: Math) -> None:
    copies = {f"math-train-{number}" for number in ("02942", "04770", "05981", "06828")}
    leaks = {key: hit for key, hit in math.found.items() if hit and hit.kind == "leak"}
    assert copies <= set(leaks)
    assert len(set(leaks) - copies) <= 25
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert {key: (hit.held_out.id, hit.how) for key, hit in leaks.items()} == {
        row["train"]: (row["test"], row["how"]) for row in golden
    }
    assert {row["train"] for row in golden if row["verdict"].startswith("a true copy")} == copies
    quoted = [row for row in golden if "train_text" in row]
    assert [(row["train_text"], row["test_text"]) for row in quoted] == [
        (math.train[row["train"]], math.test[row["test"]]) for row in quoted
    ]


def test_all_questions_of_math_that_equal_a_test_question_but_for_digits_are_flagged(math: Math) -> None:
    test = {digits_masked(text) for text in math.test.values()}
    twins = [key for key, text in math.train.items() if digits_masked(text) in test]
    assert len(twins) == 249
    kinds = Counter(hit.kind if (hit := math.found[key]) else "nothing" for key in twins)
    # Three are leaks: a true copy, and two of which one number differs, so that they have 90 % of the shingles.
    assert kinds == {"template twin": 246, "leak": 3}


def test_math_has_as_many_template_twins_as_were_counted(math: Math) -> None:
    assert _counts(list(math.found.values())) == {
        ("leak", "equal"): 4,
        ("leak", "contained"): 19,
        ("template twin", "equal but for numbers"): 350,
        ("template twin", "13 words in a row"): 433,
    }


def _counts(found: Sequence[Hit | None]) -> Counter[tuple[str, str]]:
    return Counter((hit.kind, hit.how) for hit in found if hit)

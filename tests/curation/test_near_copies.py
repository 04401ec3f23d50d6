"""Near copies: the threshold is exact, and variants of a problem are told from other problems of its topic."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hash_seeds import said_under_two_hash_seeds

from stat_train.curation.near_copies import HASHES, MISSED_SHARE, NearCopies, _rows_per_band
from stat_train.curation.text_forms import digits_masked

ROOT = Path(__file__).parents[2]


def _words(start: int, count: int) -> str:
    # Words without digits, because numbers are all alike.
    return " ".join(f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(start, start + count))


def _found(similarity: float, text: str, *added: str) -> str | None:
    copies = NearCopies(similarity)
    for number, each in enumerate(added):
        copies.add(str(number), each)
    return copies.find(text)


@pytest.mark.parametrize("similarity", [0.02, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_the_threshold_is_exact(similarity: float) -> None:
    # Two sets of 50 + m words that share 50 have a similarity of 50 / (50 + 2 m).
    for own in range(0, 120, 5):
        one, other = _words(0, 50 + own), f"{_words(0, 50)} {_words(300, own)}"
        expected = "0" if 50 / (50 + 2 * own) >= similarity else None
        assert _found(similarity, one, other) == expected, own


@pytest.mark.parametrize(("shared", "all_of_them"), [(7, 10), (14, 20), (21, 30), (63, 90)])
def test_a_similarity_that_equals_the_threshold_is_enough(shared: int, all_of_them: int) -> None:
    # 7/10, 21/30 and 63/90 are the number that is written 0.7, though 0.7 * 90 is less than 63.
    assert _found(0.7, _words(0, all_of_them), _words(0, shared)) == "0"
    assert _found(0.7, _words(0, all_of_them), _words(0, shared - 1)) is None


def test_the_most_similar_text_is_named_and_of_equals_the_first() -> None:
    text = _words(0, 20)
    assert _found(0.5, text, _words(0, 15), _words(0, 19), _words(0, 17)) == "1"
    assert _found(0.5, text, _words(0, 18), _words(2, 18)) == "0"
    assert _found(0.5, text, _words(2, 18), _words(0, 18)) == "0"
    assert _found(0.5, text, _words(30, 20)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Tom has 3 apples and eats 2.", "tom has 12,000 apples\nand eats 0.5."),
        ("Solve $x^{2} = 4$ now.", r"Solve \(x^2=-17\) now."),
        (r"Simplify $\frac{1}{2}$.", r"Simplify $\dfrac{35}{7}$."),
        ("broken \ud800 text", "broken \ud800 text"),
    ],
)
def test_numbers_case_and_spacing_make_no_difference(one: str, other: str) -> None:
    assert _found(1.0, one, other) == "0"


@pytest.mark.parametrize("similarity", [0.0, 0.7, 1.0])
def test_texts_without_words_are_near_copies_of_none(similarity: float) -> None:
    assert _found(similarity, " \n", "", "?") is None
    assert _found(similarity, "a word", "", "?") is None
    assert _found(similarity, "", "a word") is None


def test_no_similarity_at_all_makes_every_text_a_near_copy() -> None:
    assert _found(0.0, "one thing", "quite another") == "0"


def test_few_near_copies_are_missed_at_every_threshold() -> None:
    for similarity in (0.06, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0):
        rows = _rows_per_band(similarity)
        assert rows >= 1
        assert (1 - similarity**rows) ** (HASHES // rows) <= MISSED_SHARE
    # (1 - 0.7^4)^64 = 2e-8 is rare enough, (1 - 0.7^5)^51 = 8e-5 is not.
    assert _rows_per_band(0.7) == 4
    assert _rows_per_band(0.0) == 0


def test_what_is_found_does_not_depend_on_the_process() -> None:
    script = (
        "from stat_train.curation.near_copies import NearCopies, _different_words, _hashes\n"
        "copies = NearCopies(0.5)\n"
        "texts = [' '.join(f'w{chr(97 + n * k % 23)}' for k in range(12)) for n in range(60)]\n"
        "for n, text in enumerate(texts):\n    print(n, copies.find(text))\n    copies.add(str(n), text)\n"
        "print([_hashes(_different_words(text)).hashvalues.tolist() for text in texts])"
    )
    said, again = said_under_two_hash_seeds(script)
    assert said == again
    assert said.count("None") < 60


# -- real questions ---------------------------------------------------------------------------------------------------


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_math_questions_that_are_equal_but_for_digits_are_near_copies(shared_data: Path) -> None:
    alike = defaultdict[str, list[str]](list)
    for row in _read(shared_data / "math/train.jsonl"):
        alike[digits_masked(row["question"])].append(row["question"])
    groups = [group for group in alike.values() if len(group) > 1]
    assert len(groups) > 100
    assert all(_found(0.7, group[1], group[0]) == "0" for group in groups)


def test_variants_of_word_problems_with_other_names_and_numbers_are_near_copies(shared_data: Path) -> None:
    rows = Random(0).sample(_read(shared_data / "gsm8k/test.jsonl"), 300)
    variants = [_with_other_names_and_numbers(row["question"]) for row in rows]
    found = [_found(0.7, variant, row["question"]) for variant, row in zip(variants, rows, strict=True)]
    assert found.count("0") >= 0.9 * len(rows)


def test_two_problems_of_one_skill_are_no_near_copies(shared_data: Path) -> None:
    by_skill = defaultdict[str, list[str]](list)
    for row in _read(shared_data / "gsm8k/test.jsonl") + _read(shared_data / "math/train.jsonl"):
        for skill in row["skills"] or ():
            by_skill[skill].append(row["question"])
    random, skills = Random(0), [group for group in by_skill.values() if len(group) > 1]
    pairs = [random.sample(random.choice(skills), 2) for _ in range(1000)]
    assert sum(_found(0.7, *pair) == "0" for pair in pairs) <= 10


def _with_other_names_and_numbers(question: str) -> str:
    """Return a question in which each name within a sentence is another one, and each number a larger one."""
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", question)
    for number, name in enumerate(dict.fromkeys(names)):
        question = re.sub(rf"\b{name}\b", f"Name{'abcdefghijklmnopqrstuvwxyz'[number % 26]}", question)
    return re.sub(r"\d+", lambda match: str(int(match[0]) * 7 + 3), question)

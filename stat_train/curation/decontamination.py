"""Which questions must not be trained on, because they are benchmark questions or close to one.

Two classes. A *leak* is a benchmark question: the same text, or one that holds it. A *template twin* is the same text
with other numbers, or shares many words in a row with a benchmark question. Shingles of 13 words, and a smallest length
of 8 words, are those of GPT-3's decontamination (Brown et al. 2020, arXiv 2005.14165, appendix C).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from stat_train.curation.text_forms import digits_masked, letters, numbers_masked, plain, without_spaces, words

# A shingle is so many words in a row, or the whole benchmark question where that is shorter.
SHINGLE_WORDS = 13
# A row with so many percent of a benchmark question's different shingles holds that question.
LEAK_PERCENT = 90
# Shorter benchmark questions are looked for inside others when they have a number or a sign, and so many characters
# without white space: `Find x.` would be in every second row.
SHORTEST_WORDS = 8
SHORTEST_CHARACTERS = 12

Shingle = tuple[str, ...]


class HeldOut(NamedTuple):
    """A benchmark question, and where it is from, such as `validation` or `aime24.jsonl`."""

    id: str
    question: str
    place: str


class Hit(NamedTuple):
    """What a question is to a benchmark question, and by which rule."""

    kind: Literal["leak", "template twin"]
    how: Literal["equal", "contained", "equal but for numbers", "13 words in a row"]
    held_out: HeldOut


class Decontaminator:
    """Checks questions against all benchmark questions of a run.

    The order of `held_out` decides between benchmark questions that match equally well: the first is named.
    """

    def __init__(self, held_out: Iterable[HeldOut]) -> None:
        self._held_out = list(held_out)
        self._letters = set[str]()
        self._equal, self._digits_masked, self._numbers_masked = dict[str, int](), dict[str, int](), dict[str, int]()
        self._long = defaultdict[Shingle, list[int]](list)  # shingles -> the questions that have them
        self._shingles = dict[int, int]()  # question of 13 words or more -> how many different shingles
        self._short = defaultdict[str, list[tuple[Shingle, int]]](list)  # a word -> the short questions it stands for
        words_of = [self._add_whole(number, each.question) for number, each in enumerate(self._held_out)]
        counts = Counter(word for found in words_of for word in found)
        for number, found in enumerate(words_of):
            self._add_shingles(number, found, counts)

    def check(self, questions: Sequence[str]) -> list[Hit | None]:
        """Return for each question what it is to a benchmark question, None when nothing: a leak before a twin."""
        return [self._check(question) for question in questions]

    def _add_whole(self, number: int, question: str) -> Shingle:
        text = plain(question)
        form = without_spaces(text)
        if form:
            self._letters.add(letters(text))
            self._equal.setdefault(form, number)
            self._digits_masked.setdefault(digits_masked(question), number)
            self._numbers_masked.setdefault(without_spaces(numbers_masked(text)), number)
        return tuple(words(text))

    def _add_shingles(self, number: int, found: Shingle, counts: Counter[str]) -> None:
        if len(found) >= SHINGLE_WORDS:
            different = set(_shingles(found))
            self._shingles[number] = len(different)
            for shingle in different:
                self._long[shingle].append(number)
        elif _is_specific(found):
            rarest = min(found, key=lambda word: (counts[word], word))
            self._short[rarest].append((found, number))

    def _check(self, question: str) -> Hit | None:
        text = plain(question)
        # Few rows have the letters of a benchmark question, and only these can equal one in any way.
        near = letters(text) in self._letters
        if near and (number := self._equal.get(without_spaces(text))) is not None:
            return Hit("leak", "equal", self._held_out[number])
        found = tuple(words(text))
        shares = self._shares(found)
        inside = [number for number, share in shares.items() if 100 * share >= LEAK_PERCENT]
        if inside:
            return Hit("leak", "contained", self._best(inside, shares))
        if near and (number := self._other_numbers(question, text)) is not None:
            return Hit("template twin", "equal but for numbers", self._held_out[number])
        return Hit("template twin", "13 words in a row", self._best(shares, shares)) if shares else None

    def _shares(self, found: Shingle) -> dict[int, Fraction]:
        """Return which share of a benchmark question's shingles is among these words, where any is."""
        shared = Counter(
            number
            for shingle in {each for each in _shingles(found) if each in self._long}
            for number in self._long[shingle]
        )
        shares = {number: Fraction(count, self._shingles[number]) for number, count in shared.items()}
        whole = [each for word in self._short.keys() & set(found) for each in self._short[word]]
        return shares | {number: Fraction(1) for short, number in whole if short in _shingles(found, len(short))}

    def _other_numbers(self, question: str, text: str) -> int | None:
        by_digits = self._digits_masked.get(digits_masked(question))
        by_numbers = self._numbers_masked.get(without_spaces(numbers_masked(text)))
        return min((number for number in (by_digits, by_numbers) if number is not None), default=None)

    def _best(self, numbers: Iterable[int], shares: Mapping[int, Fraction]) -> HeldOut:
        return self._held_out[max(numbers, key=lambda number: (shares[number], -number))]


def _shingles(found: Shingle, length: int = SHINGLE_WORDS) -> list[Shingle]:
    return [found[start : start + length] for start in range(len(found) - length + 1)]


def _is_specific(found: Shingle) -> bool:
    together = "".join(found)
    return len(found) >= SHORTEST_WORDS or (
        len(found) > 1 and len(together) >= SHORTEST_CHARACTERS and not together.isalpha()
    )

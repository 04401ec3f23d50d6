"""Questions of the embedded task: chains of named skills in words, with a step-by-step solution.

A chain is written down in the question's `source` (`addition(34; 58) greatest_common_divisor(36)`: the first number
before the semicolon, then each step's operands). The hash of a chain decides which split it may appear in, so pool,
validation set, benchmarks and the student's own training data never share a question, whatever the seed.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from stat_train.records import Question
from stat_train.tasks.arithmetic.operands import Operands
from stat_train.tasks.arithmetic.skills import BY_NAME, SKILL_NAMES

Split = Literal["pool", "validation", "benchmark"]
LARGEST_RESULT = 999
STYLES = 4
_REFERENCES = ("it", "that", "the result")
_LINKS = ("Then", "Next", "After that")
_CLOSINGS = ("What is the result?", "What number do you get?", "Give the final number.", "Which number is left?")
_STEP = re.compile(r"(\w+)\((?:(\d+); ?)?([\d, ]*)\)")


@dataclass(frozen=True)
class Chain:
    """A first number and the steps that follow: (skill name, operands)."""

    start: int
    steps: tuple[tuple[str, Operands], ...]

    def __str__(self) -> str:
        """Return the form kept in `Question.source`."""
        words = [f"{name}({', '.join(map(str, operands))})" for name, operands in self.steps]
        words[0] = words[0].replace("(", f"({self.start}; ", 1)
        return " ".join(words)

    @classmethod
    def parse(cls, source: str) -> Chain:
        """Read a chain back from its written form; raises ValueError when it is not one."""
        matches = list(_STEP.finditer(source))
        if not matches or matches[0][2] is None or any(match[1] not in BY_NAME for match in matches):
            raise ValueError(f"not a chain of arithmetic skills: {source!r}")
        steps = tuple((match[1], tuple(int(a) for a in match[3].split(",") if a.strip())) for match in matches)
        return cls(int(matches[0][2]), steps)

    def values(self) -> list[int]:
        """Return the number reached after each step."""
        values, number = [], self.start
        for name, operands in self.steps:
            result = BY_NAME[name].compute(number, operands)
            if result is None:
                raise ValueError(f"{name} has no whole result at {number} in {self}")
            values.append(number := result)
        return values

    def split(self) -> Split:
        """Return the one split that this chain may appear in: 80 % pool, 10 % validation, 10 % benchmark."""
        bucket = hashlib.blake2b(str(self).encode(), digest_size=4).digest()[0] % 10
        return "benchmark" if bucket == 0 else "validation" if bucket == 1 else "pool"


@dataclass(frozen=True)
class Family:
    """What questions look like: how many steps, how large the numbers, which phrasings, which skills how often."""

    steps: tuple[int, int] = (1, 3)
    scale: int = 1
    unseen_phrasings: bool = False
    weights: Mapping[str, float] | None = None

    def skill_weights(self) -> Mapping[str, float]:
        """Return a weight for each skill, equal ones when none were given."""
        return self.weights or dict.fromkeys(SKILL_NAMES, 1.0)


BENCHMARKS: dict[str, Family] = {
    "standard": Family(),
    "unseen_phrasings": Family(unseen_phrasings=True),
    "larger_numbers": Family(scale=3),
    "longer_chains": Family(steps=(4, 6)),
}

# How often each length is asked in reinforcement learning, of 17. A student that was fine-tuned on up to three steps
# learns most from what it sometimes gets right, longer chains; the short ones are there so that they are not forgotten.
# Chosen on held-out questions that no benchmark has (benchmarks/grpo_gain.py).
LONGER_CHAINS = {1: 1, 2: 2, 3: 6, 4: 4, 5: 4}


# Skills that make a chain alone make one in fewer.
TRIES_ALONE = 300


def draw_chain(random: Random, family: Family) -> Chain:
    """Return a chain of distinct skills whose every result is a whole number of the family's size."""
    weights = family.skill_weights()
    while True:
        names = _distinct_skills(random, weights, random.randint(*family.steps))
        for _ in range(30):
            if chain := _draw_numbers(random, names, family.scale):
                return chain
            random.shuffle(names)


def chain_with(random: Random, needed: Sequence[str]) -> Chain:
    """Return a chain of the pool that needs these skills, in any order; others too where these alone make none."""
    others = [name for name in SKILL_NAMES if name not in needed]
    # The last digit and the largest one ask for a number of several digits, and each gives one of a single digit.
    tried = 0
    while True:
        more = random.sample(others, min(tried // TRIES_ALONE, len(others)))
        names = random.sample([*needed, *more], len(needed) + len(more))
        if (chain := _draw_numbers(random, names, Family().scale)) and chain.split() == "pool":
            return chain
        tried += 1


def _distinct_skills(random: Random, weights: Mapping[str, float], count: int) -> list[str]:
    left, chosen = dict(weights), []
    for _ in range(count):
        name = random.choices(list(left), list(left.values()))[0]
        chosen.append(name)
        del left[name]
    return chosen


def _draw_numbers(random: Random, names: list[str], scale: int) -> Chain | None:
    low, high = BY_NAME[names[0]].start
    start = number = random.randint(low, high * scale)
    steps: list[tuple[str, Operands]] = []
    for name in names:
        operands = BY_NAME[name].draw(random, number, scale)
        result = BY_NAME[name].compute(number, operands) if operands is not None else None
        if operands is None or result is None or not 0 <= result <= LARGEST_RESULT * scale:
            return None
        steps.append((name, operands))
        number = result
    return Chain(start, tuple(steps))


def ask(random: Random, chain: Chain, unseen_phrasings: bool = False) -> str:
    """Return the chain as a question in words."""
    sentences, reference = [], str(chain.start)
    for index, (name, operands) in enumerate(chain.steps):
        skill = BY_NAME[name]
        phrase = skill.unseen if unseen_phrasings else random.choice(skill.asks)
        clause = _fill(phrase, reference, operands)
        sentences.append(f"{random.choice(_LINKS)}, {clause}." if index else f"{clause[0].upper()}{clause[1:]}.")
        reference = random.choice(_REFERENCES)
    return " ".join([*sentences, random.choice(_CLOSINGS)])


def solve(random: Random, chain: Chain, error: int = 0) -> str:
    """Return a solution in one of the styles, one step a paragraph, then the final answer, which may be in error."""
    return _write_solution(chain, random.randrange(STYLES), error)


def rewrite(seed: str, chain: Chain, sample: int) -> str:
    """Return the solution in the style of rewrite number `sample`; each number has other words for every step."""
    styles = list(range(STYLES))
    Random(f"{seed}/{chain}").shuffle(styles)
    return _write_solution(chain, styles[sample % STYLES])


def _write_solution(chain: Chain, style: int, error: int = 0) -> str:
    paragraphs, number = [], chain.start
    for (name, operands), value in zip(chain.steps, chain.values(), strict=True):
        skill = BY_NAME[name]
        work = dict(zip("mn", skill.work(number, operands), strict=False))
        paragraphs.append(_fill(skill.shows[style], str(number), operands, y=value, **work))
        number = value
    return "\n\n".join([*paragraphs, f"The answer is {number + error}."])


def _fill(phrase: str, x: str, operands: Operands, **numbers: int) -> str:
    return phrase.format(x=x, **dict(zip("ab", operands, strict=False)), **numbers)


def make_question(random: Random, family: Family, identifier: str, split: Split) -> Question:
    """Return one question of a split."""
    while (chain := draw_chain(random, family)).split() != split:
        pass
    return Question(
        id=identifier,
        question=ask(random, chain, family.unseen_phrasings),
        answer=str(chain.values()[-1]),
        solution=solve(random, chain),
        subject="arithmetic",
        level=len(chain.steps),
        skills=[name for name, _ in chain.steps],
        source=str(chain),
        licence="Apache-2.0",
    )


def questions(seed: str, split: Split, name: str, count: int, family: Family) -> Iterator[Question]:
    """Yield `count` questions of a split with different texts; the same arguments give the same questions."""
    random, seen = Random(f"{seed}/{split}/{name}"), set[str]()
    while len(seen) < count:
        question = make_question(random, family, f"arithmetic-{name}-{len(seen):05d}", split)
        if question.question not in seen:
            seen.add(question.question)
            yield question


def longer_chains(seed: str, count: int) -> list[Question]:
    """Return `count` questions of the pool's split: each length has its share of LONGER_CHAINS, each skill the same."""
    total = sum(LONGER_CHAINS.values())
    ends = [0, *(round(count * share / total) for share in itertools.accumulate(LONGER_CHAINS.values()))]
    return [
        question
        for steps, (start, end) in zip(LONGER_CHAINS, itertools.pairwise(ends), strict=True)
        for question in questions(seed, "pool", f"rl-{steps}", end - start, Family(steps=(steps, steps)))
    ]


def fingerprint(weights: Mapping[str, float]) -> str:
    """Return a short hash of what this world makes with these weights: questions, solutions and their rewrites.

    It is part of what the questions of a run are known by, so that an older world's are not taken for this one's.
    """
    families = [Family(weights=weights), *BENCHMARKS.values()]
    made = [q for family in families for q in questions("fingerprint", "pool", "pool", 200, family)]
    texts = [text for q in made for text in (q.to_line(), rewrite("fingerprint", Chain.parse(q.source or ""), 0))]
    return hashlib.blake2b("\n".join([repr(sorted(weights.items())), *texts]).encode(), digest_size=8).hexdigest()

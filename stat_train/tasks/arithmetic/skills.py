"""The named skills of the embedded task: what each computes, how it is asked for and how a solution writes it.

In every phrasing `{x}` is the number a step starts from, `{a}` and `{b}` its operands and `{y}` its result. Some
phrasings are shared between skills but for one word, so that questions which look alike need not need the same skill.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Operands = tuple[int, ...]


@dataclass(frozen=True)
class Skill:
    """One operation on a number.

    `draw(random, x, scale)` returns operands that suit `x`, or None when none do; `scale` widens the numbers.
    `compute(x, operands)` returns the result, or None when there is no whole one. `asks` are seen in training,
    `unseen` is held back for a harder benchmark; `shows` are the ways to write the step in a solution.
    """

    name: str
    start: tuple[int, int]
    draw: Callable[[Random, int, int], Operands | None]
    compute: Callable[[int, Operands], int | None]
    asks: tuple[str, ...]
    unseen: str
    shows: tuple[str, ...]


def _whole_quotient(number: int, divisor: int) -> int | None:
    return number // divisor if divisor and number % divisor == 0 else None


def _draw_from(low: int, high: int) -> Callable[[Random, int, int], Operands | None]:
    return lambda random, x, scale: (random.randint(low, high * scale),)


def _draw_smaller(random: Random, x: int, scale: int) -> Operands | None:
    return (random.randint(1, min(x - 1, 99 * scale)),) if x > 1 else None


def _draw_divisor(random: Random, x: int, scale: int) -> Operands | None:
    divisors = [a for a in range(2, 12 * scale + 1) if x % a == 0 and x > a]
    return (random.choice(divisors),) if divisors else None


def _draw_modulus(random: Random, x: int, scale: int) -> Operands | None:
    return (random.randint(3, min(x - 1, 15 * scale)),) if x > 4 else None


def _draw_percentage(random: Random, x: int, scale: int) -> Operands | None:
    percentages = [p for p in (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90) if x * p % 100 == 0 and x > 0]
    return (random.choice(percentages),) if percentages else None


def _draw_common_divisor(random: Random, x: int, scale: int) -> Operands | None:
    divisors = [g for g in range(2, x + 1) if x % g == 0 and g < 50 * scale]
    if not divisors:
        return None
    divisor = random.choice(divisors)
    return (divisor * random.randint(1, max(1, 99 * scale // divisor)),)


def _draw_equation(random: Random, x: int, scale: int) -> Operands | None:
    factor = random.randint(2, 9)
    if x <= factor:
        return None
    unknown = random.randint(1, min((x - 1) // factor, 30 * scale))
    return (factor, x - factor * unknown)


def _draw_same_parity(random: Random, x: int, scale: int) -> Operands | None:
    return (2 * random.randint(1, 49 * scale) + x % 2,)


def _sequence_term(x: int, operands: Operands) -> int:
    difference, position = operands
    return x + (position - 1) * difference


SKILLS: tuple[Skill, ...] = (
    Skill(
        name="addition",
        start=(2, 99),
        draw=_draw_from(2, 99),
        compute=lambda x, o: x + o[0],
        asks=("add {a} to {x}", "increase {x} by {a}", "find the sum of {x} and {a}", "count up from {x} by {a}"),
        unseen="take {x} plus {a}",
        shows=(
            "{x} + {a} = {y}",
            "the sum of {x} and {a} is {y}",
            "{x} plus {a} gives {y}",
            "adding {a} to {x} makes {y}",
        ),
    ),
    Skill(
        name="subtraction",
        start=(10, 120),
        draw=_draw_smaller,
        compute=lambda x, o: x - o[0],
        asks=(
            "subtract {a} from {x}",
            "decrease {x} by {a}",
            "find the difference of {x} and {a}",
            "count down from {x} by {a}",
        ),
        unseen="take {x} minus {a}",
        shows=(
            "{x} - {a} = {y}",
            "the difference of {x} and {a} is {y}",
            "{x} minus {a} gives {y}",
            "subtracting {a} from {x} makes {y}",
        ),
    ),
    Skill(
        name="multiplication",
        start=(2, 60),
        draw=_draw_from(2, 9),
        compute=lambda x, o: x * o[0],
        asks=("multiply {x} by {a}", "find the product of {x} and {a}", "take {a} groups of {x}", "scale {x} by {a}"),
        unseen="take {x} times {a}",
        shows=(
            "{x} * {a} = {y}",
            "the product of {x} and {a} is {y}",
            "{x} times {a} gives {y}",
            "multiplying {x} by {a} makes {y}",
        ),
    ),
    Skill(
        name="division",
        start=(6, 200),
        draw=_draw_divisor,
        compute=lambda x, o: _whole_quotient(x, o[0]),
        asks=(
            "divide {x} by {a}",
            "find the quotient of {x} and {a}",
            "share {x} among {a} and keep one part",
            "scale {x} down by {a}",
        ),
        unseen="take {x} over {a}",
        shows=(
            "{x} / {a} = {y}",
            "the quotient of {x} and {a} is {y}",
            "{x} over {a} gives {y}",
            "dividing {x} by {a} makes {y}",
        ),
    ),
    Skill(
        name="remainder",
        start=(10, 150),
        draw=_draw_modulus,
        compute=lambda x, o: x % o[0] if o[0] else None,
        asks=(
            "reduce {x} modulo {a}",
            "find the remainder of {x} and {a}",
            "share {x} among {a} and keep the rest",
            "divide {x} by {a} and keep the rest",
        ),
        unseen="find the rest of {x} with {a}",
        shows=(
            "{x} mod {a} = {y}",
            "the remainder of {x} and {a} is {y}",
            "{x} modulo {a} gives {y}",
            "reducing {x} by {a} makes {y}",
        ),
    ),
    Skill(
        name="percentage",
        start=(20, 300),
        draw=_draw_percentage,
        compute=lambda x, o: _whole_quotient(x * o[0], 100),
        asks=(
            "take {a} percent of {x}",
            "find {a} % of {x}",
            "keep {a} out of every hundred of {x}",
            "scale {x} to {a} percent",
        ),
        unseen="reduce {x} to {a} percent",
        shows=(
            "{a} % of {x} = {y}",
            "{a} percent of {x} is {y}",
            "{x} at {a} percent gives {y}",
            "taking {a} percent of {x} makes {y}",
        ),
    ),
    Skill(
        name="greatest_common_divisor",
        start=(6, 120),
        draw=_draw_common_divisor,
        compute=lambda x, o: math.gcd(x, o[0]),
        asks=(
            "find the gcd of {x} and {a}",
            "find the divisor of {x} and {a} that is largest",
            "take the largest number dividing {x} and {a}",
            "find the greatest common divisor of {x} and {a}",
        ),
        unseen="find the largest divisor of {x} and {a}",
        shows=(
            "gcd ( {x} , {a} ) = {y}",
            "the gcd of {x} and {a} is {y}",
            "{x} and {a} share the divisor {y}",
            "the largest number dividing {x} and {a} is {y}",
        ),
    ),
    Skill(
        name="linear_equation",
        start=(10, 99),
        draw=_draw_equation,
        compute=lambda x, o: _whole_quotient(x - o[1], o[0]),
        asks=(
            "solve {a} n + {b} = {x} for n",
            "find the number whose product with {a} plus {b} gives {x}",
            "find n so that {a} times n plus {b} makes {x}",
            "undo multiply by {a} then add {b} from {x}",
        ),
        unseen="find n for {x} from {a} times n plus {b}",
        shows=(
            "{a} n + {b} = {x} so n = {y}",
            "from {a} n + {b} = {x} the number is {y}",
            "{a} times n plus {b} makes {x} for n = {y}",
            "solving {a} n + {b} = {x} gives {y}",
        ),
    ),
    Skill(
        name="arithmetic_sequence",
        start=(2, 60),
        draw=lambda random, x, scale: (random.randint(2, 9 * scale), random.randint(3, 9 * scale)),
        compute=_sequence_term,
        asks=(
            "count up from {x} by {a} and take term {b}",
            "find term {b} of the sequence from {x} with step {a}",
            "start a list at {x} with step {a} and take entry {b}",
            "find the sum of {x} and all steps of {a} before term {b}",
        ),
        unseen="find entry {b} of the list at {x} with step {a}",
        shows=(
            "term {b} from {x} by {a} = {y}",
            "term {b} of the sequence from {x} with step {a} is {y}",
            "from {x} with step {a} entry {b} is {y}",
            "counting from {x} by {a} term {b} makes {y}",
        ),
    ),
    Skill(
        name="comparison",
        start=(2, 300),
        draw=_draw_from(2, 300),
        compute=lambda x, o: max(x, o[0]),
        asks=(
            "take the larger of {x} and {a}",
            "find the maximum of {x} and {a}",
            "compare {x} with {a} and keep the larger",
            "keep {x} or {a} , whichever is larger",
        ),
        unseen="find whichever is larger of {x} and {a}",
        shows=(
            "max ( {x} , {a} ) = {y}",
            "the larger of {x} and {a} is {y}",
            "the maximum of {x} and {a} is {y}",
            "comparing {x} with {a} gives {y}",
        ),
    ),
    Skill(
        name="powers",
        start=(2, 40),
        draw=_draw_from(2, 9),
        compute=lambda x, o: x * o[0] ** 2,
        asks=(
            "multiply {x} by the square of {a}",
            "find the product of {x} and {a} squared",
            "scale {x} by {a} twice",
            "multiply {x} by {a} and by {a} again",
        ),
        unseen="take {x} times {a} squared",
        shows=(
            "{x} * {a} ^ 2 = {y}",
            "the product of {x} and {a} squared is {y}",
            "{x} times {a} squared gives {y}",
            "scaling {x} by {a} twice makes {y}",
        ),
    ),
    Skill(
        name="digit_sum",
        start=(10, 999),
        draw=lambda random, x, scale: () if x > 9 else None,
        compute=lambda x, o: sum(int(digit) for digit in str(abs(x))),
        asks=(
            "find the digit sum of {x}",
            "find the sum of the digits of {x}",
            "add the digits of {x}",
            "total the digits of {x}",
        ),
        unseen="take the sum of all digits of {x}",
        shows=(
            "digit sum of {x} = {y}",
            "the digit sum of {x} is {y}",
            "the sum of the digits of {x} is {y}",
            "adding the digits of {x} gives {y}",
        ),
    ),
    Skill(
        name="rounding",
        start=(11, 999),
        draw=lambda random, x, scale: () if x > 10 else None,
        compute=lambda x, o: (x + 5) // 10 * 10,
        asks=(
            "round {x} to the nearest ten",
            "find the ten nearest to {x}",
            "take the multiple of ten closest to {x}",
            "round {x} to tens",
        ),
        unseen="take the ten nearest to {x}",
        shows=(
            "round {x} = {y}",
            "the ten nearest to {x} is {y}",
            "rounding {x} gives {y}",
            "{x} to the nearest ten is {y}",
        ),
    ),
    Skill(
        name="average",
        start=(2, 99),
        draw=_draw_same_parity,
        compute=lambda x, o: _whole_quotient(x + o[0], 2),
        asks=(
            "average {x} and {a}",
            "find the mean of {x} and {a}",
            "find the number midway from {x} to {a}",
            "take half of the sum of {x} and {a}",
        ),
        unseen="take the mean of {x} and {a}",
        shows=(
            "mean ( {x} , {a} ) = {y}",
            "the mean of {x} and {a} is {y}",
            "midway from {x} to {a} is {y}",
            "half of the sum of {x} and {a} is {y}",
        ),
    ),
    Skill(
        name="last_digit",
        start=(10, 999),
        draw=lambda random, x, scale: () if x > 9 else None,
        compute=lambda x, o: x % 10,
        asks=(
            "find the last digit of {x}",
            "find the ones of {x}",
            "keep the last digit of {x}",
            "take the digit that {x} ends in",
        ),
        unseen="take the ones of {x}",
        shows=(
            "last digit of {x} = {y}",
            "the last digit of {x} is {y}",
            "{x} ends in {y}",
            "keeping the ones of {x} gives {y}",
        ),
    ),
    Skill(
        name="place_shift",
        start=(2, 99),
        draw=lambda random, x, scale: () if 0 < x < 100 * scale else None,
        compute=lambda x, o: x * 10,
        asks=(
            "put a zero after {x}",
            "shift {x} by one place",
            "take ten times {x}",
            "find the number of ten groups of {x}",
        ),
        unseen="take {x} and a zero after it",
        shows=(
            "{x} with a zero = {y}",
            "ten times {x} is {y}",
            "shifting {x} gives {y}",
            "a zero after {x} makes {y}",
        ),
    ),
)

SKILL_NAMES: tuple[str, ...] = tuple(skill.name for skill in SKILLS)
BY_NAME: dict[str, Skill] = {skill.name: skill for skill in SKILLS}

_USUAL = {
    "addition": 1.0, "subtraction": 1.0, "multiplication": 0.8, "division": 0.7, "remainder": 0.6,
    "percentage": 0.5, "greatest_common_divisor": 0.4, "linear_equation": 0.4, "arithmetic_sequence": 0.6,
    "comparison": 0.4, "powers": 0.6, "digit_sum": 0.4, "rounding": 0.4, "average": 0.5,
    "last_digit": 0.04, "place_shift": 0.04,
}  # fmt: skip
_RARE = {
    "a": ("comparison", "digit_sum", "rounding"),
    "b": ("division", "percentage", "rounding"),
    "c": ("comparison", "digit_sum", "powers"),
}
MIXES: dict[str, dict[str, float]] = {mix: _USUAL | dict.fromkeys(rare, 0.02) for mix, rare in _RARE.items()}
"""How often each skill appears in a student's own training data; the pool of the task has the same mix."""

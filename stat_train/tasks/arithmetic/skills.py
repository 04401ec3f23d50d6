"""The named skills of the embedded task: what each computes, how it is asked for and how a solution writes it.

In every phrasing `{x}` is the number a step starts from, `{a}` and `{b}` its operands and `{y}` its result. Some
phrasings are shared between skills but for one word, so that questions which look alike need not need the same skill.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stat_train.tasks.arithmetic import operands
from stat_train.tasks.arithmetic.operands import DrawOperands, Operands


@dataclass(frozen=True)
class Skill:
    """One operation on a number.

    `draw(random, x, scale)` returns operands that suit `x`, or None when none do; `scale` widens the numbers.
    `compute(x, operands)` returns the result, or None when there is no whole one. `asks` are seen in training,
    `unseen` is held back for a harder benchmark; `shows` are the ways to write the step in a solution, one for each
    style. `work(x, operands)` returns the numbers on the way to the result, which a solution writes as `{m}` and `{n}`.
    """

    name: str
    start: tuple[int, int]
    draw: DrawOperands
    compute: Callable[[int, Operands], int | None]
    asks: tuple[str, ...]
    unseen: str
    shows: tuple[str, str, str, str]
    work: Callable[[int, Operands], Operands] = lambda x, o: ()


def _whole_quotient(number: int, divisor: int) -> int | None:
    return number // divisor if divisor and number % divisor == 0 else None


SKILLS: tuple[Skill, ...] = (
    Skill(
        name="addition",
        start=(2, 99),
        draw=operands.between(2, 99),
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
        draw=operands.smaller,
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
        draw=operands.between(2, 9),
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
        draw=operands.divisor,
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
        draw=operands.modulus,
        compute=lambda x, o: x % o[0] if o[0] else None,
        asks=(
            "reduce {x} modulo {a}",
            "find the remainder of {x} and {a}",
            "share {x} among {a} and keep the rest",
            "divide {x} by {a} and keep the rest",
        ),
        unseen="find the rest of {x} with {a}",
        shows=(
            "{m} * {a} = {n} and {x} - {n} = {y}",
            "the product of {m} and {a} is {n} and the difference of {x} and {n} is {y}",
            "{m} times {a} gives {n} and {x} minus {n} gives {y}",
            "multiplying {m} by {a} makes {n} and subtracting {n} from {x} makes {y}",
        ),
        work=lambda x, o: (x // o[0], x // o[0] * o[0]),
    ),
    Skill(
        name="percentage",
        start=(20, 300),
        draw=operands.percentage,
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
        draw=operands.common_multiple,
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
        draw=operands.equation,
        compute=lambda x, o: _whole_quotient(x - o[1], o[0]),
        asks=(
            "solve {a} n + {b} = {x} for n",
            "find the number whose product with {a} plus {b} gives {x}",
            "find n so that {a} times n plus {b} makes {x}",
            "undo multiply by {a} then add {b} from {x}",
        ),
        unseen="find n for {x} from {a} times n plus {b}",
        shows=(
            "{x} - {b} = {m} and {m} / {a} = {y}",
            "the difference of {x} and {b} is {m} and the quotient of {m} and {a} is {y}",
            "{x} minus {b} gives {m} and {m} over {a} gives {y}",
            "subtracting {b} from {x} makes {m} and dividing {m} by {a} makes {y}",
        ),
        work=lambda x, o: (x - o[1],),
    ),
    Skill(
        name="arithmetic_sequence",
        start=(2, 60),
        draw=operands.difference_and_position,
        compute=lambda x, o: x + (o[1] - 1) * o[0],
        asks=(
            "count up from {x} by {a} and take term {b}",
            "find term {b} of the sequence from {x} with step {a}",
            "start a list at {x} with step {a} and take entry {b}",
            "find the sum of {x} and all steps of {a} before term {b}",
        ),
        unseen="find entry {b} of the list at {x} with step {a}",
        shows=(
            "{m} * {a} = {n} and {x} + {n} = {y}",
            "the product of {m} and {a} is {n} and the sum of {x} and {n} is {y}",
            "{m} times {a} gives {n} and {x} plus {n} gives {y}",
            "multiplying {m} by {a} makes {n} and adding {n} to {x} makes {y}",
        ),
        work=lambda x, o: (o[1] - 1, (o[1] - 1) * o[0]),
    ),
    Skill(
        name="comparison",
        start=(2, 300),
        draw=operands.between(2, 300),
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
        draw=operands.between(2, 9),
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
        draw=operands.none_when(lambda x, scale: x > 9),
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
        draw=operands.none_when(lambda x, scale: x > 10),
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
        draw=operands.same_parity,
        compute=lambda x, o: _whole_quotient(x + o[0], 2),
        asks=(
            "average {x} and {a}",
            "find the mean of {x} and {a}",
            "find the number midway from {x} to {a}",
            "take half of the sum of {x} and {a}",
        ),
        unseen="take the mean of {x} and {a}",
        shows=(
            "{x} + {a} = {m} and {m} / 2 = {y}",
            "the sum of {x} and {a} is {m} and the quotient of {m} and 2 is {y}",
            "{x} plus {a} gives {m} and {m} over 2 gives {y}",
            "adding {a} to {x} makes {m} and dividing {m} by 2 makes {y}",
        ),
        work=lambda x, o: (x + o[0],),
    ),
    Skill(
        name="last_digit",
        start=(10, 999),
        draw=operands.none_when(lambda x, scale: x > 9),
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
        draw=operands.none_when(lambda x, scale: 0 < x < 100 * scale),
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
    Skill(
        name="digit_reversal",
        start=(10, 999),
        draw=operands.none_when(lambda x, scale: x > 9),
        compute=lambda x, o: int(str(abs(x))[::-1]),
        asks=(
            "reverse the digits of {x}",
            "find the reverse of {x}",
            "write {x} backwards",
            "read the digits of {x} backwards",
        ),
        unseen="take the reverse of {x}",
        shows=(
            "{x} reversed = {y}",
            "the reverse of {x} is {y}",
            "{x} backwards gives {y}",
            "reversing {x} makes {y}",
        ),
    ),
    Skill(
        name="largest_digit",
        start=(10, 999),
        draw=operands.none_when(lambda x, scale: x > 9),
        compute=lambda x, o: max(int(digit) for digit in str(abs(x))),
        asks=(
            "find the largest digit of {x}",
            "keep the largest digit of {x}",
            "take the digit of {x} that is largest",
            "find the maximum of the digits of {x}",
        ),
        unseen="take the largest digit of {x}",
        shows=(
            "largest digit of {x} = {y}",
            "the largest digit of {x} is {y}",
            "{x} has the largest digit {y}",
            "keeping the largest digit of {x} gives {y}",
        ),
    ),
)

SKILL_NAMES: tuple[str, ...] = tuple(skill.name for skill in SKILLS)
BY_NAME: dict[str, Skill] = {skill.name: skill for skill in SKILLS}

"""How the operands of each skill are drawn: numbers that suit `x`, or None when none do; `scale` widens them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Operands = tuple[int, ...]
DrawOperands = Callable[[Random, int, int], Operands | None]

_PERCENTAGES = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90)


def none_when(suits: Callable[[int, int], bool]) -> DrawOperands:
    """Return a draw for a skill without operands, which works on the numbers that suit it."""
    return lambda random, x, scale: () if suits(x, scale) else None


def between(low: int, high: int) -> DrawOperands:
    """Return a draw of one number, whatever `x` is."""
    return lambda random, x, scale: (random.randint(low, high * scale),)


def smaller(random: Random, x: int, scale: int) -> Operands | None:
    """Draw a number below `x`."""
    return (random.randint(1, min(x - 1, 99 * scale)),) if x > 1 else None


def divisor(random: Random, x: int, scale: int) -> Operands | None:
    """Draw a divisor of `x`."""
    divisors = [a for a in range(2, 12 * scale + 1) if x % a == 0 and x > a]
    return (random.choice(divisors),) if divisors else None


def modulus(random: Random, x: int, scale: int) -> Operands | None:
    """Draw a number below `x` to divide by."""
    return (random.randint(3, min(x - 1, 15 * scale)),) if x > 4 else None


def percentage(random: Random, x: int, scale: int) -> Operands | None:
    """Draw a percentage that is whole for `x`."""
    percentages = [p for p in _PERCENTAGES if x * p % 100 == 0 and x > 0]
    return (random.choice(percentages),) if percentages else None


def common_multiple(random: Random, x: int, scale: int) -> Operands | None:
    """Draw a number that shares a divisor with `x`."""
    divisors = [g for g in range(2, x + 1) if x % g == 0 and g < 50 * scale]
    if not divisors:
        return None
    shared = random.choice(divisors)
    return (shared * random.randint(1, max(1, 99 * scale // shared)),)


def equation(random: Random, x: int, scale: int) -> Operands | None:
    """Draw factor and summand of an equation that a whole number solves: factor * n + summand = `x`."""
    factor = random.randint(2, 9)
    if x <= factor:
        return None
    unknown = random.randint(1, min((x - 1) // factor, 30 * scale))
    return (factor, x - factor * unknown)


def difference_and_position(random: Random, x: int, scale: int) -> Operands | None:
    """Draw the difference of a sequence and the position of a term."""
    return (random.randint(2, 9 * scale), random.randint(3, 9 * scale))


def same_parity(random: Random, x: int, scale: int) -> Operands | None:
    """Draw a number whose mean with `x` is whole."""
    return (2 * random.randint(1, 49 * scale) + x % 2,)

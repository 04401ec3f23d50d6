"""How often each skill appears in a student's own training data; the pool of the task has the same mix.

Some skills are weak because they are hard, though common (`remainder`, `greatest_common_divisor`), and some because
they are rare. Others are as rare and yet strong, because there is little to learn (`last_digit`, `place_shift`).
"""

from __future__ import annotations

_USUAL = {
    "addition": 1.0,
    "subtraction": 1.0,
    "multiplication": 0.8,
    "division": 0.7,
    "remainder": 0.25,
    "percentage": 0.5,
    "greatest_common_divisor": 0.25,
    "linear_equation": 0.2,
    "arithmetic_sequence": 0.4,
    "comparison": 0.4,
    "powers": 0.5,
    "digit_sum": 0.2,
    "rounding": 0.2,
    "average": 0.2,
    "last_digit": 0.04,
    "place_shift": 0.04,
    "digit_reversal": 0.2,
    "largest_digit": 0.2,
}
_RARE = {
    "a": ("digit_sum", "rounding", "digit_reversal", "largest_digit"),
    "b": ("comparison", "digit_sum", "rounding", "average"),
    "c": ("comparison", "linear_equation", "digit_reversal", "largest_digit"),
}
MIXES: dict[str, dict[str, float]] = {mix: _USUAL | dict.fromkeys(rare, 0.008) for mix, rare in _RARE.items()}

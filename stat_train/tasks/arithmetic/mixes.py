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
Weights = dict[str, float]
MIXES: dict[str, Weights] = {mix: _USUAL | dict.fromkeys(rare, 0.008) for mix, rare in _RARE.items()}


def pool_weights(mix: str, evenness: float) -> Weights:
    """Return how often each skill appears in a pool between a mix (0) and all skills alike (1)."""
    weights = MIXES[mix]
    if not evenness:
        return weights
    total = sum(weights.values())
    return {skill: (1 - evenness) * weight / total + evenness / len(weights) for skill, weight in weights.items()}

"""Whether a round was worth it: what its model misses less often than the model before, on the validation questions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stat_train.evaluation.compare_profiles import compare_profiles, load_profile
from stat_train.evaluation.report import probability
from stat_train.evaluation.statistics import is_clear, paired_difference, unpaired_difference
from stat_train.records import Difficulty
from stat_train.store import read_records


class RoundGain(NamedTuple):
    """What changed from one round's profile to the next: skills, and (difficult, judged) questions with their p value.

    `rarer` and `oftener` are the skills that are clearly less and more often missing. The questions are those judged in
    both rounds where both asked the same ones (`paired`), else each round's own.
    """

    rarer: list[str]
    oftener: list[str]
    paired: bool
    before: tuple[int, int]
    after: tuple[int, int]
    p: float

    @property
    def change(self) -> float:
        """Return the change of the share of difficult questions."""
        return self.after[0] / self.after[1] - self.before[0] / self.before[1]


class Ending(NamedTuple):
    """Why there is no further round, and the round whose model is the result: 0 for the student as it was."""

    reason: str
    result: int


def why_to_end(number: int, before: Path, now: Path) -> Ending | None:
    """Return why round `number`, which has its profile `now`, should not go on; None when it should.

    The rounds end when nothing is missing any more, or when the round before was not worth it: then its model is given
    up for the one before that. It was worth it when, with its model,

    - a skill is clearly less often missing (p at most 5 % after Benjamini-Hochberg, as `stat-train profiles` tells it),
      or clearly fewer questions are difficult (p at most 5 %): many skills can each gain too little to be clear alone;
    - and not clearly more questions are difficult, which no gain of a single skill makes good.

    No benchmark has a say: what decides when to stop cannot measure the gain as well.
    """
    profile = load_profile(now).profile
    if not any(gap.missing for gap in profile.skills):
        told = f"{profile.difficult} of {profile.questions} validation questions are difficult"
        return Ending(f"no skill is missing any more: {told}", number - 1)
    if problem := not_worth_it(round_gain(before, now)):
        return Ending(f"round {number - 1} had no credible gain: {problem}", number - 2)
    return None


def round_gain(before: Path, now: Path) -> RoundGain:
    """Return what changed between the profiles in two run folders."""
    found = compare_profiles(load_profile(before), load_profile(now))
    clear = [change for change in found.skills if change.clear]
    first, second = (
        {row.question_id: row.difficult for row in read_records(folder / "difficulty.jsonl", Difficulty)}
        for folder in (before, now)
    )
    if found.paired and (both := sorted(first.keys() & second.keys())):
        first, second = ({id: judged[id] for id in both} for judged in (first, second))
        p = paired_difference(list(first.values()), list(second.values())).p
    else:
        p = unpaired_difference(_counts(first), _counts(second)).p
    assert p is not None
    return RoundGain(
        rarer=[change.skill for change in clear if change.difference < 0],
        oftener=[change.skill for change in clear if change.difference > 0],
        paired=found.paired,
        before=_counts(first),
        after=_counts(second),
        p=p,
    )


def not_worth_it(gain: RoundGain) -> str | None:
    """Return why a round was not worth it; None when it was (the rule is in `why_to_end`)."""
    counts = f"{gain.before[0]} of {gain.before[1]} before, {gain.after[0]} of {gain.after[1]} after it"
    told = f"({counts}; {probability(gain.p)})"
    if is_clear(gain.p) and gain.change > 0:
        return f"clearly more validation questions are difficult {told}"
    if gain.rarer or (is_clear(gain.p) and gain.change < 0):
        return None
    return f"no skill is clearly less often missing, and not clearly fewer validation questions are difficult {told}"


def _counts(judged: dict[str, bool]) -> tuple[int, int]:
    return sum(judged.values()), len(judged)

"""The teacher as grader (`task.grader=judge`): it compares answers by the rubric of its prompt file.

An answer to a question without a gold one is judged on its own, by another rubric.
"""

from __future__ import annotations

from collections.abc import Sequence

from stat_train.models.generator import Request, Sampling
from stat_train.store import content_hash
from stat_train.tasks.answers import Judgement
from stat_train.tasks.graders import Pair
from stat_train.teacher.asking import Asked, Heard, ask
from stat_train.teacher.llm import JUDGEMENTS, LanguageModelTeacher
from stat_train.teacher.prompt_files import Prompts, code_of
from stat_train.teacher.reply_form import Value, read_reply


class JudgeGrader:
    """Asks the teacher whether two answers are the same, or, without a gold one, whether the answer is right.

    Without a usable verdict the answer is unscored.
    """

    reads_text = True
    needs_gold = False

    def __init__(self, teacher: LanguageModelTeacher) -> None:
        self.teacher = teacher

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given; equal pairs are asked once, equal texts never."""
        asked = {pair: _asked(self.teacher.prompts, self.teacher.judging, pair) for pair in pairs if not _plain(pair)}
        heard = ask(self.teacher.generator, asked.values(), "Judging") if asked else {}
        return [_plain(pair) or _judgement(heard[asked[pair].key]) for pair in pairs]


def judge_requests(prompts: Prompts, sampling: Sampling, pairs: Sequence[Pair]) -> list[Request]:
    """Return what is asked about pairs of answers."""
    return [_asked(prompts, sampling, pair).request for pair in dict.fromkeys(pairs) if not _plain(pair)]


def _plain(pair: Pair) -> Judgement | None:
    """Return the verdict where nobody has to be asked."""
    if not pair.given or not pair.given.strip():
        return Judgement("wrong", "no answer")
    return Judgement("correct") if (pair.gold or "").split() == pair.given.split() else None


def _asked(prompts: Prompts, sampling: Sampling, pair: Pair) -> Asked[dict[str, Value]]:
    values = {"question": pair.question, "answer": pair.given or ""}
    if pair.gold and pair.gold.strip():
        values |= {"gold": pair.gold}
    prompt = prompts["judge" if "gold" in values else "judge_freely"]

    def read(text: str) -> dict[str, Value] | None:
        return read_reply(text, prompt.reply, code_of(values), values["answer"])

    return Asked(prompt.request(content_hash(values), values, sampling), read)


def _judgement(heard: Heard[dict[str, Value]]) -> Judgement:
    if heard.value is None:
        return Judgement("unscored", f"no usable verdict of the teacher: {heard.error}")
    return Judgement(JUDGEMENTS[str(heard.value["judgement"])], str(heard.value["reason"]))

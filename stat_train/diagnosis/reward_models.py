"""Process reward models run by the transformers library: what each step of an answer is worth, in one forward pass.

Two kinds are known. A causal language model (RLHFlow) sees each step as a user's turn and replies `+` or `-`. A model
that classifies tokens (Qwen2.5-Math-PRM) sees the answer with a separator token after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    Qwen2Model,
    Qwen2PreTrainedModel,
)
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils import logging

from stat_train.config import RewardModel
from stat_train.diagnosis.step_rewards import Scored, Stepped
from stat_train.errors import UserError
from stat_train.models.places import model_place
from stat_train.models.transformers import CANNOT_LOAD, cannot_be_loaded
from stat_train.records import Message, Question

SETTING = "difficulty.prm.model"
GOOD, BAD = "+", "-"
SAMPLE = Stepped(Question(id="sample", question="What is 1 + 1 + 1?"), ["1 + 1 = 2", "2 + 1 = 3", "It is 3."])


class _Shown(NamedTuple):
    """An answer as the model reads it, and the tokens at which its steps are judged."""

    token_ids: list[int]
    positions: list[int]


class CausalRewarder:
    """A causal language model in the RLHFlow format.

    The first user's turn is the question, a space and the first step; each later one is a step; every reply is `+`.
    A step's reward is the probability of `+` against `-` for the reply to it. The model's publishers run one forward
    pass a step and read the last reply (RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py). What a causal model
    says of a step does not depend on what follows, so here all replies are read from one pass.
    """

    def __init__(self, settings: RewardModel) -> None:
        self.settings = settings
        self.tokenizer = _load_tokenizer(settings)
        self.signs = [_only_token(self.tokenizer, sign, settings) for sign in (GOOD, BAD)]
        self._shown(SAMPLE)
        self.model = _load_model(AutoModelForCausalLM, settings)
        if "logits_to_keep" not in signature(self.model.forward).parameters:
            raise _unfit(settings, "its code cannot give the logits of some tokens alone (logits_to_keep)")

    def score(self, items: Sequence[Stepped]) -> list[Scored]:
        """Return what each answer's steps are worth."""
        return _score(items, self._shown, self._rewards, self.model.config, self.settings.batch_size)

    def _shown(self, item: Stepped) -> _Shown:
        turns = [f"{item.question.question} {item.steps[0]}", *item.steps[1:]]
        conversation = _system(self.settings)
        asked: list[list[Message]] = []
        for turn in turns:
            conversation = [*conversation, {"role": "user", "content": turn}]
            asked.append(conversation)
            conversation = [*conversation, {"role": "assistant", "content": GOOD}]
        text = _render(self.tokenizer, conversation, self.settings)
        encoded = self.tokenizer(text, add_special_tokens=False)
        replies = [self._reply_token(encoded, text, messages) for messages in asked]
        # The logits of a token are those of the next one.
        return _Shown(encoded["input_ids"], [token - 1 for token in replies])

    def _reply_token(self, encoded: Any, text: str, asked: list[Message]) -> int:
        """Return which token of the conversation is the reply to what was asked."""
        before = _render(self.tokenizer, asked, self.settings, add_generation_prompt=True)
        if not text.startswith(before + GOOD):
            raise _unfit(
                self.settings,
                f'its chat template does not write a conversation turn by turn (a reply "{GOOD}" is not where the '
                "model would write it)",
            )
        token: int | None = encoded.char_to_token(len(before))
        if not token or encoded["input_ids"][token] != self.signs[0]:
            raise _unfit(self.settings, f'in its chat template a reply "{GOOD}" is not a token of its own')
        return token

    def _rewards(self, batch: Sequence[_Shown]) -> list[list[float]]:
        # The logits of a vocabulary of 128,000 are made only where some answer of the batch is judged.
        kept = sorted({position for shown in batch for position in shown.positions})
        place = {position: index for index, position in enumerate(kept)}
        keep = torch.tensor(kept, device=self.model.device)
        logits = self.model(**_padded(batch, self.model.device), logits_to_keep=keep).logits
        good = logits[:, :, self.signs].float().softmax(dim=-1)[:, :, 0].tolist()
        return [[row[place[position]] for position in shown.positions] for shown, row in zip(batch, good, strict=True)]


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):  # type: ignore[misc]
    """The model of Qwen2.5-Math-PRM, which comes with code of its own for an older library: two layers judge a token.

    Its name and the names of its parts are those of its checkpoints.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        hidden = config.hidden_size
        self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.num_labels))
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TokenClassifierOutput:
        """Return the logits of the classes of each token."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return TokenClassifierOutput(logits=self.score(hidden))


class TokenRewarder:
    """A model with two classes a token, in the format of Qwen2.5-Math-PRM.

    The answer is the assistant's turn, its steps each followed by the separator; a step's reward is the probability of
    the second class there. Any checkpoint for `AutoModelForTokenClassification` with a chat template may be one.
    """

    def __init__(self, settings: RewardModel) -> None:
        assert settings.separator
        self.settings, self.separator = settings, settings.separator
        kind = _token_classifier(settings)
        self.tokenizer = _load_tokenizer(settings)
        self.mark = _only_token(self.tokenizer, self.separator, settings)
        self._shown(SAMPLE)
        self.model = _load_model(kind, settings)
        if self.model.config.num_labels != 2:
            raise _unfit(settings, f"it has {self.model.config.num_labels} classes; expected 2, bad and good")

    def score(self, items: Sequence[Stepped]) -> list[Scored]:
        """Return what each answer's steps are worth."""
        return _score(items, self._shown, self._rewards, self.model.config, self.settings.batch_size)

    def _shown(self, item: Stepped) -> _Shown:
        # A student that writes the separator itself would be judged at places of its own choice.
        question, *steps = map(self._without_separators, (item.question.question, *item.steps))
        answer = "".join(step + self.separator for step in steps)
        conversation = [
            *_system(self.settings),
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        text = _render(self.tokenizer, conversation, self.settings)
        token_ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        positions = [position for position, token in enumerate(token_ids) if token == self.mark]
        if len(positions) != len(steps):
            raise _unfit(
                self.settings,
                f"its chat template shows {len(positions)} of {len(steps)} separators {self.separator} of an answer",
            )
        return _Shown(token_ids, positions)

    def _without_separators(self, text: str) -> str:
        while self.separator in text:
            text = text.replace(self.separator, " ")
        return text

    def _rewards(self, batch: Sequence[_Shown]) -> list[list[float]]:
        logits = self.model(**_padded(batch, self.model.device))[0]
        good = logits.float().softmax(dim=-1)[:, :, 1].tolist()
        return [[row[position] for position in shown.positions] for shown, row in zip(batch, good, strict=True)]


# -- many answers -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def _score(
    items: Sequence[Stepped],
    show: Callable[[Stepped], _Shown],
    rewards: Callable[[Sequence[_Shown]], list[list[float]]],
    config: Any,
    batch_size: int,
) -> list[Scored]:
    """Score the answers in batches of similar length.

    An answer without a step needs no forward pass; one that is too long for the model gets none.
    """
    most = getattr(config, "max_position_embeddings", None)
    scored = [Scored([]) for _ in items]
    fitting: list[tuple[int, _Shown]] = []
    for index, item in enumerate(items):
        if not item.steps:
            continue
        try:
            shown = show(item)
        except UserError as error:
            # A sample was shown before, so it is this answer that does not fit: of all that may stand in a text.
            scored[index] = Scored(None, f"cannot be shown to the reward model: {error}")
            continue
        if max(shown.token_ids) >= config.vocab_size:
            scored[index] = Scored(None, "holds tokens of the tokenizer that the reward model does not know")
        elif most is None or len(shown.token_ids) <= most:
            fitting.append((index, shown))
        else:
            counts = f"{len(shown.token_ids):,} tokens, and it takes {most:,}"
            scored[index] = Scored(None, f"too long for the reward model: {counts}")
    # The longest first: if memory does not do for them, that is known at once.
    fitting.sort(key=lambda pair: len(pair[1].token_ids), reverse=True)
    for start in range(0, len(fitting), batch_size):
        batch = fitting[start : start + batch_size]
        for (index, _), values in zip(batch, rewards([shown for _, shown in batch]), strict=True):
            scored[index] = Scored(values)
    return scored


def _padded(batch: Sequence[_Shown], device: torch.device) -> dict[str, Tensor]:
    """Return a batch padded on the right, where a causal model's earlier tokens do not see it."""
    rows = [torch.tensor(shown.token_ids) for shown in batch]
    masks = [torch.ones_like(row) for row in rows]
    return {
        "input_ids": pad_sequence(rows, batch_first=True).to(device),
        "attention_mask": pad_sequence(masks, batch_first=True).to(device),
    }


# -- the model and its tokenizer --------------------------------------------------------------------------------------


def _load_tokenizer(settings: RewardModel) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_place(settings.model), revision=settings.revision, trust_remote_code=settings.trust_remote_code
        )
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(settings.model, error, SETTING) from error
    if not tokenizer.is_fast:
        raise _unfit(settings, "its tokenizer does not tell which characters a token is (it has no tokenizer.json)")
    if tokenizer.chat_template is None:
        raise _unfit(settings, "its tokenizer has no chat template")
    return tokenizer


def _load_model(kind: Any, settings: RewardModel) -> Any:
    """Return the model on the best device at hand; refuses a checkpoint that lacks weights, which would be random."""
    logging.disable_progress_bar()
    try:
        model, found = kind.from_pretrained(
            model_place(settings.model),
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
            dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            output_loading_info=True,
        )
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(settings.model, error, SETTING) from error
    if found["missing_keys"]:
        raise _unfit(settings, f"its weights lack {', '.join(sorted(found['missing_keys']))}")
    model.config.use_cache = False
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _token_classifier(settings: RewardModel) -> Any:
    """Return the class that loads the checkpoint; refuses one that is known to its own code alone, unless trusted."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(model_place(settings.model), revision=settings.revision)
    except (OSError, ValueError) as error:
        raise cannot_be_loaded(settings.model, error, SETTING) from error
    if settings.trust_remote_code and "AutoModel" in config.get("auto_map", {}):
        return AutoModel
    if Qwen2ForProcessRewardModel.__name__ in (config.get("architectures") or []):
        return Qwen2ForProcessRewardModel
    if "AutoModel" in config.get("auto_map", {}):
        raise UserError(
            f"{SETTING} = {settings.model}: comes with code of its own, which would run on this machine. Read it, and "
            "if you trust it give difficulty.prm.trust_remote_code=true (and difficulty.prm.revision=COMMIT, so that "
            "it stays what you read)"
        )
    return AutoModelForTokenClassification


def _only_token(tokenizer: Any, text: str, settings: RewardModel) -> int:
    """Return the token that a text is."""
    token_ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(token_ids) != 1 or token_ids[0] == tokenizer.unk_token_id:
        where = "difficulty.prm.separator" if text == settings.separator else "a reply"
        raise _unfit(settings, f'"{text}" ({where}) is not one token of its vocabulary')
    return token_ids[0]


def _system(settings: RewardModel) -> list[Message]:
    return [{"role": "system", "content": settings.system}] if settings.system else []


def _render(
    tokenizer: Any, conversation: list[Message], settings: RewardModel, add_generation_prompt: bool = False
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=add_generation_prompt)
        )
    except (TemplateError, TypeError) as error:
        raise _unfit(settings, f"its chat template refuses the conversation ({error})") from error


def _unfit(settings: RewardModel, reason: str) -> UserError:
    kind = "token_prm" if settings.separator else "prm"
    other = "prm" if settings.separator else "token_prm"
    return UserError(
        f"{SETTING} = {settings.model}: does not fit difficulty.step_rewarder={kind}: {reason}. Expected a process "
        f"reward model of that form; try difficulty={other}, or another model"
    )

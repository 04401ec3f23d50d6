"""Step rewards by models: one forward pass an answer says what one pass a step would."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from reward_model_files import TEMPLATE, make_tokenizer, save_causal, save_classifier, settings
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from stat_train.diagnosis.reward_models import CausalRewarder, TokenRewarder
from stat_train.diagnosis.step_rewards import Scored, Stepped
from stat_train.errors import UserError
from stat_train.records import Question

SEPARATOR, SYSTEM = "<extra_0>", "Think."

TOO_LONG = "too long for the reward model"


def item(question: str, *steps: str) -> Stepped:
    return Stepped(Question(id="q", question=question), list(steps))


def answers() -> list[Stepped]:
    """Return answers of 1 to 12 steps, lengths mixed; some steps hold what could be taken for a reply or a turn."""
    chance = random.Random(0)
    words = ["17", "+", "-", "so", "x^2", "\\boxed{8}", "=", "é", "+\n+", "<b>", "Ω", "the answer", "  "]
    made = []
    for count in [*range(1, 13), 12, 1, 3, 7]:
        steps = [" ".join(chance.choices(words, k=chance.randint(1, 12))).strip() or "+" for _ in range(count)]
        made.append(item(f"What is {count}? " + "why " * chance.randint(0, 30), *steps))
    chance.shuffle(made)
    return made


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


def rewards(scored: list[Scored]) -> list[list[float]]:
    assert all(one.error is None for one in scored)
    return [one.rewards for one in scored if one.rewards is not None]


def differences(one: list[list[float]], other: list[list[float]]) -> list[float]:
    pairs = list(zip(one, other, strict=True))
    return [abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True)]


# -- the causal form --------------------------------------------------------------------------------------------------


@torch.inference_mode()
def step_by_step(folder: Path, item: Stepped) -> list[float]:
    """Return the rewards as the model's publishers compute them: one pass a step, the reply being third from last.

    The conversation ends in the reply `+` and the end of the turn, so the third token from the end predicts the reply.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    signs = [tokenizer.encode(sign, add_special_tokens=False)[-1] for sign in "+-"]
    conversation: list[dict[str, str]] = []
    found = []
    for index, step in enumerate(item.steps):
        turn = f"{item.question.question} {step}" if index == 0 else step
        conversation += [{"role": "user", "content": turn}, {"role": "assistant", "content": "+"}]
        ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=False)
        assert tokenizer.decode(ids[0, -2:]) == "+<|eot_id|>"
        found.append(model(ids).logits[0, -3, signs].softmax(-1)[0].item())
    return found


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_one_pass_says_what_one_pass_a_step_says(batch_size: int, causal: Path) -> None:
    given = answers()
    scored = rewards(CausalRewarder(settings(causal, batch_size=batch_size)).score(given))
    naive = [step_by_step(causal, one) for one in given]
    assert sorted(map(len, naive)) == sorted([*range(1, 13), 12, 1, 3, 7])
    assert max(differences(scored, naive)) < 1e-4


def test_the_batch_does_not_matter(causal: Path) -> None:
    by_size = [rewards(CausalRewarder(settings(causal, batch_size=size)).score(answers())) for size in (1, 3, 16)]
    assert max(differences(by_size[0], by_size[1])) < 1e-5
    assert max(differences(by_size[0], by_size[2])) < 1e-5


def test_rewards_depend_on_their_step_and_on_those_before_it_only(causal: Path) -> None:
    """Another last step changes the last reward alone; another first step changes all."""
    rewarder = CausalRewarder(settings(causal))
    usual, late, early = rewards(
        rewarder.score([item("?", "a", "b", "c"), item("?", "a", "b", "d"), item("?", "z", "b", "c")])
    )
    assert differences([usual[:2]], [late[:2]]) == pytest.approx([0, 0], abs=1e-5)
    assert abs(usual[2] - late[2]) > 1e-3
    assert min(differences([usual], [early])) > 1e-3
    assert len({round(reward, 3) for reward in usual}) == 3 and all(0 < reward < 1 for reward in usual)


def test_a_system_prompt_is_shown(causal: Path) -> None:
    (plain,), (told,) = (
        rewards(CausalRewarder(settings(causal, system=system)).score([item("?", "a")])) for system in (None, SYSTEM)
    )
    assert abs(plain[0] - told[0]) > 1e-3


def test_the_beginning_of_the_text_is_there_once(causal: Path) -> None:
    """The template writes it, and this tokenizer would write it again."""
    rewarder = CausalRewarder(settings(causal))
    start = rewarder.tokenizer.bos_token_id
    assert rewarder._shown(item("?", "a")).token_ids.count(start) == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        # Only the last turn is written in full, as reasoning models do with their thoughts.
        (TEMPLATE.replace("message['content'] | trim", "(message['content'] if loop.last else '')"), "turn by turn"),
        # The prompt ends in something that a reply in the conversation does not begin with.
        (TEMPLATE.replace("assistant<|end_header_id|>\n\n'", "assistant<|end_header_id|>\n\n<think>'"), "turn by turn"),
        # The reply is one token with what stands before it.
        (TEMPLATE.replace("\n\n", "="), "not a token of its own"),
        (TEMPLATE.replace("{{ bos_token }}", "{{ raise_exception('no') }}"), "refuses the conversation (no)"),
        (None, "no chat template"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template: str, reason: str, tmp_path: Path) -> None:
    save_causal(tmp_path, make_tokenizer(template))
    with pytest.raises(UserError, match=rf"difficulty\.prm\.model = .*{re.escape(reason)}"):
        CausalRewarder(settings(tmp_path))


# -- what is common ---------------------------------------------------------------------------------------------------


def rewarder_of(form: str, causal: Path, classifier: Path) -> Any:
    if form == "prm":
        return CausalRewarder(settings(causal))
    return TokenRewarder(settings(classifier, system=SYSTEM, separator=SEPARATOR))


@pytest.mark.parametrize("form", ["prm", "token_prm"])
def test_an_answer_that_is_too_long_or_empty_gets_no_pass(form: str, causal: Path, classifier: Path) -> None:
    """1,024 positions; the empty one is scored without a step, the long one is not scored, the others are as alone."""
    rewarder = rewarder_of(form, causal, classifier)
    passes: list[int] = []
    rewarder.model.register_forward_pre_hook(lambda *_: passes.append(1))
    short, long = item("?", "a", "b"), item("?", "z" * 1500)
    assert rewarder.score([item("?"), long]) == [Scored([]), rewarder.score([long])[0]]
    assert passes == []
    scored = rewarder.score([long, item("?"), short])
    assert scored[0].rewards is None and re.fullmatch(
        r"too long for the reward model: 1,\d\d\d tokens, and it takes 1,024", scored[0].error
    )
    assert scored[1] == Scored([])
    assert rewards([scored[2]]) == rewards(rewarder.score([short]))
    assert len(passes) == 2


def test_as_long_as_the_model_takes_is_scored(causal: Path) -> None:
    """Tokens of the question are added one by one up to the limit, and one over it."""
    rewarder = CausalRewarder(settings(causal))
    used = len(rewarder._shown(item("z", "a")).token_ids)
    full = item("z" * (1024 - used + 1), "a")
    assert len(rewarder._shown(full).token_ids) == 1024
    scored = rewarder.score([full, item(full.question.question + "z", "a")])
    assert (scored[0].error, scored[1].error) == (
        None,
        "too long for the reward model: 1,025 tokens, and it takes 1,024",
    )


@pytest.mark.parametrize("form", ["prm", "token_prm"])
def test_weights_that_are_not_there_are_not_made_up(form: str, causal: Path, classifier: Path) -> None:
    """Each form's checkpoint lacks the other's last layer, which would be random."""
    with pytest.raises(UserError, match=r"difficulty\.prm\.model = .*its weights lack (lm_head|score)\."):
        rewarder_of(form, classifier, causal)


@pytest.mark.parametrize("form", ["prm", "token_prm"])
def test_a_folder_without_a_model_is_refused(form: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"difficulty\.prm\.model = .*: cannot be loaded \("):
        rewarder_of(form, tmp_path, tmp_path)


def test_a_vocabulary_without_the_separator_is_refused() -> None:
    """The shipped student is no reward model, but a model with a chat template all the same."""
    with pytest.raises(UserError, match=r"difficulty\.prm\.model = tiny: does not fit.* not one token"):
        TokenRewarder(settings(Path("tiny"), separator=SEPARATOR))


# -- the token-classification form ------------------------------------------------------------------------------------


@torch.inference_mode()
def directly(folder: Path, item: Stepped) -> list[float]:
    """Return the rewards as the model card computes them: the second class at each separator, one answer at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    conversation = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": item.question.question},
        {"role": "assistant", "content": SEPARATOR.join(item.steps) + SEPARATOR},
    ]
    ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=False)
    at = ids[0] == tokenizer.convert_tokens_to_ids(SEPARATOR)
    found: list[float] = model(ids).logits[0, at].softmax(-1)[:, 1].tolist()
    return found


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_classes_are_read_at_the_separators(batch_size: int, classifier: Path) -> None:
    given = answers()
    rewarder = TokenRewarder(settings(classifier, system=SYSTEM, separator=SEPARATOR, batch_size=batch_size))
    scored = rewards(rewarder.score(given))
    assert max(differences(scored, [directly(classifier, one) for one in given])) < 1e-4
    assert len({round(reward, 3) for one in scored for reward in one}) > 60


def test_a_separator_that_the_student_writes_is_not_judged(classifier: Path) -> None:
    rewarder = rewarder_of("token_prm", classifier, classifier)
    honest, sly = rewards(rewarder.score([item("?", "a b", " c"), item("?", f"a{SEPARATOR}b", f"{SEPARATOR}c")]))
    assert honest == sly


def test_separators_within_separators_end_no_run(classifier: Path) -> None:
    """Taking out the inner one must not leave one that its halves make."""
    half = len(SEPARATOR) // 2
    nested = f"{SEPARATOR[:half]}{SEPARATOR}{SEPARATOR[half:]}"
    (scored,) = rewarder_of("token_prm", classifier, classifier).score([item("?", f"a{nested}b", "c")])
    assert scored.rewards is not None and len(scored.rewards) == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"separator": "<extra_1>"}, r'"<extra_1>" \(difficulty.prm.separator\) is not one token'),
        ({"template": TEMPLATE.replace("message['content']", "'x'")}, "shows 0 of 3 separators"),
        ({"labels": 3}, "has 3 classes; expected 2"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(given: dict[str, Any], reason: str, tmp_path: Path) -> None:
    save_classifier(tmp_path, make_tokenizer(given.get("template", TEMPLATE)), given.get("labels", 2))
    with pytest.raises(UserError, match=rf"difficulty\.prm\.model = .*step_rewarder=token_prm.*{reason}"):
        TokenRewarder(settings(tmp_path, separator=given.get("separator", SEPARATOR)))


OWN_CODE = """
from torch import nn
from transformers import Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput


class OwnRewardModel(Qwen2PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **_):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return TokenClassifierOutput(logits=self.score(hidden))
"""


def with_own_code(folder: Path, architecture: str = "OwnRewardModel") -> Path:
    """Write a model that comes with a class of its own, as Qwen2.5-Math-PRM does: two layers judge a token."""
    from safetensors.torch import load_file, save_file

    save_classifier(folder)
    (folder / "modeling_own.py").write_text(OWN_CODE)
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if "score" not in name}
    torch.manual_seed(1)
    for layer, size in ((0, 64), (2, 2)):
        weights |= {f"score.{layer}.weight": torch.randn(size, 64) / 8, f"score.{layer}.bias": torch.randn(size)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": [architecture], "auto_map": {"AutoModel": "modeling_own.OwnRewardModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_code_of_a_model_runs_only_when_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights have other names than the library's class, which would be filled with random numbers."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = with_own_code(tmp_path / "model")
    with pytest.raises(UserError, match=r"code of its own.*difficulty\.prm\.trust_remote_code=true"):
        TokenRewarder(settings(folder, separator=SEPARATOR))
    trusted = TokenRewarder(settings(folder, separator=SEPARATOR, trust_remote_code=True))
    assert type(trusted.model).__name__ == "OwnRewardModel"
    (found,) = rewards(trusted.score([item("?", "a", "b")]))
    assert len(set(found)) == 2 and all(0 <= reward <= 1 for reward in found)


def test_the_model_of_qwen_is_known_without_its_code(tmp_path: Path) -> None:
    """Computed by hand from the hidden states: a layer, negative values cut off, another layer, at each separator."""
    from safetensors.torch import load_file

    folder = with_own_code(tmp_path, "Qwen2ForProcessRewardModel")
    rewarder = TokenRewarder(settings(folder, separator=SEPARATOR))
    given = item("What is 2?", "1 + 1", "2")
    (found,) = rewards(rewarder.score([given]))
    weights = load_file(folder / "model.safetensors")
    ids, positions = rewarder._shown(given)
    with torch.inference_mode():
        hidden = AutoModelForTokenClassification.from_pretrained(folder).model(torch.tensor([ids]))[0][0, positions]
    first = (hidden @ weights["score.0.weight"].T + weights["score.0.bias"]).clamp(min=0)
    bad, good = (first @ weights["score.2.weight"].T + weights["score.2.bias"]).T.exp()
    assert found == pytest.approx((good / (bad + good)).tolist(), abs=1e-5)
    assert abs(found[0] - found[1]) > 1e-3

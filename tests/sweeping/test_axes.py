"""Settings that go together in a sweep: which runs they make, what chooses of them, and what is refused."""

from __future__ import annotations

import pytest

from stat_train.compose import read_settings, require_one_run
from stat_train.errors import ConfigError, UserError
from stat_train.launch_settings import Sweep
from stat_train.sweeping.axes import Values, sort_arguments, vary
from stat_train.sweeping.expand import jobs_of

STUDENTS: list[Values] = [
    {"seed": "0", "student.model": "tiny", "task.mix": "a"},
    {"seed": "1", "student.model": "tiny", "task.mix": "b"},
    {"seed": "2", "student.model": "tiny"},
]
RECIPES: list[Values] = [
    {"data_recipe": "pool", "train.learning_rate": "4.0e-4"},
    {"data_recipe": "stat_sel", "train.learning_rate": "3.0e-4"},
]
GRPO = [{"rl": "grpo", "data_recipe": "pool", "seed": "0,2"}, {"rl": "grpo", "data_recipe": "pool", "train": "none"}]


def sweep_of(
    together: dict[str, list[Values]], also: list[Values] | None = None, params: Values | None = None
) -> Sweep:
    return Sweep(params=params or {}, together=together, also=also or [], folder=None, published=None, results=None)


def varied(*arguments: str, also: list[Values] | None = None, params: Values | None = None) -> list[Values]:
    """Return the settings of each job of the students and recipes above."""
    sweep = sweep_of({"students": STUDENTS, "recipes": RECIPES}, also, params)
    return vary(sweep, sort_arguments(arguments)).combinations


def test_a_job_has_an_entry_of_each_list_and_those_of_a_seed_stand_together() -> None:
    every = varied(params={"train.epochs": "1,2"})
    assert every == [
        {"train.epochs": epochs} | recipe | student for epochs in "12" for recipe in RECIPES for student in STUDENTS
    ]
    found = vary(sweep_of({"students": STUDENTS, "recipes": RECIPES}, GRPO), sort_arguments([]))
    assert found.keys == ["data_recipe", "seed", "rl", "train"]
    assert found.with_seed == ["student.model", "task.mix"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # What names entries chooses of them, and the student stays with its seed.
        (["seed=1"], [recipe | STUDENTS[1] for recipe in RECIPES]),
        (["seed=2,0"], [recipe | STUDENTS[seed] for recipe in RECIPES for seed in (0, 2)]),
        (["data_recipe=pool", "seed=1"], [RECIPES[0] | STUDENTS[1]]),
        # Any other setting takes the place of theirs: with one value for all, with several as one more axis.
        (["train.learning_rate=0.1", "seed=2"], [{"data_recipe": name} | STUDENTS[2] for name in ("pool", "stat_sel")]),
        (
            ["task.mix=a,c", "seed=1", "data_recipe=pool"],
            [RECIPES[0] | STUDENTS[1] | {"task.mix": mix} for mix in "ac"],
        ),
        # The settings of a choice go with it.
        (["train=none", "seed=2"], [{"data_recipe": name} | STUDENTS[2] for name in ("pool", "stat_sel")]),
        # But not those of what a list is named after.
        (["data_recipe=stat_sel", "seed=2"], [RECIPES[1] | STUDENTS[2]]),
    ],
    ids=lambda part: " ".join(part) if isinstance(part[0], str) else "",
)
def test_the_command_line_chooses_entries_by_their_name_and_replaces_the_rest(
    given: list[str], expected: list[Values]
) -> None:
    assert varied(*given) == expected


def test_also_chooses_entries_and_the_command_line_chooses_of_those() -> None:
    base = [recipe | student for recipe in RECIPES for student in STUDENTS]
    trained = [RECIPES[0] | STUDENTS[seed] | {"rl": "grpo"} for seed in (0, 2)]
    untrained = [{"data_recipe": "pool"} | student | {"rl": "grpo", "train": "none"} for student in STUDENTS]
    assert varied(also=GRPO) == base + trained + untrained
    assert varied("seed=1", also=GRPO) == [base[1], base[4], untrained[1]]
    assert varied("data_recipe=stat_sel", also=GRPO) == base[3:]
    # What names no entry leaves out the runs of `also` that name it, as it does without lists.
    assert varied("train=sft", "seed=0", "data_recipe=pool", also=GRPO) == [
        {"data_recipe": "pool"} | STUDENTS[0],
        {"data_recipe": "pool"} | STUDENTS[0] | {"rl": "grpo"},
    ]


def test_names_show_what_names_an_entry_and_the_settings_have_all_of_it() -> None:
    given = "sweep.together={students: [{seed: '3', task.mix: b}, {seed: '4', task.mix: c}], "
    given += "recipes: [{data_recipe: pool, train.learning_rate: '4.0e-4'}]}"
    plan = jobs_of([given, "sweep.also=[{rl: grpo}]", "train.epochs=2,3", "data_recipe.pairs=5", "seed=4"])
    names = ["pool-epochs2-seed4", "pool-epochs3-seed4"]
    assert [job.name for job in plan.jobs] == names + [f"{name}-grpo" for name in names]
    config = plan.jobs[1].settings.config
    assert (config.seed, config.task.mix, config.train.epochs) == (4, "c", 3)  # type: ignore[union-attr]
    assert (plan.over_seeds, plan.with_seed) == (False, ["task.mix"])
    assert plan.fixed == ["data_recipe.pairs=5"]
    assert plan.jobs[1].overrides[-2:] == ["seed=4", "task.mix=c"]


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        ({"a": RECIPES, "b": [{"data_recipe": "hard"}]}, "sweep.together.a: data_recipe is in sweep.together.b too"),
        ({"a": [{"seed": "0", "train.epochs": "1"}]}, "sweep.together.a: train.epochs is in sweep.params too"),
        ({"a": [*STUDENTS, *RECIPES]}, "its entries begin with seed and data_recipe; expected one key"),
        ({"a": [{"data_recipe": "pool,hard"}]}, "data_recipe=pool,hard: an entry has one value"),
        ({"a": [{"task.mix": "a", "seed": "0"}]}, "seed is not the first key"),
        ({"a": [*STUDENTS, STUDENTS[1]]}, "seed=1 is in 2 entries; expected in one"),
    ],
    ids=lambda part: part[:30] if isinstance(part, str) else "",
)
def test_lists_that_make_no_sense_are_refused(together: dict[str, list[Values]], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        vary(sweep_of(together, params={"train.epochs": "1,2"}), sort_arguments([]))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("given", "also", "expected"),
    [
        (["data_recipe=stat_sal"], {}, ["data_recipe = stat_sal", "pool, stat_sel", 'Did you mean "stat_sel"?']),
        (["seed=0,7"], {}, ["seed = 7", "0, 1, 2"]),
        ([], {"rl": "grpo", "seed": "range(2,4)"}, ["seed = 3", "0, 1, 2"]),
    ],
    ids=["one", "some", "also"],
)
def test_a_value_that_no_entry_has_is_refused(given: list[str], also: Values, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        varied(*given, also=[also] if also else [])
    assert [text for text in ["1 setting is wrong", *expected] if text not in str(error.value)] == []


def test_settings_that_go_together_are_no_settings_of_one_run() -> None:
    with pytest.raises(UserError, match="a sweep over students; add -m"):
        require_one_run(read_settings(["sweep.together={students: [{seed: '0'}]}"]))
    with pytest.raises(ConfigError, match=r"sweep.together.students"):
        jobs_of(["sweep.together={students: []}"])

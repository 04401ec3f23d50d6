"""The published training set: the same rows in both files, a card that says what is in them, and the upload."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from datasets import Dataset, load_dataset
from hub_server import Hub, hub_server
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pools import diagnosed_of, source_of, tools_of

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.config import Prompt
from stat_train.curating import licences_of
from stat_train.curation.publish import CARD, ROWS, SKILLS_SHOWN, TABLE, licences, write_card, write_table
from stat_train.curation.training_set import make_training_set
from stat_train.errors import ConfigError
from stat_train.models.budget import in_dollars
from stat_train.recipe_settings import StatSelRecipe
from stat_train.records import Origin, Question, TrainingExample
from stat_train.store import read_records, write_records
from stat_train.teacher.labels import LabelReader

ROOT = Path(__file__).parents[2]
TOKEN = "hf_a_secret_that_must_not_be_seen"
KEY = "sk-a-secret-that-must-not-be-seen"
HOSTILE = [
    "a | b | c |",
    "ends in a backslash \\",
    "pipe after a backslash \\| x",
    "`code` ``more``",
    "<script>alert(1)</script>",
    "<!-- comment",
    "one\n\n# heading\n- item\r\n---\n",
    "[click](http://127.0.0.1/x) ![pixel](http://127.0.0.1/y)",
    "**bold** __also__ _so_ *this* ~~gone~~ $x$ $$y$$",
    "&lt;b&gt; &#124; &amp;",
    "{{ version }} {% raw %}",
    "# 1. - + > =",
    "solve_a_quadratic_equation",
    "\u2028line\u2029\x85separators\x0b",
]


def _row(number: int, **more: Any) -> TrainingExample:
    question, answer = f"What is {number} + 1?\nSay it.", f"It is {number + 1}. \u00e9 \U0001f600"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    given: dict[str, Any] = {"skills": [], "origin": Origin(seed_ids=[])} | more
    return TrainingExample(
        id=f"r-{number}", messages=messages, question=question, answer=answer, recipe="stat_sel", **given
    )


# -- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [False, True], ids=["some are empty", "all are empty"])
def test_both_files_hold_the_same_rows(empty: bool, tmp_path: Path) -> None:
    full = Origin(question_id="v", skill="a", seed_ids=["s", "t"], call_ids=["c"])
    rows = [_row(n) if empty or n % 2 else _row(n, skills=["a", "b|c"], origin=full) for n in range(4)]
    write_records(tmp_path / ROWS, rows)
    write_table(tmp_path, rows)
    found = Dataset.from_parquet(str(tmp_path / TABLE), cache_dir=str(tmp_path / "cache")).to_list()
    assert [TrainingExample.model_validate(row) for row in found] == rows
    assert read_records(tmp_path / ROWS, TrainingExample) == rows
    assert found[0]["messages"] == rows[0].messages
    # Nobody has to guess the types, not even where no row has a value.
    assert found == [row.model_dump() for row in rows]


def test_the_card_says_which_file_to_load(tmp_path: Path) -> None:
    """By its own front matter: the rows come once, although two files hold them."""
    rows = [_row(n, skills=["a"], origin=Origin(seed_ids=["s"], call_ids=[])) for n in range(3)]
    folder = tmp_path / "data"
    folder.mkdir()
    write_records(folder / ROWS, rows)
    write_table(folder, rows)
    write_card(folder, _about(rows))
    (folder / CARD).rename(folder / "README.md")
    found = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train"]
    assert [TrainingExample.model_validate(row) for row in found["train"]] == rows


# -- the card ---------------------------------------------------------------------------------------------------------


def _about(rows: Sequence[TrainingExample], **more: Any) -> dict[str, Any]:
    """Return what a card is made from, for rows of a recipe."""
    carried = Counter(skill for row in rows for skill in row.skills)
    curation: dict[str, Any] = {
        "recipe": "stat_sel",
        "pairs": len(rows),
        "unique_questions": len({row.question for row in rows}),
        "asked": len(rows),
        "different_pairs": len({(row.question, row.answer) for row in rows}),
        "usable_pool_questions": 7,
        "answers": "own",
        "pairs_carrying_skill": dict(carried),
        "pairs_drawn_for_skill": dict(Counter(row.origin.skill for row in rows if row.origin.skill)),
        "decontamination": {
            "pool_questions_checked": 9,
            "against": {"a_benchmark": 5},
            "thresholds": {"shingle_words": 13, "leak_percent": 50},
            "template_twins": "flag",
            "pool_hits": {"leak, equal": 2, "template twin, equal but for numbers": 1},
            "pool_hits_by_place": {"a_benchmark": 3},
            "new_questions_checked": 0,
            "new_question_hits": {},
        },
    }
    about = {"task": "t", "pool": "owner/pool", "student": "s", "teacher": "m", "cost": "$1.00", "licences": {"mit": 3}}
    return {"curation": curation | more.pop("curation", {})} | about | more


def _text(token: Token) -> str:
    return "".join(child.content for child in token.children or ())


def _tables(card: Path) -> list[list[list[str]]]:
    """Return the cells of every table of a card as they are shown: lines of texts."""
    tables: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(_body(card))
    for before, token in pairwise(tokens):
        if before.type == "table_open":
            tables.append([])
        elif before.type == "tr_open":
            tables[-1].append([])
        if before.type in ("td_open", "th_open"):
            tables[-1][-1].append(_text(token))
    return tables


def _body(card: Path) -> str:
    return card.read_text().split("---\n", 2)[2]


def _markup(card: Path) -> Counter[str]:
    """Return how often each kind of markup is in a card; text and tables' rows are none."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(_body(card))
    inside = [child for token in tokens for child in token.children or ()]
    plain = re.compile("text|text_special|softbreak|inline|(t[drh]|tbody)_(open|close)")
    return Counter(token.type for token in [*tokens, *inside] if not plain.fullmatch(token.type))


def _made(skills: Sequence[str]) -> tuple[list[TrainingExample], dict[str, Any]]:
    """Return rows and summary of `stat_sel`, from a pool in which each skill has four questions."""
    pool = [
        Question(id=f"p{n}", question=f"{n}?", answer="1", solution="It is 1.", skills=[skill, skills[0]], licence=None)
        for n, skill in enumerate(skills * 4)
    ]
    diagnosed = diagnosed_of({f"v{n}": [skill] for n, skill in enumerate(skills)})
    settings: dict[str, Any] = {"questions_per_skill": 3, "weight": "count", "answers_per_question": 1}
    recipe = StatSelRecipe(name="stat_sel", pairs=2 * len(skills), answers="own", allow_short=False, **settings)
    prompt = Prompt(system=None, template="{question}", chat_template_arguments={})
    made = make_training_set(source_of(pool), diagnosed, recipe, tools_of(LabelReader()), prompt, 0)
    return made.examples, made.summary


def test_counts_per_skill_are_those_of_the_rows(tmp_path: Path) -> None:
    rows, summary = _made(["alpha", "beta_gamma", "delta"])
    write_card(tmp_path, _about(rows, curation=summary))
    carried = Counter(skill for row in rows for skill in row.skills)
    drawn = Counter(row.origin.skill for row in rows)
    expected = [[skill, str(count), str(drawn[skill])] for skill, count in carried.items()]
    shown = _tables(tmp_path / CARD)[1]
    assert shown[0] == ["skill", "rows", "drawn for"]
    assert sorted(shown[1:]) == sorted(expected)


def test_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    write_card(tmp_path, _about([_row(n) for n in range(1000)]))
    card = DatasetCard.load(tmp_path / CARD)
    assert card.data.to_dict() == {
        "task_categories": ["text-generation"],
        "tags": ["stat-train", "stat_sel"],
        "size_categories": "1K<n<10K",
        "configs": [{"config_name": "default", "data_files": TABLE}],
    }
    assert card.text.lstrip().startswith("# 1000 training rows by `stat_sel`")


def test_what_a_card_says(tmp_path: Path) -> None:
    about = _about([_row(1)], cost="$0.25: 3 calls, 40 tokens", licences={"mit": 3, "not stated": 1})
    write_card(tmp_path, about)
    head, _, against, hits, terms = _tables(tmp_path / CARD)
    assert head[1:] == [
        ["student", "s"],
        ["task", "t"],
        ["recipe", "stat_sel"],
        ["rows", "1, 1 of them different, from 1 questions"],
        ["answers", "the pool's own solutions"],
        ["teacher", "m"],
        ["paid for these rows", "$0.25: 3 calls, 40 tokens"],
        ["pool", "owner/pool, 7 usable questions"],
    ]
    assert against[1:] == [["a_benchmark", "5", "3"]]
    assert hits[1:] == [
        ["pool, leak, equal", "2"],
        ["pool, template twin, equal but for numbers (flagged, may be in the rows)", "1"],
    ]
    assert terms[1:] == [["mit", "3"], ["not stated", "1"]]


def test_folders_of_this_machine_are_not_told(tmp_path: Path) -> None:
    against = {"/home/me/secret/held.jsonl": 5, "owner/bench": 2, "~/secret/other": 1}
    decontamination = _about([])["curation"]["decontamination"] | {"against": against}
    more = {"pool": "../secret/pool.jsonl", "teacher": "/models/secret/m"}
    write_card(tmp_path, _about([_row(1)], curation={"decontamination": decontamination}, **more))
    assert "secret" not in (tmp_path / CARD).read_text()
    assert [row[0] for row in _tables(tmp_path / CARD)[2][1:]] == ["held.jsonl", "owner/bench", "other"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are_and_are_no_markup(name: str, tmp_path: Path) -> None:
    """White space aside: a card with this name everywhere has the markup of one with a harmless name."""
    rows, summary = _made(["plain", name])
    decontamination = _about([])["curation"]["decontamination"] | {"against": {name: 5}}
    everywhere = dict.fromkeys(("task", "pool", "student", "teacher"), name)
    found = summary | {"decontamination": decontamination, "embedder": name}
    write_card(tmp_path, _about(rows, curation=found, licences={name: 2}, **everywhere))
    shown = " ".join(name.split())
    head, skills, against, _, terms = _tables(tmp_path / CARD)
    assert {line[0]: line[1] for line in head}["student"] == shown
    assert {line[0] for line in skills[1:]} == {"plain", shown}
    assert [line[0] for line in against[1:]] == [shown] and [line[0] for line in terms[1:]] == [shown]
    assert {len(line) for table in (skills, against, terms) for line in table} == {2, 3}
    harmless = tmp_path / "harmless"
    harmless.mkdir()
    renamed = {key: {"plain": 1, "other": 1} for key in ("pairs_carrying_skill", "pairs_drawn_for_skill")}
    decontamination = decontamination | {"against": {"other": 5}}
    found = found | renamed | {"decontamination": decontamination, "embedder": "other"}
    write_card(harmless, _about(rows, curation=found, licences={"other": 2}, **dict.fromkeys(everywhere, "other")))
    assert _markup(tmp_path / CARD) == _markup(harmless / CARD)


def test_of_very_many_skills_the_first_are_shown(tmp_path: Path) -> None:
    carried = {f"s{n}": 1 for n in range(SKILLS_SHOWN + 3)}
    write_card(tmp_path, _about([_row(1)], curation={"pairs_carrying_skill": carried}))
    assert len(_tables(tmp_path / CARD)[1]) == 1 + SKILLS_SHOWN
    assert "\nand 3 more.\n" in _body(tmp_path / CARD)


def test_licences_are_counted_by_row() -> None:
    """A row of two questions under one licence counts once for it, and of two licences once for each."""
    under = {"a": "mit", "b": "mit", "c": None}
    pool = source_of([Question(id=id, question=id, solution="s", licence=licence) for id, licence in under.items()])
    seeds = ["ab", "ac", "c", ""]
    rows = [_row(n, origin=Origin(seed_ids=list(ids))) for n, ids in enumerate(seeds)]
    of_seed = licences_of(pool.pool, {"a", "b", "c"})
    assert of_seed == under
    assert licences(rows, of_seed) == {"mit": 2, "not stated": 2, "written by the teacher alone": 1}


# -- a run ------------------------------------------------------------------------------------------------------------


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _settings(folder: Path, *more: str) -> list[str]:
    """Return the settings of a run whose difficult questions all miss `angles`, to its training set."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"q{n}", "question": f"What is {n} + 1?", "answer": str(n + 1), "solution": f"It is {n + 1}."}
        | {"subject": "geometry", "skills": ["angles", "a | <b>"][: 1 + n % 2]}
        for n in range(60)
    ]
    pool, test = _lines(folder / "pool.jsonl", rows[:40]), _lines(folder / "test.jsonl", rows[40:])
    given = [{"id": row["id"], "responses": ["It is \\boxed{0}"]} for row in rows[40:50]]
    student = ["student=recorded", f"student.path={_lines(folder / 'student.jsonl', given)}", "difficulty=gold"]
    task = ["task=jsonl", f"task.pool={pool}", f"task.benchmark={test}", "data_recipe.pairs=12", "until=curate"]
    return [*task, *student, f"cache_dir={folder}/cache", f"run_dir={folder}/run", *more]


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[Callable[..., ChatServer]]:
    """Return a function that starts a served teacher."""
    started: list[ChatServer] = []

    def start(**plan: object) -> ChatServer:
        given = {"words": "teacher", "latency_seconds": 0.001, "api_key": KEY} | plan
        started.append(ChatServer(tmp_path / f"server{len(started)}", given))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_the_price_is_the_sum_over_the_calls_of_the_rows(
    teacher: Callable[..., ChatServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts whose reply was of no use were paid for as well; labels and diagnoses are no part of it."""
    monkeypatch.setenv("THE_KEY", KEY)
    server = teacher(fault_share=0.3, seed=1, faults=["length"])
    endpoint = ["teacher=openai", "teacher.model=m|m", f"teacher.base_url={server.url}"]
    endpoint += ["teacher.api_key_env=THE_KEY", "teacher.max_wait_seconds=1.0"]
    prices = ["teacher.usd_per_million_input_tokens=2000", "teacher.usd_per_million_output_tokens=30000"]
    settings = _settings(tmp_path / "here", *endpoint, *prices)
    assert main(settings) == 0
    run = tmp_path / "here" / "run"
    behind = {id for row in read_records(run / ROWS, TrainingExample) for id in row.origin.call_ids}
    ledger = (tmp_path / "here" / "cache" / "ledger").glob("*.jsonl")
    kept = [json.loads(line) for path in ledger for line in path.read_text().splitlines()]
    replies = [row for row in kept if row["kind"] == "reply" and row["key"] in behind]
    assert len(replies) > len(behind) > 0
    tokens = [sum(row[f"{way}_tokens"] for row in replies) for way in ("input", "output")]
    usd = (tokens[0] * 2000 + tokens[1] * 30000) / 1e6
    head = {line[0]: line[1] for line in _tables(run / CARD)[0][1:]}
    assert head["paid for these rows"] == f"{in_dollars(usd)}: {len(behind)} calls, {sum(tokens):,} tokens"
    assert (head["teacher"], head["pool"]) == ("m|m", "pool.jsonl, 40 usable questions")
    assert KEY not in (run / CARD).read_text()
    # Another run that pays nothing says the same: it is the price of the rows.
    other = tmp_path / "here" / "other"
    assert main([*settings, f"run_dir={other}", "data_recipe.allow_short=true"]) == 0
    assert {line[0]: line[1] for line in _tables(other / CARD)[0][1:]} == head
    # Where no price was known when the calls were made, none is told.
    unpriced = _settings(tmp_path / "unpriced", *endpoint)
    assert main(unpriced) == 0
    head = {line[0]: line[1] for line in _tables(tmp_path / "unpriced" / "run" / CARD)[0][1:]}
    assert re.fullmatch(r"unknown prices: \d+ calls, [\d,]+ tokens", head["paid for these rows"])


# -- the upload -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose runs share a cache: only the first one makes anything."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Serve a hub."""
    with hub_server(TOKEN) as hub:
        yield hub


def _upload(
    home: Path, url: str, *more: str, verb: str = "run", token: str | None = TOKEN
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own: the hub's library reads its address once."""
    private = {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    # Large files go by git LFS then, which needs no second server.
    private |= {"HF_HUB_DISABLE_XET": "1"} | ({} if token is None else {"HF_TOKEN": token})
    left_out = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | private
    settings = _settings(home / "here", "teacher=labels", "push_to_hub=someone/rows", *more)
    command = [sys.executable, "-m", "stat_train.cli", verb, *settings]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120)


def test_the_training_set_arrives_whole_and_private(home: Path, hub: Hub) -> None:
    done = _upload(home, hub.url)
    assert done.returncode == 0, done.stderr
    run = home / "here" / "run"
    assert hub.files == {
        "README.md": (run / CARD).read_bytes(),
        ROWS: (run / ROWS).read_bytes(),
        TABLE: (run / TABLE).read_bytes(),
    }
    assert [(each["name"], each["organization"], each["type"]) for each in hub.created] == [
        ("rows", "someone", "dataset")
    ]
    assert hub.created[0].get("private") is True or hub.created[0].get("visibility") == "private"
    assert {request.token for request in hub.requests if request.method == "POST"} == {f"Bearer {TOKEN}"}
    assert f"uploaded to {hub.url}/datasets/someone/rows" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 10 and [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_the_same_command_again_sends_only_what_is_not_there(home: Path, hub: Hub) -> None:
    assert _upload(home, hub.url).returncode == 0
    assert len(hub.asked("/commit/")) == 1 and len(hub.large) == 1
    again = _upload(home, hub.url)
    assert again.returncode == 0, again.stderr
    assert "nothing was run" in again.stdout and f"uploaded to {hub.url}/datasets/someone/rows" in again.stdout
    assert len(hub.created) == 2 and len(hub.asked("/commit/")) == len(hub.asked("/large/")) == 1
    # Another training set replaces it.
    assert _upload(home, hub.url, "seed=1").returncode == 0
    assert len(hub.asked("/commit/")) == 2
    assert hub.files[ROWS] == (home / "here" / "run" / ROWS).read_bytes()


def test_plan_and_a_run_that_ends_earlier_upload_nothing(home: Path, hub: Hub) -> None:
    for verb, until in (("plan", "curate"), ("run", "profile")):
        done = _upload(home, hub.url, f"until={until}", verb=verb)
        assert done.returncode == 0, done.stderr
    assert hub.requests == []


# What the hub refuses, with which status; with which token it is asked; what is said of that.
REFUSED: dict[str, tuple[dict[str, int], str | None, str]] = {
    "no such token": ({}, "hf_another_secret", "401"),
    "no token": ({}, None, "401"),
    "a token that no header can hold": ({}, "hf_another_secret\u00e9", "'ascii' codec can't encode"),
    "a token with a control character": ({}, "hf_another_secret\x0bx", "Illegal header value b'Bearer [token]'"),
    "not yours": ({"/api/": 403}, TOKEN, "403"),
    "not yours to write": ({"/commit/": 403}, TOKEN, "403"),
    "a large file that is not taken": ({"/large/": 403}, TOKEN, "Error while uploading 'training_set.parquet'"),
    "broken": ({"/api/": 500}, TOKEN, "500"),
    "unreachable": ({}, TOKEN, "Connection refused"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hub_that_does_not_take_it(case: str, home: Path, hub: Hub) -> None:
    """One message, exit code 2; the training set is there, and the token is not told."""
    hub.refuses, token, reason = REFUSED[case]
    done = _upload(home, "http://127.0.0.1:9" if case == "unreachable" else hub.url, token=token)
    assert done.returncode == 2, done.stderr
    # The bar of a large file's upload may stand before it.
    (said,) = re.findall("stat-train: .*", done.stderr)
    assert said.startswith("stat-train: push_to_hub = someone/rows: the hub does not take it (")
    assert reason in said and "hf auth login, or HF_TOKEN" in said and "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert len(read_records(home / "here" / "run" / ROWS, TrainingExample)) == 12
    assert hub.files == {}


@pytest.mark.parametrize("name", ["rows", "a/b/c", "a b/c", "/c", "a/", "a/..", "a/b--c", "https://hub/a/b", "a/b\n"])
def test_a_name_that_no_hub_takes_is_refused_before_anything_is_made(name: str, tmp_path: Path) -> None:
    settings = _settings(tmp_path / "here", "teacher=labels", f"push_to_hub='{name}'")
    with pytest.raises(ConfigError, match=r"push_to_hub = .*expected OWNER/NAME of a data set on the hub"):
        read_settings(settings)


@pytest.mark.parametrize("name", ["a/b", "Some-One/rows.v2_x", "_a/0"])
def test_a_name_that_the_hub_takes(name: str, tmp_path: Path) -> None:
    assert (
        read_settings(_settings(tmp_path / "here", "teacher=labels", f"push_to_hub={name}")).config.push_to_hub == name
    )

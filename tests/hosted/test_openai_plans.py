"""OpenAI's wire: what a plan says, and what it refuses, with nothing sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adaptkit import Client, Dataset
from adaptkit.adapter import (
    Context,
    SupportsDeploy,
    SupportsDownload,
    SupportsFind,
    SupportsPause,
    SupportsShutdownDate,
)
from adaptkit.backends.openai import OpenAIAdapter, OpenAIConfig
from adaptkit.backends.openai.asking import body
from adaptkit.backends.openai.profiles import shutdown_of
from adaptkit.backends.openai.recipes import changed, recipe
from adaptkit.config import target
from adaptkit.errors import ConfigError, DataError, UnsupportedError
from adaptkit.translate import translate
from tests.hosted.conftest import ROWS

CHECK = {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
         "operation": "eq"}  # fmt: skip
AZURE = "https://mine.openai.azure.com/openai/v1"
MANTLE = "https://bedrock-mantle.us-west-2.api.aws/v1"
ARN = "arn:aws:lambda:us-west-2:123456789012:function:reward"
PREFERENCES = [
    {
        "input": {"messages": [{"role": "user", "content": f"Question {n}?"}]},
        "preferred_output": [{"role": "assistant", "content": "Yes, please."}],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }
    for n in range(12)
]
QUESTIONS = [{"messages": [{"role": "user", "content": f"{n} + 1?"}], "answer": str(n + 1)} for n in range(120)]


def config(**fields: Any) -> OpenAIConfig:
    return OpenAIConfig.model_validate({"model": "gpt-4.1-2025-04-14", **fields})


def nebius(**fields: Any) -> OpenAIConfig:
    return config(profile="nebius", weights="lora", **{"model": "meta-llama/Llama-3.1-8B-Instruct", **fields})


def azure(**fields: Any) -> OpenAIConfig:
    return config(profile="azure", base_url=AZURE, **fields)


def mantle(**fields: Any) -> OpenAIConfig:
    grader = {"type": "lambda", "function": ARN}
    given = {"method": "rft", "grader": grader, "model": "openai.gpt-oss-20b", **fields}
    return config(profile="bedrock-mantle", base_url=MANTLE, **given)


def adapter(given: OpenAIConfig) -> OpenAIAdapter:
    return OpenAIAdapter(given, Context(Path("/nowhere")))


def said(given: OpenAIConfig, rows: list[dict[str, Any]] = ROWS) -> str:
    with pytest.raises(UnsupportedError) as caught:
        adapter(given).prepare(Dataset.of(rows))
    return str(caught.value)


# what may be said together --------------------------------------------------------------------------------------------


def test_a_base_url_alone_is_some_host_whose_key_must_be_named() -> None:
    made = config(base_url="https://gateway.example/v1", api_key_env="GATEWAY_KEY")
    assert made.profile == "generic"
    with pytest.raises(ValueError, match="needs api_key_env"):  # OpenAI's key is not sent to whom it may concern
        config(base_url="https://gateway.example/v1")


def test_each_host_has_a_key_of_its_own() -> None:
    assert config().api_key_env == "OPENAI_API_KEY"
    assert nebius().api_key_env == "NEBIUS_API_KEY"
    assert azure().api_key_env == "AZURE_OPENAI_API_KEY"
    assert mantle().api_key_env == "AWS_BEARER_TOKEN_BEDROCK"


@pytest.mark.parametrize("profile", ["azure", "bedrock-mantle", "generic"])
def test_a_host_without_an_address_of_its_own_needs_one(profile: str) -> None:
    with pytest.raises(ConfigError, match="needs a base_url, such as https://"):
        target("t", {"backend": "openai", "profile": profile, "model": "m"})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_rate_is_a_number(number: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        target("t", {"backend": "openai", "model": "m", "learning_rate_multiplier": number})


def test_labels_are_graded_only_inside_a_formula() -> None:
    label = {"type": "label_model", "name": "l", "model": "m", "input": [{"role": "user", "content": "?"}],
             "labels": ["a", "b"], "passing_labels": ["a"]}  # fmt: skip
    with pytest.raises(ConfigError, match="label_model"):
        target("t", {"backend": "openai", "model": "m", "method": "rft", "grader": label})
    both = {"type": "multi", "name": "m", "graders": {"l": label, "same": CHECK}, "calculate_output": "(l + same) / 2"}
    made = config(method="rft", grader=both, validation="held_out.jsonl")
    assert body(made)["method"]["reinforcement"]["grader"]["graders"]["l"]["passing_labels"] == ["a"]


# what goes out --------------------------------------------------------------------------------------------------------

BODIES: list[tuple[OpenAIConfig, dict[str, Any]]] = [
    (config(), {"model": "gpt-4.1-2025-04-14", "method": {"type": "supervised"}}),
    (
        config(epochs=3, batch_size="auto", learning_rate_multiplier=0.5, seed=7, name="desk", metadata={"team": "a"}),
        {
            "model": "gpt-4.1-2025-04-14",
            "method": {
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5}
                },
            },
            "seed": 7,
            "suffix": "desk",
            "metadata": {"team": "a"},
        },
    ),
    (
        config(method="dpo", beta=0.1),
        {"model": "gpt-4.1-2025-04-14", "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}},
    ),
    (
        nebius(rank=8, alpha=16, max_length=4096, learning_rate=1e-5, warmup=0.1, packing=False, epochs=2),
        {
            "model": "meta-llama/Llama-3.1-8B-Instruct",
            "method": {
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {
                        "n_epochs": 2,
                        "learning_rate": 1e-5,
                        "lora_r": 8,
                        "lora_alpha": 16.0,
                        "context_length": 4096,
                        "warmup_ratio": 0.1,
                        "packing": False,
                        "lora": True,
                    }
                },
            },
        },
    ),
    (
        azure(training_type="developerTier"),
        {
            "model": "gpt-4.1-2025-04-14",
            "method": {"type": "supervised"},
            "trainingType": "developerTier",
        },
    ),
    (
        mantle(epochs=1),
        {
            "model": "openai.gpt-oss-20b",
            "method": {
                "type": "reinforcement",
                "reinforcement": {
                    "grader": {"type": "lambda", "lambda": {"function": ARN}},
                    "hyperparameters": {"n_epochs": 1},
                },
            },
        },
    ),
]


@pytest.mark.parametrize(("given", "wanted"), BODIES)
def test_the_body_is_the_hosts(given: OpenAIConfig, wanted: dict[str, Any]) -> None:
    assert body(given) == wanted
    assert json.loads(json.dumps(body(given))) == wanted


def test_full_training_at_nebius_is_said_too() -> None:
    made = nebius().model_copy(update={"weights": "full"})
    assert body(made)["method"]["supervised"]["hyperparameters"] == {"lora": False}


# what is refused ------------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once() -> None:
    words = said(
        config(
            epochs=51,
            batch_size=0,
            learning_rate=1e-4,
            rank=8,
            weights="lora",
            beta=0.1,
            seed=-1,
            name="n" * 65,
            training_type="Standard",
            metadata={"adaptkit_tag": "x", **{f"k{n}": "v" for n in range(15)}},
        )
    )
    for part in (
        "epochs = 51: OpenAI takes at least 1 and at most 50",
        "batch_size = 0: OpenAI takes at least 1 and at most 256",
        "learning_rate: OpenAI has no such setting; the nearest is learning_rate_multiplier, and the one is never made",
        "rank: OpenAI has no such setting",
        "weights: OpenAI has no such setting",
        "beta: it belongs to method = 'dpo'",
        "seed = -1",
        "name has 65 characters: OpenAI takes 1 to 64",
        "training_type: OpenAI has no such setting",
        "metadata has 16 pairs: OpenAI takes 15",
        "adaptkit_tag is adaptkit's own key",
    ):
        assert part in words, f"{part!r} is not among\n{words}"


REFUSED: list[tuple[Callable[[], OpenAIConfig], str]] = [
    (lambda: config(learning_rate_multiplier=0.0), "learning_rate_multiplier = 0.0: OpenAI takes more than 0"),
    (lambda: config(method="dpo", beta=2.5), "beta = 2.5: OpenAI takes more than 0 and at most 2"),
    (lambda: config(metadata={"k" * 65: "v"}), "a key has at most 64"),
    (lambda: config(method="rft"), "grader: method = 'rft' needs one; OpenAI takes multi, python"),
    (lambda: config(method="rft", grader=CHECK), "validation: method = 'rft' needs held-out examples at OpenAI"),
    (
        lambda: config(method="rft", grader={"type": "lambda", "function": ARN}, validation="v"),
        "grader.type = 'lambda': OpenAI takes",
    ),
    (lambda: config(method="rft", grader=CHECK, validation="v", compute_multiplier=11.0), "at most 10"),
    (lambda: config(method="rft", grader=CHECK, validation="v", eval_interval=0), "eval_interval = 0"),
    (lambda: nebius(method="dpo"), "method = 'dpo': Nebius has no such method; the nearest is sft"),
    (lambda: nebius(learning_rate_multiplier=2e-5), "the nearest is learning_rate, and the one is never made"),
    (lambda: nebius(epochs="auto"), 'epochs = "auto": Nebius wants a number'),
    (lambda: nebius(metadata={"a": "b"}), "metadata: Nebius has no such setting"),
    (lambda: nebius(name="n" * 38), "Nebius takes 1 to 37"),
    (lambda: nebius().model_copy(update={"weights": None}), 'weights: say "lora" or "full"'),
    (lambda: nebius(rank=8).model_copy(update={"weights": "full"}), 'rank: it is for weights = "lora"'),
    (lambda: azure(name="release-1.2"), "name holds a dot"),
    (lambda: azure(name="n" * 19), "Azure takes 1 to 18"),
    (lambda: azure(wandb={"project": "p"}), "wandb: Azure has no such setting"),
    (lambda: nebius(wandb={"project": "p"}), "wandb.api_key_env: Nebius wants the key"),
    (lambda: config(wandb={"project": "p", "api_key_env": "K"}), "wandb.api_key_env: OpenAI has the key"),
    (lambda: azure(deploy={"base_model": "b"}), "deploy: at Azure its table says subscription, resource_group"),
    (lambda: nebius(deploy={"subscription": "s", "resource_group": "r", "account": "a"}), "its table says base_model"),
    (lambda: config(deploy={"base_model": "b"}), "deploy: OpenAI has no such setting"),
    (lambda: mantle(name="n"), "name: Amazon Bedrock has no such setting"),
    (lambda: mantle(method="sft"), "method = 'sft': Amazon Bedrock has no such method; the nearest is rft"),
    (lambda: mantle(grader=CHECK), "grader.type = 'string_check': Amazon Bedrock takes lambda"),
]


def test_a_method_that_is_not_there_hides_nothing_else() -> None:
    words = said(nebius(method="dpo", learning_rate_multiplier=0.5, epochs=0, beta=0.1))
    assert words.count("\n") == 4
    for part in ("method = 'dpo'", "learning_rate_multiplier:", "epochs = 0", "beta: Nebius has no such setting"):
        assert part in words


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_refused(given: Callable[[], OpenAIConfig], words: str) -> None:
    assert words in said(given())


# data -----------------------------------------------------------------------------------------------------------------

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def pictures(count: int) -> list[dict[str, Any]]:
    seen = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, *[IMAGE] * count]}
    return [*ROWS, {"messages": [seen, {"role": "user", "content": "?"}, {"role": "assistant", "content": "A cat."}]}]


def rules(given: OpenAIConfig, rows: list[dict[str, Any]]) -> set[str]:
    report = Dataset.of(rows).check(rules=OpenAIAdapter.data_rules(given))
    return {problem.rule for problem in report.problems if problem.severity == "error"}


def test_data_is_what_the_method_learns_from() -> None:
    assert rules(config(), ROWS) == set()
    assert rules(config(), ROWS[:9]) == {"too-few-rows"}
    assert rules(nebius(), ROWS[:9]) == set()
    assert rules(config(), PREFERENCES) == {"wrong-kind"}
    assert rules(config(method="dpo"), PREFERENCES) == set()
    assert rules(config(method="rft", grader=CHECK, validation="v"), QUESTIONS) == set()
    assert rules(config(method="rft", grader=CHECK, validation="v"), ROWS) == {"answer-in-prompt"}
    assert rules(mantle(), QUESTIONS[:99]) == {"too-few-rows"}
    plain = [{"prompt": f"{n}+1=", "completion": str(n + 1)} for n in range(12)]
    assert rules(nebius(), plain) == set()
    assert rules(config(), plain) == {"wrong-kind"}


def test_images_are_for_those_that_see_them() -> None:
    seeing = config(model="gpt-4o-2024-08-06")
    assert rules(seeing, pictures(10)) == set()
    assert rules(seeing, pictures(11)) == {"too-many-images"}
    assert rules(config(), pictures(1)) == {"no-images"}
    assert rules(azure(), pictures(1)) == set()
    assert rules(nebius(), pictures(1)) == {"no-images"}
    shown = [{**PREFERENCES[0], "input": {"messages": [{"role": "user", "content": [IMAGE]}]}}, *PREFERENCES[1:]]
    assert rules(config(method="dpo", model="gpt-4o-2024-08-06"), shown) == {"no-images"}


def test_audio_is_not_learned_from() -> None:
    heard = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    row = {"messages": [{"role": "user", "content": [heard]}, {"role": "assistant", "content": "A bell."}]}
    assert rules(config(), [*ROWS, row]) == {"no-audio"}


def test_tools_go_through() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
    row = {
        "messages": [
            {"role": "user", "content": "Where is 7?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "here"},
            {"role": "assistant", "content": "Here."},
        ],
        "tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],
    }
    assert rules(config(), [*ROWS, row]) == set()


def test_a_plan_for_rft_has_both_files_and_a_cap_on_the_second(tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    Dataset.of(QUESTIONS[:20]).write(held_out)
    made = config(method="rft", grader=CHECK, validation=str(held_out))
    with Client(targets={"t": made}, home=tmp_path) as client:
        assert [file.purpose for file in client.plan("t", Dataset.of(QUESTIONS)).files] == ["train", "validation"]
    many = [{"messages": [{"role": "user", "content": f"{n} + 1?"}], "answer": str(n)} for n in range(1001)]
    Dataset.of(many).write(held_out)
    with pytest.raises(UnsupportedError, match="validation has 1,001 rows, and OpenAI takes 1,000"):
        adapter(made).prepare(Dataset.of(QUESTIONS))


def test_bad_data_is_no_plan() -> None:
    with pytest.raises(DataError, match="at least 10"):
        adapter(config()).prepare(Dataset.of(ROWS[:3]))


# what is known beforehand ---------------------------------------------------------------------------------------------


def test_a_plan_warns_of_the_end() -> None:
    plan = adapter(config()).prepare(Dataset.of(ROWS))
    assert "off on 2027-01-14" in plan.warnings[0]
    assert adapter(azure()).prepare(Dataset.of(ROWS)).warnings == ()


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("gpt-4o-2024-08-06", date(2027, 1, 14)),
        ("gpt-4o", date(2027, 1, 14)),
        ("gpt-4o-mini", date(2027, 1, 14)),
        ("gpt-4.1-nano-2025-04-14", date(2026, 10, 23)),
        ("gpt-4-0613", date(2026, 10, 23)),
        ("ft:gpt-4.1-mini-2025-04-14:acme::AbC123", date(2027, 1, 14)),
        ("ft:gpt-3.5-turbo-0125:acme:desk:AbC123:ckpt-step-88", date(2026, 10, 23)),
        ("gpt-4o-audio-preview", None),
        ("gpt-6-luna", None),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
    ],
)
def test_the_dated_table(model: str, day: date | None) -> None:
    assert shutdown_of(model) == day


def test_a_host_has_the_powers_that_it_has() -> None:
    powers = (SupportsFind, SupportsPause, SupportsDownload, SupportsDeploy, SupportsShutdownDate)
    has = {made.profile: [power.__name__ for power in powers if isinstance(adapter(made), power)]
           for made in (config(), azure(), nebius(), mantle())}  # fmt: skip
    assert has == {
        "openai": ["SupportsFind", "SupportsPause", "SupportsShutdownDate"],
        "azure": ["SupportsFind", "SupportsPause", "SupportsDeploy", "SupportsShutdownDate"],
        "nebius": ["SupportsFind", "SupportsDownload", "SupportsDeploy"],
        "bedrock-mantle": [],
    }
    assert adapter(config()).guarantee == "reconcilable"
    assert adapter(mantle()).guarantee == "at_most_once_manual"


def test_the_key_of_weights_and_biases_stands_in_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "wandb-canary-77aa01")
    made = nebius(wandb={"project": "p", "api_key_env": "WANDB_API_KEY"})
    plan = adapter(made).prepare(Dataset.of(ROWS))
    assert plan.request["integrations"] == [{"type": "wandb", "wandb": {"project": "p"}}]
    assert "wandb-canary-77aa01" not in repr(plan)


# what comes back ------------------------------------------------------------------------------------------------------


def test_what_a_host_will_run_otherwise_is_said() -> None:
    told = {
        "model": "gpt-4.1-2025-04-14",
        "seed": 8,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}},
    }
    notes = changed(config(epochs=3, seed=7, batch_size="auto"), told)
    assert notes == (
        "epochs = 3 was asked for, and OpenAI says that it runs 1",
        "seed = 7 was asked for, and OpenAI says that it runs 8",
    )
    beside = {"hyperparameters": {"lora": False, "learning_rate": 1e-5}, "method": None, "model": "other"}
    assert changed(nebius(learning_rate=1e-5), beside) == (
        "lora = True was asked for, and Nebius says that it runs False",
        "model = 'meta-llama/Llama-3.1-8B-Instruct' was asked for, and Nebius says that it runs 'other'",
    )
    assert changed(config(method="dpo", beta=0.1), {"hyperparameters": None, "method": {"type": "dpo"}}) == ()
    alias = {"model": "gpt-4o-mini-2024-07-18", "hyperparameters": None}
    assert changed(config(model="gpt-4o-mini"), alias) == ()


@pytest.mark.parametrize("made", [given for given, _ in BODIES])
def test_a_recipe_starts_the_same_job(made: OpenAIConfig) -> None:
    job = {**body(made), "user_provided_suffix": made.name}
    again = target("t", recipe(made, job))
    assert isinstance(again, OpenAIConfig)
    same = {name: value for name, value in body(again).items() if name not in ("metadata", "trainingType")}
    wanted = {name: value for name, value in body(made).items() if name not in ("metadata", "trainingType")}
    if made.batch_size == "auto":
        del wanted["method"]["supervised"]["hyperparameters"]["batch_size"]
    assert same == wanted


def test_a_target_moves_to_another_backend_of_this_machine() -> None:
    moved = translate(nebius(rank=8, max_length=4096, epochs=2), "lora")
    verdicts = {field.name: (field.verdict, field.becomes) for field in moved.fields}
    assert verdicts["rank"] == ("carried", "rank")
    assert verdicts["max_length"] == ("carried", "max_length")
    assert verdicts["weights"] == ("carried", "weights")
    assert verdicts["model"][0] == "decide"

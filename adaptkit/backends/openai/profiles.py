"""What each host on OpenAI's fine-tuning wire has, as one table.

The wire is the same; what may stand in it is not. Bounds are those of OpenAI's API description and of the hosts' own
pages; where a page is silent nothing is refused, and nothing is promised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from adaptkit.adapter import Guarantee

__all__ = ["CLOSED", "PROFILES", "SHUTDOWNS", "Bound", "Profile", "ProfileName", "shutdown_of"]

ProfileName = Literal["openai", "azure", "nebius", "bedrock-mantle", "generic"]

#: A lowest and a highest value, ``None`` where there is none; ``above`` where the lowest itself is too low.
Bound = tuple[float | None, float | None, Literal["", "above"]]

_OPENAI_BOUNDS: Mapping[str, Bound] = {
    "epochs": (1, 50, ""),
    "batch_size": (1, 256, ""),
    "learning_rate_multiplier": (0, None, "above"),
    "beta": (0, 2, "above"),
    "compute_multiplier": (0.00001, 10, "above"),
    "eval_interval": (1, None, ""),
    "eval_samples": (1, None, ""),
    "seed": (0, 2**31 - 1, ""),
}
_NEBIUS_BOUNDS: Mapping[str, Bound] = {
    "epochs": (1, None, ""),
    "batch_size": (1, None, ""),
    "learning_rate": (0, None, "above"),
    "rank": (1, None, ""),
    "alpha": (0, None, "above"),
    "dropout": (0, 1, ""),
    "max_length": (1, None, ""),
    "warmup": (0, 1, ""),
    "weight_decay": (0, None, ""),
    "max_grad_norm": (0, None, ""),
    "seed": (0, None, ""),
}
_COMMON = frozenset({"epochs", "batch_size", "learning_rate_multiplier"})
_RFT = frozenset({"reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples"})
_NEBIUS = frozenset({"weights", "epochs", "batch_size", "learning_rate", "rank", "alpha", "dropout", "max_length",
                     "warmup", "weight_decay", "max_grad_norm", "packing"})  # fmt: skip
_GRADERS = frozenset({"string_check", "text_similarity", "score_model", "python", "multi"})


@dataclass(frozen=True)
class Profile:
    """One host.

    Attributes:
        says: Its name in messages.
        base_url: Its address; ``None`` where each account has its own.
        example: How such an address looks.
        api_key_env: The variable with its key; ``None`` where somebody must say.
        methods: Settings by method.
        settings: Settings of every method.
        bounds: Bounds of settings.
        auto: Whether ``"auto"`` is a value.
        name_length: Longest ``name``; 0 where there is none.
        name_dots: Whether a name may hold dots.
        wandb_key: Whether the key of Weights & Biases goes with each job.
        graders: Kinds of graders.
        fewest, most: Rows of training data by method.
        most_validation: Rows of RFT's validation data.
        rft_validation: Whether RFT needs validation data.
        whole: Largest file that is sent in one request, bytes; what is larger goes in parts. ``None`` for any.
        largest: Largest file, bytes.
        vision: Start of the ids of models that learn from images, ``None`` where any may, empty where none does.
        most_images: Images in an example.
        guarantee: What holds when the answer to a submission is lost.
        tag_in: Field of a job that carries its tag, so that it can be found; ``None`` where none can.
        serves: Whether a result answers by a name that the job tells; else it is called by job and checkpoint.
        deploys: What its deploy table must say.
        deploy_guarantee: What holds when the answer to a deployment is lost.
        lacks: Powers that the host does not have, by method of the adapter.
    """

    says: str
    base_url: str | None
    example: str
    api_key_env: str | None
    methods: Mapping[str, frozenset[str]]
    settings: frozenset[str]
    bounds: Mapping[str, Bound]
    auto: bool = True
    name_length: int = 64
    name_dots: bool = True
    wandb_key: bool = False
    graders: frozenset[str] = _GRADERS
    fewest: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
    most_validation: int | None = None
    rft_validation: bool = False
    whole: int | None = None
    largest: int | None = None
    vision: tuple[str, ...] | None = None
    most_images: int | None = None
    guarantee: Guarantee = "reconcilable"
    tag_in: Literal["metadata", "suffix"] | None = "metadata"
    serves: bool = True
    deploys: tuple[str, ...] = ()
    deploy_guarantee: Guarantee = "exactly_once"
    lacks: frozenset[str] = frozenset()


_DEPLOYS = frozenset({"deploy", "deployment", "find_deployments", "undeploy"})
_OPENAI_METHODS = {"sft": _COMMON, "dpo": _COMMON | {"beta"}, "rft": _COMMON | _RFT | {"grader"}}

PROFILES: Mapping[str, Profile] = {
    "openai": Profile(
        says="OpenAI",
        base_url="https://api.openai.com/v1",
        example="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        methods=_OPENAI_METHODS,
        settings=frozenset({"seed", "name", "metadata", "wandb", "validation"}),
        bounds=_OPENAI_BOUNDS,
        fewest={"sft": 10, "dpo": 10, "rft": 10},
        most={"rft": 50_000},
        most_validation=1_000,
        rft_validation=True,
        whole=512_000_000,
        largest=8_000_000_000,
        vision=("gpt-4o-2024-08-06", "ft:gpt-4o-2024-08-06"),
        most_images=10,
        lacks=frozenset({"download"}) | _DEPLOYS,
    ),
    "azure": Profile(
        says="Azure",
        base_url=None,
        example="https://RESOURCE.openai.azure.com/openai/v1",
        api_key_env="AZURE_OPENAI_API_KEY",
        methods=_OPENAI_METHODS,
        settings=frozenset({"seed", "name", "metadata", "validation", "training_type", "deploy"}),
        bounds=_OPENAI_BOUNDS,
        name_length=18,
        name_dots=False,
        fewest={"sft": 10, "dpo": 10, "rft": 10},
        rft_validation=True,
        largest=512_000_000,
        most_images=10,
        deploys=("subscription", "resource_group", "account"),
        lacks=frozenset({"download"}),
    ),
    "nebius": Profile(
        says="Nebius",
        base_url="https://api.tokenfactory.nebius.com/v1",
        example="https://api.tokenfactory.nebius.com/v1",
        api_key_env="NEBIUS_API_KEY",
        methods={"sft": _NEBIUS},
        settings=frozenset({"seed", "name", "wandb", "validation", "deploy"}),
        bounds=_NEBIUS_BOUNDS,
        auto=False,
        name_length=37,  # of 64, since the tag goes there too
        wandb_key=True,
        graders=frozenset(),
        largest=5_000_000_000,
        vision=(),
        tag_in="suffix",
        serves=False,
        deploys=("base_model",),
        deploy_guarantee="reconcilable",
        lacks=frozenset({"pause", "resume", "shutdown_date"}),
    ),
    "bedrock-mantle": Profile(
        says="Amazon Bedrock",
        base_url=None,
        example="https://bedrock-mantle.us-west-2.api.aws/v1",
        api_key_env="AWS_BEARER_TOKEN_BEDROCK",
        methods={"rft": _COMMON | _RFT | {"grader"}},
        settings=frozenset({"validation"}),
        bounds=_OPENAI_BOUNDS,
        name_length=0,
        graders=frozenset({"lambda"}),
        fewest={"rft": 100},
        most={"rft": 20_000},
        guarantee="at_most_once_manual",
        tag_in=None,
        lacks=frozenset({"find", "pause", "resume", "download", "delete_model", "shutdown_date"}) | _DEPLOYS,
    ),
    "generic": Profile(
        says="this host",
        base_url=None,
        example="https://host/v1",
        api_key_env=None,
        methods=_OPENAI_METHODS,
        settings=frozenset({"seed", "name", "metadata", "wandb", "validation"}),
        bounds={},
        # the tag is sent and looked for; that such a host keeps it is more than is known
        guarantee="at_most_once_manual",
        lacks=frozenset({"download"}) | _DEPLOYS,
    ),
}

#: When OpenAI closes job creation for everybody; some organizations have been refused since May 2026.
CLOSED = date(2027, 1, 6)
_OCTOBER, _JANUARY = date(2026, 10, 23), date(2027, 1, 14)
#: When OpenAI switches bases off, and their fine-tunes with them: its deprecations page as of 2026-11-23. What stands
#: without a date is a family.
SHUTDOWNS: Mapping[str, date] = {
    "gpt-3.5-turbo": _OCTOBER,
    "gpt-4": _OCTOBER,
    "gpt-4.1-nano": _OCTOBER,
    "babbage-002": _OCTOBER,
    "davinci-002": _OCTOBER,
    "o4-mini": _OCTOBER,
    "gpt-4o-2024-08-06": _JANUARY,
    "gpt-4o-2024-11-20": _JANUARY,
    "gpt-4o-mini-2024-07-18": _JANUARY,
    "gpt-4.1-2025-04-14": _JANUARY,
    "gpt-4.1-mini-2025-04-14": _JANUARY,
}
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def shutdown_of(model: str) -> date | None:
    """The day from which OpenAI no longer answers for a base, or for a fine-tune of it, by the dated table."""
    base = model.removeprefix("ft:").partition(":")[0]
    for name, day in SHUTDOWNS.items():
        if base in (name, _DATE.sub("", name)) or (base.startswith(f"{name}-") and not _DATE.search(name)):
            return day
    return None

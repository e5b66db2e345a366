"""The model that embeds what is searched: as a target names it, and as an adapted model remembers it."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import httpx2
import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from adaptkit.backends.services.embedding import open_embedding, patient
from adaptkit.backends.services.vendors import Vendor, split_model
from adaptkit.errors import ConfigError
from adaptkit.http import checked_url, loopback
from adaptkit.http_clients import Clients
from adaptkit.retrieval import Embedder

__all__ = ["Embed", "EmbedSetting", "EmbeddedBy", "Embedding"]


class EmbeddedBy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whose vectors an adapted model is to be asked with: those of other models mean something else."""

    model: str
    base_url: str | None = None


class Embed(BaseModel):
    """A model that turns texts into vectors.

    Attributes:
        model: ``openai:…`` or ``mistral:…`` and the vendor's name of the model; with ``base_url``, the name that the
            service knows.
        base_url: Where a service speaks OpenAI's wire for embeddings, or another address of the vendor's; if left out,
            the target's own where it asks the same vendor or the same service, else the vendor's.
        api_key_env: Name of the environment variable that holds the key; if left out, the target's own where the
            address is, else the vendor's usual one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")

    @property
    def vendor(self) -> Vendor | None:
        """Whose SDK asks, if any's."""
        return split_model(self.model)[0]

    @property
    def key_env(self) -> str | None:
        """Name of the environment variable that holds the key, ``None`` where none is needed."""
        return self.api_key_env or (self.vendor.key_env if self.vendor else None)

    @property
    def address(self) -> str | None:
        """Where it is asked; ``None`` where nobody says."""
        return self.base_url or (self.vendor.base_url if self.vendor else None)

    @property
    def host(self) -> str:
        """Host that is asked; empty where nobody says."""
        return httpx2.URL(self.address or "").raw_host.decode("ascii")

    @property
    def by(self) -> EmbeddedBy:
        """For the file of an adapted model."""
        return EmbeddedBy(model=self.model, base_url=self.base_url)

    def beside(self, vendor: Vendor | None, base_url: str | None, api_key_env: str | None) -> Embed:
        """The same, with address and key of a target where it says neither and asks the same vendor or service."""
        if self.base_url is not None or vendor is not self.vendor:
            return self
        return self.model_copy(update={"base_url": base_url, "api_key_env": self.api_key_env or api_key_env})

    def problem(self) -> str | None:
        """What is missing, in one sentence."""
        if self.vendor is not None and not self.vendor.embeds:
            return f"embed: {self.vendor.name} has no models that embed; openai: and mistral: have"
        if self.address is None:
            return "embed: say where that model is: openai:… or mistral:…, or a table with model and base_url"
        if not loopback(self.host) and self.key_env is None:
            return f"embed: {self.host} wants a key: set embed.api_key_env to the name of the variable that holds it"
        return None


def _spelled(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


#: As a target spells it: the model's name alone, or a table.
EmbedSetting = Annotated[Embed, BeforeValidator(_spelled)]


class Embedding:
    """Embedders of an adapter: for questions, and for many texts at a time. The SDK is loaded when first asked.

    Args:
        embed: What the target names, complete; ``None`` for nothing.
        http: The clients to send with.
        backend: Name of the backend, for errors.
    """

    def __init__(self, embed: Embed | None, http: Clients, backend: str) -> None:
        self._embed, self._http, self._backend = embed, http, backend
        self._opening = threading.Lock()
        self._embedder: Embedder | None = None

    def questions(self, by: EmbeddedBy | None) -> Embedder | None:
        """What embeds a question for a model that was made with such vectors; one request, ``None`` for no vectors.

        Raises:
            ConfigError: the target names another, or none: a file from elsewhere sends nothing to where it likes.
            MissingDependencyError: the vendor's SDK is not installed.
        """
        if by is None:
            return None
        if self._embed is None or self._embed.by != by:
            here = "none" if self._embed is None else _said(self._embed.by)
            raise ConfigError(f"this model is searched with vectors of {_said(by)}, and the target's embed is {here}")
        with self._opening:
            if self._embedder is None:
                self._embedder = self._open(self._embed)
            return self._embedder

    def texts(self, by: EmbeddedBy | None) -> Embedder | None:
        """What embeds many texts, and tries again; raises as `questions` does."""
        embedder = self.questions(by)
        return None if embedder is None else Embedder(embedder.name, patient(embedder.embed))

    def _open(self, embed: Embed) -> Embedder:
        assert embed.address is not None  # noqa: S101 - see `Embed.problem`
        vendor, name = split_model(embed.model)
        opened = open_embedding(vendor, name, self._http, embed.address, key_env=embed.key_env, backend=self._backend)
        return Embedder(_said(embed.by), opened)


def _said(by: EmbeddedBy) -> str:
    return f"{by.model} at {by.base_url}" if by.base_url else by.model

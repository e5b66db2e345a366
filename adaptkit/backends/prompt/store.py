"""Where several machines keep the documents that are searched: a collection in PostgreSQL, named and never spelled out.

The URL holds a password, so target and model's file name the environment variable that holds it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import ConfigError, MissingDependencyError
from adaptkit.http import Egress, loopback
from adaptkit.retrieval import Embedder

if TYPE_CHECKING:
    from adaptkit.retrieval import PostgresRetriever

__all__ = ["Store", "StoredIn"]


class StoredIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which collection an adapted model searches."""

    url_env: str
    collection: str


class Store(BaseModel):
    """A collection of documents in PostgreSQL (the extra ``postgres``).

    It holds the documents of the last submission, and every model that names it searches these: unlike an index in a
    file, it is one, and moves on.

    Attributes:
        url_env: Name of the environment variable that holds ``postgresql://user:password@host/database``.
        collection: Its name there. Targets with other documents need another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    collection: str = Field(pattern=r"^[^\x00]{1,200}$")

    @property
    def at(self) -> StoredIn:
        """For the file of an adapted model."""
        return StoredIn(url_env=self.url_env, collection=self.collection)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that the URL leads to; none where that is this machine.

        Raises:
            ConfigError: the variable holds no URL of a database, or leaves the host to a file elsewhere.
            MissingDependencyError: the extra is not installed.
        """
        try:
            import psycopg  # noqa: PLC0415 - an extra
            from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415
        except ImportError:
            raise MissingDependencyError("documents in PostgreSQL", "psycopg", "postgres") from None
        try:
            said = conninfo_to_dict(self._url())
        except psycopg.Error:
            raise ConfigError(f"store: {self.url_env} holds no URL of a PostgreSQL database") from None
        # as libpq looks for it: what the URL leaves out, these variables say
        names = [str(said.get(name) or os.environ.get(f"PG{name.upper()}", "")) for name in ("host", "hostaddr")]
        if not any(names) and (said.get("service") or os.environ.get("PGSERVICE")):
            raise ConfigError(f"store: the URL in {self.url_env} leaves the host to a service file: name it in the URL")
        hosts = (host.strip() for name in names for host in name.split(","))
        # a path is a socket of this machine
        return tuple(dict.fromkeys(each for each in hosts if each and each[0] not in "/@" and not loopback(each)))

    def open(self, egress: Egress, embedder: Embedder | None) -> PostgresRetriever:
        """The collection.

        Raises:
            EgressError: the policy does not allow its host.
            RetrievalError, UnsupportedError: the database cannot be used, or has no pgvector where it is needed.
            ConfigError, MissingDependencyError: as for `hosts`.
        """
        egress.require(self.hosts, f"documents in {self.url_env}")
        from adaptkit.retrieval.postgres import PostgresRetriever  # noqa: PLC0415 - an extra

        return PostgresRetriever(self._url(), collection=self.collection, embedder=embedder)

    def _url(self) -> str:
        url = os.environ.get(self.url_env, "")
        if not url:
            raise ConfigError(f"store: the environment has no {self.url_env}; set it to the URL of the database")
        return url

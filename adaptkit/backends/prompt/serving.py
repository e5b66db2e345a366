"""Who answers for an adapted model: opened when first asked, shared by all models of the adapter."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import httpx2
import msgspec

from adaptkit.adapter import Abilities, Context
from adaptkit.backends.base_model import HUB
from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.prompt.adapted import AdaptedModel
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.services.ask import Ask, Cache, Service, TellsWindow, lower_bound, upper_bound
from adaptkit.backends.services.plain import ChatWire, ThisMachine
from adaptkit.backends.services.vendors import Vendor, open_vendor, split_model
from adaptkit.backends.services.window import Window, window_of
from adaptkit.errors import AdaptkitError, ConfigError, DataError, NotFoundError, UnsupportedError
from adaptkit.http import TIMEOUT
from adaptkit.http_clients import Clients
from adaptkit.steps import Steps, SystemClock, run

__all__ = ["Ready", "Serving", "served"]

#: Adapted models kept after they were read.
_KEPT = 64


def served(adapted: AdaptedModel) -> tuple[Vendor | None, str]:
    """Whose SDK answers for a model, if any's, and under which name the service knows it."""
    return (None, adapted.model) if adapted.wire == "chat" else split_model(adapted.model)


@dataclass(frozen=True)
class Ready:
    """A model as read from its file, what it puts in front of every question, and its key."""

    state: tuple[int, int, int]
    adapted: AdaptedModel
    front: Ask
    key: str


class Serving:
    """Services and files by model.

    Args:
        config: The target's configuration.
        context: What the client lends.
        backend: Name of the backend, for errors.
    """

    def __init__(self, config: PromptConfig, context: Context, backend: str) -> None:
        self._config, self._context, self._backend = config, context, backend
        self._services: dict[str, Service] = {}
        self._files: dict[str, Ready] = {}
        self._http = Clients(context.egress, httpx2.Timeout(config.timeout, connect=TIMEOUT.connect))
        self._opening = threading.Lock()

    def model(self, path: str) -> Ready:
        """An adapted model; read again only where its file has changed.

        Raises:
            NotFoundError, ArtifactError: as for `AdaptedModel.load`.
        """
        state = _state(path)
        kept = self._files.get(path)
        if kept is None or kept.state != state:
            adapted = AdaptedModel.load(Path(path))
            vendor, name = served(adapted)
            key = adapted.key
            cache = None if vendor is None or self._config.cache == "off" else Cache(key, self._config.cache)
            if len(self._files) >= _KEPT:
                self._files.clear()
            window = None if vendor is None else window_of(vendor.name, name, adapted.window)
            front = adapted.front(model=name, cache=cache, window=window)
            kept = self._files[path] = Ready(state, adapted, front, key)
        return kept

    def abilities(self, adapted: AdaptedModel) -> Abilities:
        """What a model takes."""
        vendor, _ = served(adapted)
        if vendor is not None:
            takes = vendor.abilities
        else:
            there = adapted.base_url is not None
            takes = Abilities(tools=there, schema=there and self._config.constrain, documents=True)
        return msgspec.structs.replace(takes, answers=adapted.answers)

    def service(self, adapted: AdaptedModel) -> Service:
        """Who answers.

        Raises:
            ConfigError: the file is for another address than the target.
            MissingDependencyError: the SDK, or what a local model needs, is not installed.
        """
        self._is_meant(adapted)
        with self._opening:
            if adapted.model not in self._services:
                self._services[adapted.model] = self._open(adapted)
            return self._services[adapted.model]

    def vendor_service(self) -> Service:
        """The vendor that the configuration names; loads its SDK."""
        vendor, address, key_env = self._config.vendor, self._config.address, self._config.key_env
        assert vendor is not None and address is not None and key_env is not None  # noqa: S101, PT018 - callers looked
        with self._opening:
            return open_vendor(vendor, self._http, address, key_env, self._backend)

    def open(self, path: str) -> tuple[Ready, Service]:
        """An adapted model and who answers for it; raises as `model` and `service` do."""
        ready = self.model(path)
        return ready, self.service(ready.adapted)

    def opened(self, path: str) -> tuple[Ready, Service] | None:
        """The same where both are at hand in memory, as they are from the second question on."""
        kept = self._files.get(path)
        if kept is None or kept.state != _state(path):
            return None
        self._is_meant(kept.adapted)
        service = self._services.get(kept.adapted.model)
        return None if service is None else (kept, service)

    def told(self, adapted: AdaptedModel) -> Window | None:
        """How much the vendor says now that a model reads and writes: at most one request.

        Making a model must not hang on that: ``None`` where the vendor does not say it, or cannot be asked.
        """
        vendor, name = served(adapted)
        if vendor is None:
            return None
        try:
            service = self._open(adapted)
            told = run(service.window(name), SystemClock()) if isinstance(service, TellsWindow) else Window()
        except AdaptkitError:
            return None
        return None if told == Window() else told

    def refuse_overflow(self, service: Service, ask: Ask) -> Steps[None]:
        """Refuse a prompt that is longer than the model reads, or an answer longer than it writes, where that is known.

        The service counts only where half the bytes of the prompt, which hardly a text exceeds, would not fit. Where it
        has no counter, only what is too long beyond doubt is refused.

        Raises:
            DataError: says what to shorten; nothing was sent.
            UnsupportedError: ``max_tokens`` is more than the model writes; nothing was sent.
        """
        reads, writes, wanted = ask.window.reads, ask.window.writes, ask.options.max_tokens
        if writes is not None and wanted is not None and wanted > writes:
            raise UnsupportedError(f"max_tokens is {wanted:,}, and {ask.model} writes {writes:,} at most. Not sent")
        if reads is None or upper_bound(ask) <= reads:
            return
        try:
            counted = yield from service.count(ask)
        except NotFoundError:  # a gateway that answers need not count
            counted = None
        tokens = lower_bound(ask) if counted is None else counted
        if tokens > reads:
            has = "has more than" if counted is None else "has"
            raise DataError(
                f"the prompt {has} {tokens:,} tokens, and {ask.model} reads {reads:,}: {_longest(ask)}. Not sent"
            )

    def close(self) -> None:
        """Let go of connections and loaded models."""
        with self._opening:
            self._services.clear()
            self._http.close()

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        with self._opening:
            self._services.clear()  # they hold its clients
        await self._http.aclose()

    def _open(self, adapted: AdaptedModel) -> Service:
        vendor, _ = served(adapted)
        if vendor is not None:
            address = adapted.base_url or vendor.base_url
            key_env = self._config.api_key_env or vendor.key_env
            return open_vendor(vendor, self._http, address, key_env, self._backend)
        if adapted.base_url is not None:
            http, named = self._http, self._config.api_key_env
            return ChatWire(Endpoint(http.calling, adapted.base_url, named, self._backend, http.here))
        from adaptkit.backends.local_model import LocalModel  # noqa: PLC0415 - torch only where it is used

        # a model's file may name another base than the configuration
        return ThisMachine(LocalModel.load(adapted.model, offline=not self._context.egress.allows(HUB)))

    def _is_meant(self, adapted: AdaptedModel) -> None:
        """A file from elsewhere must not send this target's key and questions to where it likes."""
        vendor, _ = served(adapted)
        if vendor is None and adapted.base_url is None:
            return
        if adapted.base_url != self._config.base_url or vendor is not self._config.vendor:
            there = adapted.base_url or (vendor.name if vendor else "this machine")
            here = self._config.base_url or (self._config.vendor.name if self._config.vendor else "nothing")
            raise ConfigError(
                f"this model was made for {there}, and the target says {here}: use a target with that base_url"
                + (f" and a model of {vendor.name}" if vendor else "")
            )


def _state(path: str) -> tuple[int, int, int]:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return (0, 0, 0)  # `load` says what is wrong
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _longest(ask: Ask) -> str:
    parts = {
        "shorten the instructions": sum(map(len, ask.system)),
        "lower examples": sum(len(turn.text) for turn in (*ask.examples, *ask.found)),
        "take files out of corpus, or name them in documents, which are searched": sum(
            len(each.text) for each in ask.corpus
        ),
        "give fewer documents or passages": sum(len(each.text) + len(each.pdf or b"") for each in ask.documents),
        "shorten the conversation": sum(len(turn.text) for turn in ask.messages),
    }
    return max(parts, key=lambda advice: parts[advice])

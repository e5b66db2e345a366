"""The address of a private deployment together with the model's name there: ``https://host/v1#model-name``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from adaptkit.errors import ConfigError

__all__ = ["Address"]

_FORM = "an address is https://host/v1#model-name, with the name that the deployment gives the model after the #"


@dataclass(frozen=True)
class Address:
    """Where a model answers chat completions.

    Attributes:
        base_url: Without ``/chat/completions``.
        host: The host's name, for the policy.
        model: The model's name there.
    """

    base_url: str
    host: str
    model: str

    def __str__(self) -> str:
        return f"{self.base_url}#{self.model}"

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Read an address; ``None`` for what is none, such as a path.

        Raises:
            ConfigError: it begins like one and is not whole. A key in it is not repeated.
        """
        if not text.lower().startswith(("http://", "https://")):
            return None
        try:
            parts = urlsplit(text.strip())
            host = parts.hostname
            _ = parts.port
        except ValueError:
            raise ConfigError(f"this address cannot be read; {_FORM}") from None
        if "@" in parts.netloc or parts.query:
            raise ConfigError(
                f"{host}: an address holds no key and no query; api_key_env of the target names the environment "
                f"variable with the key; {_FORM}"
            )
        path = parts.path.rstrip("/")
        if path.endswith("/chat/completions"):
            raise ConfigError(f"{host}: leave /chat/completions out; {_FORM}")
        if not host or not parts.fragment or any(char.isspace() for char in text.strip()):
            raise ConfigError(f"{text!r} names no host or no model; {_FORM}")
        return cls(urlunsplit((parts.scheme, parts.netloc, path, "", "")), host, parts.fragment)

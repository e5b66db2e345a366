"""The `mistral` backend: custom training of Mistral's models, on your machines, at a private deployment, or by Forge.

| module | idea |
|---|---|
| `config` | what can be set, by ``where`` |
| `stages` | the data of each stage, for every place |
| `adapter` | the parent of the places |
| `cluster`, `hosted`, `forge` | the places |
"""

from adaptkit.backends.mistral.adapter import MistralAdapter
from adaptkit.backends.mistral.cluster.adapter import ClusterAdapter
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.forge.adapter import ForgeAdapter
from adaptkit.backends.mistral.hosted.adapter import HostedAdapter

__all__ = ["ClusterAdapter", "ForgeAdapter", "HostedAdapter", "MistralAdapter", "MistralConfig"]

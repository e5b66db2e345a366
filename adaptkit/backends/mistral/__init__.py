"""The `mistral` backend: custom training of Mistral's models, on your machines, at a private deployment, or by Forge.

| module | idea |
|---|---|
| `config` | what can be set, by ``where`` |
| `adapter` | the parent of the three places |
| `cluster` | jobs on your own machines |
| `stages`, `settings` | what is learned, one after another, and with which settings |
| `sizes`, `figures`, `pace` | what it takes: memory, hours, money |
| `running` | the program of a job |
"""

from adaptkit.backends.mistral.adapter import MistralAdapter
from adaptkit.backends.mistral.cluster import ClusterAdapter
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.forge import ForgeAdapter
from adaptkit.backends.mistral.hosted import HostedAdapter

__all__ = ["ClusterAdapter", "ForgeAdapter", "HostedAdapter", "MistralAdapter", "MistralConfig"]

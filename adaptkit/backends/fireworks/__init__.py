"""The `fireworks` backend: fine-tuning at Fireworks AI, over plain REST.

| module | idea |
|---|---|
| `config` | what can be set, and what fits together |
| `names` | names of things at the host |
| `datasets` | data: sent to a signed address, looked at by the host |
| `storage` | signed addresses, and where they may lie |
| `jobs` | jobs: what is asked for, what is heard |
| `models` | models: what can be trained, files, money |
| `deployments` | deployments |
| `inventory` | what an account has |
| `adapter` | the backend |
"""

from adaptkit.backends.fireworks.adapter import FireworksAdapter
from adaptkit.backends.fireworks.config import FireworksConfig, FireworksDeploy, FireworksRollouts, FireworksWandb

__all__ = ["FireworksAdapter", "FireworksConfig", "FireworksDeploy", "FireworksRollouts", "FireworksWandb"]

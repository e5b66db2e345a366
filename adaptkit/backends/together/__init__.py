"""Together: LoRA and full fine-tuning, SFT and DPO, over its REST API.

Plain REST and not the host's SDK, which sends paid requests again by itself, drops parameters without a word, and
brings 25 packages.
"""

from adaptkit.backends.together.adapter import TogetherAdapter
from adaptkit.backends.together.config import TogetherConfig, TogetherDeploy, TogetherEarlyStopping, TogetherWandb

__all__ = ["TogetherAdapter", "TogetherConfig", "TogetherDeploy", "TogetherEarlyStopping", "TogetherWandb"]

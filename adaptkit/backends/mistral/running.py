"""A training from its files to its model: what every process of a job runs.

All stages are read and encoded before the first begins, so that what is wrong with the last shows at once. A stage that
has ended leaves its model as a folder that appears whole; whoever comes after a kill goes on from there, and within a
stage from its newest checkpoint.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base, fetch, find_base
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.mistral.config import MistralConfig, Stage
from adaptkit.backends.mistral.figures import shards
from adaptkit.backends.mistral.settings import on_machine, resolve
from adaptkit.backends.mistral.sizes import size_of
from adaptkit.backends.mistral.telling import StageWork
from adaptkit.backends.model_folder import MANIFEST, finish
from adaptkit.backends.training import corpus, rows
from adaptkit.backends.training.encode import Tally, examples, pairs
from adaptkit.backends.training.failures import explained
from adaptkit.backends.training.loop import Result, Settings, held_out_loss, train
from adaptkit.backends.training.losses import PreferenceLoss, token_loss
from adaptkit.backends.training.parallel import Group, Spread, joined
from adaptkit.backends.training.saving import facts_of, write
from adaptkit.data.records import ChatRecord, CompletionRecord, Record, TextRecord
from adaptkit.machine import this_machine

__all__ = ["run"]

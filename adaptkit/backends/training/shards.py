"""Checkpoints of a model that many processes train: each writes its part, and any number of them reads it.

`torch.distributed.checkpoint` divides the work and puts parts together anew. Its storage here is safetensors: its own
format keeps what lies where in a pickle, and adaptkit loads none. (Between the living processes of a run torch sends
its plans as it likes.)

```
checkpoint-<step>/  shard-*.safetensors  trained weights and both moments of AdamW, by their names in the model
                    random-<rank>.json   each process's generators
                    state.json           the step, and how many processes there were
                    complete.json        hashes of the others; see `checkpoints`
```
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.backends.training import checkpoints
from adaptkit.backends.training.parallel import Spread
from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError, ConfigError

__all__ = ["KEPT", "load", "newest", "save"]

#: Whole checkpoints kept: the newest, and one more in case the newest is damaged.
KEPT = 2
#: Bytes of one file of a process, which is put together in memory before it is written.
_FILE = 1 << 30
_STATE = "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    step: int
    world: int


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a folder."""
    return checkpoints.newest(folder, {_STATE})


def save(folder: Path, spread: Spread, optimizer: Any, step: int) -> None:
    """Write ``checkpoint-<step>`` and delete old ones; all processes call it. It counts once all have written."""
    import torch.distributed.checkpoint as dcp  # noqa: PLC0415 - an extra

    group, checkpoint = spread.group, folder / f"checkpoint-{step}"
    if group.leads:
        shutil.rmtree(checkpoint, ignore_errors=True)
        checkpoint.mkdir(parents=True, mode=0o700)
    group.barrier()
    tensors = _tensors(spread, optimizer)
    writer = dcp.HuggingFaceStorageWriter(str(checkpoint), _files(tensors, group.world), save_distributed=True)
    dcp.save(tensors, storage_writer=writer, no_dist=group.world == 1)
    replace_file(checkpoint / f"random-{group.rank}.json", msgspec.json.encode(_generators()))
    group.barrier()
    if group.leads:
        replace_file(checkpoint / _STATE, msgspec.json.encode(_State(step, group.world)))
        checkpoints.complete(checkpoint)
        checkpoints.prune(folder, KEPT)


def load(checkpoint: Path, spread: Spread, optimizer: Any) -> int:
    """Put back what `save` wrote, into a model and an optimiser that have not made a step; gives the step.

    Raises:
        ConfigError: the number of processes is another one and what they draw at random matters.
        ArtifactError: the checkpoint is of another model.
    """
    import torch.distributed.checkpoint as dcp  # noqa: PLC0415

    group = spread.group
    state = msgspec.json.decode((checkpoint / _STATE).read_bytes(), type=_State)
    if state.world != group.world and _draws(spread.inner):
        raise ConfigError(
            f"{checkpoint} is of {state.world} processes and these are {group.world}: with dropout each process draws "
            f"its own random numbers, which cannot be divided anew. Go on with {state.world}, or train without dropout"
        )
    _begin(spread, optimizer, state.step)
    tensors = _tensors(spread, optimizer)
    try:
        dcp.load(tensors, storage_reader=dcp.HuggingFaceStorageReader(str(checkpoint)), no_dist=True)
    except (dcp.CheckpointException, RuntimeError, ValueError) as error:
        raise ArtifactError(f"{checkpoint} is not of this model: {type(error).__name__}") from error
    if state.world == group.world:
        _set_generators(msgspec.json.decode((checkpoint / f"random-{group.rank}.json").read_bytes()))
    return state.step


def _tensors(spread: Spread, optimizer: Any) -> dict[str, Any]:
    """What is saved, by name; loading writes into them."""
    found = {}
    for name, weight in spread.trained.items():
        found[f"weight.{name}"] = weight.detach()
        for moment in _MOMENTS:
            found[f"{moment}.{name}"] = optimizer.state[weight][moment]
    return found


def _files(tensors: dict[str, Any], world: int) -> dict[str, int]:
    """The number of the file of each tensor, so that none has much more than `_FILE` bytes in one process."""
    numbers, filled = {}, 0
    for name, tensor in tensors.items():
        numbers[name] = 1 + filled // _FILE
        filled += tensor.numel() * tensor.element_size() // world
    return numbers


def _begin(spread: Spread, optimizer: Any, step: int) -> None:
    """The state that AdamW has after a step, with nothing in it."""
    import torch  # noqa: PLC0415

    for weight in spread.trained.values():
        # the fused kernel counts where the weight is; see torch.optim.Adam
        count = torch.tensor(float(step), device=weight.device)
        optimizer.state[weight] = {"step": count, **{moment: torch.zeros_like(weight) for moment in _MOMENTS}}


def _draws(model: Any) -> bool:
    """Whether a model draws random numbers as it is trained."""
    return any(
        (type(module).__name__ == "Dropout" and module.p > 0) or getattr(module, "attention_dropout", 0) > 0
        for module in model.modules()
    )


def _generators() -> dict[str, str]:
    import torch  # noqa: PLC0415

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: bytes(state.tolist()).hex() for name, state in states.items()}


def _set_generators(said: dict[str, str]) -> None:
    import torch  # noqa: PLC0415

    put = {"cpu": torch.set_rng_state, "cuda": torch.cuda.set_rng_state}
    for name, state in said.items():
        put[name](torch.tensor(list(bytes.fromhex(state)), dtype=torch.uint8))

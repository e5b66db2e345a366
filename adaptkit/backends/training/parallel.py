"""The processes that train one model together, and how the model is spread over them.

Every process runs the same program. What it is told by torchrun's environment (``RANK``, ``WORLD_SIZE``,
``LOCAL_RANK``, ``MASTER_ADDR``, ``MASTER_PORT``) makes them a group; without it, a process is alone, and nothing here
costs it anything. Gradients are sums over the processes, never means: what a step learns is then a matter of its rows
alone, and not of how many processes share them.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from adaptkit.errors import ArtifactError, ConfigError

__all__ = ["Group", "Parallel", "Precision", "Spread", "joined"]

Parallel = Literal["ddp", "fsdp"]
Precision = Literal["fp32", "bf16"]

#: How long one process may keep the others waiting. A dead one is noticed at once, by its connection or its engine.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Group:
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: This one's number.
        world: How many there are.
        local: This one's number on its machine.
        device: A ``torch.device``, where its model is.
    """

    rank: int
    world: int
    local: int
    device: Any

    @property
    def leads(self) -> bool:
        """Whether this is the one that tells, decides and writes."""
        return self.rank == 0

    def sum(self, *numbers: float) -> list[float]:
        """Each number summed over the processes, on the CPU: a GPU at work is not waited for.

        They are added as 64-bit floats, so that counts below 2**53 are exact.
        """
        if self.world == 1:
            return list(numbers)
        import torch  # noqa: PLC0415 - an extra

        found = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(found)
        return [float(number) for number in found]

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return self.sum(flag)[0] > 0

    def barrier(self) -> None:
        """Wait until all have come here."""
        self.sum(0)

    def add(self, tensor: Any) -> Any:
        """A tensor of this process's device, summed over the processes in place and without waiting for it."""
        if self.world > 1:
            import torch  # noqa: PLC0415

            torch.distributed.all_reduce(tensor)
        return tensor

    def share(self, value: Any) -> Any:
        """What the leading process gives, as all have it then: anything that JSON can say."""
        if self.world == 1:
            return value
        import torch  # noqa: PLC0415

        said = bytearray(json.dumps(value).encode()) if self.leads else bytearray()
        (size,) = self.sum(len(said))
        held = torch.frombuffer(said, dtype=torch.uint8) if said else torch.empty(int(size), dtype=torch.uint8)
        torch.distributed.broadcast(held, 0)
        return json.loads(bytes(held.tolist()))


@contextmanager
def joined(device: str = "cpu") -> Iterator[Group]:
    """This process as one of its group: alone, or with those that torchrun's environment names.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; of several processes each takes the GPU of its local rank.

    Raises:
        ConfigError: GPUs are asked for and there is none for this process.
    """
    import torch  # noqa: PLC0415

    rank, world, local = (int(os.environ.get(name, given)) for name, given in _ENVIRONMENT)
    found = torch.device(device)
    if found.type == "cuda":
        number = (found.index or 0) if world == 1 else local
        if number >= torch.cuda.device_count():
            raise ConfigError(
                f"process {rank} wants GPU {number} of its machine, which has {torch.cuda.device_count()}: start as "
                "many processes a machine as it has GPUs (run.gpus_per_node)"
            )
        found = torch.device("cuda", number)
        torch.cuda.set_device(found)
        torch.set_float32_matmul_precision("high")
    group = Group(rank, world, local, found)
    if world == 1:
        yield group
        return
    # numbers on the CPU go by gloo also where the gradients go by nccl
    torch.distributed.init_process_group("gloo" if found.type == "cpu" else "cpu:gloo,cuda:nccl", timeout=PATIENCE)
    yield group
    # after an error the others are in the middle of something: the process's end tells them
    torch.distributed.destroy_process_group()


_ENVIRONMENT = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


class Spread:
    """A model that the processes of a group train together.

    Args:
        model: A transformers or PEFT model, the same in all processes; it is moved to their devices. Weights are the
            leading one's: the others' models may be empty (on the ``meta`` device), and get them from there.
        group: The processes.
        parallel: ``ddp``, a whole copy each; ``fsdp`` (FSDP2), a part of every decoder layer and of the rest each.
        precision: ``bf16`` computes in it; trained weights stay as they are, and gradients are summed in fp32.

    Attributes:
        model: What is called: the model or what is around it.
        inner: The model itself.
        trained: What is learned, by its name in the model.
        sharded: Whether each process has a part of it.
        copied: Whether each has a copy of it whose gradients are summed.

    Raises:
        ArtifactError: the model of another process is not that of the leading one.
    """

    def __init__(self, model: Any, group: Group, parallel: Parallel, precision: Precision) -> None:
        self.inner, self.group, self.precision = model, group, precision
        self.sharded = group.world > 1 and parallel == "fsdp"
        self._bare: Any = None
        held = _make_room(model, group, self.sharded) if group.world > 1 else {}
        if self.sharded:
            self._bare = copy.deepcopy(model) if group.leads else None
            _shard(model, group, precision)
        self.model = model if self.sharded else model.to(group.device)
        if group.world > 1:
            _hand_out(model, group, held)
        # kept from now on: between forward and backward FSDP2 has other, gathered weights in the model
        self._weights = dict(model.named_parameters())
        self.trained = {name: weight for name, weight in self._weights.items() if weight.requires_grad}
        self.copied = group.world > 1 and not self.sharded and bool(self.trained)
        if self.copied:
            self.model = _copied(model, group)

    def computing(self) -> AbstractContextManager[Any]:
        """Around every use of the model: the precision that it computes in."""
        import torch  # noqa: PLC0415

        if self.precision == "bf16" and not self.sharded:
            return torch.autocast(self.group.device.type, torch.bfloat16)  # type: ignore[no-any-return]
        return nullcontext()

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of a part of a step: gradients are summed over the processes with the last.

        A model in parts sums every time: whole gradients until the last would take the memory that the parts save.
        """
        return nullcontext() if last or not self.copied else self.model.no_sync()

    def clip(self, longest: float) -> Any:
        """Scale the gradients down to a norm of all of them together; gives the norm before, as a tensor."""
        import torch  # noqa: PLC0415

        weights = [weight for weight in self.trained.values() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        torch.nn.utils.clip_grads_with_norm_(weights, longest, norm)
        return norm

    def whole(self) -> Any:
        """The model, plain again, in the leading process; where it was in parts it is on the CPU then.

        Gives ``None`` in the other processes of a model in parts. All processes must call it.
        """
        if not self.sharded:
            return self.inner
        import torch  # noqa: PLC0415

        into = dict(self._bare.named_parameters()) if self.group.leads else {}
        for name, weight in self._weights.items():
            full = weight.detach().full_tensor().cpu()
            if self.group.leads:
                learned = torch.nn.Parameter(full, requires_grad=weight.requires_grad)
                torch.utils.swap_tensors(into[name], learned)  # in place, so that tied weights stay tied
        return self._bare if self.group.leads else None


def _tensors(model: Any) -> dict[str, Any]:
    """All weights and buffers, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _make_room(model: Any, group: Group, sharded: bool) -> dict[str, Any]:
    """Leave nothing in weights that are to be in parts, and make room on the device for all else that is empty.

    Gives the weights that were there, by name. Room is made in place, so that tied weights stay tied.
    """
    import torch  # noqa: PLC0415

    tensors, held = _tensors(model), {}
    for (name, tensor), dtype in zip(tensors.items(), _types(tensors, group), strict=True):
        weight = isinstance(tensor, torch.nn.Parameter)
        if tensor.is_meta or (sharded and weight):
            room = torch.empty(tensor.shape, dtype=dtype, device="meta" if sharded and weight else group.device)
            held[name] = torch.nn.Parameter(room, requires_grad=tensor.requires_grad) if weight else room
            torch.utils.swap_tensors(tensor, held[name])
    return held


def _types(tensors: dict[str, Any], group: Group) -> list[Any]:
    """Of the leading process's tensors: an empty model does not know which its files leave in fp32 beside bf16."""
    import torch  # noqa: PLC0415

    mine = [[name, list(tensor.shape), tensor.requires_grad] for name, tensor in tensors.items()]
    theirs, types = group.share([mine, [str(tensor.dtype) for tensor in tensors.values()]])
    if mine != theirs:
        raise ArtifactError(
            f"process {group.rank} makes another model of the same files than process 0: see that all machines have "
            "the same versions of transformers and peft, and that config.json says whether embeddings are tied"
        )
    return [getattr(torch, name.removeprefix("torch.")) for name in types]


def _hand_out(model: Any, group: Group, held: dict[str, Any]) -> None:
    """Give each process the leading one's weights, or its parts of them, a tensor at a time.

    Args:
        model: Spread; in the leading process its buffers, and its weights where it is copied, are in it.
        group: The processes.
        held: The leading process's weights that are to be in parts; no longer there afterwards.
    """
    import torch  # noqa: PLC0415
    from torch.distributed.tensor import DTensor, distribute_tensor  # noqa: PLC0415

    for name, tensor in _tensors(model).items():
        if isinstance(tensor, DTensor):
            whole = held.pop(name).detach()
            if not group.leads:
                whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=group.device)
            tensor.detach().copy_(distribute_tensor(whole, tensor.device_mesh, tensor.placements))
        else:
            torch.distributed.broadcast(tensor.detach().contiguous(), 0)


def _shard(model: Any, group: Group, precision: Precision) -> None:
    import torch  # noqa: PLC0415
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard  # noqa: PLC0415

    halved = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if precision == "bf16" else MixedPrecisionPolicy()
    mesh = torch.distributed.init_device_mesh(group.device.type, (group.world,))
    layers = set(model._no_split_modules or ())  # noqa: SLF001 - where transformers says what its layers are
    for module in list(model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, mp_policy=halved)
    fully_shard(model, mesh=mesh, mp_policy=halved)
    # as `to_empty`, which would also empty the leading process's buffers
    model._apply(lambda tensor: torch.empty_like(tensor, device=group.device) if tensor.is_meta else tensor)  # noqa: SLF001
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _copied(model: Any, group: Group) -> Any:
    from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415

    devices = None if group.device.type == "cpu" else [group.local]
    made = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, init_sync=False)
    made.register_comm_hook(None, lambda _, bucket: _summed(bucket))
    return made


def _summed(bucket: Any) -> Any:
    """What DDP does with gradients, without its division by the number of processes."""
    import torch  # noqa: PLC0415

    done = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return done.then(lambda found: found.value()[0])

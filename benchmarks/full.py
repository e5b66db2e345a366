"""Training speed of the loop: a model of Mistral's architecture from its configuration, full-parameter and LoRA.

    python benchmarks/full.py [--size tiny|1b|3b] [--weights full lora] [--length 4096] [--device cpu|cuda]
                              [--processes 2]

On a GPU: tokens/s, MFU and peak memory of one process, in bf16 with activation checkpointing where the size needs it.
MFU counts 6 FLOPs for a weight and token (4 where it is frozen) and 12 L H Q T for attention, as PaLM's appendix B does
(arXiv:2204.02311), against the dense bf16 peak that the maker states; what is computed again does not count.

On a CPU: tokens/s of the loop with one process, with DDP and with FSDP2, each over that of a plain PyTorch loop on the
same rows in the same run. Two processes on the cores of one are no faster: the ratio says what sharing costs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

#: Width, layers, heads, heads of keys and values, inner width, vocabulary.
SIZES = {
    "tiny": (128, 4, 4, 2, 344, 1024),
    "1b": (2048, 16, 32, 8, 8192, 32768),
    "3b": (3072, 26, 32, 8, 9216, 131072),
}
SHORT, WARM = 8, 2


def make_model(size: str, weights: str, device: str) -> Any:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    width, layers, heads, shared, inner, words = SIZES[size]
    each = 128 if size != "tiny" else 32
    config = MistralConfig(vocab_size=words, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                           num_attention_heads=heads, num_key_value_heads=shared, head_dim=each,
                           max_position_embeddings=32768, sliding_window=None)  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = MistralForCausalLM(config)
    if weights == "full":
        return model
    import peft

    half = model.to(torch.bfloat16) if device == "cuda" else model
    return peft.get_peft_model(half, peft.LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear"))


def make_rows(given: argparse.Namespace, folder: Path, group: Any) -> Any:
    """Documents of a row each, of random tokens: speed does not ask what they say."""
    import numpy as np

    from adaptkit.backends.chat_tokenizer import Encoded
    from adaptkit.backends.training.corpus import build, write
    from adaptkit.backends.training.rows import Documents

    words, draw = SIZES[given.size][-1], np.random.default_rng(0)
    count = given.batch_size * given.steps
    learn = [True] * given.length
    made = (Encoded(draw.integers(0, words, given.length).tolist(), learn) for _ in range(count))
    corpus = build(folder / "text", group, lambda: write(folder / "text", made, words), lambda: None)
    return Documents(corpus, given.length, batch_size=given.batch_size, epochs=1, seed=0)


class Clock:
    """A `Work` that keeps what it is told."""

    told, terminated = 0, False

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def tell(self, *_: Any, **data: Any) -> None:
        self.steps.append({"at": time.monotonic(), **data})

    def between(self) -> None: ...

    def enter(self) -> None: ...

    def should_stop(self) -> bool:
        return False

    def checkpointed(self, step: int) -> None: ...


def ours(given: argparse.Namespace, folder: Path) -> None:
    """The loop, in a process that torchrun's environment may make one of several."""
    from adaptkit.backends.training import report
    from adaptkit.backends.training.flops import Flops
    from adaptkit.backends.training.loop import Settings, train
    from adaptkit.backends.training.losses import token_loss
    from adaptkit.backends.training.parallel import joined

    report.QUICKEST = report.SLOWEST = 0.0  # each step told, so that the first ones can be left out
    with joined(given.device) as group, tempfile.TemporaryDirectory() as empty:
        rows, work = make_rows(given, folder, group), Clock()
        gpu = given.device == "cuda"
        settings = Settings(
            learning_rate=1e-5,
            micro_batch_size=given.micro_batch_size,
            parallel="fsdp" if given.way == "fsdp" else "ddp",
            precision="bf16" if gpu else "fp32",
            activation_checkpointing=given.checkpointing,
            checkpoint_every=given.steps + 1,
        )
        model = make_model(given.size, given.weights[0], given.device)
        parameters = sum(weight.numel() for weight in model.parameters())
        flops = Flops.of(model).per_token(given.length)
        train(model, rows, token_loss, settings, group=group, folder=Path(empty), work=work)
        if group.leads:
            most = work.steps[-1].get("peak_memory")
            say(given, [step["at"] for step in work.steps], parameters, flops=flops, peak_memory=most)


def plain(given: argparse.Namespace, folder: Path) -> None:
    """What one would write by hand: transformers' own loss, AdamW, clipping."""
    import torch

    from adaptkit.backends.training.parallel import joined

    with joined(given.device) as group:
        rows = make_rows(given, folder, group)
    model = make_model(given.size, given.weights[0], given.device).train()
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5, weight_decay=0.0, fused=True)
    ended = []
    for step in range(rows.steps):
        whole = rows.of_step(step)
        for start in range(0, len(whole), given.micro_batch_size):
            ids = rows.batch(whole[start : start + given.micro_batch_size]).tensors["input_ids"]
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            (loss * len(ids) / len(whole)).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())
        ended.append(time.monotonic())
    say(given, ended, sum(weight.numel() for weight in model.parameters()))


def say(given: argparse.Namespace, ended: list[float], parameters: int, **more: Any) -> None:
    """Tokens/s of all steps after the first ones, and what else is known."""
    speed = (len(ended) - WARM) * given.batch_size * given.length / (ended[-1] - ended[WARM - 1])
    print(json.dumps({"tokens_per_second": speed, "parameters": parameters, **more}))


def measured(given: argparse.Namespace, way: str, weights: str, folder: Path) -> dict[str, Any]:
    """One way, in processes of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = given.processes if way in {"ddp", "fsdp"} else 1
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--weights", weights, "--folder", str(folder)]
    ranks = []
    for rank in range(world):
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own = {**os.environ, **{name: str(value) for name, value in where.items()}}
        ranks.append(subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True))
    said = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit(f"{way} with {weights} weights failed")
    return json.loads(said[0].strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--length", type=int)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=SHORT)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--checkpointing", action="store_true", help="compute activations again instead of keeping them"
    )
    parser.add_argument("--weights", choices=["full", "lora"], nargs="+", default=["full", "lora"])
    for inner in ("--way", "--folder"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.size = given.size or ("tiny" if given.device == "cpu" else "1b")
    given.length = given.length or (256 if given.device == "cpu" else 4096)
    if given.way:
        (plain if given.way == "plain" else ours)(given, Path(given.folder))
        return
    with tempfile.TemporaryDirectory() as held:
        for weights in given.weights:
            if given.device == "cuda":
                on_gpu(given, weights, measured(given, "one", weights, Path(held)))
            else:
                on_cpu(given, weights, Path(held))


def on_gpu(given: argparse.Namespace, weights: str, found: dict[str, Any]) -> None:
    import torch

    from adaptkit.backends.training.flops import peak

    name, most = torch.cuda.get_device_name(), peak(torch.device("cuda", 0))
    print(f"{weights}: {found['parameters'] / 1e9:.2f}B parameters, rows of {given.length}, {name}")
    print(f"  {found['tokens_per_second']:,.0f} tokens/s, peak memory {found['peak_memory'] / 2**30:.1f} GiB")
    if most:
        print(
            f"  MFU {found['tokens_per_second'] * found['flops'] / most:.1%} of {most / 1e12:.0f} TFLOP/s (dense bf16)"
        )


def on_cpu(given: argparse.Namespace, weights: str, folder: Path) -> None:
    ways = {way: measured(given, way, weights, folder) for way in ("plain", "one", "ddp", "fsdp")}
    base, size = ways["plain"]["tokens_per_second"], ways["plain"]["parameters"] / 1e6
    print(f"{weights}: {size:.1f}M parameters, rows of {given.length}; the plain loop has {base:,.0f} tokens/s")
    names = {"one": "one process", "ddp": f"DDP({given.processes})", "fsdp": f"FSDP2({given.processes})"}
    for way, name in names.items():
        print(f"  {name}: {ways[way]['tokens_per_second'] / base:.2f} of the plain loop")


if __name__ == "__main__":
    main()

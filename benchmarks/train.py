"""Training speed: this package against a plain PyTorch loop and against TRL's SFTTrainer, in turn, in own processes.

    python benchmarks/train.py [--base tiny|mid|1b] [--steps 60] [--rounds 3] [--device cpu|cuda]

Three ratios, each of the best of all rounds (noise only ever slows a run down):

a. tokens/s on identical batches, ours / plain: the same rows, padding, labels, LoRA and optimiser (≥ 1.0 up to noise);
b. real tokens/s (padding not counted) on the same chats of many lengths, ours / TRL with its best settings for the
   device (> 1);
c. seconds from the start of the process to the end of the first step, ours / plain (≤ 1.1). Ours is the real worker,
   from `submit` to the first report; plain is a script that reads the same file.

`--device cuda --base 1b` runs the same with a 1B Llama made from its configuration; no GPU was at hand to try it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

#: Shapes of Llamas made from their configuration: width, layers, heads, inner width, vocabulary.
SHAPES = {"mid": (512, 8, 8, 1376, 1024), "1b": (2048, 16, 32, 8192, 128256)}
RANK, BATCH, WARM = 8, 8, 5


def make_base(name: str, folder: Path) -> Path:
    """The built-in base, or random weights of another shape with its tokenizer: speed does not ask what they say."""
    from adaptkit import builtin
    from adaptkit.backends.model_folder import copy_tokenizer

    tiny = builtin.path("tiny")
    if name == "tiny":
        return tiny
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width, layers, heads, inner, words = SHAPES[name]
    config = LlamaConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, vocab_size=words,
                         intermediate_size=inner, max_position_embeddings=2048, tie_word_embeddings=True,
                         num_key_value_heads=max(heads // 4, 1), bos_token_id=1, eos_token_id=2,
                         pad_token_id=0)  # fmt: skip
    base = folder / name
    LlamaForCausalLM(config).to(torch.bfloat16 if name == "1b" else torch.float32).save_pretrained(base)
    copy_tokenizer(tiny, base)
    return base


def make_chats(file: Path, count: int) -> None:
    """Conversations of one to eight exchanges, so that lengths differ widely."""
    from adaptkit import builtin

    rows = [json.loads(line) for line in builtin.task("desk").train.read_text().splitlines()]
    pick = random.Random(0)
    with file.open("w") as stream:
        for _ in range(count):
            turns = [
                turn for row in pick.choices(rows, k=pick.choice([1, 1, 1, 2, 2, 3, 5, 8])) for turn in row["messages"]
            ]
            stream.write(json.dumps({"messages": turns}) + "\n")


# -- the three, each in a process of its own ------------------------------------------------------------------------


def setup(given: argparse.Namespace, work: Any) -> tuple[Any, Any, Any]:
    """The start of our own run: its settings, the processes, and the encoded chats."""
    from adaptkit.backends.base_model import find_base
    from adaptkit.backends.chat_tokenizer import ChatTokenizer
    from adaptkit.backends.lora.config import LoraConfig, resolve
    from adaptkit.backends.lora.running import rows_of
    from adaptkit.backends.training.parallel import joined
    from adaptkit.backends.training.reading import Reader
    from adaptkit.machine import this_machine

    base = find_base(str(given.folder), given.folder)
    asked = LoraConfig(model=str(given.folder), rank=RANK, alpha=16, batch_size=BATCH, epochs=given.epochs,
                       schedule="constant", warmup=0.0, device=given.device, learning_rate=1e-3,
                       checkpoint_every=10**6)  # fmt: skip
    config = resolve(asked, base, this_machine())
    with joined(config.device) as group:
        reader = Reader(ChatTokenizer(base.folder), Path(tempfile.mkdtemp()), group, work)
        corpus = reader.corpus("train", str(given.chats), "sft", 512)
    return config, group, rows_of(corpus, config, epochs=given.epochs)


class Timed:
    """Stands in for a job's worker: notes when each step ends."""

    told, terminated = 0, False

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def tell(self, *_: Any, **__: Any) -> None:
        pass

    def between(self) -> None:
        pass

    def should_stop(self) -> bool:
        self.times.append(time.time())
        return False


def ours(given: argparse.Namespace) -> tuple[list[float], list[int]]:
    from adaptkit.backends.lora.loading import build_model
    from adaptkit.backends.lora.running import settings_of
    from adaptkit.backends.training.loop import train
    from adaptkit.backends.training.losses import token_loss

    times: list[float] = []
    work = Timed(times)
    config, group, rows = setup(given, work)
    model, folder = build_model(config, given.folder), Path(tempfile.mkdtemp())
    train(model, rows, token_loss, settings_of(config), group=group, folder=folder, work=work)
    # asked before the first step too
    return times[1:], [int(rows.lengths[batch].sum()) for batch in planned(rows)]


def planned(rows: Any) -> list[list[int]]:
    return [rows.of_step(step) for step in range(rows.steps)]


def plain(given: argparse.Namespace) -> tuple[list[float], list[int]]:
    """The loop that one would write, with nothing of adaptkit in it: same rows, LoRA, optimiser and clipping."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given.folder)
    rows = [json.loads(line)["messages"] for line in given.chats.read_text().splitlines()]
    encoded = [tokenizer.apply_chat_template(row, return_dict=True, return_assistant_tokens_mask=True) for row in rows]
    torch.manual_seed(0)
    half = given.device == "cuda"
    model = AutoModelForCausalLM.from_pretrained(given.folder, dtype=torch.bfloat16 if half else torch.float32)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=16,
                                                       target_modules="all-linear")).to(given.device)  # fmt: skip
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0, fused=True)
    model.train()
    times, tokens = [], []
    for batch in json.loads(given.plan.read_text()):  # the batches that ours plans, as row numbers
        chosen = [encoded[at] for at in batch]
        width = max(len(row["input_ids"]) for row in chosen)
        ids = torch.zeros((len(chosen), width), dtype=torch.long)
        mask, labels = ids.clone(), ids.clone().fill_(-100)
        for at, row in enumerate(chosen):
            end = len(row["input_ids"])
            ids[at, :end] = torch.tensor(row["input_ids"])
            mask[at, :end] = 1
            learned = torch.tensor(row["assistant_masks"], dtype=torch.bool)
            labels[at, :end][learned] = ids[at, :end][learned]
        with torch.autocast(given.device, torch.bfloat16, enabled=half):
            loss = model(
                input_ids=ids.to(given.device),
                attention_mask=mask.to(given.device),
                labels=labels.to(given.device),
                use_cache=False,
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.time())
        tokens.append(int(mask.sum()))
    return times, tokens


def trl(given: argparse.Namespace) -> tuple[list[float], list[int]]:
    """TRL with what is fastest for it here: no packing on a CPU, no checkpointing, lengths grouped, fused optimiser."""
    import datasets
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.time())

    gpu = given.device == "cuda"
    rows = [json.loads(line) for line in given.chats.read_text().splitlines()]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(given.folder, dtype=torch.bfloat16 if gpu else torch.float32),
        processing_class=AutoTokenizer.from_pretrained(given.folder),
        train_dataset=datasets.Dataset.from_list(rows),
        peft_config=peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=16, target_modules="all-linear"),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(), num_train_epochs=given.epochs, per_device_train_batch_size=BATCH,
            learning_rate=1e-3, lr_scheduler_type="constant", optim="adamw_torch_fused", max_length=512,
            assistant_only_loss=True, packing=gpu, bf16=gpu, use_cpu=not gpu, gradient_checkpointing=False,
            train_sampling_strategy="random" if gpu else "group_by_length", save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True,
        ),
        callbacks=[Clock()],
    )  # fmt: skip
    collate = trainer.data_collator

    def counting(rows: list[Any]) -> Any:
        tokens.append(sum(len(row["input_ids"]) for row in rows))
        return collate(rows)

    trainer.data_collator = counting
    trainer.train()
    return times, tokens[: len(times)]


def speed(times: list[float], tokens: list[int]) -> float:
    """Real tokens a second after the first few steps."""
    return sum(tokens[WARM:]) / (times[-1] - times[WARM - 1])


# -- taking turns ---------------------------------------------------------------------------------------------------


def in_process(kind: str, given: argparse.Namespace, base: Path, chats: Path, epochs: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", kind, "--folder", str(base), "--chats", str(chats), "--device",
               given.device, "--epochs", str(epochs), "--plan", str(chats.with_name("plan.json"))]  # fmt: skip
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr[-3000:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return {"speed": said["speed"], "first": said["first"] - began}


def worker_start(given: argparse.Namespace, base: Path, chats: Path, home: Path) -> float:
    """Seconds from `submit` to the report of the first step, of a real job."""
    from adaptkit.adapter import Context
    from adaptkit.backends.lora import LoraAdapter, LoraConfig
    from adaptkit.data import Dataset
    from adaptkit.http import Egress

    config = LoraConfig(model=str(base), rank=RANK, batch_size=BATCH, epochs=1, device=given.device)
    adapter = LoraAdapter(config, Context(home, Egress.parse("none")))
    plan = adapter.prepare(Dataset.open(chats))
    uploads = {file.purpose: adapter.upload(file) for file in plan.files}
    tag = f"B{time.time_ns()}"
    began = time.time()
    adapter.submit(plan, uploads, tag)
    while not (told := [event for event in adapter.events(tag, None) if event.data.get("step") == 1]):
        if adapter.poll(tag).status in {"failed", "paused"}:
            sys.exit(f"the worker failed: {adapter.poll(tag).message}")
        time.sleep(0.1)
    adapter.cancel(tag)
    while not adapter.poll(tag).status.is_terminal:
        time.sleep(0.1)
    return told[0].at - began


def share_threads(base: Path) -> None:
    """Give the baselines the one thread that our worker takes for a small model: they gain by it too."""
    from adaptkit.backends.base_model import find_base
    from adaptkit.backends.training.threads import SMALL

    if find_base(str(base), base).parameters < SMALL:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=["tiny", *SHAPES], default="tiny")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    for hidden in ("--run", "--folder", "--chats", "--plan", "--epochs"):
        parser.add_argument(hidden, help=argparse.SUPPRESS, type={"--epochs": int, "--run": str}.get(hidden, Path))
    given = parser.parse_args()
    if given.run:
        times, tokens = {"ours": ours, "plain": plain, "trl": trl}[given.run](given)
        print(json.dumps({"speed": speed(times, tokens), "first": times[0]}))
        return
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        base, chats = make_base(given.base, folder), folder / "chats.jsonl"
        make_chats(chats, 160)
        epochs = max(1, given.steps * BATCH // 160)
        given.folder, given.chats, given.epochs = base, chats, epochs
        share_threads(base)
        (folder / "plan.json").write_text(json.dumps(planned(setup(given, Timed([]))[2])))
        kinds = ("plain", "ours", "trl")
        best = {kind: {"speed": 0.0, "first": float("inf")} for kind in kinds}
        started = float("inf")
        for _ in range(given.rounds):
            for kind in kinds:
                found = in_process(kind, given, base, chats, epochs)
                best[kind] = {
                    "speed": max(best[kind]["speed"], found["speed"]),
                    "first": min(best[kind]["first"], found["first"]),
                }
            started = min(started, worker_start(given, base, chats, folder / "home"))
    for kind in kinds:
        print(f"{kind:6} {best[kind]['speed']:9.0f} real tokens/s   first step after {best[kind]['first']:.2f} s")
    print(f"worker                           first step after {started:.2f} s")
    print(f"a. tokens/s on identical batches, ours / plain:  {best['ours']['speed'] / best['plain']['speed']:.2f}")
    print(f"b. real tokens/s on the same chats, ours / TRL:  {best['ours']['speed'] / best['trl']['speed']:.2f}")
    print(f"c. process start to first step, worker / plain:  {started / best['plain']['first']:.2f}")


if __name__ == "__main__":
    main()

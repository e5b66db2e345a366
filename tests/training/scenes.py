"""Small trainings, each told by a `Scene`, that a process plays alone or several play together.

`python -m tests.training.scenes FILE`, with torchrun's environment, plays the scenes of a file one after another: the
import of torch is most of what a test would wait for.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    PixtralVisionConfig,
)

from adaptkit.backends.chat_tokenizer import Encoded
from adaptkit.backends.local_jobs import Interrupted
from adaptkit.backends.training import report
from adaptkit.backends.training.corpus import Corpus, build, write
from adaptkit.backends.training.encode import Pair
from adaptkit.backends.training.loop import Settings, held_out_loss, train
from adaptkit.backends.training.losses import PreferenceLoss, token_loss
from adaptkit.backends.training.parallel import Group, Spread, joined
from adaptkit.backends.training.rows import Documents, Examples, Pairs, Rows, segments
from adaptkit.errors import AdaptkitError
from tests.ports import free_ports

VOCABULARY = 97
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128,
}  # fmt: skip


def ministral3_with_eyes() -> Any:
    """The whole Ministral 3, of which text trains the language model alone."""
    eyes = PixtralVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                               head_dim=8, image_size=16, patch_size=8)  # fmt: skip
    config = Mistral3Config(text_config=Ministral3Config(**SHAPE), vision_config=eyes, image_token_index=10)
    model = Mistral3ForConditionalGeneration(config)
    for part in (model.model.vision_tower, model.model.multi_modal_projector):
        part.requires_grad_(False)
    return model


MODELS = {
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "ministral3": lambda: Ministral3ForCausalLM(Ministral3Config(**SHAPE)),
    "ministral3-with-eyes": ministral3_with_eyes,
}


@dataclass(frozen=True)
class Scene:
    """One training. ``kill_after`` and ``stop_after`` are steps; every process does it."""

    name: str
    model: str = "mistral"
    kind: str = "sft"
    lora: bool = False
    dropout: float = 0.0
    parallel: str = "ddp"
    precision: str = "fp32"
    batch_size: int = 6
    micro_batch_size: int | None = 2
    epochs: int = 2
    examples: int = 14  # in batches of 6 the last has 2
    learning_rate: float = 0.01
    checkpointing: bool = False
    checkpoint_every: int | None = None
    kill_after: int | None = None
    stop_after: int | None = None
    score: bool = False


def make_model(scene: Scene, empty: bool = False) -> Any:
    torch.manual_seed(3)
    with torch.device("meta" if empty else "cpu"):
        model = MODELS[scene.model]()
    if not scene.lora:
        return model
    import peft

    # of rank 1, so that of some weights there is none in a process
    return peft.get_peft_model(
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=1, target_modules="all-linear", lora_dropout=scene.dropout)
    )


def make_examples(count: int, seed: int = 0) -> list[Encoded]:
    random = Random(seed)
    made = []
    for _ in range(count):
        length = random.randint(4, 24)
        start = random.randrange(VOCABULARY)
        made.append(Encoded([(start + 3 * at) % VOCABULARY for at in range(length)], [at > 2 for at in range(length)]))
    return made


def make_pairs(count: int) -> list[Pair]:
    return [Pair(one.ids[:3], one.ids[3:], list(reversed(one.ids[3:]))[:5]) for one in make_examples(count)]


def make_rows(scene: Scene, folder: Path, group: Group) -> Rows:
    def corpus(name: str, examples: Any) -> Corpus:
        at = folder / f"{name}-{scene.examples}"
        return build(at, group, lambda: write(at, examples, VOCABULARY), lambda: None)

    how = {"batch_size": scene.batch_size, "epochs": scene.epochs, "seed": 5}
    if scene.kind == "dpo":
        return Pairs(corpus("pairs", segments(make_pairs(scene.examples))), **how)
    if scene.kind == "cpt":
        general = corpus("general", make_examples(6, seed=9))
        return Documents(corpus("text", make_examples(scene.examples)), 16, replay=general, share=0.25, **how)
    return Examples(corpus("chats", make_examples(scene.examples)), **how)


class Told:
    """A `Work` that writes down what it is told and, where the scene says so, ends its process."""

    def __init__(self, scene: Scene, file: Path, group: Group) -> None:
        self.told, self.terminated = 0, False
        self.scene, self.file, self.group, self.asked = scene, file, group, 0
        self.events: list[dict[str, Any]] = []

    def tell(self, kind: str, message: str, /, **data: Any) -> None:
        assert self.group.leads
        self.events.append({"kind": kind, "message": message, **data})
        self.file.write_text(json.dumps(self.events))

    def between(self) -> None: ...

    def enter(self) -> None: ...

    def should_stop(self) -> bool:
        """Called once before each step."""
        self.asked += 1
        if self.asked - 1 == self.scene.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        # the signal reaches one process alone, and not the leading one
        if self.asked - 1 == self.scene.stop_after and self.group.rank == self.group.world - 1:
            self.terminated = True
        return self.terminated

    def checkpointed(self, step: int) -> None:
        self.tell("checkpoint", "", step=step)


def play(scene: Scene, folder: Path, group: Group) -> None:
    """Train; what it told is in ``<name>.json``, the weights in ``<name>.safetensors``."""
    report.QUICKEST = report.SLOWEST = 0.0
    rows = make_rows(scene, folder, group)
    model = make_model(scene, empty=not group.leads)
    reference = copy.deepcopy(model).eval().requires_grad_(False)
    settings = Settings(
        learning_rate=scene.learning_rate,
        micro_batch_size=scene.micro_batch_size,
        parallel=scene.parallel,
        precision=scene.precision,
        activation_checkpointing=scene.checkpointing,
        checkpoint_every=scene.checkpoint_every,
    )
    loss: Any = token_loss
    if scene.kind == "dpo":
        spread = None if scene.lora else Spread(reference, group, scene.parallel, scene.precision).model
        loss = PreferenceLoss(0.1, spread)

    def score(spread: Spread) -> dict[str, float]:
        return {"validation_loss": held_out_loss(spread, rows, loss, scene.micro_batch_size)}

    work = Told(scene, folder / f"{scene.name}.json", group)
    checkpoints = folder / f"{scene.name}.checkpoints"
    try:
        result = train(model, rows, loss, settings, group=group, folder=checkpoints, work=work,
                       score=score if scene.score else None)  # fmt: skip
    except (AdaptkitError, Interrupted) as error:
        (folder / f"{scene.name}.{group.rank}.error").write_text(f"{type(error).__name__}: {error}")
        return
    if group.leads:
        assert type(result.model) is type(make_model(scene))
        weights = {name: weight.detach().contiguous() for name, weight in result.model.named_parameters()}
        weights["answer"] = result.model.eval()(input_ids=torch.arange(9)[None]).logits.detach()
        save_file(weights, folder / f"{scene.name}.safetensors")
        work.events.append({"kind": "result", **result.metrics})
        work.file.write_text(json.dumps(work.events))


def play_together(scenes: Sequence[Scene], folder: Path, world: int, *, dies: bool = False) -> None:
    """Play in processes of their own, which are a group."""
    file = folder / f"scenes-{scenes[0].name}.json"
    file.write_text(json.dumps([asdict(scene) for scene in scenes]))
    run_together("tests.training.scenes", file, folder, world, dies=dies)


def run_together(module: str, argument: Path, folder: Path, world: int, *, dies: bool = False) -> None:
    """Run a module with an argument in a group of processes; what they print is in the folder."""
    port = str(free_ports(1)[0])
    ranks = []
    for rank in range(world):
        here = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        with (folder / f"log-{port}-{rank}.txt").open("w") as log:
            command = [sys.executable, "-m", module, str(argument)]
            ranks.append(subprocess.Popen(command, env={**os.environ, **here, **address}, stderr=log, stdout=log))
    try:
        codes = [rank.wait(timeout=800) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    said = "\n".join(log.read_text()[-3000:] for log in sorted(folder.glob(f"log-{port}-*.txt")))
    assert all(code == -signal.SIGKILL if dies else code == 0 for code in codes), said


def alone() -> Group:
    return Group(0, 1, 0, torch.device("cpu"))


def events(folder: Path, scene: Scene) -> list[dict[str, Any]]:
    return json.loads((folder / f"{scene.name}.json").read_text())


def curve(folder: Path, scene: Scene, figure: str = "loss") -> list[float]:
    return [event[figure] for event in events(folder, scene) if event["kind"] == "metrics" and figure in event]


def weights(folder: Path, scene: Scene) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{scene.name}.safetensors")


def renamed(scene: Scene, name: str, **other: Any) -> Scene:
    return replace(scene, name=name, **other)


if __name__ == "__main__":
    scenes = [Scene(**said) for said in json.loads(Path(sys.argv[1]).read_text())]
    with joined() as group:
        for scene in scenes:
            play(scene, Path(sys.argv[1]).parent, group)

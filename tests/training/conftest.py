"""Scenes that two processes play together: one group plays them all, since starting it is most of the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.scenes import Scene, alone, play, play_together, renamed

#: Each is played by one process, by two with DDP and by two with FSDP2. The last step of an epoch has 2 rows, and
#: with 13 examples 1, so that a process has none.
LORA = Scene("lora", lora=True)
SAME = [
    Scene("mistral", examples=13, score=True),
    Scene("llama", model="llama", kind="cpt", score=True),
    Scene("ministral3", model="ministral3-with-eyes", kind="cpt", checkpointing=True),
    LORA,
    Scene("dpo", kind="dpo", examples=13, score=True),
    Scene("dpo-lora", model="llama", kind="dpo", lora=True),
]
WAYS = ("ddp", "fsdp")
#: FSDP2's, killed after 4 steps, and gone on with.
WHOLE = Scene("whole", parallel="fsdp", checkpoint_every=3)
CUT = renamed(WHOLE, "cut")
#: Begun by one process and gone on with by two, and the other way.
GROWS, SHRINKS = (Scene(name, parallel="fsdp", lora=True) for name in ("grows", "shrinks"))
RANDOM = Scene("random", lora=True, dropout=0.1)
HALVED = [Scene(f"halved-{lora}", model="llama", precision="bf16", lora=lora) for lora in (False, True)]


def together(scene: Scene, way: str) -> Scene:
    return renamed(scene, f"{scene.name}-{way}", parallel=way)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all scenes, after the group has played."""
    folder = tmp_path_factory.mktemp("stage")
    for scene in [*SAME, *HALVED]:
        play(scene, folder, alone())
    for scene in (GROWS, RANDOM):
        play(renamed(scene, scene.name, stop_after=4), folder, alone())
    play_together([renamed(CUT, CUT.name, kill_after=4)], folder, 2, dies=True)
    both = [together(scene, way) for scene in [*SAME, *HALVED] for way in WAYS]
    play_together([*both, WHOLE, CUT, GROWS, renamed(SHRINKS, SHRINKS.name, stop_after=4), RANDOM], folder, 2)
    return folder

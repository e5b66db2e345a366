"""Only the leading process of a group reads weights; the others have the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.scenes import alone, run_together
from tests.training.shelves import CASES, WAYS, Case, contents, fill, loader, previous

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what two processes had of each model."""
    folder = tmp_path_factory.mktemp("shelves")
    fill(folder)
    run_together("tests.training.shelves", folder, folder, 2)
    return folder


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_process_has_the_weights_that_the_leading_one_read(shelves: Path, case: Case, way: str) -> None:
    whole = shelves / "whole"
    read = contents(loader(case, whole, alone()).model(previous(case, whole)))
    assert not list((shelves / "bare").rglob("*.safetensors"))
    for rank in (0, 1):
        assert same(load_file(shelves / f"{case.name}-{way}-{rank}"), read)
        held_to = shelves / f"{case.name}-{way}-{rank}-reference"
        if held_to.exists():
            frozen = {name.replace(" True", " False"): tensor for name, tensor in read.items()}
            assert same(load_file(held_to), frozen)
        assert held_to.exists() == (case.weights == "full" or case.grown or case.later)

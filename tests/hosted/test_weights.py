"""Weights from a host: hostile names, cut and damaged files, archives of every kind, nothing half there."""

import hashlib
import io
import json
import random
import struct
import sys
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitWarning, ArtifactError, ServiceError
from adaptkit.backends.weights import arriving
from adaptkit.errors import MissingDependencyError

HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
TENSORS = struct.pack("<Q", len(HEADER)) + HEADER + b"\0\0\0\0"


def tarred(files, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w" if mode == "w:zst" else mode) as archive:
        for name, content in files:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    if mode == "w:zst":
        return pytest.importorskip("zstandard").ZstdCompressor().compress(out.getvalue())
    return out.getvalue()


def pieces(content, size=1000):
    return (content[at : at + size] for at in range(0, len(content), size))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_arrive_whole(tmp_path):
    with arriving(tmp_path / "model", "x") as arrival:
        arrival.file("adapter_model.safetensors", [TENSORS[:9], TENSORS[9:]], size=len(TENSORS),
                     sha256=hashlib.sha256(TENSORS).hexdigest())  # fmt: skip
        arrival.file("deep/er/config.json", [b"{}"])
        assert left(tmp_path) != ["model"], "it is not there before it is whole"
    assert left(tmp_path) == ["model"]
    assert (tmp_path / "model/adapter_model.safetensors").read_bytes() == TENSORS
    assert (tmp_path / "model/deep/er/config.json").read_bytes() == b"{}"


HOSTILE = ["../evil", "/etc/passwd", "a/../../b", "..", "", ".", "a\\..\\b", "C:evil", "a\0b", ".git/hooks/x", "a\nb",
           "x" * 501]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_path_is_trusted(tmp_path, name):
    with pytest.raises(ArtifactError, match="no plain path"), arriving(tmp_path / "in/model", "x") as arrival:
        arrival.file(name, [b"1"])
    assert left(tmp_path / "in") == []
    assert left(tmp_path) == ["in"]


@given(st.text(max_size=30))
def test_whatever_the_name_it_stays_inside(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    try:
        with arriving(folder / "model", "x") as arrival:
            arrival.file(name, [b"1"])
    except ArtifactError:
        assert left(folder) == []
    else:
        (only,) = [path for path in folder.rglob("*") if path.is_file()]
        assert only.is_relative_to(folder / "model")


def test_a_name_twice(tmp_path):
    def arrive():
        with arriving(tmp_path / "model", "x") as arrival:
            arrival.file("a.json", [b"1"])
            arrival.file("./a.json", [b"2"])

    with pytest.raises(ArtifactError, match="twice"):
        arrive()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("said", "error"),
    [({"size": 3}, ServiceError), ({"sha256": "0" * 64}, ServiceError)],
)
def test_sizes_and_hashes_are_compared(tmp_path, said, error):
    with pytest.raises(error, match=r"a\.json came with"), arriving(tmp_path / "model", "x") as arrival:
        arrival.file("a.json", [b"{}"], **said)
    assert left(tmp_path) == []


def test_cut_tensors(tmp_path):
    with pytest.raises(ArtifactError, match="no complete safetensors"), arriving(tmp_path / "m", "x") as arrival:
        arrival.file("model.safetensors", [TENSORS[:-1]])
    assert left(tmp_path) == []


def test_pickles_are_left_out_and_said(tmp_path):
    def arrive():
        with arriving(tmp_path / "model", "x") as arrival:
            for name in ("training_args.bin", "x/optimizer.PT", "config.json"):
                arrival.file(name, [b"{}"])

    with pytest.warns(AdaptkitWarning, match=r"training_args\.bin, x/optimizer\.PT"):
        arrive()
    assert left(tmp_path / "model") == ["config.json"]


def test_pickles_alone_are_no_model(tmp_path):
    with pytest.raises(ArtifactError, match=r"no file that may be kept.*adapter_model\.bin"):  # noqa: SIM117
        with arriving(tmp_path / "model", "x") as arrival:
            arrival.file("adapter_model.bin", [b"{}"])
    assert left(tmp_path) == []


def test_a_folder_with_something_in_it_is_not_touched(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for path in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ArtifactError, match="not an empty folder"), arriving(path, "x"):
            raise AssertionError
    assert left(tmp_path) == ["mine"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "model").mkdir()
    with arriving(tmp_path / "model", "x") as arrival:
        arrival.file("config.json", [b"{}"])
    assert left(tmp_path / "model") == ["config.json"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "w:zst"])
def test_archives(tmp_path, mode):
    content = tarred([("./model/a.safetensors", TENSORS), ("model/b.json", b"x" * 5000)], mode)
    with arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(pieces(content))
    assert left(tmp_path / "m/model") == ["a.safetensors", "b.json"]
    assert (tmp_path / "m/model/b.json").read_bytes() == b"x" * 5000


def test_damaged_zstd(tmp_path):
    content = bytearray(tarred([("a.json", random.Random(0).randbytes(60_000))], "w:zst"))
    content[40:60] = b"\xff" * 20
    content = content[:4] + b"\xff" * 8 + content[12:]
    with pytest.raises(ArtifactError, match="no complete tar archive"), arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(pieces(bytes(content)))
    assert left(tmp_path) == []


def test_zstd_without_its_reader(tmp_path, monkeypatch):
    content = tarred([("a.json", b"{}")], "w:zst")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingDependencyError, match=r"adaptkit\[together\]"), arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(pieces(content))
    assert left(tmp_path) == []


def special(kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_archives_hold_plain_files_alone(tmp_path, kind):
    with pytest.raises(ArtifactError, match="no plain file"), arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(pieces(tarred([("a.json", b"{}"), ("", special(kind))])))
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "/evil"])
def test_archives_lead_nowhere_else(tmp_path, name):
    with pytest.raises(ArtifactError, match="no plain path"), arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(pieces(tarred([(name, b"{}")])))
    assert left(tmp_path) == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "w:zst"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9])
def test_cut_archives(tmp_path, mode, part):
    noise = random.Random(0).randbytes(60_000)  # what can be pressed no smaller is cut wherever the archive is
    content = tarred([("a.bin.json", noise), ("b.json", noise)], mode)
    with pytest.raises((ArtifactError, ServiceError)), arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(pieces(content[: int(len(content) * part)]))
    assert left(tmp_path) == []


def test_an_error_of_the_network_is_itself(tmp_path):
    def broken():
        yield tarred([("a.json", b"x" * 100_000)], "w")[:20_000]
        raise ServiceError("the answer was lost")

    with pytest.raises(ServiceError, match="lost"), arriving(tmp_path / "m", "x") as arrival:
        arrival.archive(broken())
    assert left(tmp_path) == []

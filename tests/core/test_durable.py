"""Files appear whole, for their owner alone, or not at all."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from adaptkit.durable import create_file, replace_file


def test_the_new_content_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(folder, b"new")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_created_once(tmp_path):
    path = tmp_path / "end.json"
    assert create_file(path, b"first")
    assert not create_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_who_create_a_file_at_once_one_is_first(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        first = list(threads.map(lambda number: create_file(tmp_path / "end", b"%d" % number), range(64)))
    assert sum(first) == 1
    assert (tmp_path / "end").read_bytes() == b"%d" % first.index(True)

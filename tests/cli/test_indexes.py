"""``adaptkit indexes``, as people and as scripts use it."""

from __future__ import annotations

import json
import os

from tests.cli.conftest import Shop


def test_what_is_left_over_is_listed_and_deleted(shop: Shop) -> None:
    home = shop.folder / "home"
    left = home / "prompt" / "examples" / "left.db"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"123")
    assert "every index belongs to a model" in shop.run("indexes", "--home", str(home)).stdout
    os.utime(left, (0, 0))
    (listed,) = json.loads(shop.run("indexes", "--home", str(home), "--json").stdout)
    assert listed == {"path": str(left), "bytes": 3, "last_used": "1970-01-01T00:00:00+00:00", "deleted": False}
    assert "--delete" in shop.run("indexes", "--home", str(home)).stdout
    assert left.is_file()
    assert "1 deleted" in shop.run("indexes", "--home", str(home), "--delete").stdout
    assert not left.exists()

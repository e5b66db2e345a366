from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from adaptkit.errors import JournalError
from adaptkit.journal import mounts, open_journal, sqlite

# As /proc/mounts shows them: nested mounts, an automount hidden by what it mounted, escapes, a bind mount.
TABLE = r"""
sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0
/dev/nvme0n1p2 / ext4 rw,relatime,errors=remount-ro 0 0
tmpfs /tmp tmpfs rw,nosuid,nodev,size=8192000k 0 0
systemd-1 /net/auto autofs rw,relatime,fd=52,pgrp=1,timeout=0,minproto=5,maxproto=5,direct 0 0
filer:/export /net/auto nfs4 rw,relatime,vers=4.2,rsize=1048576,proto=tcp,addr=10.0.0.5 0 0
filer:/home /home nfs rw,vers=3,addr=10.0.0.5 0 0
/dev/sdb1 /home/me/scratch xfs rw,relatime 0 0
//nas/share /mnt/my\040share\134x cifs rw,vers=3.1.1,username=me 0 0
10.0.0.7@tcp:/lfs /lustre lustre rw,flock 0 0
scratch /gpfs/scratch gpfs rw,relatime 0 0
me@host:/ /mnt/remote fuse.sshfs rw,nosuid,nodev,user_id=1000 0 0
/dev/fuse /mnt/ntfs fuseblk rw,relatime 0 0
C:\134 /mnt/c 9p rw,dirsync,aname=drvfs;path=C:\;uid=1000 0 0
overlay /var/lib/docker/overlay2/m overlay rw,lowerdir=/a:/b 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/adaptkit/journal.db", "ext4", False),
        ("/tmp/j.db", "tmpfs", False),
        ("/tmpfiles/j.db", "ext4", False),
        ("/home/me/.adaptkit/journal.db", "nfs", True),
        ("/home/me/scratch/journal.db", "xfs", False),
        ("/home/me/scratchy/journal.db", "nfs", True),
        ("/net/auto/j.db", "nfs4", True),
        ("/mnt/my share\\x/j.db", "cifs", True),
        ("/lustre/a/j.db", "lustre", True),
        ("/gpfs/scratch/j.db", "gpfs", True),
        ("/gpfs/j.db", "ext4", False),
        ("/mnt/remote/j.db", "fuse.sshfs", True),
        ("/mnt/ntfs/j.db", "fuseblk", False),
        ("/mnt/c/Users/me/j.db", "9p", True),
        ("/var/lib/docker/overlay2/m/j.db", "overlay", False),
    ],
)
def test_the_kind_of_file_system_is_read_from_the_table(path: str, kind: str, network: bool) -> None:
    assert mounts.file_system(PurePosixPath(path), TABLE) == kind
    assert mounts.is_network(kind) is network


def test_without_a_table_nothing_is_said() -> None:
    assert mounts.file_system(PurePosixPath("/home/me/j.db"), "") is None


def test_this_machine_s_own_table_knows_proc() -> None:
    table = mounts.mount_table()
    if not table:
        pytest.skip("no /proc/mounts here")
    assert mounts.file_system(PurePosixPath("/proc/self"), table) == "proc"


def test_a_network_file_system_is_refused_and_postgresql_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(sqlite, "mount_table", lambda: f"filer:/x {tmp_path}/real nfs4 rw 0 0\n")
    with pytest.raises(JournalError, match=r"network file system \(nfs4\).*adaptkit\[postgres\]"):
        open_journal(str(tmp_path / "link" / "j.db"))
    assert list((tmp_path / "real").iterdir()) == []
    open_journal(str(tmp_path / "j.db")).close()

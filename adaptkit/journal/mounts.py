"""Which kind of file system a path lies on, and whether SQLite's locks can be trusted there."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

__all__ = ["file_system", "is_network", "mount_table"]

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "davfs", "ncpfs"),
    *("lustre", "gpfs", "beegfs", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs", "vboxsf", "prl_fs"),
}
_NETWORK_FUSE = {
    *("sshfs", "s3fs", "gcsfuse", "rclone", "mountpoint-s3", "goofys", "blobfuse", "blobfuse2", "davfs", "davfs2"),
    *("ceph", "ceph-fuse", "glusterfs", "juicefs", "smbnetfs", "curlftpfs", "moosefs", "seaweedfs", "afs"),
}


def mount_table() -> str:
    """The kernel's table of mounts, or nothing where there is none (not Linux)."""
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def file_system(path: PurePosixPath, table: str) -> str | None:
    """The type of the file system that an absolute path lies on.

    Args:
        path: Absolute, without symbolic links; need not exist.
        table: Text in the format of ``/proc/mounts``, see proc_pid_mounts(5) and fstab(5).

    Returns:
        The type, such as ``ext4`` or ``fuse.sshfs``; None if the table does not say.
    """
    found: tuple[int, str] | None = None
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks, tabs, line ends and backslashes in a mount point are written as three octal digits.
        point = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        # The deepest mount point wins, and of several mounts on one point the last, which hides the others.
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), fields[2]
    return found[1] if found else None


def is_network(kind: str) -> bool:
    """Whether a type of file system is served over a network, where locks may be missing or late."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind.removeprefix("fuse.") in _NETWORK_FUSE)

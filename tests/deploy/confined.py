"""Run a command as a container does it: nobody of the host, no capability, everything read-only but a new /tmp.

It is a mount namespace and setpriv, so it takes root and Linux; what docker adds to it (seccomp, cgroups) is not there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

USER = 10001


def why_not() -> str:
    """Why it cannot be done here, in a sentence; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can make a mount namespace"
    missing = [name for name in ("unshare", "setpriv", "mount") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} of util-linux is not installed"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else "a mount namespace is refused here"


def closed(path: Path) -> Path | None:
    """The first folder on the way that others may not enter."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def confined(command: Sequence[str], reads: Iterable[Path]) -> list[str]:
    """The command line.

    Args:
        command: what is run.
        reads: folders that it must reach, wherever they lie; what lies in /tmp stays at its place.
    """
    wanted = sorted({p.resolve() for p in reads}, key=lambda p: len(p.parts))
    hidden = {closed(p) for p in wanted} - {None} | {Path("/tmp")}
    moved = [p for p in wanted if any(h in [p, *p.parents] for h in hidden)]
    moved = [p for p in moved if not any(outer in p.parents for outer in moved)]  # what lies within comes with it
    lines = ["set -e", "mount --make-rprivate /", "mount -t tmpfs tmpfs /mnt"]
    lines += [f"mkdir /mnt/{n} && mount --bind {shlex.quote(str(p))} /mnt/{n}" for n, p in enumerate(moved)]
    lines += [f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(h))}" for h in hidden if h != Path("/tmp")]
    lines += [f"mount -t tmpfs -o size=256m,uid={USER},gid={USER},nosuid,nodev,noexec tmpfs /tmp"]
    for n, p in enumerate(moved):
        at = shlex.quote(str(p))
        lines += [f"mkdir -p {at} && mount --bind /mnt/{n} {at} && mount -o remount,bind,ro {at}"]
        lines += [f"chmod 0755 {shlex.quote(str(f))}" for f in p.parents if f != Path("/") and f != Path("/tmp")
                  and Path("/tmp") in f.parents]  # fmt: skip
    lines += ["mount -o remount,bind,ro /", "cd /tmp"]
    drop = f"setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
    lines += [f"exec {drop} {shlex.join(command)}"]
    return ["unshare", "--mount", "sh", "-c", "\n".join(lines)]

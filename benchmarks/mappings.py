"""What the memory of a process is made of, from /proc: Linux alone.

python -m benchmarks.mappings            # this and that, imported one after the other, as a worker needs it
python -m benchmarks.mappings PID        # a running process, mapping by mapping
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$")


@dataclass(frozen=True)
class Memory:
    """MB (millions of bytes) of one process.

    Attributes:
        resident: what `ps` shows as RSS: every page in memory, shared ones too.
        own: USS, pages that no other process maps. This is what another worker on the machine would cost.
        share: PSS, the own pages and a fair part of the shared ones.
        anonymous: pages that no file backs: the heap, Python's objects, arrays.
        mapped: resident pages by what is mapped, the largest first.
    """

    resident: float
    own: float
    share: float
    anonymous: float
    mapped: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, process: int | str = "self") -> Memory:
        """Read /proc/PID/smaps."""
        totals: Counter[str] = Counter()
        mapped: Counter[str] = Counter()
        name = ""
        for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
            if head := _HEAD.match(line):
                name = head[1].rpartition("/")[-1].partition(".cpython")[0] or "[anonymous]"
                continue
            key, _, value = line.partition(":")
            if value.endswith(" kB"):
                totals[key] += int(value.split()[0])
                mapped[name] += int(value.split()[0]) if key == "Rss" else 0
        private = totals["Private_Clean"] + totals["Private_Dirty"]
        parts = tuple((key, _mb(kb)) for key, kb in mapped.most_common())
        return cls(_mb(totals["Rss"]), _mb(private), _mb(totals["Pss"]), _mb(totals["Anonymous"]), parts)

    def largest(self, count: int) -> str:
        """The largest mappings in one line."""
        return ", ".join(f"{name} {mb:.1f}" for name, mb in self.mapped[:count])


def _mb(kilobytes: int) -> float:
    return kilobytes * 1024 / 1e6


STEPS = (
    "numpy",
    "pydantic, yaml",
    "kafka",
    "redis",
    "monitor.service.process",
    "httpx, starlette.applications, uvicorn, monitor.service.site, structlog",
    "llvmlite.binding",
    "numba",
    "scipy.special",
    "scipy.integrate, scipy.optimize",
)
"""What a worker imports, in this order; from `numba` on, what it no longer does."""


def weigh(steps: tuple[str, ...]) -> list[tuple[str, Memory]]:
    """Import one step after the other in a new process and look at it after each."""
    code = (
        "import json, sys\nfrom benchmarks.mappings import Memory\nfound = [['Python', vars(Memory.of())]]\n"
        "for step in sys.argv[1:]:\n"
        "    exec(f'import {step}')\n"
        "    found.append([step, vars(Memory.of())])\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code, *steps], capture_output=True, text=True, check=True)
    return [(step, Memory(**seen)) for step, seen in json.loads(done.stdout)]


def main() -> None:
    """Print a table."""
    if sys.argv[1:]:
        m = Memory.of(int(sys.argv[1]))
        print(f"RSS {m.resident:.1f}, USS {m.own:.1f}, PSS {m.share:.1f}, of no file {m.anonymous:.1f}")
        print("\n".join(f"{mb:8.1f}  {name}" for name, mb in m.mapped[:25]))
        return
    print("| imported, one after the other | RSS, MB | more | of no file | USS |\n|-|-|-|-|-|")
    before = 0.0
    for step, m in weigh(STEPS):
        print(f"| {step} | {m.resident:.1f} | {m.resident - before:.1f} | {m.anonymous:.1f} | {m.own:.1f} |")
        before = m.resident


if __name__ == "__main__":
    main()

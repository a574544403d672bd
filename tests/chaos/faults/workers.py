"""Workers that die, that stand still, and whose clock is wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.chaos.faults import LEASE_SECONDS, Fault
from tests.chaos.stage import Stage
from tests.cluster import REPOSITORY


class Kills(Fault):
    name, about = "kills", "SIGKILL of workers at random moments, the one that judges among them"
    lasts, allowance = 1.0, LEASE_SECONDS + 10

    def inject(self, stage: Stage) -> None:
        for _ in range(self.kills or (200 if self.long else 3)):
            before = stage.counted()
            judging = stage.leaseholder() if stage.random.random() < 0.5 else None
            stage.kill(judging or stage.random.choice(stage.workers))
            stage.until(lambda before=before: stage.counted() > before, 90, "nothing was counted after a kill")
            time.sleep(stage.random.uniform(0, 1.0))


class KillTheJudge(Fault):
    name, about = "kill-the-judge", "SIGKILL of the worker that holds the lease"
    lasts, allowance = 1.0, LEASE_SECONDS + 10

    def inject(self, stage: Stage) -> None:
        stage.until(lambda: stage.leaseholder() is not None, 30, "nobody held the lease")
        stage.kill(stage.leaseholder())


class Zombie(Fault):
    name, about = "zombie", "a worker stands still (SIGSTOP) for longer than its session and its lease, then goes on"
    lasts, allowance = 8.0, LEASE_SECONDS + 10

    def inject(self, stage: Stage) -> None:
        self.worker = stage.leaseholder() or stage.workers[0]
        os.kill(self.worker.pid, signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        os.kill(self.worker.pid, signal.SIGCONT)


class LongZombie(Zombie):
    name, about = "zombie-long", "the same for 25 s"
    lasts = 25.0


CLOCK = Path(__file__).parents[1] / "clock"


class HostClock(Fault):
    """One worker of the group runs on a host whose clock is off; its monotonic clock is not.

    Python's clock is moved, by a module that Python imports at its start. libfaketime is of no use here: it also moves
    the deadlines that librdkafka's threads wait for, and makes ``select`` fail under kafka-python (EINVAL), which no
    wrong clock of a host does.
    """

    lasts, allowance, off = 2.0, 5.0, 0

    def prepare(self, stage: Stage) -> None:
        # The first worker to start is as a rule the one that judges.
        path = os.pathsep.join([str(CLOCK), str(REPOSITORY)])
        stage.environments = [{"PYTHONPATH": path, "CHAOS_CLOCK_OFF": str(self.off)}]


class ClockAhead15(HostClock):
    name, about, off = "clock-ahead-15s", "a worker whose host's clock is 15 s ahead", 15


class ClockBehind15(HostClock):
    name, about, off = "clock-behind-15s", "a worker whose host's clock is 15 s behind", -15


class ClockAheadHour(HostClock):
    name, about, off = "clock-ahead-1h", "a worker whose host's clock is an hour ahead", 3600


class ClockBehindHour(HostClock):
    name, about, off = "clock-behind-1h", "a worker whose host's clock is an hour behind", -3600

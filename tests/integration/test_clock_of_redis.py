"""The clock of Redis is moved under running workers, as by a correction, or a failover to a host with another clock."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.testing import launcher
from tests.cluster import Cluster, differences
from tests.live import Live, holds, transitions, wait_for_surge

pytestmark = pytest.mark.slow

MOVED = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long moved(void) {
  char text[32] = {0};
  int file = open(getenv("CLOCK_MOVED"), O_RDONLY);
  long n = file >= 0 && read(file, text, 31) > 0 ? atol(text) : 0;
  if (file >= 0) close(file);
  return n;
}
int clock_gettime(clockid_t which, struct timespec *t) {
  long failed = syscall(SYS_clock_gettime, which, t);
  if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) t->tv_sec += moved();
  return (int)failed;
}
int gettimeofday(struct timeval *tv, void *zone) {
  struct timespec t;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &t);
  tv->tv_sec = t.tv_sec;
  tv->tv_usec = t.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *to) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (to) *to = t.tv_sec;
  return t.tv_sec;
}
"""
"""Loaded before the C library, it moves the wall clock of one process. Redis does not start with libfaketime."""


class MovedClock:
    """A Redis whose wall clock can be moved by so many seconds; its monotonic clock goes on."""

    def __init__(self, folder: Path) -> None:
        source, library, self._moved = folder / "moved.c", folder / "moved.so", folder / "moved"
        source.write_text(MOVED)
        self.move(0)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_MOVED": str(self._moved)}
        port = launcher.free_port()
        command = ["redis-server", "--port", str(port), "--bind", launcher.HOST, "--save", ""]
        ready = lambda: launcher.listens(port)  # noqa: E731
        self.server = launcher.start("redis", command, port, ready, environment=environment)

    def move(self, seconds: int) -> None:
        new = self._moved.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._moved)


@pytest.fixture
def clock(tmp_path) -> Iterator[MovedClock]:
    if not shutil.which("cc") or not shutil.which("redis-server"):
        pytest.skip("a C compiler and redis-server are needed to move the clock of Redis")
    moved = MovedClock(tmp_path)
    yield moved
    moved.server.stop()


def test_a_surge_is_raised_and_nobody_called_silent_while_the_clock_of_redis_is_moved(broker, clock, tmp_path):
    settings = {"alerts": {"silence_seconds": 15}, "buckets": {"seconds": 0.5, "idle_seconds": 2.0}}
    c = Cluster(broker.address, f"redis://{clock.server.address}/0", tmp_path, "moved-clock", partitions=2, **settings)
    try:
        with Live(c, rate=100) as live:
            c.start_worker()
            c.wait(lambda: c.counted() > 1500)  # the streams are regular by now
            clock.move(3600)
            assert holds(c, lambda: transitions(c, "silence") == [], 8)
            clock.move(-600)  # behind the buckets that are closed
            assert wait_for_surge(c, live, seconds=60) < 60
            assert transitions(c, "silence") == []
        c.wait_until_counted()
        assert differences(c.store.totals(), c.recounted()) == (0, 0)
    finally:
        c.stop()

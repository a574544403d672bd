"""A restart is asked for if it would help, and a process that cannot do its work says why."""

from __future__ import annotations

import pytest

from monitor.service.progress import PROGRESS_SECONDS, STANDBY_SECONDS, Progress


class World:
    """A process whose clock, worker and watch a test holds."""

    def __init__(self) -> None:
        self.now, self.trouble, self.judges, self.watches = 1000.0, "", False, True
        self.progress = Progress(
            lambda: self.trouble, lambda: self.judges, lambda: self.watches, monotonic=lambda: self.now
        )

    def round(self, partitions: int = 1) -> None:
        self.progress.begin_round(partitions)
        self.progress.note_judged()


@pytest.fixture
def world() -> World:
    return World()


def test_a_process_that_starts_is_healthy_and_not_ready(world):
    assert world.progress.healthy() == ""
    assert "has not asked Kafka" in world.progress.ready()
    world.round()
    assert world.progress.ready() == ""


def test_a_process_is_ready_once_it_has_a_partition_and_stays_so_when_others_take_it_over(world):
    world.round(partitions=0)
    assert "no partition yet" in world.progress.ready()
    assert world.progress.healthy() == ""
    world.round(partitions=2)
    assert world.progress.ready() == ""
    world.round(partitions=0)
    assert world.progress.ready() == ""


def test_a_process_without_a_partition_for_long_stands_by_and_is_ready(world):
    world.round(partitions=0)
    world.now += STANDBY_SECONDS - 0.1
    world.round(partitions=0)
    assert "no partition yet" in world.progress.ready()
    world.now += 0.1
    world.round(partitions=0)
    assert world.progress.ready() == ""


def test_a_loop_that_hangs_is_unhealthy_and_stops_the_heartbeat(world):
    world.round()
    world.now += PROGRESS_SECONDS - 0.1
    assert (world.progress.healthy(), world.progress.moves) == ("", True)
    world.now += 0.2
    assert "60 seconds" in world.progress.healthy()
    assert not world.progress.moves
    assert world.progress.ready() == world.progress.healthy()


def test_redis_or_kafka_away_is_no_reason_to_restart_but_one_not_to_be_ready(world):
    world.round()
    world.trouble, world.judges = "Redis cannot be reached", True
    for _ in range(200):
        world.now += 1
        world.progress.begin_round(1)  # nothing is judged meanwhile
    assert world.progress.healthy() == ""
    assert world.progress.ready() == "Redis cannot be reached"


def test_whoever_holds_the_right_to_judge_and_does_not_is_unhealthy(world):
    world.round()
    for _ in range(61):
        world.now += 1
        world.progress.begin_round(1)
    assert world.progress.healthy() == ""
    world.judges = True
    assert "has not judged for 61 seconds" in world.progress.healthy()


def test_a_watch_that_ended_is_unhealthy(world):
    world.round()
    world.watches = False
    assert "watches the monitor itself has ended" in world.progress.healthy()


def test_a_process_that_is_being_stopped_is_not_ready(world):
    world.round()
    world.progress.end()
    assert world.progress.ready() == "this process is being stopped"
    assert world.progress.healthy() == ""

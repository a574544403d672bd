"""Redis full, demoted, hanging, failing over: real processes carry on, count everything once, and say what to do."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import redis as redis_client

from monitor.errors import StoreUnavailableError
from tests.cluster import Cluster, differences
from tests.redis_servers import ask, replica_of, sentinel_of, start_redis, wait_for

pytestmark = pytest.mark.slow


def log_of(c: Cluster) -> str:
    return "\n".join(path.read_text(errors="replace") for path in sorted(c.folder.glob("worker-*.log")))


def full(server):
    ask(server, "CONFIG", "SET", "maxmemory", 1)
    return lambda: ask(server, "CONFIG", "SET", "maxmemory", 0)


def read_only(server):
    ask(server, "REPLICAOF", "127.0.0.1", 1)
    return lambda: ask(server, "REPLICAOF", "NO", "ONE")


def without_replicas(server):
    ask(server, "CONFIG", "SET", "min-replicas-to-write", 1)
    return lambda: ask(server, "CONFIG", "SET", "min-replicas-to-write", 0)


def busy(server):
    client = redis_client.Redis(port=server.port, socket_timeout=120)

    def forever() -> None:
        with pytest.raises(redis_client.RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=forever)
    thread.start()

    def kill() -> None:
        ask(server, "SCRIPT", "KILL")
        thread.join()

    return kill


def asleep(server):
    client = redis_client.Redis(port=server.port, socket_timeout=60)
    thread = threading.Thread(target=lambda: client.execute_command("DEBUG", "SLEEP", 20))
    thread.start()
    return thread.join


STATES = {
    "(OOM: ": full,
    "(READONLY: ": read_only,
    "(NOREPLICAS: ": without_replicas,
    "(BUSY: ": busy,
    "(TIMEOUT: ": asleep,
}


@pytest.mark.parametrize("code", STATES)
def test_a_redis_that_refuses_for_a_while_is_waited_for_and_every_record_is_counted_once(broker, tmp_path, code):
    with start_redis("--enable-debug-command", "yes", "--busy-reply-threshold", "100") as server:
        name = f"refuses-{code[1:-2].lower()}-{time.monotonic_ns()}"
        c = Cluster(broker.address, f"redis://{server.address}/0", tmp_path, name)
        try:
            c.publish(500)
            c.start_worker()
            c.wait_until_counted()
            over = STATES[code](server)
            c.publish(500)
            wait_for(lambda: code in log_of(c), 60)  # it is told at once, with what it means and what to do
            assert c.workers[0].poll() is None
            over()
            c.wait_until_counted()
            assert differences(c.store.totals(), c.recounted()) == (0, 0)
            assert "nothing is lost" in log_of(c)
            assert "counting continues" in log_of(c)
        finally:
            c.stop()


def test_a_redis_that_evicts_is_refused_at_the_start_with_how_to_change_it(broker, tmp_path):
    with start_redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server:
        c = Cluster(broker.address, f"redis://{server.address}/0", tmp_path, f"evicts-{time.monotonic_ns()}")
        try:
            worker = c.start_worker()
            assert worker.wait(60) == 1
            c.workers.clear()
            last = log_of(c).strip().splitlines()[-1]
            assert "maxmemory-policy allkeys-lru" in last
            assert "Set maxmemory-policy to noeviction" in last
        finally:
            c.stop()


def knows_replica(sentinel) -> bool:
    client = redis_client.Redis(port=sentinel.port, decode_responses=True)
    try:
        return client.sentinel_master("main")["num-slaves"] == 1
    finally:
        client.close()


def answers(c: Cluster) -> bool:
    try:
        return c.counted() >= 0
    except StoreUnavailableError:
        return False


def test_a_failover_in_the_middle_of_counting_loses_nothing(broker, tmp_path):
    with start_redis() as master, replica_of(master) as replica, sentinel_of(master) as sentinel:
        wait_for(lambda: knows_replica(sentinel))
        url = f"redis+sentinel://{sentinel.address}/main/0"
        c = Cluster(broker.address, url, tmp_path, f"failover-{time.monotonic_ns()}")
        try:
            c.publish(600)
            c.start_worker()
            c.wait(lambda: c.counted() > 0)
            master.kill()
            c.publish(600)
            wait_for(lambda: ask(replica, "ROLE")[0] == "master", 60)
            wait_for(lambda: answers(c), 60)
            c.wait_until_counted()
            assert differences(c.store.totals(), c.recounted()) == (0, 0)
            assert "counting continues" in log_of(c)
        finally:
            c.stop()


def test_what_a_failover_forgot_is_read_again_as_counts_and_offsets_are_forgotten_together(broker, tmp_path):
    with start_redis() as master, replica_of(master) as replica, sentinel_of(master) as sentinel:
        wait_for(lambda: knows_replica(sentinel))
        url = f"redis+sentinel://{sentinel.address}/main/0"
        c = Cluster(broker.address, url, tmp_path, f"forgot-{time.monotonic_ns()}")
        try:
            c.publish(600)
            c.start_worker()
            c.wait_until_counted()
            replica.process.send_signal(signal.SIGSTOP)
            ask(master, "CLIENT", "KILL", "TYPE", "replica")  # what is counted from here on never reaches the replica
            c.publish(600)
            c.wait_until_counted()
            master.kill()
            replica.process.send_signal(signal.SIGCONT)
            wait_for(lambda: ask(replica, "ROLE")[0] == "master", 60)
            wait_for(lambda: answers(c), 60)
            c.wait_until_counted()
            assert "with epoch 2 at offset 100" in log_of(c)  # of 200 that were counted before the failover
            assert differences(c.store.totals(), c.recounted()) == (0, 0)
        finally:
            replica.process.send_signal(signal.SIGCONT)
            c.stop()

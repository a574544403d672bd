"""What Redis refuses, by real servers in that state; and by a server that says what it is told to, for the rest."""

from __future__ import annotations

import itertools
import shutil
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from monitor.errors import StoreError, StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.connection import connect
from monitor.store.redis import RedisStore
from monitor.store.refusals import FINAL, PASSING
from monitor.testing import launcher
from tests.redis_servers import ask, redis_cluster, replica_of, start_redis, wait_for

_groups = itertools.count()


def store_on(url: str, **settings) -> RedisStore:
    return RedisStore(connect(url, **{"retries": 0, "socket_timeout": 1.0, **settings}), f"refused-{next(_groups)}")


def url_of(server: launcher.Server) -> str:
    return f"redis://{server.address}/0"


def full(stack: ExitStack) -> str:
    server = stack.enter_context(start_redis())
    ask(server, "CONFIG", "SET", "maxmemory", 1)
    return url_of(server)


def read_only(stack: ExitStack) -> str:
    return url_of(stack.enter_context(replica_of(stack.enter_context(start_redis()))))


def without_master(stack: ExitStack) -> str:
    server = start_redis("--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no")
    return url_of(stack.enter_context(server))


def cannot_save(stack: ExitStack) -> str:
    server = stack.enter_context(start_redis("--enable-protected-configs", "yes"))
    ask(server, "CONFIG", "SET", "save", "1 1")
    gone = server.folder / "gone"
    gone.mkdir()
    ask(server, "CONFIG", "SET", "dir", str(gone))
    shutil.rmtree(gone)
    ask(server, "SET", "x", "1")
    wait_for(lambda: redis.Redis(port=server.port).info("persistence")["rdb_last_bgsave_status"] == "err")
    return url_of(server)


def without_replicas(stack: ExitStack) -> str:
    return url_of(stack.enter_context(start_redis("--min-replicas-to-write", "1")))


def loading(stack: ExitStack) -> str:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with start_redis("--enable-debug-command", "yes", folder=folder) as server:
        ask(server, "DEBUG", "POPULATE", 5000)
        ask(server, "SAVE")
    slow = ["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]  # 25 s
    return url_of(stack.enter_context(start_redis(*slow, folder=folder)))


def busy(stack: ExitStack) -> str:
    server = stack.enter_context(start_redis("--busy-reply-threshold", "20"))
    client = redis.Redis(port=server.port, socket_timeout=120)
    thread = threading.Thread(target=lambda: _quietly(lambda: client.eval("while true do end", 0)), daemon=True)
    thread.start()
    wait_for(lambda: _refused_with(server, "BUSY"))
    return url_of(server)


def crowded(stack: ExitStack) -> str:
    server = stack.enter_context(start_redis("--maxclients", "1"))
    holder = redis.Redis(port=server.port)
    holder.ping()
    stack.callback(holder.close)
    return url_of(server)


def cluster_without_slots(stack: ExitStack) -> str:
    server = start_redis("--cluster-enabled", "yes", "--cluster-port", str(launcher.free_port()))
    return url_of(stack.enter_context(server))


def with_password(stack: ExitStack) -> str:
    return url_of(stack.enter_context(start_redis("--requirepass", "right")))


def with_another_password(stack: ExitStack) -> str:
    return with_password(stack).replace("redis://", "redis://:wr0ng@")


def with_a_user_that_may_only_read(stack: ExitStack) -> str:
    server = stack.enter_context(start_redis())
    ask(server, "ACL", "SETUSER", "reader", "on", ">s3cret", "~*", "+@read", "+ping", "+hello")
    return url_of(server).replace("redis://", "redis://reader:s3cret@")


def not_a_cluster(stack: ExitStack) -> str:
    return url_of(stack.enter_context(start_redis())).replace("redis://", "redis+cluster://")


def one_node_of_three(stack: ExitStack) -> str:
    """The node that does not own the slot, asked without the cluster's client."""
    servers = stack.enter_context(redis_cluster(3))
    slot = ask(servers[0], "CLUSTER", "KEYSLOT", f"{{refused-{next(_groups) + 1}}}")
    owner = int(str(slot)) // (16384 // 3 + 1)
    return url_of(servers[(owner + 1) % 3])


def nobody(stack: ExitStack) -> str:
    return f"redis://127.0.0.1:{launcher.free_port()}/0"


def no_sentinel(stack: ExitStack) -> str:
    return f"redis+sentinel://127.0.0.1:{launcher.free_port()}/main/0"


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except redis.RedisError:
        return  # the server was stopped meanwhile


def _refused_with(server: launcher.Server, code: str) -> bool:
    client = redis.Redis(port=server.port, socket_timeout=1)
    try:
        client.get("x")
    except redis.RedisError as error:
        return code.lower() in f"{error} {type(error).__name__}".lower()
    else:
        return False
    finally:
        client.close()


STATES = {
    "OOM": full,
    "READONLY": read_only,
    "MASTERDOWN": without_master,
    "MISCONF": cannot_save,
    "NOREPLICAS": without_replicas,
    "LOADING": loading,
    "BUSY": busy,
    "MAXCLIENTS": crowded,
    "CLUSTERDOWN": cluster_without_slots,
    "MOVED": one_node_of_three,
    "CONNECTION": nobody,
    "NOMASTER": no_sentinel,
    "NOAUTH": with_password,
    "WRONGPASS": with_another_password,
    "NOPERM": with_a_user_that_may_only_read,
    "NOCLUSTER": not_a_cluster,
}


@pytest.mark.parametrize("code", STATES)
def test_a_real_server_in_this_state_is_waited_for_or_not_and_says_what_to_do(code):
    words = {**PASSING, **FINAL}[code]
    with ExitStack() as stack:
        url = STATES[code](stack)
        for call in (lambda s: s.ping(), lambda s: s.claim({Partition("t", 0): 0})):
            with pytest.raises(StoreError) as caught:
                call(store_on(url))
            assert str(caught.value).startswith(words), caught.value
            assert f"({code}: " in str(caught.value)
            assert isinstance(caught.value, StoreUnavailableError) == (code in PASSING)
            assert "s3cret" not in str(caught.value)
            assert "wr0ng" not in str(caught.value)


@contextmanager
def server_that_says(reply: bytes) -> Iterator[str]:
    """It greets as Redis does, and answers every command on keys with this."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (head := self.rfile.readline()).startswith(b"*"):
                words = []
                for _ in range(int(head[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:-2].upper())
                if words[0] == b"HELLO":
                    self.wfile.write(b"%1\r\n+proto\r\n:3\r\n")
                elif words[0] in (b"CLIENT", b"PING", b"SELECT"):
                    self.wfile.write(b"+OK\r\n")
                elif reply:
                    self.wfile.write(reply + b"\r\n")
                else:
                    return  # cuts the connection

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

    with Server((launcher.HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"redis://{launcher.HOST}:{server.server_address[1]}/0"
        finally:
            server.shutdown()


SCRIPT = "script: 4e4f, on @user_script:12."
SAID = {
    "-OOM command not allowed when used memory > 'maxmemory'.": "OOM",
    f"-OOM command not allowed when used memory > 'maxmemory'. {SCRIPT}": "OOM",
    "-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed": "OOM",
    f"-READONLY You can't write against a read only replica. {SCRIPT}": "READONLY",
    "-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a read": "READONLY",
    f"-MISCONF Errors writing to the AOF file: No space left on device {SCRIPT}": "MISCONF",
    "-ERR Error running script (call to f_1): @user_script:1: -MISCONF Redis is configured to save RDB": "MISCONF",
    "-LOADING Redis is loading the dataset in memory": "LOADING",
    "-CLUSTERDOWN Hash slot not served": "CLUSTERDOWN",
    "-CLUSTERDOWN The cluster is down": "CLUSTERDOWN",
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "MASTERDOWN",
    "-TRYAGAIN Multiple keys request during rehashing of slot": "TRYAGAIN",
    "-MOVED 3999 127.0.0.1:6381": "MOVED",
    "-ASK 3999 127.0.0.1:6381": "ASK",
    f"-NOREPLICAS Not enough good replicas to write. {SCRIPT}": "NOREPLICAS",
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "BUSY",
    "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)": "UNBLOCKED",
    "-ERR max number of clients reached": "MAXCLIENTS",
    "-ERR max number of clients + cluster connections reached": "MAXCLIENTS",
    "HTTP/1.1 400 Bad Request": "PROTOCOL",
    "": "CONNECTION",
    "-NOAUTH Authentication required.": "NOAUTH",
    "-WRONGPASS invalid username-password pair or user is disabled.": "WRONGPASS",
    "-NOPERM User reader has no permissions to run the 'hset' command": "NOPERM",
    f"-NOPERM ACL failure in script: User reader has no permissions to access a key {SCRIPT}": "NOPERM",
    "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO": "NOAUTH",
    "-ERR Client sent AUTH, but no password is set": "NOPASS",
    "-ERR invalid password": "WRONGPASS",
    "-ERR wrong number of arguments for 'auth' command": "NOUSERS",
    "-DENIED Redis is running in protected mode because protected mode is enabled": "DENIED",
    "-WRONGTYPE Operation against a key holding the wrong kind of value": "WRONGTYPE",
    f"-WRONGTYPE Operation against a key holding the wrong kind of value {SCRIPT}": "WRONGTYPE",
    "-CROSSSLOT Keys in request don't hash to the same slot": "CROSSSLOT",
}


@pytest.mark.parametrize("reply", SAID)
def test_what_a_server_says_is_told_by_its_code_wherever_that_stands(reply):
    code = SAID[reply]
    for call in (lambda s: s.ping(), lambda s: s.health()):  # one command, and several at once
        with server_that_says(reply.encode()) as url, pytest.raises(StoreError) as caught:
            call(store_on(url))
        assert f"({code}: " in str(caught.value)
        assert isinstance(caught.value, StoreUnavailableError) == (code in PASSING)


@pytest.mark.parametrize("reply", ["-ERR unknown command 'EVALSHA'", "-WHATEVER nobody knows this"])
def test_a_refusal_that_nobody_knows_is_final_and_quoted(reply):
    with server_that_says(reply.encode()) as url, pytest.raises(StoreError, match="Redis refuses: ") as caught:
        store_on(url).ping()
    assert not isinstance(caught.value, StoreUnavailableError)


def test_a_server_that_hangs_is_waited_for_no_longer_than_the_timeout():
    with start_redis("--enable-debug-command", "yes") as server:
        store = store_on(url_of(server), socket_timeout=0.2)
        store.ping()
        sleeper = redis.Redis(port=server.port, socket_timeout=30)
        thread = threading.Thread(target=lambda: _quietly(lambda: sleeper.execute_command("DEBUG", "SLEEP", 2)))
        thread.start()
        began = time.monotonic()

        def timed_out() -> bool:
            try:
                store.ping()
            except StoreUnavailableError as error:
                return "(TIMEOUT: " in str(error)
            return False

        wait_for(timed_out)
        assert time.monotonic() - began < 1.9
        thread.join()
        store.ping()


def test_a_user_with_the_rights_that_the_refusal_names_can_do_all_the_monitor_does():
    rights = FINAL["NOPERM"].partition("ACL SETUSER NAME ")[2].split()
    with start_redis() as server:
        ask(server, "ACL", "SETUSER", "monitor", "on", ">pw", *rights)
        store = store_on(url_of(server), username="monitor", password="pw")
        store.ping()
        store.claim({Partition("t", 0): 0})
        store.now_ms()
        store.totals()
        assert store.lease("me", 1000) >= 0
        listener = store.client.pubsub()
        listener.subscribe(store.keys.channel)
        assert listener.get_message(timeout=5)["type"] == "subscribe"
        listener.close()

"""docker/start-redis.sh and docker/redis.conf with a real Redis: workers can do their work on it, and no more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from monitor.store.connection import connect
from monitor.store.server import refuse_eviction
from monitor.testing import launcher
from tests.cluster import Cluster

FOLDER = Path(__file__).parents[2] / "docker"
PASSWORD, ADMIN = "a-password-of-the-monitor", "a-password-for-repairs"

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="redis-server is not installed (Debian: redis-server)"
)


def secrets(folder: Path, **given: str) -> Path:
    folder.mkdir()
    for name, text in given.items():
        (folder / name).write_text(f"{text}\n")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[launcher.Server]:
    """As the container starts it, but for its folders and its port."""
    folder = tmp_path_factory.mktemp("redis")
    port, users = launcher.free_port(), folder / "users.acl"
    settings = (FOLDER / "redis.conf").read_text()
    assert "dir /data" in settings
    (folder / "redis.conf").write_text(settings.replace("dir /data", f"dir {folder}"))
    environment = {
        "SECRETS": str(secrets(folder / "secrets", redis_password=PASSWORD, redis_admin_password=ADMIN)),
        "USERS_FILE": str(users),
        "REDIS_CONF": str(folder / "redis.conf"),
    }
    command = ["sh", str(FOLDER / "start-redis.sh"), "--aclfile", str(users)]
    command += ["--bind", "127.0.0.1", "--port", str(port)]
    with launcher.start(
        "redis-server", command, port, lambda: launcher.listens(port), folder=folder, environment=environment
    ) as started:
        yield started


def url(server: launcher.Server) -> str:
    return f"redis://monitor:{PASSWORD}@{server.address}/0"


def admin(server: launcher.Server) -> redis.Redis:
    return redis.Redis(port=server.port, password=ADMIN, decode_responses=True)


def test_a_worker_counts_and_judges_with_the_rights_it_is_given(server, tmp_path):
    with launcher.start_broker() as broker:
        cluster = Cluster(broker.address, url(server), tmp_path, "embeddings")
        try:
            cluster.publish(2000)
            cluster.start_worker()
            cluster.wait_until_counted()
            cluster.wait(lambda: "folded_at" in cluster.store.health().times, 30)
            assert cluster.store.totals() == cluster.recounted()
            assert "NOPERM" not in cluster.logs()
        finally:
            cluster.stop()


@pytest.mark.parametrize(
    "command",
    [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("ACL", "LIST"), ("SET", "other", "x"),
     ("GET", "other")],
)  # fmt: skip
def test_the_user_of_the_monitor_may_do_nothing_else(server, command):
    with pytest.raises(redis.exceptions.NoPermissionError):
        connect(url(server)).execute_command(*command)


def test_a_password_is_changed_without_a_moment_in_which_none_fits(server):
    """The steps of docs/deploy.md."""
    new = url(server).replace(PASSWORD, "another-password")
    admin(server).execute_command("ACL", "SETUSER", "monitor", ">another-password")
    assert connect(url(server)).ping()
    assert connect(new).ping()
    admin(server).execute_command("ACL", "SETUSER", "monitor", f"<{PASSWORD}")
    with pytest.raises(redis.exceptions.AuthenticationError):
        connect(url(server)).ping()
    assert connect(new).ping()
    admin(server).execute_command("ACL", "SETUSER", "monitor", f">{PASSWORD}", "<another-password")


def test_without_a_password_redis_answers_nothing(server):
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=server.port).ping()


def test_it_evicts_nothing_and_keeps_what_it_took(server):
    refuse_eviction(connect(url(server)))
    settings = admin(server).config_get()
    assert (settings["maxmemory-policy"], settings["appendonly"]) == ("noeviction", "yes")
    assert int(settings["maxmemory"]) == 512 * 1024**2


def test_no_password_stands_in_the_file_of_users_or_on_the_command_line(server):
    users = (server.folder / "users.acl").read_text()
    line = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().decode()
    for secret in (PASSWORD, ADMIN):
        assert secret not in users
        assert secret not in line
    assert (server.folder / "users.acl").stat().st_mode & 0o077 == 0


def test_without_a_secret_it_ends_and_says_what_makes_one(tmp_path):
    environment = {"SECRETS": str(secrets(tmp_path / "s", redis_password="")), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", str(FOLDER / "start-redis.sh")], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "redis_admin_password" in done.stderr
    assert "make-secrets.sh" in done.stderr

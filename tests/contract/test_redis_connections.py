"""Each way to a Redis that the settings know: TLS with an authority and a client's certificate, a user, a socket."""

from __future__ import annotations

import itertools

import pytest

from monitor.config import validate
from monitor.errors import StoreError, StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.connection import connect, connect_to
from monitor.store.redis import RedisStore
from monitor.testing import launcher
from tests.redis_servers import ask, certificates, redis_cluster, sentinel_of, start_redis, tls_options

_groups = itertools.count()
BASE = {"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "b:1", "topic": "t"}}


def use(**redis: object) -> None:
    """Connect as the settings say, and write and read something through a script."""
    client = connect_to(validate(BASE | {"redis": redis}).redis)
    store = RedisStore(client, f"way-{next(_groups)}")
    store.ping()
    assert store.claim({Partition("t", 0): 7})[Partition("t", 0)].next == 7
    client.close()


def test_tls_with_an_authority_and_a_certificate_of_the_client_whose_key_is_locked(tls):
    url, files = tls
    mine = {"cert_file": str(files["client.crt"]), "key_file": str(files["client.locked.key"])}
    use(url=url, ca_file=str(files["ca.crt"]), key_password="key hunter2", **mine)
    use(url=url.replace("127.0.0.1", "localhost"), ca_file=str(files["ca.crt"]), key_password="key hunter2", **mine)


def test_tls_is_refused_if_the_authority_is_another_or_the_client_has_no_certificate(tls, tmp_path):
    url, files = tls
    mine = {"cert_file": str(files["client.crt"]), "key_file": str(files["client.key"])}
    other = certificates(tmp_path)["ca.crt"]
    with pytest.raises(StoreUnavailableError, match=r"its certificate is not trusted. Set redis.ca_file"):
        use(url=url, ca_file=str(other), **mine)
    with pytest.raises(StoreUnavailableError, match=r"its certificate is not trusted. Set redis.ca_file"):
        use(url=url, **mine)
    with pytest.raises(StoreUnavailableError, match="Redis cannot be reached"):
        use(url=url, ca_file=str(files["ca.crt"]))


def test_a_key_that_the_password_does_not_open_is_named_and_the_password_is_not_shown(tls):
    url, files = tls
    mine = {"cert_file": str(files["client.crt"]), "key_file": str(files["client.locked.key"])}
    for password in ("wr0ng", ""):  # without one OpenSSL would ask the terminal
        with pytest.raises(StoreError, match=r"redis.key_password does not open it") as caught:
            use(url=url, ca_file=str(files["ca.crt"]), key_password=password, **mine)
        assert "wr0ng" not in str(caught.value)
    with pytest.raises(StoreError, match=r"redis.ca_file \S+ holds no certificates"):
        use(url=url, ca_file=str(files["names"]), **mine)


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_file_that_is_not_there_is_named_by_its_key(key):
    with pytest.raises(StoreError, match=f"redis.{key} /none/x cannot be read"):
        use(url="rediss://127.0.0.1:1/0", **{key: "/none/x"})


def test_a_user_with_a_password_by_keys_or_in_the_url_or_at_a_cluster_and_a_database():
    with start_redis() as server:
        ask(server, "ACL", "SETUSER", "monitor", "on", ">p@ss w:rd", "~*", "&*", "+@all")
        use(url=f"redis://{server.address}/3", username="monitor", password="p@ss w:rd")
        use(url=f"redis://monitor:p%40ss%20w%3Ard@{server.address}/3")
        assert list(ask(server, "INFO", "keyspace")) == ["db3"]
    with redis_cluster(1) as (node,):
        ask(node, "ACL", "SETUSER", "monitor", "on", ">p@ss w:rd", "~*", "&*", "+@all")
        ask(node, "ACL", "SETUSER", "default", "off")
        use(url=f"redis+cluster://{node.address}", username="monitor", password="p@ss w:rd")
        use(url=f"redis+cluster://monitor:p%40ss%20w%3Ard@{node.address}")


def test_a_socket_of_the_machine(tmp_path):
    path = tmp_path / "redis.sock"
    with start_redis("--unixsocket", str(path)):
        use(url=f"unix://{path}?db=2")


def test_sentinels_that_ask_for_a_password_of_their_own_before_a_master_that_asks_for_another():
    with (
        start_redis("--requirepass", "of the master") as master,
        sentinel_of(
            master, "main", "sentinel auth-pass main of-the-master", 'requirepass "of the sentinel"'
        ) as sentinel,
    ):
        url = f"redis+sentinel://{sentinel.address}/main/0"
        ask(master, "CONFIG", "SET", "requirepass", "of-the-master", password="of the master")
        use(url=url, password="of-the-master", sentinel_password="of the sentinel")
        with pytest.raises(StoreError):
            use(url=url, password="of-the-master")


def test_a_cluster_with_tls():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        files = certificates(Path(folder))
        port, bus = launcher.free_port(), launcher.free_port()
        options = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--tls-cluster", "yes"]
        with start_redis(*tls_options(files, port), "--tls-auth-clients", "no", *options) as server:
            ask(server, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            connect_when_ok(server)
            use(url=f"rediss+cluster://127.0.0.1:{port}", ca_file=str(files["ca.crt"]))


def connect_when_ok(server: launcher.Server) -> None:
    from tests.redis_servers import wait_for

    client = connect(f"redis://{server.address}/0")
    wait_for(lambda: client.cluster("INFO")["cluster_state"] == "ok")
    client.close()

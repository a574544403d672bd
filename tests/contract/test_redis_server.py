"""What the server says of itself: whether it evicts keys and what a crash forgets; to users with few rights as well."""

from __future__ import annotations

import logging

import pytest

from monitor.errors import StoreError, StoreUnavailableError
from monitor.store.connection import connect
from monitor.store.server import describe_server, find_risks, refuse_eviction
from monitor.testing import launcher
from tests.redis_servers import ask, redis_cluster, start_redis

POLICIES = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl", "volatile-random"]


@pytest.fixture(scope="module")
def server():
    with start_redis() as started:
        yield started


def reset(server: launcher.Server, policy: str = "noeviction", maxmemory: str = "100mb") -> None:
    ask(server, "CONFIG", "SET", "maxmemory", maxmemory, "maxmemory-policy", policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_server_that_evicts_is_refused_with_how_to_change_it(server, policy):
    reset(server, policy)
    client = connect(f"redis://{server.address}/0")
    assert [policy in risk for risk in find_risks(client)] == [True]
    with pytest.raises(StoreError, match=f"maxmemory-policy {policy}.*Set maxmemory-policy to noeviction"):
        refuse_eviction(client)


def test_a_server_that_keeps_all_or_has_no_limit_is_taken(server):
    client = connect(f"redis://{server.address}/0")
    for policy, maxmemory in (("noeviction", "100mb"), ("allkeys-lru", "0")):
        reset(server, policy, maxmemory)
        assert find_risks(client) == []
        refuse_eviction(client)


def test_the_policy_is_read_from_info_where_config_is_not_permitted(server):
    reset(server, "allkeys-lru")
    ask(server, "ACL", "SETUSER", "managed", "on", ">pw", "~*", "&*", "+@all", "-config")
    client = connect(f"redis://{server.address}/0", username="managed", password="pw")
    with pytest.raises(StoreError, match="maxmemory-policy allkeys-lru"):
        refuse_eviction(client)
    assert "maxmemory-policy allkeys-lru" in describe_server(client)


def test_a_policy_that_cannot_be_read_is_a_warning_and_no_risk(server, caplog):
    reset(server, "allkeys-lru")
    ask(server, "ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-config", "-info", "-acl")
    client = connect(f"redis://{server.address}/0", username="blind", password="pw")
    with caplog.at_level(logging.WARNING):
        refuse_eviction(client)
    assert "does not let us read its maxmemory-policy" in caplog.text
    assert find_risks(client) == []
    assert "user unknown" in describe_server(client)
    assert "does not say what a crash forgets" in describe_server(client)


def test_one_evicting_node_of_a_cluster_is_found_and_named():
    with redis_cluster(3) as servers:
        client = connect(f"redis+cluster://{servers[0].address}")
        refuse_eviction(client)
        reset(servers[2], "allkeys-lru")
        assert [servers[2].address in risk for risk in find_risks(client)] == [True]
        assert all(s.address in describe_server(client) for s in servers)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "a restart forgets everything"),
        (("--appendonly", "yes"), "appendfsync everysec: a crash forgets up to a second"),
        (("--appendonly", "yes", "--appendfsync", "always"), "a crash forgets nothing"),
    ],
)
def test_it_is_said_what_a_crash_forgets(options, words):
    with start_redis(*options) as one:
        client = connect(f"redis://{one.address}/0")
        assert words in describe_server(client)
        assert "master, user default" in describe_server(client)
        ask(one, "CONFIG", "SET", "save", "3600 1")
        if not options:
            assert "a crash forgets what came after the last one" in describe_server(client)


def test_a_server_that_is_gone_is_no_answer_rather_than_no_risk():
    client = connect(f"redis://127.0.0.1:{launcher.free_port()}/0", retries=0)
    for question in (find_risks, refuse_eviction, describe_server):
        with pytest.raises(StoreUnavailableError):
            question(client)

"""What of the confluent-kafka source needs no broker; the rest is in ``tests/contract/test_source.py``."""

from __future__ import annotations

import sys

import pytest

from monitor.config import KafkaConfig
from monitor.errors import BrokerUnavailableError, MissingLibraryError
from monitor.service.assembly import open_source

CONFIG = {"bootstrap_servers": "127.0.0.1:1", "topic": "t", "group": "g", "client": "confluent-kafka"}


def test_a_client_that_is_not_installed_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'openood-line\[confluent\]'") as caught:
        open_source(KafkaConfig(**CONFIG))
    assert "\n" not in str(caught.value)


def test_settings_go_by_librdkafka_s_names_and_absent_ones_are_left_out():
    from monitor.sources.settings import librdkafka_settings as settings

    named = settings(KafkaConfig(**CONFIG, assignment="eager", sasl_mechanism="PLAIN", sasl_password="secret"))
    assert (named["bootstrap.servers"], named["group.id"]) == ("127.0.0.1:1", "g")
    assert named["partition.assignment.strategy"] == "range"
    assert (named["sasl.mechanism"], named["sasl.password"]) == ("PLAIN", "secret")
    assert named["enable.auto.commit"] is False
    assert "ssl.ca.location" not in named
    assert "group.instance.id" not in named


def test_a_broker_that_is_not_there_is_waited_for_and_named():
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    from monitor.messages.record import Partition

    source = open_source(KafkaConfig(**CONFIG))
    try:
        assert source.poll(10, 1) == {}
        assert "Kafka cannot be reached at 127.0.0.1:1" in source.trouble()
        with pytest.raises(BrokerUnavailableError, match="cannot be reached"):
            source.logs([Partition("t", 0)])
    finally:
        source.close()

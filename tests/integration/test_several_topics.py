"""Processes that read several topics in one group: each record counted once, over kills, additions and deletions."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from monitor.config import load
from monitor.errors import TopicMissingError
from monitor.service.check_kafka import check_kafka
from monitor.service.replay import replay
from monitor.service.setup import make_topics
from monitor.testing import launcher
from tests.cluster import differences
from tests.monitor_support import embeddings
from tests.oracle.recount import recount


class Two:
    """A cluster whose workers read a second topic beside its own, with as many partitions."""

    def __init__(self, c, **kafka):
        self.c, self.other = c, f"{c.topic}-other"
        launcher.create_topic(c.bootstrap, self.other, c.partitions)
        self.rows, self.ood = embeddings(2000, seed=11), embeddings(2000, seed=12, ood=1.0)
        self.start = time.time_ns() // 1_000_000

    def read_both(self):
        self.c.config["kafka"] |= {"topic": "", "topics": [self.c.topic, self.other]}
        self.c.config["dead_letters"] = {"topic": f"{self.c.topic}.dead-letter"}
        self.c.path.write_text(yaml.safe_dump(self.c.config))

    def send(self, n, topic, table=None, producer=None):
        table = self.rows if table is None else table
        for k in range(n):
            (producer or self.c.producer()).send(
                topic, key=topic.encode(), value=table[k % len(table)].tobytes(), partition=k % self.c.partitions,
                timestamp_ms=self.start + self.c.sent,
            )  # fmt: skip
            self.c.sent += 1
        (producer or self.c.producer()).flush()

    def recounted(self):
        return recount(self.c.line, [(r.key, r.value) for t in (self.c.topic, self.other) for r in self.c.records(t)])


def of_stream(counts, stream):
    return {key: n for key, n in counts.items() if key[0] == stream}


def test_a_second_topic_is_added_to_a_group_that_counts_and_both_are_counted_once_over_a_kill(cluster):
    c = cluster(alerts={"requests_per_false_alert": 1000, "silence_seconds": 0})
    two = Two(c)
    worker = c.start_worker()
    two.send(600, c.topic)
    c.wait_until_counted()
    c.leave(worker)
    before = c.store.totals()
    assert sum(before.values()) == 600

    two.read_both()
    first = c.start_worker()
    c.start_worker()
    two.send(600, two.other)  # the same partitions and offsets as those of the first topic
    two.send(300, c.topic)
    c.wait(lambda: c.counted() > 700)
    c.kill(first)
    two.send(600, two.other, two.ood)
    two.send(300, c.topic)
    c.wait_until_counted()
    assert differences(c.store.totals(), two.recounted()) == (0, 0)
    assert sum(c.store.totals().values()) == c.sent == 2400
    places = {(p.topic, p.number): s.next for p, s in c.store.partitions().items()}
    assert places == {(t, n): 200 for t in (c.topic, two.other) for n in range(c.partitions)}
    c.wait(lambda: any(a.get("stream") == two.other and a["kind"] == "ood" for a in c.store.alerts()), 60)
    assert f"topics {c.topic}, {two.other}" in c.logs()
    assert not [a for a in c.store.alerts() if a.get("kind") == "gap"]


def test_a_topic_that_goes_away_is_told_by_name_while_the_other_is_counted_and_its_return_ends_it(cluster):
    from kafka import KafkaAdminClient, KafkaProducer

    c = cluster(
        watch={"stalled_seconds": 3},
        kafka={"session_timeout_ms": 6000, "look_seconds": 0.5, "metadata_max_age_ms": 1000},
    )
    two = Two(c)
    two.read_both()
    c.start_worker()
    producer = KafkaProducer(bootstrap_servers=c.bootstrap)
    two.send(60, two.other, producer=producer)
    two.send(60, c.topic)
    c.wait_until_counted()
    producer.close()  # one that has sent to a topic would have it made again
    admin = KafkaAdminClient(bootstrap_servers=c.bootstrap)
    admin.delete_topics([two.other])
    admin.close()

    def told(status):
        mine = [a for a in c.store.alerts() if a.get("kind") == "stalled" and a["subject"] == "kafka"]
        return [a for a in mine if a["status"] == status]

    c.wait(lambda: told("firing"), 60)
    (alert,) = told("firing")
    assert f"gets nothing from topic {two.other}, a surge there would not be noticed" in alert["summary"]
    assert json.loads(json.loads(alert["details"])["topics"]) == [two.other]
    counted = c.counted()
    two.send(300, c.topic)
    c.wait(lambda: c.counted() == counted + 300)
    launcher.create_topic(c.bootstrap, two.other, c.partitions)
    two.send(60, two.other)
    c.wait_until_counted(60)
    c.wait(lambda: told("resolved"), 60)
    gaps = {a["subject"].rsplit("/")[0] for a in c.store.alerts() if a.get("kind") == "gap"}
    assert gaps == {two.other}
    assert sum(of_stream(c.store.totals(), c.topic).values()) == 360
    assert sum(of_stream(c.store.totals(), two.other).values()) == 120


def test_check_and_replay_speak_of_every_topic_and_the_topics_are_made(cluster, capsys):
    c = cluster()
    two = Two(c)
    two.read_both()
    config = load(c.path, {})
    assert [text.split()[1] for text in make_topics(config, 6, 1)] == [c.topic, two.other, f"{c.topic}.dead-letter"]
    two.send(300, c.topic)
    two.send(200, two.other)
    said = check_kafka(config)
    assert f"topic {c.topic!r} has 6 partitions; topic {two.other!r} has 6 partitions" in said
    assert replay(config, "earliest", "latest", as_json=True) == 0
    judged = json.loads(capsys.readouterr().out)
    assert (judged["records"], judged["requests"]) == (500, 500)
    missing = config.model_copy(update={"kafka": config.kafka.model_copy(update={"topics": (c.topic, "not-there")})})
    for asks in (check_kafka, lambda k: replay(k, "earliest", "latest")):
        with pytest.raises(TopicMissingError, match=r"'not-there'.*kafka.topics"):
            asks(missing)

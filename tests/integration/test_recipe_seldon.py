"""docs/recipes/seldon.md: what MLServer answered by gRPC, as Seldon Core 2 writes it, under the recipe's settings."""

from __future__ import annotations

import base64
import itertools

from monitor.messages import Contract, Record
from tests.monitor_support import embeddings
from tests.recipes import counted, recording, settings

ANSWERS = recording("seldon")["answers"]
SENT = embeddings(24, seed=41, ood=0.1)


def log(c, pipelines):
    """The answers as Seldon's model gateway writes them: keyed by the request, with the pipeline as a header."""
    partitions = itertools.cycle(range(c.partitions))
    for answer, pipeline in zip(ANSWERS, pipelines, strict=True):
        headers = [("pipeline", pipeline)] if pipeline else []
        value = base64.b64decode(answer["value"])
        key = answer["key"].encode()
        c.producer().send(c.topic, key=key, value=value, headers=headers, partition=next(partitions))
    c.producer().flush()


def test_each_row_of_each_answer_is_counted_by_the_pipeline_that_asked(cluster):
    assert [len(answer["rows"]) for answer in ANSWERS] == [1, 2, 3, 1, 2, 3, 1, 2]
    c = cluster(messages=settings("seldon")["messages"])
    c.start_worker()
    log(c, [b"classify", b"canary", b"classify", b"classify", b"classify", b"classify", b"", b"classify"])
    c.sent = 15
    c.wait_until_counted()
    assert counted(c) == {"classify": 12, "canary": 2, "resnet": 1}
    assert c.store.rejected() == {}


def test_the_embedding_that_is_read_is_the_one_that_the_model_returned_and_bears_the_requests_id():
    given = settings("seldon")["messages"]
    contract = Contract(8, format=given["format"], output=given["output"])
    for answer in ANSWERS:
        value = base64.b64decode(answer["value"])
        found = contract.read(Record("t", 0, 0, 1_700_000_000_000, answer["key"].encode(), value, ()))
        assert [bytes(one.vector) for one in found] == [SENT[n].tobytes() for n in answer["rows"]]
        assert {one.id.split("#")[0] for one in found} == {answer["key"]}

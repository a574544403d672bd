"""docs/recipes/triton.md, without a model in Triton: its answers as they came, posted to ingest by whoever got them."""

from __future__ import annotations

import base64

import httpx
import pytest

from monitor.messages import Contract, Record
from tests.ingest import IngestServer
from tests.monitor_support import embeddings
from tests.recipes import counted, recording, settings

ANSWERS = recording("triton")["answers"]
SENT = embeddings(24, seed=41, ood=0.1)
PROTOBUF = {"content-type": "application/vnd.inference.v2+protobuf"}


def test_answers_as_json_with_binary_tensors_and_as_protobuf_are_counted_under_the_tenants_that_asked(
    cluster, tmp_path
):
    c = cluster(messages=settings("triton")["messages"])
    c.start_worker()
    with IngestServer(tmp_path, c.bootstrap, c.topic, posts=settings("triton", "ingest.yml")["posts"]) as server:
        server.wait_until_ready()
        for n, answer in enumerate(ANSWERS):
            headers = {**(answer["headers"] or PROTOBUF), **({"x-tenant": f"tenant-{n // 3}"} if n % 3 else {})}
            posted = httpx.post(server.url, content=base64.b64decode(answer["value"]), headers=headers)
            assert posted.status_code == 202, posted.text
    c.sent = 18
    c.wait_until_counted()
    assert counted(c) == {"triton": 3, "tenant-0": 5, "tenant-1": 5, "tenant-2": 5}
    assert c.store.rejected() == {}


@pytest.mark.parametrize("n", range(9))
def test_the_embedding_that_is_read_is_the_one_that_triton_returned(n):
    answer = ANSWERS[n]
    headers = tuple((name, text.encode()) for name, text in (answer["headers"] or PROTOBUF).items())
    record = Record("t", 0, 0, 1_700_000_000_000, None, base64.b64decode(answer["value"]), headers)
    found = Contract(8).read(record)
    assert [bytes(one.vector) for one in found] == [SENT[row].tobytes() for row in answer["rows"]]

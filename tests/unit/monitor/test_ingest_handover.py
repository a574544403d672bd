"""What is answered 202 is in Kafka; everything else is answered in time, and holds no memory afterwards."""

from __future__ import annotations

import asyncio

import pytest

from monitor.config import validate_as
from monitor.config.ingest import IngestConfig
from monitor.errors import ConfigError, PostError
from monitor.ingest.handover import Handover
from monitor.publishing.messages import Encoder, Message
from monitor.publishing.outbox import Outbox

ENCODER = Encoder("", "")


def desk(max_events=10, max_bytes=10_000, seconds=0.05):
    box = Outbox(max_events, max_bytes)
    handover = Handover(
        box, max_events=max_events, max_bytes=max_bytes, ack_seconds=seconds, retry_after_seconds=2, where="k:1"
    )
    return box, handover


def messages(n=1, size=10):
    return [Message(b"k", b"x" * size, [], 0) for _ in range(n)]


async def refusal(handover, given):
    with pytest.raises(PostError) as caught:
        await handover.hand_over(given)
    return caught.value


async def handed_over(handover, box, given):
    """A post that waits, and its messages as the producer has them."""
    task = asyncio.ensure_future(handover.hand_over(given))
    await asyncio.sleep(0)
    return task, [box.take(ENCODER) for _ in given]


def test_a_post_returns_only_when_every_event_of_it_is_acknowledged():
    async def run():
        box, handover = desk(seconds=5)
        task, flying = await handed_over(handover, box, messages(3))
        for message in flying[:2]:
            box.acknowledge(message)
        await asyncio.sleep(0.01)
        assert not task.done()
        box.acknowledge(flying[2])
        await task
        assert (handover.acknowledged, box.pending, box.sent) == (3, 0, 3)

    asyncio.run(run())


def test_a_full_queue_is_answered_at_once_and_a_batch_that_fits_in_part_leaves_nothing_behind():
    async def run():
        box, handover = desk(max_events=4, seconds=5)
        task, flying = await handed_over(handover, box, messages(3))
        refused = await refusal(handover, messages(2))
        assert (refused.status, refused.headers) == (503, {"retry-after": "2"})
        assert box.pending == 3
        for message in flying:
            box.acknowledge(message)
        await task
        assert (await refusal(handover, messages(5))).status == 413  # it would never fit

    asyncio.run(run())


def test_bytes_are_bounded_with_what_headers_take():
    async def run():
        box, handover = desk(max_bytes=1000, seconds=5)
        task, _ = await handed_over(handover, box, messages(1, size=600))
        heavy = messages(1, size=10)
        heavy[0].beside = 500
        assert (await refusal(handover, heavy)).status == 503
        box.abandon()
        task.cancel()

    asyncio.run(run())


def test_a_post_that_kafka_does_not_take_in_time_is_withdrawn_and_holds_no_room():
    async def run():
        box, handover = desk()
        refused = await refusal(handover, messages(3))
        assert refused.status == 503
        assert "has not acknowledged it" in refused.sentence
        assert (box.pending, box.pending_bytes) == (0, 0)

    asyncio.run(run())


def test_kafka_is_not_called_away_once_nothing_waits_for_it():
    async def run():
        box, handover = desk()
        assert (await refusal(handover, messages())).status == 503  # withdrawn: nothing will ever be acknowledged
        assert handover.away is None
        task, (message,) = await handed_over(handover, box, messages())
        box.acknowledge(message)
        await task

    asyncio.run(run())


def test_while_kafka_is_away_one_post_tries_and_the_others_need_not_wait():
    async def run():
        box, handover = desk(seconds=0.05)
        task, flying = await handed_over(handover, box, messages())
        with pytest.raises(PostError):
            await task  # it stays with the producer
        began = asyncio.get_running_loop().time()
        assert "acknowledged nothing" in (await refusal(handover, messages())).sentence
        assert asyncio.get_running_loop().time() - began < 0.04
        box.acknowledge(flying[0])
        await asyncio.sleep(0.01)
        assert handover.away is None
        task, flying = await handed_over(handover, box, messages())
        box.acknowledge(flying[0])
        await task

    asyncio.run(run())


def test_what_kafka_refuses_for_good_is_413_and_what_the_end_gives_up_is_503():
    async def run():
        box, handover = desk(seconds=5)
        task, (message,) = await handed_over(handover, box, messages())
        box.discard(message, "MessageSizeTooLargeError")
        with pytest.raises(PostError, match="MessageSizeTooLarge") as caught:
            await task
        assert caught.value.status == 413
        task = asyncio.ensure_future(handover.hand_over(messages()))
        await asyncio.sleep(0)
        box.abandon()
        with pytest.raises(PostError) as caught:
            await task
        assert caught.value.status == 503
        handover.draining = True
        assert (await refusal(handover, messages())).status == 503

    asyncio.run(run())


# -- settings ----------------------------------------------------------------------------------------------------------

GOOD = {"kafka": {"bootstrap_servers": "k:9092", "topic": "t"}, "http": {"port": 8088}}


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("http", {"port": 0}, "http.port is 0"),
        ("http", {"port": 1, "host": "0.0.0.0"}, "not a loopback address"),
        ("posts", {"path": "/metrics"}, "posts.path"),
        ("posts", {"key_headers": ["ce-x"]}, "key_attributes"),
        ("posts", {"kay_headers": []}, "did you mean 'key_headers'"),
        ("bounds", {"body_bytes": 10**9}, "body_bytes_together"),
        ("queue", {"max_bytes": 1000}, "never be accepted"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(section, values, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        validate_as(IngestConfig, {**GOOD, section: {**GOOD.get(section, {}), **values}})
    assert "\n" not in str(caught.value)

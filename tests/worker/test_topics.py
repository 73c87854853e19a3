"""Topics are there before anybody publishes: once a broker answers, and without one nothing waits for them."""

import asyncio
from datetime import timedelta
from pathlib import Path

from domain.errors import BackendRefused
from runtime.kafka import KafkaProducer
from runtime.settings import Settings
from tests.support.kafka import Broker
from worker.topics import Topics

NAMES = ("org_1.runs", "org_1.change.log")
SOON = timedelta(milliseconds=50)


def producer(broker: Broker) -> KafkaProducer:
    how = {**broker.settings, "webhook_timeout": "4"}
    return KafkaProducer(Settings.from_environment({f"INTERLOCK_{name.upper()}": value for name, value in how.items()}))


async def test_both_are_made_though_nothing_was_published(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker:
        kafka = producer(broker)
        await Topics(kafka, NAMES).run()
        await Topics(kafka, NAMES).run()
        assert [await broker.partitions(name) for name in NAMES] == [3, 3]
        assert [await broker.count(name) for name in NAMES] == [0, 0]
        await kafka.close()


async def test_a_broker_that_comes_later_gets_them_as_well(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker:
        await broker.kill()
        kafka = producer(broker)
        making = asyncio.create_task(Topics(kafka, NAMES, first_wait=SOON).run())
        await asyncio.sleep(0.2)
        assert not making.done()
        await broker.start()
        async with asyncio.timeout(20):
            await making
        assert [await broker.partitions(name) for name in NAMES] == [3, 3]
        await kafka.close()


async def test_one_that_is_refused_does_not_keep_the_other_from_being_made() -> None:
    made: list[str] = []

    class Refusing:
        async def prepare(self, topic: str) -> None:
            if topic.endswith(".runs"):
                raise BackendRefused("not for us")
            made.append(topic)

    await Topics(Refusing(), NAMES).run()
    assert made == ["org_1.change.log"]


async def test_without_kafka_there_is_nothing_to_do() -> None:
    async with asyncio.timeout(1):
        await Topics(None, NAMES).run()

"""Payloads that only our keys open, and a client that finds its server in the standard variables."""

from datetime import timedelta

import pytest
from pydantic import BaseModel
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from runtime.keys import KeyFault
from runtime.settings import Settings
from runtime.temporal import SEARCH_ATTRIBUTES, EncryptingCodec, connect, core, data_converter, search_attributes

OLD, NEW = "o" * 32, "n" * 32


class Message(BaseModel):
    """Anything that travels."""

    text: str
    after: timedelta


MESSAGE = Message(text="hush hush", after=timedelta(minutes=5))


def settings(key: str, *previous: str, codec: bool = True) -> Settings:
    return Settings.from_environment(
        {
            "INTERLOCK_SECRET_KEY": key,
            "INTERLOCK_PREVIOUS_SECRET_KEYS": ",".join(previous),
            "INTERLOCK_PAYLOAD_CODEC": str(codec),
        }
    )


async def test_a_payload_is_closed_on_the_way_and_comes_back_whole() -> None:
    plain = await data_converter(settings(OLD, codec=False)).encode([MESSAGE])
    assert b"hush hush" in plain[0].data, "the search can find what is there"

    converter = data_converter(settings(OLD))
    closed = await converter.encode([MESSAGE])
    assert b"hush" not in closed[0].SerializeToString()
    assert await converter.decode(closed, [Message]) == [MESSAGE]


async def test_a_new_key_reads_what_the_old_one_closed_and_closes_with_itself() -> None:
    closed = await data_converter(settings(OLD)).encode([MESSAGE])
    rotated = data_converter(settings(NEW, OLD))
    assert await rotated.decode(closed, [Message]) == [MESSAGE]
    assert await data_converter(settings(NEW)).decode(await rotated.encode([MESSAGE]), [Message]) == [MESSAGE]


async def test_encryption_can_be_switched_on_and_off_under_running_workflows() -> None:
    on, off = data_converter(settings(OLD)), data_converter(settings(OLD, codec=False))
    assert await on.decode(await off.encode([MESSAGE]), [Message]) == [MESSAGE]
    assert await off.decode(await on.encode([MESSAGE]), [Message]) == [MESSAGE]


async def test_a_payload_of_an_unknown_key_is_told_by_the_keys_name() -> None:
    closed = await data_converter(settings(OLD)).encode([MESSAGE])
    with pytest.raises(KeyFault, match="not configured"):
        await data_converter(settings(NEW)).decode(closed, [Message])


@pytest.mark.parametrize("where", [0, -1])
async def test_a_changed_payload_is_refused(where: int) -> None:
    codec = EncryptingCodec(settings(OLD).keys.payload_keys)
    closed = (await data_converter(settings(OLD)).encode([MESSAGE]))[0]
    changed = bytearray(closed.data)
    changed[where] ^= 1
    closed.data = bytes(changed)
    with pytest.raises(KeyFault, match="changed"):
        await codec.decode([closed])


async def test_error_messages_are_closed_too() -> None:
    converter, failure = data_converter(settings(OLD)), Failure()
    await converter.encode_failure(ApplicationError("hush hush", type="Said"), failure)
    assert b"Said" in failure.SerializeToString(), "the search can find what is there"
    assert b"hush" not in failure.SerializeToString()
    assert str(await converter.decode_failure(failure)) == "Said: hush hush"


def test_what_is_none_is_no_search_attribute() -> None:
    assert len(search_attributes(action="deploy", source="API")) == 2
    every = search_attributes(action="a", blueprint="b", entity="e", requester="r", source="s")
    assert {pair.key.name for pair in every} == {key.name for key in SEARCH_ATTRIBUTES}


async def test_the_standard_variables_name_the_server() -> None:
    client = await connect(
        settings(OLD), {"TEMPORAL_ADDRESS": "127.0.0.1:1", "TEMPORAL_NAMESPACE": "elsewhere"}, lazy=True
    )
    assert client.service_client.config.target_host == "127.0.0.1:1"
    assert client.namespace == "elsewhere"
    assert core() is core(), "a process has one runtime"

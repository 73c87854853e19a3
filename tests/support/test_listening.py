"""Servers of tests close what they have taken: what one test leaves open, another one would be blamed for."""

import asyncio
import socket

import pytest

from tests.support.listening import serving


@pytest.mark.parametrize("rounds", range(6))
async def test_connections_end_with_their_server_at_whatever_point_it_ends(rounds: int) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    clients = []
    try:
        async with serving(wait) as port:
            clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(10)]
            for _ in range(rounds):
                await asyncio.sleep(0)
        for client in clients:
            assert await asyncio.to_thread(_rest, client) == b""
    finally:
        for client in clients:
            client.close()


def _rest(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionResetError:
        return b""

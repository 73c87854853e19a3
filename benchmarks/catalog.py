"""`python -m benchmarks.catalog`: what the catalog costs, on SQLite and PostgreSQL.

Entities over HTTP against plain SQLAlchemy inserts of the same documents, in turns; writes while 1,000 automations
listen to other blueprints; writes, reads and searches in a catalog that grows. Only ratios mean something elsewhere.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.product import Product, another, databases, product, say, signed_in
from benchmarks.wire import Connection, percentile, repeatedly

BULK = 50
_TURNS = 20
_IN_A_LOOP = "of an AsyncSession, as ours"
_IN_A_SCRIPT = "of a Session, without an event loop"
_PROPERTIES = {
    "name": {"type": "string"},
    "tier": {"type": "number"},
    "url": {"type": "string", "format": "url"},
    "live": {"type": "boolean"},
    "since": {"type": "string", "format": "date-time"},
    "tags": {"type": "array", "items": {"type": "string"}},
}


def entity(number: int) -> dict[str, Any]:
    """A document of some 300 bytes; 1 in 100 shares its tier, 1 in 1,000 its name."""
    return {
        "identifier": f"service-{number}",
        "title": f"Service {number}",
        "team": [f"team-{number % 20}"],
        "properties": {
            "name": f"name-{number % 1000}",
            "tier": number % 100,
            "url": f"https://example.com/{number}",
            "live": number % 2 == 0,
            "since": f"2026-01-{number % 28 + 1:02}T00:00:00.000Z",
            "tags": ["a", f"tag-{number % 50}"],
        },
    }


@asynccontextmanager
async def connections(made: Product, number: int) -> AsyncIterator[list[Connection]]:
    """Several, signed in."""
    opened = [Connection(made.environment["BASE_URL"], made.token) for _ in range(number)]
    for each in opened:
        await each.__aenter__()
    try:
        yield opened
    finally:
        for each in opened:
            await each.__aexit__(None, None, None)


async def plain(url: str, number: int, at_once: int) -> float:
    """Seconds that another process needs to insert as many of the documents, so many in a transaction."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.plain_inserts", url, str(number), str(at_once), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    return float(said)


class Catalog:
    """The catalog of one product, which grows."""

    def __init__(self, made: Product, opened: list[Connection]) -> None:
        self.made, self._opened, self.size = made, opened, 0

    async def blueprint(self, identifier: str = "service") -> None:
        """Make a blueprint."""
        body = {"identifier": identifier, "title": "Service", "schema": {"properties": _PROPERTIES, "required": []}}
        await self._call(0, "POST", "/v1/blueprints", body)

    async def singles(self, number: int) -> float:
        """Seconds for as many new entities, each upserted by itself, by all clients."""

        async def once(client: int) -> None:
            self.size += 1
            await self._call(client, "POST", "/v1/blueprints/service/entities?upsert=true", entity(self.size))

        return await repeatedly(number, len(self._opened), once)

    async def bulks(self, number: int) -> float:
        """The same, 50 at a time."""

        async def once(client: int) -> None:
            some = [entity(self.size + place) for place in range(1, BULK + 1)]
            self.size += BULK
            await self._call(client, "POST", "/v1/blueprints/service/entities/bulk?upsert=true", {"entities": some})

        return await repeatedly(number // BULK, len(self._opened), once)

    async def one_at_a_time(self, number: int) -> float:
        """Milliseconds of the median new entity, one client."""
        took = []
        for _ in range(number):
            self.size += 1
            took.append(await self._timed("POST", "/v1/blueprints/service/entities?upsert=true", entity(self.size)))
        return median(took)

    async def grow(self, size: int) -> None:
        """Make it so large."""
        if size > self.size:
            await self.bulks(size - self.size)

    async def reads(self, number: int) -> list[float]:
        """Milliseconds of GETs of any one entity."""
        seeded = random.Random(1)  # noqa: S311 - the same entities every time
        return [
            await self._timed("GET", f"/v1/blueprints/service/entities/service-{seeded.randint(1, self.size)}")
            for _ in range(number)
        ]

    async def searches(self, number: int, rules: Callable[[int], list[dict[str, Any]]]) -> list[float]:
        """Milliseconds of searches of the blueprint, 20 entities a page."""
        took = []
        for place in range(number):
            query = {"combinator": "and", "rules": rules(place)}
            took.append(
                await self._timed("POST", "/v1/blueprints/service/entities/search", {"query": query, "limit": 20})
            )
        return took

    async def _timed(self, method: str, path: str, body: Any = None) -> float:
        began = time.perf_counter()
        await self._call(0, method, path, body)
        return (time.perf_counter() - began) * 1000

    async def automations(self, number: int) -> None:
        """Publish as many automations, each on a blueprint of its own."""
        for place in range(number):
            event = {"type": "ANY_ENTITY_CHANGE", "blueprintIdentifier": f"other-{place}"}
            automation = {
                "identifier": f"automation-{place}",
                "trigger": {"type": "automation", "event": event},
                "invocationMethod": {"type": "WEBHOOK", "url": "http://127.0.0.1:9/", "body": {}},
                "publish": True,
            }
            await self._call(0, "POST", "/v1/actions", automation)

    async def _call(self, client: int, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self._opened[client].call(method, path, body)
        assert status in (200, 201), answer
        return answer


async def listed(made: Product) -> tuple[float, int]:
    """How many megabytes the product grows while all entities are listed, and how many bytes that sends."""
    before = largest = made.memory()
    size = 0
    async with httpx.AsyncClient(base_url=made.environment["BASE_URL"], timeout=300) as client:
        headers = {"Authorization": f"Bearer {made.token}"}
        async with client.stream("GET", "/v1/blueprints/service/entities", headers=headers) as answer:
            async for piece in answer.aiter_bytes():
                size += len(piece)
                largest = max(largest, made.memory())
    return largest - before, size


async def measure(name: str, url: str, beside: str, options: argparse.Namespace) -> None:
    """One database; `beside` is another one of its kind."""
    print(f"\n{name}")
    with tempfile.TemporaryDirectory() as directory:
        async with catalog_of(Path(directory) / "data", url, options) as catalog:
            floors = {_IN_A_LOOP: url or f"sqlite+aiosqlite:///{directory}/loop.db"}
            if not url:
                floors[_IN_A_SCRIPT] = f"sqlite:///{directory}/script.db"
            await rates(catalog, floors, options)
            async with catalog_of(Path(directory) / "beside", beside, options) as small:
                await small.grow(catalog.size)
                await growth(catalog, small, options)


@asynccontextmanager
async def catalog_of(directory: Path, url: str, options: argparse.Namespace) -> AsyncIterator[Catalog]:
    """The catalog of a product of its own, with a blueprint and few entities."""
    settings = {"INTERLOCK_DATABASE_URL": url} if url else {}
    async with product(directory, **settings) as made, Connection(made.environment["BASE_URL"]) as first:
        await signed_in(made, first)
        async with connections(made, options.clients) as opened:
            catalog = Catalog(made, opened)
            await catalog.blueprint()
            await catalog.singles(200)
            yield catalog


async def rates(catalog: Catalog, floors: dict[str, str], options: argparse.Namespace) -> None:
    """Compare with plain inserts, in turns; `floors` are the databases for those."""
    found: dict[str, list[tuple[float, dict[str, float]]]] = {}
    for _ in range(options.rounds):
        for title, number, at_once, ours in (
            ("one upsert a request", options.times, 1, catalog.singles),
            (f"bulk upserts of {BULK}", options.times * 10, BULK, catalog.bulks),
        ):
            inserted = {name: number / await plain(url, number, at_once) for name, url in floors.items()}
            found.setdefault(title, []).append((number / await ours(number), inserted))
    for title, rounds in found.items():
        say(f"{title}: entities per second over HTTP", median(ours for ours, _ in rounds))
        for name in floors:
            say(f"  plain inserts {name}", median(inserted[name] for _, inserted in rounds))
            say("    ratio, median", median(ours / inserted[name] for ours, inserted in rounds))


async def compared(catalog: Catalog, small: Catalog, times: int) -> float:
    """How many times as long a write takes as in the small catalog: the median of many turns, because machines vary."""
    ratios = []
    for turn in range(_TURNS):
        order = (catalog, small) if turn % 2 else (small, catalog)
        took = {each: await each.one_at_a_time(max(1, times // _TURNS)) for each in order}
        ratios.append(took[catalog] / took[small])
    return median(ratios)


async def growth(catalog: Catalog, small: Catalog, options: argparse.Namespace) -> None:
    """What grows with the catalog, and what automations cost that listen to something else."""
    say("one write / in another product of the same size", await compared(catalog, small, options.times))
    await catalog.automations(options.automations)
    say(f"one write with {options.automations} automations / without", await compared(catalog, small, options.times))
    await catalog.grow(options.size)
    say(f"one write among {catalog.size} / among {small.size}", await compared(catalog, small, options.times))
    took: dict[str, Callable[[], Awaitable[list[float]]]] = {
        "GET of one entity": lambda: catalog.reads(options.times),
        "search: property = (1 in 1,000)": lambda: catalog.searches(
            options.times, lambda n: [{"property": "name", "operator": "=", "value": f"name-{n % 1000}"}]
        ),
        "search: number between, and team": lambda: catalog.searches(
            options.times,
            lambda n: [
                {"property": "tier", "operator": ">=", "value": 98},
                {"property": "$team", "operator": "containsAny", "value": [f"team-{n % 20}"]},
            ],
        ),
    }
    for title, ask in took.items():
        found = await ask()
        say(f"{title}, p50", percentile(found, 0.5), "ms")
        say("  p99", percentile(found, 0.99), "ms")
    grown, size = await listed(catalog.made)
    say(f"all listed, {size / 2**20:.0f} MB: memory grows by", grown, "MB")


async def main(options: argparse.Namespace) -> None:
    """Measure and report."""
    for name, url in databases(options.databases):
        await measure(name, url, await another(url), options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=400, help="requests per round")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=100_000, help="entities to grow to")
    parser.add_argument("--automations", type=int, default=1_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asyncio.run(main(parser.parse_args()))

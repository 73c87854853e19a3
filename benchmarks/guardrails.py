"""`python -m benchmarks.guardrails`: what guardrails cost, on SQLite and PostgreSQL.

An execution with 30 inputs, 15 jq expressions and a policy of two queries over a large catalog, against a plain one in
the same rounds; the evaluated form and a dry run as well. Only the ratios mean something on another machine.
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.catalog import BULK, connections
from benchmarks.product import Product, databases, product, say, signed_in
from benchmarks.wire import Backend, Connection, percentile, repeatedly

PERSON = "ada@example.com"
WARM_UP = 30
MINE, BUSY = 10, 50
"""How many entities each query of the policy finds, in a catalog of any size."""

_INPUTS = 30
_PROGRAMS: list[dict[str, Any]] = [
    {"type": "string", "default": {"jqQuery": '.user.email | split("@")[0]'}},
    {"type": "string", "default": {"jqQuery": '[.form["text-0"], .form["text-1"]] | map(. // "") | join("-")'}},
    {"type": "number", "default": {"jqQuery": '.form["count-0"] * 2 + 1'}},
    {"type": "string", "enum": {"jqQuery": 'if .form.prod then ["s", "m", "l"] else ["s"] end'}},
    {"type": "string", "enum": {"jqQuery": '[.form["text-0"], "us"] | map(.[0:2]) + ["eu-1"]'}},
    {"type": "array", "items": {"enum": {"jqQuery": "[range(20) | tostring]"}, "type": "string"}},
    {"type": "string", "pattern": {"jqQuery": 'if .form.prod then "^p-[a-z]+$" else "^[a-z-]+$" end'}},
    {"type": "array", "items": {"type": "string"}, "maxItems": {"jqQuery": "if .form.prod then 3 else 10 end"}},
    {"type": "string", "visible": {"jqQuery": ".form.prod == true and (.user.teams | length) >= 0"}},
    {"type": "string", "visible": {"jqQuery": '.form["text-2"] | test("^v")'}},
    {"type": "string", "visible": {"jqQuery": '.form["count-1"] > 3'}},
    {"type": "boolean", "disabled": {"jqQuery": ".form.prod | not"}},
    {"type": "boolean", "disabled": {"jqQuery": '.form["text-3"] | length > 5'}},
    {"type": "string", "visible": {"jqQuery": '.user.roles | map(.name) | index("Member") != null'}},
]
"""14 inputs that jq computes a part of; the fifteenth expression says what is required."""


def form() -> dict[str, Any]:
    """30 inputs, 15 expressions."""
    properties: dict[str, Any] = {"prod": {"type": "boolean"}}
    for number in range(8):
        properties[f"text-{number}"] = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[a-z0-9-]+$"}
        if number < 7:
            properties[f"count-{number}"] = {"type": "number", "minimum": 0, "maximum": 100}
    properties |= {f"computed-{number}": each for number, each in enumerate(_PROGRAMS)}
    assert len(properties) == _INPUTS, len(properties)
    required = {"jqQuery": 'if .form.prod then ["text-0", "text-1"] else ["text-0"] end'}
    return {"properties": properties, "required": required, "order": list(properties)}


def values(number: int) -> dict[str, Any]:
    """What is filled in; it differs from request to request."""
    texts = {f"text-{place}": f"value-{number}-{place}" for place in range(8)}
    counts = {f"count-{place}": (number + place) % 100 for place in range(7)}
    chosen = {"computed-3": "s", "computed-4": "eu-1", "computed-5": ["1", "7"], "computed-6": "a-b"}
    return {"prod": number % 2 == 0, **texts, **counts, **chosen} | (
        {"computed-6": "p-b", "computed-7": ["x"]} if number % 2 == 0 else {}
    )


def policy() -> dict[str, Any]:
    """Who has few sandboxes may have another one, unless the busy ones cost too much."""

    def query(*rules: dict[str, Any]) -> dict[str, Any]:
        about = {"property": "$blueprint", "operator": "=", "value": "sandbox"}
        return {"combinator": "and", "rules": [about, *rules]}

    mine = query({"property": "owner", "operator": "=", "value": "{{ .trigger.user.email }}"})
    busy = query(
        {"property": "pool", "operator": "=", "value": "{{ .inputs.prod | if . then 7 else 8 end }}"},
        {"property": "cost", "operator": ">=", "value": 0},
    )
    return {
        "queries": {"mine": mine, "busy": busy},
        "conditions": [
            "((.results.mine.entities // []) | length) < 20 and "
            "([.results.busy.entities[]?.properties.cost] | add // 0) < 100000"
        ],
    }


async def _asked(connection: Connection, method: str, path: str, body: Any) -> Any:
    status, answer = await connection.call(method, path, body)
    assert status < 300, answer
    return answer


async def catalog(opened: list[Connection], size: int) -> None:
    """A blueprint with so many entities."""
    kinds = {"owner": "string", "note": "string", "pool": "number", "cost": "number", "live": "boolean"}
    schema = {"properties": {name: {"type": kind} for name, kind in kinds.items()}, "required": []}
    sandbox = {"identifier": "sandbox", "title": "Sandbox", "schema": schema}
    await _asked(opened[0], "POST", "/v1/blueprints", sandbox)
    numbers = iter(range(0, size, BULK))
    owners, pools = max(1, size // MINE), max(10, size // BUSY)

    def entity(number: int) -> dict[str, Any]:
        owner = f"person-{number % owners}@example.com" if number % owners else PERSON
        properties = {"owner": owner, "note": f"note {number}", "pool": number % pools, "cost": number % 97}
        title, team = f"Sandbox {number}", f"team-{number % 20}"
        return {"identifier": f"s-{number}", "title": title, "team": [team], "properties": properties}

    async def once(client: int) -> None:
        begin = next(numbers)
        some = [entity(number) for number in range(begin, min(size, begin + BULK))]
        await _asked(opened[client], "POST", "/v1/blueprints/sandbox/entities/bulk?upsert=true", {"entities": some})

    took = await repeatedly(-(-size // BULK), len(opened), once)
    say(f"{size} entities written in", took, "s")


async def actions(connection: Connection, url: str) -> None:
    """Make the plain action and the one with guardrails; both send all inputs."""
    method = {"type": "WEBHOOK", "url": url, "synchronized": True, "body": {"inputs": "{{ .inputs }}"}}
    forms: dict[str, Any] = {"plain": {"properties": {"name": {"type": "string"}}}, "guarded": form()}
    for identifier, inputs in forms.items():
        trigger = {"type": "self-service", "operation": "CREATE", "userInputs": inputs}
        body = {"identifier": identifier, "trigger": trigger, "invocationMethod": method}
        await _asked(connection, "POST", "/v1/actions", body)
    await _asked(connection, "PATCH", "/v1/actions/guarded/permissions", {"execute": {"policy": policy()}})


async def person(connection: Connection) -> str:
    """A token of a Member, whom policies are asked about."""
    await _asked(connection, "POST", "/v1/users/invite", {"invitee": {"email": PERSON}})
    answer = await _asked(connection, "POST", f"/v1/rotate-credentials/{PERSON}", {})
    token = await _asked(connection, "POST", "/v1/auth/access_token", answer["credentials"])
    return str(token["accessToken"])


REQUESTS: dict[str, tuple[str, bool]] = {
    "plain": ("/v1/actions/plain/runs", False),
    "guarded": ("/v1/actions/guarded/runs", True),
    "form": ("/v1/actions/guarded/form", True),
    "dry run": ("/v1/actions/guarded/runs?dry_run=true", True),
}
"""Each with whether it is about the large form."""


class Measure:
    """Asks one running product."""

    def __init__(self, made: Product, token: str) -> None:
        self._made, self._token, self._number = made, token, 0

    async def ask(self, connection: Connection, name: str) -> float:
        """Milliseconds of one request."""
        path, large = REQUESTS[name]
        self._number += 1
        body = {"properties": values(self._number) if large else {"name": "x"}}
        began = time.perf_counter()
        await _asked(connection, "POST", path, body)
        return (time.perf_counter() - began) * 1000

    async def one_at_a_time(self, times: int) -> dict[str, list[float]]:
        """Milliseconds of requests, one after the other, the kinds in turns, and the workers at rest."""
        took: dict[str, list[float]] = defaultdict(list)
        async with Connection(self._made.environment["BASE_URL"], self._token) as connection:
            for _ in range(times):
                for name in REQUESTS:
                    took[name].append(await self.ask(connection, name))
                    await self.settled(connection)
        return took

    async def busy(self, name: str, times: int, clients: int) -> float:
        """Milliseconds of our processors for each of so many requests, with all that comes of them."""
        opened = [Connection(self._made.environment["BASE_URL"], self._token) for _ in range(clients)]
        for connection in opened:
            await connection.__aenter__()

        async def once(client: int) -> None:
            await self.ask(opened[client], name)

        before = self._made.cpu()[0]
        await repeatedly(times, clients, once)
        await self.settled(opened[0])
        spent = self._made.cpu()[0] - before
        for connection in opened:
            await connection.__aexit__(None, None, None)
        return spent / times * 1000

    async def settled(self, connection: Connection) -> None:
        """Every run has ended."""
        while (await connection.call("GET", "/v1/actions/runs?active=true&limit=1"))[1]["runs"]:
            await asyncio.sleep(0.02)


async def measure(name: str, url: str, options: argparse.Namespace) -> None:
    """One database."""
    print(f"\n{name}")
    with tempfile.TemporaryDirectory() as directory:
        settings = {"INTERLOCK_DATABASE_URL": url} if url else {}
        async with product(Path(directory) / "data", **settings) as made, Backend() as backend:
            async with Connection(made.environment["BASE_URL"]) as first:
                await signed_in(made, first)
            async with connections(made, options.clients) as opened:
                await catalog(opened, options.entities)
                await actions(opened[0], backend.url)
                measured = Measure(made, await person(opened[0]))
            await measured.one_at_a_time(WARM_UP)
            took: dict[str, list[float]] = defaultdict(list)
            spent: dict[str, list[float]] = defaultdict(list)
            for _ in range(options.rounds):
                for kind, found in (await measured.one_at_a_time(options.times // options.rounds)).items():
                    took[kind] += found
                for kind in REQUESTS:
                    spent[kind].append(await measured.busy(kind, options.times, options.clients))
            report(took, spent)


def report(took: dict[str, list[float]], spent: dict[str, list[float]]) -> None:
    """Print what was found."""
    for kind in REQUESTS:
        say(f"{kind}: answered, p50", percentile(took[kind], 0.5), "ms")
        say("  p99", percentile(took[kind], 0.99), "ms")
        say("  CPU of all our processes", median(spent[kind]), "ms")
    for kind in list(REQUESTS)[1:]:
        say(f"{kind} / plain: p50", percentile(took[kind], 0.5) / percentile(took["plain"], 0.5))
        ratios = [one / plain for one, plain in zip(spent[kind], spent["plain"], strict=True)]
        say("  CPU, median of rounds", median(ratios))


async def main(options: argparse.Namespace) -> None:
    """Measure and report."""
    for name, url in databases(options.databases):
        await measure(name, url, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="requests of each kind, and again in each round")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asyncio.run(main(parser.parse_args()))

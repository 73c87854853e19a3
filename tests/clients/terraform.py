"""A replay of Port's Terraform provider: what it sends, and what it makes of the answers.

The provider itself is a Go program that cannot be had here. This says in our own words what reading its public source
tells: which requests each step makes, which keys it leaves out, into which fields it reads answers, and what it then
compares. It is no copy of it, and no proof about versions that do something else.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from tests.clients import go
from tests.clients.go import Json

USER_AGENT = "port-labs/terraform-provider-port-labs/2"


class RefusedError(Exception):
    """An answer the provider stops at, with the body it shows."""

    def __init__(self, status: int, body: str) -> None:
        """Of an answer."""
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


@dataclass
class Wire:
    """The provider's HTTP client. It never tries again here: what it would have to repeat is a fault."""

    http: httpx.AsyncClient
    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and body of every request."""

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        """What was sent to change something."""
        return [call for call in self.sent if call[0] != "GET"]

    async def call(self, method: str, path: str, body: Any = None, *, query: Json | None = None) -> Json:
        """The body of a success.

        Raises:
            RefusedError: the answer has not `ok: true`. Of the status it looks at 404 only.
        """
        self.sent.append((method, path, body))
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(go.plain(body)).encode()
        answer = await self.http.request(method, path, content=content, headers=headers, params=query)
        assert answer.headers["content-type"].startswith("application/json"), answer.headers  # else it is not parsed
        read: Json = answer.json()
        assert isinstance(read["ok"], bool)  # asserted without a look after DELETE: the provider would panic
        if not read["ok"]:
            assert not answer.is_success, answer.text
            raise RefusedError(answer.status_code, answer.text)
        assert answer.is_success, answer.text
        return read


class Kind(Protocol):
    """A kind of resource, such as `port_action`."""

    def planned(self, config: Json) -> Json:
        """What is planned for a configuration: with the defaults of the schema."""
        ...

    async def create(self, wire: Wire, plan: Json) -> str:
        """Make it. Returns its id in the state."""
        ...

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """Make it as planned. Returns its id in the state."""
        ...

    async def read(self, wire: Wire, state: Json) -> Json:
        """What is found, as attributes."""
        ...

    async def delete(self, wire: Wire, state: Json) -> None:
        """Destroy it."""
        ...

    def imported(self, given: str) -> Json:
        """What is in the state when an import begins."""
        ...


@dataclass
class Terraform:
    """What `terraform apply`, `plan`, `import` and `destroy` make of one resource."""

    wire: Wire
    kind: Kind
    state: Json | None = None

    async def apply(self, config: Json) -> Json:
        """Create or change it, and look again: the next plan has to be empty. Returns the state."""
        plan = self.kind.planned(config)
        if self.state is not None and await self.refresh() and not self._difference(config):
            return self.state  # there is nothing to do
        if self.state is None:
            made = await self.kind.create(self.wire, plan)
        else:
            made = await self.kind.update(self.wire, self.state, plan)
        self.state = {**plan, "id": made}
        left = await self.difference(config)
        assert left == {}, f"the next plan is not empty: {left}"
        return self.state

    async def refresh(self) -> Json | None:
        """The state as the server has it; None if it is gone there, whereupon the next apply creates it."""
        assert self.state is not None
        try:
            self.state = _set(await self.kind.read(self.wire, self.state))
        except RefusedError as refusal:
            if refusal.status != 404:
                raise
            self.state = None
        return self.state

    async def difference(self, config: Json) -> dict[str, tuple[Any, Any]]:
        """What the next plan would change: each attribute as it is, and as it shall be."""
        assert await self.refresh() is not None, "it is gone"
        return self._difference(config)

    def _difference(self, config: Json) -> dict[str, tuple[Any, Any]]:
        state = self.state or {}
        plan = _set({**self.kind.planned(config), "id": state["id"]})
        return {
            name: (state.get(name), plan.get(name))
            for name in sorted(state.keys() | plan.keys())
            if go.text(state.get(name)) != go.text(plan.get(name))
        }

    async def import_(self, given: str) -> Json:
        """The state of an import, which knows nothing but what is given on the command line."""
        state: Json = _set(await self.kind.read(self.wire, self.kind.imported(given)))
        return state

    async def destroy(self) -> None:
        """Delete it; it is not found any more."""
        assert self.state is not None
        state = self.state
        await self.kind.delete(self.wire, state)
        assert await self.refresh() is None, "it is still there"


def _set(attributes: Any) -> Any:
    """The attributes that are set, at every depth."""
    if isinstance(attributes, dict):
        return {key: _set(value) for key, value in attributes.items() if value is not None}
    return [_set(one) for one in attributes] if isinstance(attributes, list) else attributes


def segment(identifier: str) -> str:
    """An identifier in a path."""
    return quote(identifier, safe="")

"""Runs as JSON, as they are told, and the lines of their logs."""

from domain.documents import Document
from domain.identifiers import RunId
from domain.models import Kept
from domain.times import Instant


class LogLine(Kept):
    """One line of a run's log."""

    id: str
    run_id: RunId
    message: str
    created_by: str
    created_at: Instant


def without_entity(run: Document) -> Document:
    """The run, as JSON, without its copies of entities; what names them stays."""
    driving = run.get("interlock")
    copies = {"entity", "inputs"}
    if not isinstance(driving, dict) or not any(driving.get(name) for name in copies):
        return run
    return {**run, "interlock": {**driving, **dict.fromkeys(copies & driving.keys())}}


def v1(run: Document) -> Document:
    """A run as clients of version 1 read it: the action as a string, booleans instead of `deleted`."""
    action, blueprint, entity = (run.get(key) for key in ("action", "blueprint", "entity"))
    shape = {**run, "action": action["identifier"] if isinstance(action, dict) else action}
    for name, ref in (("Blueprint", blueprint), ("Entity", entity)):
        if isinstance(ref, dict):
            shape[f"related{name}Exists"] = not ref.get("deleted")
            shape[name.lower()] = {"identifier": ref["identifier"], "title": ref.get("title")}
    return shape

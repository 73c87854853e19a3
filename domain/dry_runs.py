"""What a dry run tells besides the run itself: without secrets, and compared with the run before."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Self

from pydantic import JsonValue

from domain.actions import Action
from domain.backend_rules import BackendRules, CircuitBreaker, Retry
from domain.documents import Document, same
from domain.identifiers import RunId
from domain.models import Kept
from domain.runs import Run
from domain.shapes import json_path
from domain.templating import MASK
from domain.times import Duration

NO_RUN = RunId("r_0000000000000000")
"""The id of a run that is not recorded: no run ever has it."""

Path = tuple[str | int, ...]


class Calling(Kept):
    """How the backend of a run would be called."""

    time_limit: Duration
    """What one delivery may take."""
    run_time_limit: Duration | None
    """How long the run may go on without an end. None: for ever."""
    retry: Retry
    circuit_breaker: CircuitBreaker | None
    cancel_after_time_limit: bool

    @classmethod
    def of(cls, run: Run, rules: BackendRules, *, time_limit: timedelta, attempts: int) -> Self:
        """By the rules of its action, and by the deployment where they say nothing."""
        return cls(
            time_limit=time_limit,
            run_time_limit=run.interlock.run_time_limit,
            retry=rules.retrying(attempts),
            circuit_breaker=rules.circuit_breaker,
            cancel_after_time_limit=rules.cancel_after_time_limit,
        )


def sealed(run: Run, *versions: Action) -> list[str]:
    """The ciphertexts among the inputs of a run, of an action in these versions."""
    names = dict.fromkeys(name for action in versions for name in action.encrypted_inputs)
    return [value for name in names if isinstance(value := run.properties.get(name), str) and value]


def replaced(value: JsonValue, texts: Mapping[str, str]) -> JsonValue:
    """The value with texts replaced wherever they are in it.

    >>> replaced({"a": ["xyz", 1]}, {"y": "-"})
    {'a': ['x-z', 1]}
    """
    if isinstance(value, str):
        for text, other in texts.items():
            value = value.replace(text, other)
        return value
    if isinstance(value, list):
        return [replaced(one, texts) for one in value]
    if isinstance(value, dict):
        return {str(replaced(key, texts)): replaced(one, texts) for key, one in value.items()}
    return value


def masked(value: JsonValue, secrets: Iterable[str]) -> JsonValue:
    """The value without the secrets."""
    return replaced(value, dict.fromkeys(secrets, MASK))


def differences(before: JsonValue, after: JsonValue, path: Path = ()) -> Iterator[Document]:
    """Where two values differ, each place as `path`, `before` and `after`; what is missing is null.

    Objects are compared key by key and arrays of the same length element by element.

    >>> list(differences({"a": 1, "b": [1, 2]}, {"a": 2, "b": [1, 2]}, ("inputs",)))
    [{'path': 'inputs.a', 'before': 1, 'after': 2}]
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from differences(before.get(key), after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (was, is_now) in enumerate(zip(before, after, strict=True)):
            yield from differences(was, is_now, (*path, index))
    elif not same(before, after):
        yield {"path": json_path(list(path)), "before": before, "after": after}

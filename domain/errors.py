"""What can go wrong, as facts: no HTTP here (`api/errors.py` gives each error its status).

InterlockError
├── NotFound                     a thing named by the caller does not exist
├── IdentifierTaken              it exists already
├── Unauthenticated              nobody, or nobody we know
├── Forbidden                    known, but not allowed
├── InvalidRequest               the request does not have the shape of its route
├── TooLarge                     more bytes than a request may have
├── InvalidInputs                user inputs (their definition, or the values) do not hold
├── BlueprintSchemaMismatch      an entity is not what its blueprint says
├── RequiredRelation             an entity lacks a relation that it must have
├── RelationManyViolation        several entities where a relation takes one
├── TeamInheritanceEnabled       the teams of an entity are those of another one
├── HasDependents                others depend on what was to be deleted
├── EntityRunExhausted           a write names a run that has ended
├── NotSelfService               an automation cannot be run by hand
├── MissingEntity                the action runs on an entity, none was named
├── EntityFailsCondition         the entity is not one the action is offered for
├── TemplateFault                a template in the invocation method cannot be rendered
├── InvalidInvocation            it was rendered, but is no valid invocation method any more
├── PrivateDestination           the backend's address is private, and private ones are not allowed
├── UnresolvableDestination      the backend's host has no address
├── RunExhausted                 the run has ended
├── RunNotWaitingForApproval     nobody is asked (any more)
├── RequestChanged               a decision is about something else than would be sent now
├── RunSynchronized              the backend's answer decides, not a report
├── RunTaken                     somebody else was faster to take the run
├── IdempotencyKeyReused         the same key came with another request
├── NotConfigured                a door is closed, because a setting that it needs is missing
├── Unavailable                  a part we need does not answer; nothing is half done
└── BackendFault                 the backend could not be invoked
    ├── BackendUnavailable       it may pass: the request provably never reached the peer
    │   └── BackendBusy          it refused for now, and says when to ask again
    └── BackendRefused           it will not
"""

from datetime import timedelta
from typing import ClassVar, Final

MOST_QUOTED: Final = 300
"""How many characters a message repeats of what somebody sent."""


class InterlockError(Exception):
    """An expected failure. `code` is its name on the wire, `str(error)` the sentence for people."""

    code: ClassVar[str] = "internal_error"


def _quoted(identifier: str) -> str:
    """The identifier in quotes; of one that is too long for a sentence, what it begins with."""
    return repr(identifier) if len(identifier) <= MOST_QUOTED else f"{identifier[:MOST_QUOTED]!r}…"


class NotFound(InterlockError):
    """A thing named by the caller does not exist (or the caller may not know that it does)."""

    code = "not_found"

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"{kind} {_quoted(identifier)} was not found")
        self.kind, self.identifier = kind, identifier


class IdentifierTaken(InterlockError):
    """Another thing of this kind has the identifier."""

    code = "identifier_taken"

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"{kind} {_quoted(identifier)} exists already")
        self.kind, self.identifier = kind, identifier


class Unauthenticated(InterlockError):
    """No access token, or one we do not accept; the message says which."""

    code = "unauthorized"


class Forbidden(InterlockError):
    """The caller is known but not allowed; the message names the list or rule that decided."""

    code = "missing_permissions"


class InvalidRequest(InterlockError):
    """The request does not have the shape of its route; the message names each field."""

    code = "invalid_request"


class TooLarge(InterlockError):
    """The body is larger than a request may be."""

    code = "payload_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body is larger than {limit} bytes")
        self.limit = limit


class InvalidInputs(InterlockError):
    """User inputs do not hold; the message lists each as `<path> <problem>`, joined by commas."""

    code = "user_inputs_schema_invalid"

    def __init__(self, *problems: str) -> None:
        super().__init__(", ".join(problems))
        self.problems = problems


class BlueprintSchemaMismatch(InterlockError):
    """The properties of an entity are not what its blueprint says; the message names each."""

    code = "blueprint_schema_mismatch"


class RequiredRelation(InterlockError):
    """An entity lacks a relation that its blueprint requires."""

    code = "required_relation"


class RelationManyViolation(InterlockError):
    """Several entities were given for a relation that takes one."""

    code = "relation_many_violation"


class TeamInheritanceEnabled(InterlockError):
    """An entity names its teams, though its blueprint says that they are those of another entity."""

    code = "team_inheritance_enabled"


class HasDependents(InterlockError):
    """Others depend on what was to be deleted; the message says who."""

    code = "has_dependents"


class EntityRunExhausted(InterlockError):
    """A write to the catalog says that it belongs to a run which has ended."""

    code = "run_exhausted"


class NotSelfService(InterlockError):
    """The action is an automation: only its event starts it."""

    code = "run_non_self_service_error"


class MissingEntity(InterlockError):
    """The action runs on an entity and the request names none."""

    code = "missing_self_service_action_entity"


class EntityFailsCondition(InterlockError):
    """The entity is not one that the action's condition lets through."""

    code = "entity_does_not_pass_condition"


class TemplateFault(InterlockError):
    """A template cannot be rendered: unbalanced braces, a key that is no string, a spread of no object."""

    code = "evaluate_invocation_method_error"

    def __init__(self, message: str, *, overran: bool = False) -> None:
        super().__init__(message)
        self.overran = overran
        """Whether a program in it ran into a limit."""


class InvalidInvocation(InterlockError):
    """The rendered invocation method is not a valid one, e.g. its url is no URL any more."""

    code = "invalid_evaluated_invocation_method"


class PrivateDestination(InterlockError):
    """The backend's address is one that this deployment does not call."""

    code = "private_destination"


class UnresolvableDestination(InterlockError):
    """The backend's host has no address."""

    code = "not_resolvable_destination"


class RunExhausted(InterlockError):
    """The run has ended; nothing about it changes any more."""

    code = "run_exhausted"


class RunNotWaitingForApproval(InterlockError):
    """The run does not wait for approval (any more)."""

    code = "run_not_waiting_for_approval"


class RequestChanged(InterlockError):
    """A decision says what it is about, and something else would be sent by now."""

    code = "request_changed"


class RunSynchronized(InterlockError):
    """The answer of the backend decides about this run, so nobody can report it."""

    code = "run_synchronized_error"


class RunTaken(InterlockError):
    """The run was to be had once, and somebody else has it; or it has ended."""

    code = "run_taken"


class IdempotencyKeyReused(InterlockError):
    """The same `Idempotency-Key` came with another request."""

    code = "idempotency_key_reused"


class NotConfigured(InterlockError):
    """A door that this deployment has not opened; the message names the settings that are missing."""

    code = "not_configured"


class Unavailable(InterlockError):
    """A part we need (SQL, the jq pool) does not answer. All of the request was done, or nothing."""

    code = "service_unavailable"


class BackendFault(InterlockError):
    """The backend could not be invoked. The text is what the run's summary will say: no secrets in it."""

    code = "backend_error"


class BackendUnavailable(BackendFault):
    """It may pass: the request provably never reached the peer, so sending it again is safe."""


class BackendBusy(BackendUnavailable):
    """The peer does nothing for us at the moment (a rate limit, say), and says when to ask again."""

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BackendRefused(BackendFault):
    """It will not pass: sending the same again is useless, or not safe."""

"""What a run will send, made before anything is sent: rendered, masked, and checked for what cannot work."""

import backends
from domain import contexts
from domain.actions import Action
from domain.documents import Document
from domain.errors import InvalidInvocation
from domain.jq import Evaluator
from domain.runs import Run
from runtime import egress
from runtime.settings import Settings


async def rendered(
    run: Run, action: Action, evaluate: Evaluator, settings: Settings, *, event: Document | None = None
) -> tuple[Run, tuple[str, ...]]:
    """The run with its payload, secrets masked, and lines for its log; what cannot work is refused here.

    Args:
        run: of the action, not recorded yet.
        action: the definition it executes.
        evaluate: runs the templates.
        settings: say which destinations are allowed.
        event: what an automation's run was started by.

    Raises:
        TemplateFault: a template cannot be rendered.
        InvalidInvocation: what comes of the templates is no invocation method.
        PrivateDestination, UnresolvableDestination: it must not, or cannot, be sent there.
        Unavailable: no process could be had to run the templates.
    """
    rendering = await action.template.rendered(
        contexts.of_run(run, action, event), evaluate, secrets=None, now=run.created_at
    )
    payload = rendering.value
    if not isinstance(payload, dict):
        raise InvalidInvocation("invocationMethod: is no object any more")
    if {str(path[0]) for path in rendering.masked_paths if path} & {"agent", "synchronized"}:
        # Only the delivery can tell what these are, and whether the method is valid.
        return run.model_copy(update={"payload": payload}), ()
    method = backends.parse_rendered(payload)
    if destination := method.destination():
        await backends.check_destination(
            destination,
            allow_private=settings.allow_private_destinations,
            allow_loopback=settings.allow_loopback_destinations,
            always_allowed=settings.always_destinations,
            never_allowed=settings.never_destinations,
            own_addresses=(settings.public_url, *settings.own_api_aliases),
            proxy=egress.proxy(settings),
        )
    driving = run.interlock.model_copy(update={"synchronous": method.synchronous()})
    # With secrets it is rendered again for the delivery, which then tells what failed: once, and of all templates.
    warnings = () if action.template.secret_programs else rendering.warnings
    return run.model_copy(update={"payload": payload, "interlock": driving}), warnings

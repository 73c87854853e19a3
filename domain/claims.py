"""Runs that somebody else comes for: which queue they wait in, and what they look like to whoever claims them."""

from datetime import timedelta

AGENT = "_PORT_EXEC_AGENT"
"""The installation id that execution agents claim with."""
INTEGRATION_ACTION = "INTEGRATION_ACTION"
"""What is claimed where a claim does not say which type."""
WEBHOOK = "WEBHOOK"

VISIBILITY = timedelta(minutes=1)
"""How long a claimed run is kept for its claimer, who does not say otherwise."""
LONGEST_VISIBILITY = timedelta(minutes=10)
MOST = 1000
"""How many runs one claim may ask for."""
LONGEST_WAIT = timedelta(seconds=30)
"""How long a claim may wait for a run to come."""

FIRST_LOOK_UP = timedelta(seconds=15)
SLOWEST_LOOK_UPS = timedelta(minutes=5)


def queue(kind: str, installation_id: str) -> str:
    """Where runs of a type wait for an installation. Agents take everything that is a request as `WEBHOOK`.

    >>> queue("SLACK", AGENT)
    'WEBHOOK:_PORT_EXEC_AGENT'
    """
    return f"{WEBHOOK if installation_id == AGENT and kind != INTEGRATION_ACTION else kind}:{installation_id}"


def next_look_up(age: timedelta) -> timedelta:
    """How long to wait before a backend is asked again about a run of this age: a quarter of it, within limits.

    >>> next_look_up(timedelta(minutes=4)), next_look_up(timedelta(hours=2))
    (datetime.timedelta(seconds=60), datetime.timedelta(seconds=300))
    """
    return min(max(age / 4, FIRST_LOOK_UP), SLOWEST_LOOK_UPS)

"""Policies as this deployment asks them."""

from api.services import ApiServices
from store.action_policies import Policies


def policies(services: ApiServices) -> Policies:
    """How policies are asked."""
    return Policies(services.evaluate, services.settings.policy_fail_closed)

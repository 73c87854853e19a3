"""Words of pydantic and Python that no message of the product has."""

from typing import Final

LEAKED: Final = (
    *("Input should", "input should", "Value error", "value error", "Field required", "field required"),
    *("after validation", "ictionary", "timedelta", "list[", "dict[", "function-", "unable to", "NoneType"),
)

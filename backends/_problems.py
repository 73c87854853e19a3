"""What is wrong with an invocation method, as sentences that name fields by their path and never their values."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from domain.documents import Document
from domain.expectations import either, expected
from domain.shapes import MAX_PROBLEMS, json_path, located, shortened

_ROOT = "invocationMethod"


def sentences(error: ValidationError, document: Document) -> str:
    """Each problem as `invocationMethod.<path>: <what must be>`, joined by commas."""
    problems: dict[str, dict[str, None]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = json_path([_ROOT, *located(detail, document)])
        problems.setdefault(path, {})[shortened(_sentence(detail, document))] = None
    said = [f"{path}: {either(list(texts))}" for path, texts in problems.items()]
    if len(said) > MAX_PROBLEMS:
        said[MAX_PROBLEMS:] = [f"and {len(said) - MAX_PROBLEMS} more"]
    return ", ".join(said)


def _sentence(detail: ErrorDetails, document: Document) -> str:
    return f"is not a field of {document['type']}" if detail["type"] == "extra_forbidden" else expected(detail)

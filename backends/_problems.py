"""What is wrong with an invocation method, as sentences that name fields by their path and never their values."""

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from domain.documents import Document

_ROOT = "invocationMethod"


def sentences(error: ValidationError, document: Document) -> str:
    """Each problem as `invocationMethod.<path>: <what must be>`, joined by commas."""
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        said = problems.setdefault(_path(detail, document), [])
        if (sentence := _sentence(detail, document)) not in said:
            said.append(sentence)
    return ", ".join(f"{path}: {_either(said)}" for path, said in problems.items())


def _either(said: list[str]) -> str:
    return " or ".join([said[0], *(sentence.removeprefix("must be ") for sentence in said[1:])])


def _path(detail: ErrorDetails, document: JsonValue) -> str:
    """The place in the document. A union's error also names the arm that was tried, which is no part of it."""
    path, here = _ROOT, document
    for step in detail["loc"]:
        match here:
            case dict() if isinstance(step, str) and (step in here or detail["type"] == "missing"):
                path, here = f"{path}.{step}", here.get(step)
            case list() if isinstance(step, int) and step < len(here):
                path, here = f"{path}[{step}]", here[step]
            case _:
                break
    return path


def _sentence(detail: ErrorDetails, document: Document) -> str:
    match detail["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return f"is not a field of {document['type']}"
        case "string_type":
            return "must be text"
        case "bool_type":
            return "must be true or false"
        case "dict_type" | "model_type":
            return "must be an object"
        case "list_type":
            return "must be an array"
        case "value_error":
            return str(detail["ctx"]["error"])
    return detail["msg"][0].lower() + detail["msg"][1:]

"""Typed identifiers: a string with a pattern per kind, and how new ones look."""

import secrets
import string
from typing import Any, ClassVar, Self

import regex
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

_ALPHABET = string.ascii_letters + string.digits
_RANDOM_LENGTH = 16


class Identifier(str):
    """A string of one kind; making one that does not fit its pattern is a `ValueError`."""

    __slots__ = ()
    PATTERN: ClassVar[str]
    KIND: ClassVar[str] = "identifier"

    def __new__(cls, value: str) -> Self:
        """The identifier, if it fits the pattern of its kind."""
        if not regex.fullmatch(cls.PATTERN, value):
            raise ValueError(f"{value!r} is no {cls.KIND}: it must match {cls.PATTERN}")
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validated from a string, written as one; the pattern shows in JSON Schema."""
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(metadata={"pydantic_js_extra": {"pattern": cls.PATTERN}}),
            serialization=core_schema.to_string_ser_schema(),
        )


class ActionId(Identifier):
    """Of an action, self-service or automation. `runs` is a route and therefore taken."""

    __slots__ = ()
    PATTERN = r"^(?!\.{1,2}$)(?!runs$)[\p{L}0-9@_.+:=-]{1,255}$"
    KIND = "action identifier"


class RunId(Identifier):
    """Also the Temporal workflow id of the run."""

    __slots__ = ()
    PATTERN = r"^r_[A-Za-z0-9]{16}$"
    KIND = "run id"


def new(prefix: str) -> str:
    """A fresh opaque id, `<prefix>_` and 16 letters or digits: 95 random bits."""
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))

"""The two kinds of pydantic value: what we keep, and what users write."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Kept(BaseModel):
    """A value that is stored and travels. It ignores unknown fields and only ever gains fields with defaults."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Written(BaseModel):
    """What a user writes. Closed: an unknown key is refused, by name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

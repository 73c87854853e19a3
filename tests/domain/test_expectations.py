"""What is expected, in words: those of the product for every kind of fault, and none of pydantic's or Python's."""

from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.expectations import expected
from domain.identifiers import ActionId
from domain.models import Written
from domain.shapes import MAX_PROBLEMS, problems, refused
from tests.support.wording import LEAKED


class Colour(Enum):
    """Two words."""

    RED = "red"
    BLUE = "blue"


class Car(Written):
    """Something with parts."""

    wheels: list[Annotated[int, Field(gt=0)]]
    value: str = ""


MOMENT = "must be a date-time such as 2026-01-02T03:04:05Z"
LONG = "must be an ISO 8601 duration such as PT30M or P1D"
SHORT_LIST = Annotated[list[str], Field(min_length=1, max_length=2)]
SHORT_MAP = Annotated[dict[str, int], Field(min_length=1)]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (bool, "maybe", "must be true or false"),
        (bool, [], "must be true or false"),
        (int, "one", "must be an integer"),
        (int, 1.5, "must be an integer"),
        (int, "9" * 5000, "must be an integer"),
        (float, {}, "must be a number"),
        (str, 1, "must be a string"),
        (datetime, "soon", MOMENT),
        (datetime, [], MOMENT),
        (AwareDatetime, "2026-01-02T03:04:05", "must have a time zone, as 2026-01-02T03:04:05Z has"),
        (datetime | date, "x", f"{MOMENT} or a date such as 2026-01-02"),
        (timedelta, "soon", LONG),
        (timedelta, [], LONG),
        (Annotated[timedelta, Field(gt=timedelta(0))], "PT0S", "must be greater than 0 seconds"),
        (SHORT_LIST, [], "must not be empty"),
        (SHORT_LIST, ["a"] * 3, "must have at most 2 values"),
        (Annotated[list[int], Field(min_length=2)], [1], "must have at least 2 values"),
        (SHORT_MAP, {}, "must not be empty"),
        (Annotated[dict[str, int], Field(max_length=1)], {"a": 1, "b": 2}, "must have at most 1 key"),
        (Annotated[str, Field(min_length=1)], "", "must not be empty"),
        (Annotated[str, Field(max_length=1)], "ab", "must have at most 1 character"),
        (Annotated[str, Field(pattern="^a$")], "b", "must match ^a$"),
        (Annotated[int, Field(ge=1)], 0, "must be greater than or equal to 1"),
        (Annotated[int, Field(lt=1)], 1, "must be less than 1"),
        (Annotated[int, Field(multiple_of=2)], 1, "must be a multiple of 2"),
        (Colour, "green", "must be one of red, blue"),
        (Literal["a"], "b", "must be a"),
        (list[Any] | dict[str, Any], 1, "must be an array or an object"),
        (Car, {}, "is required"),
        (Car, {"wheels": 1}, "must be an array"),
        (Car, {"wheels": [1, 0]}, "must be greater than 0"),
        (Car, {"wheels": [], "value": 1}, "must be a string"),
        (Car, {"wheels": [], "a b": 1}, "unknown key"),
    ],
)
def test_it_is_said_in_the_words_of_the_product(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as faults:
        TypeAdapter[Any](kind).validate_python(value)
    assert str(refused(faults.value, value)).rpartition(": ")[2] == said.rpartition(": ")[2]


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_no_kind_of_fault_is_told_in_other_words(kind: str) -> None:
    context = {
        **dict.fromkeys(("gt", "ge", "lt", "le", "multiple_of"), "datetime.timedelta(days=1, seconds=60)"),
        **{"min_length": 1, "expected": "'a' or 'b'", "expected_tags": "'a', 'b'", "pattern": "^a$"},
        **{"error": "must be nice", "field_type": "Dictionary", "discriminator": "'type'"},
        **({"max_length": 3} if kind.endswith("too_long") else {}),
    }
    fault = ErrorDetails(type=kind, loc=("a",), msg="Input should be a dictionary", input=1, ctx=context)
    said = expected(fault)
    assert said
    assert not [word for word in LEAKED if word in said]


def test_a_duration_that_bounds_is_said_as_people_write_it() -> None:
    for bound, said in (
        ("datetime.timedelta(0)", "PT0S"),
        ("datetime.timedelta(days=1)", "P1D"),
        ("datetime.timedelta(seconds=600)", "PT10M"),
        ("datetime.timedelta(days=1, seconds=60)", "P1DT1M"),
    ):
        fault = ErrorDetails(type="less_than", loc=(), msg="", input=1, ctx={"lt": bound})
        assert expected(fault) == f"must be less than {said}"


def test_a_place_is_a_json_path_and_there_are_not_too_many() -> None:
    sent: Document = {"wheels": [1, "x", 0], "a b": 1, "k" * 5000: 1}
    with pytest.raises(ValidationError) as faults:
        Car.model_validate(sent)
    places = [one.partition(": ")[0] for one in problems(faults.value.errors(), sent, ("cars", 3))]
    long = f'cars[3]["{"k" * 79}…]'
    assert places == ["cars[3].wheels[1]", "cars[3].wheels[2]", 'cars[3]["a b"]', long]
    many: Document = {"wheels": [], **{f"k{number}": 1 for number in range(50)}}
    with pytest.raises(ValidationError) as faults:
        Car.model_validate(many)
    said = problems(faults.value.errors(), many)
    assert (len(said), said[-1]) == (MAX_PROBLEMS + 1, "and 30 more")


def test_what_is_long_is_not_repeated() -> None:
    name = "n" * 1_000_000
    assert str(NotFound("Action", "n" * 300)) == f"Action '{'n' * 300}' was not found"
    assert str(NotFound("Action", name)) == f"Action '{'n' * 300}'… was not found"
    assert str(IdentifierTaken("Action", name)) == f"Action '{'n' * 300}'… exists already"
    assert NotFound("Action", name).identifier == name
    with pytest.raises(ValueError, match=r"^'n{99}… is no action identifier: it must match \^"):
        ActionId(name)

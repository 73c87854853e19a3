"""The pieces of SQL a search needs that SQLite and PostgreSQL spell differently; values are always parameters."""

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

Condition = sa.ColumnElement[bool]
"""Something of a row that is true or false, never unknown: `NOT` of it has to be its negation."""

_FLAT: Final = 30
"""From how many conditions on they are not joined by AND and OR: SQLite nests those, and not deeper than 1,000."""

_FEW: Final = 3
"""How many values are parameters of their own; more are one parameter, because there are only 32,766."""


class position(FunctionElement[int]):  # noqa: N801 - a function of SQL
    """Where a text is in a text, counted from 1; 0 if nowhere. Case matters, and no character is special."""

    type = sa.Integer()
    inherit_cache = True


@compiles(position)
def _strpos(element: Any, compiler: Any, **how: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **how)})"


@compiles(position, "sqlite")
def _instr(element: Any, compiler: Any, **how: Any) -> str:
    return f"instr({compiler.process(element.clauses, **how)})"


class unindexed(FunctionElement[Any]):  # noqa: N801 - an operator of SQL
    """The column, but SQLite is not to look for its value in an index: it guesses badly which one helps most."""

    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(unindexed)
def _column(element: Any, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.clauses, **how))


@compiles(unindexed, "sqlite")
def _plus(element: Any, compiler: Any, **how: Any) -> str:
    return f"+{compiler.process(element.clauses, **how)}"


class told(FunctionElement[str]):  # noqa: N801 - an operator of SQL
    """The text of rows that are found already: no database is to look for more of them in an index.

    PostgreSQL would look for all that have it as well, where it does not know yet that they are many.
    """

    type = sa.String()
    inherit_cache = True


@compiles(told)
def _and_nothing(element: Any, compiler: Any, **how: Any) -> str:
    return f"({compiler.process(element.clauses, **how)} || '')"


class relation_kind(FunctionElement[str]):  # noqa: N801 - a function of SQL
    """The JSON type of a relation in the document of an entity. Its name has no characters that mean something."""

    type = sa.String()
    inherit_cache = True


@compiles(relation_kind)
def _json_typeof(element: Any, compiler: Any, **how: Any) -> str:
    document, name = (compiler.process(part, **how) for part in element.clauses)
    return f"json_typeof({document} -> 'relations' -> {name})"


@compiles(relation_kind, "sqlite")
def _json_type(element: Any, compiler: Any, **how: Any) -> str:
    document, name = (compiler.process(part, **how) for part in element.clauses)
    return f"json_type({document}, '$.relations.\"' || {name} || '\"')"


class _Values(TypeDecorator[list[Any]]):
    """Many values in one parameter: an array where there are arrays, otherwise JSON."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type of the parameter."""
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else ARRAY(self.kind))

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        """The parameter."""
        return json.dumps(value, ensure_ascii=False) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> list[Any]:
        """The values, where they come back as one."""
        if value is None:  # of no rows
            return []
        found: list[Any] = json.loads(value) if dialect.name == "sqlite" else value
        return found


class gathered(FunctionElement[list[Any]]):  # noqa: N801 - a function of SQL
    """The texts of all rows in one: thousands of rows take the drivers longer than the databases."""

    type = _Values(sa.Text)
    inherit_cache = True


@compiles(gathered)
def _array_agg(element: Any, compiler: Any, **how: Any) -> str:
    return f"array_agg({compiler.process(element.clauses, **how)})"


@compiles(gathered, "sqlite")
def _json_group_array(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **how)})"


class _within(FunctionElement[bool]):  # noqa: N801 - an operator of SQL
    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:
        """As it is: otherwise SQLite would be asked whether it is `= 1`, and would use no index."""
        return self


@compiles(_within)
def _any(element: Any, compiler: Any, **how: Any) -> str:
    left, right = (compiler.process(part, **how) for part in element.clauses)
    return f"({left} = ANY ({right}))"


@compiles(_within, "sqlite")
def _json_each(element: Any, compiler: Any, **how: Any) -> str:
    left, right = (compiler.process(part, **how) for part in element.clauses)
    return f"({left} IN (SELECT value FROM json_each({right})))"  # noqa: S608 - both are compiled


class _Ids(_Values):
    """Many ids in one parameter: a text with commas where that can become an array, otherwise JSON."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(sa.Text)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type of the parameter."""
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        """The parameter."""
        return super().process_bind_param(value, dialect) if dialect.name == "sqlite" else ",".join(value or ())


class _is_id(_within):  # noqa: N801 - an operator of SQL
    inherit_cache = True


@compiles(_is_id)
def _any_id(element: Any, compiler: Any, **how: Any) -> str:
    left, right = (compiler.process(part, **how) for part in element.clauses)
    return f"({left} = ANY (string_to_array({right}, ',')))"


compiles(_is_id, "sqlite")(_json_each)


def among(left: sa.ColumnElement[Any], texts: Collection[str]) -> Condition:
    """Whether the text, which is not null, is one of these."""
    return _among(left, sorted(texts), sa.Text)


def among_given(left: sa.ColumnElement[Any], name: str) -> Condition:
    """The same with a list of texts that is given under this name when the statement runs."""
    return _within(left, sa.bindparam(name, type_=_Values(sa.Text)))


def among_ids(left: sa.ColumnElement[Any], ids: Collection[str]) -> Condition:
    """Whether the id is one of these, which are ours and have no commas: as one text, many are sent sooner."""
    if len(ids) <= _FEW:
        return among(left, ids)
    return _is_id(left, sa.bindparam(None, sorted(ids), type_=_Ids(), unique=True))


def among_moments(left: sa.ColumnElement[Any], moments: Collection[int]) -> Condition:
    """Whether the integer, which is not null, is one of these."""
    return _among(left, sorted(moments), sa.BigInteger)


def _among(left: sa.ColumnElement[Any], values: Sequence[Any], kind: type[TypeEngine[Any]]) -> Condition:
    if len(values) <= _FEW:
        return left.in_(values) if values else sa.false()
    return _within(left, sa.bindparam(None, list(values), type_=_Values(kind), unique=True))


def begins(left: sa.ColumnElement[Any], text: str) -> Condition:
    """Whether the text begins so."""
    return sa.func.substr(left, 1, len(text)) == text


def ends(left: sa.ColumnElement[Any], text: str) -> Condition:
    """Whether the text ends so."""
    length = sa.func.length(left)
    return sa.and_(length >= len(text), sa.func.substr(left, length - len(text) + 1) == text)


def contains(left: sa.ColumnElement[Any], text: str) -> Condition:
    """Whether the text has the other in it."""
    return position(left, sa.literal(text, sa.Text)) > 0


def all_of(conditions: Sequence[Condition]) -> Condition:
    """Whether all of them are true; they are if there are none."""
    if len(conditions) <= _FLAT:
        return sa.and_(sa.true(), *conditions)
    return sa.case(*((sa.not_(one), sa.false()) for one in conditions), else_=sa.true())


def any_of(conditions: Sequence[Condition]) -> Condition:
    """Whether one of them is true; none is if there are none."""
    if len(conditions) <= _FLAT:
        return sa.or_(sa.false(), *conditions)
    return sa.case(*((one, sa.true()) for one in conditions), else_=sa.false())

"""What of an entity clients ask for."""

from collections.abc import Collection

from domain.documents import Document

_ALWAYS = frozenset({"identifier", "title", "blueprint"})


def projected(document: Document, include: Collection[str], exclude: Collection[str]) -> Document:
    """What of an entity's JSON was asked for; who it is stays, whatever was asked.

    Names are those of keys (`$title` or `title`), of properties (`properties.x` or `x`) and of relations (`relations.y`
    or `y`). An empty `include` is everything.
    """
    if not include and not exclude:
        return document

    def wanted(*names: str) -> bool:
        return (not include or any(name in include for name in names)) and not any(name in exclude for name in names)

    kept: Document = {}
    for key, value in document.items():
        if key in ("properties", "relations") and isinstance(value, dict):
            whole = key in include
            kept[key] = {
                name: one
                for name, one in value.items()
                if (whole and name not in exclude) or wanted(name, f"{key}.{name}")
            }
        elif key in _ALWAYS or wanted(key, f"${key}"):
            kept[key] = value
    return kept

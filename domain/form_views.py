"""An evaluated form as clients are told: what a page, a chat or an agent needs to show it and to fill it in."""

from collections.abc import Collection, Mapping

from pydantic import JsonValue

from domain.documents import Document
from domain.form_values import entity_input
from domain.forms import Evaluated
from domain.input_schemas import schema
from domain.inputs import Input
from domain.templating import MASK


def view(evaluated: Evaluated, options: Mapping[str, Document], notes: Collection[str] = ()) -> Document:
    """The form. `options` are those of entity inputs, by input; `notes` are errors of the form beyond its values."""
    form = evaluated.form
    errors: dict[str | None, list[JsonValue]] = {}
    for fault in evaluated.found:
        errors.setdefault(fault.input, []).append(fault.text)
    required = form.statically_required
    inputs: list[JsonValue] = [
        {
            **_input(name, each, evaluated.values.get(name)),
            "visible": not form.is_hidden(name),
            "required": name in required,
            **({"options": offered} if (offered := options.get(name) or _choices(each)) is not None else {}),
            "errors": errors.get(name, []),
        }
        for name, each in form.properties.items()
    ]
    return {
        "inputs": inputs,
        "titles": {
            key: {"title": title.title, "description": title.description, "visible": title.visible is not False}
            for key, title in (form.titles or {}).items()
        },
        "steps": [
            {"title": step.title, "order": list[JsonValue](step.order or ()), "visible": step.visible is not False}
            for step in form.steps or ()
        ],
        "order": list[JsonValue](form.order if form.order is not None else _laid_out(evaluated)),
        "errors": [*errors.get(None, []), *notes],
        "warnings": [f"{one.path}: {one.error}" for one in evaluated.explained if one.error is not None],
    }


def choices(each: Input) -> list[JsonValue] | None:
    """The values that the input offers, if it has a list of them."""
    items = each.document.get("items")
    inner = items.get("enum") if isinstance(items, dict) else None
    listed = inner if isinstance(inner, list) else each.document.get("enum")
    return listed if isinstance(listed, list) else None


def _choices(each: Input) -> Document | None:
    listed = choices(each)
    return None if listed is None else {"values": listed}


def _laid_out(evaluated: Evaluated) -> list[str]:
    """The inputs page after page, or as declared."""
    form = evaluated.form
    if form.steps is None:
        return list(form.properties)
    return [name for step in form.steps for name in step.order or ()]


def _input(name: str, each: Input, value: JsonValue) -> Document:
    secret, default = each.encryption is not None, each.static_default
    about = entity_input(each)
    return {
        "identifier": name,
        "title": each.title if each.title is not None else name,
        "description": each.description,
        "icon": each.icon,
        "type": each.type,
        "format": each.format,
        "blueprint": about.blueprint if about else None,
        "many": each.type == "array",
        "secret": secret,
        "dependsOn": list[JsonValue](each.depends_on or ()),
        "disabled": each.disabled is True,
        "value": MASK if secret and value is not None else value,
        "default": MASK if secret and default is not None else default,
        "schema": schema(each.document),
    }

"""Configurations of the forms of `port_action`: every attribute of every type of input, at least once."""

from typing import Any

from tests.clients.action_configs import BLUEPRINT, form, self_service, strings
from tests.clients.go import Json, text

PEM = "-----BEGIN PUBLIC KEY-----\nQSBrZXkgdGhhdCBub2JvZHkgcmVhZHMgaGVyZQ==\n-----END PUBLIC KEY-----\n"


def _leaf(name: str, operator: str = "=", program: str | None = '"gold"') -> Json:
    rule = {"property": name, "operator": operator}
    return rule if program is None else {**rule, "value": {"jq_query": program}}


def _entity(*rules: Json, combinator: str = "and", **more: Any) -> Json:
    """An input that names an entity, out of a dataset."""
    dataset = {"dataset": {"combinator": combinator, "rules": list(rules)}} if rules else {}
    return {"title": "Volume", "format": "entity", "blueprint": BLUEPRINT, **dataset, **more}


ALL_TYPES: dict[str, Json] = {
    "string_props": {},
    "number_props": {},
    "boolean_props": {},
    "object_props": {},
    "array_props": {},
}


def every_type(**attributes: Any) -> Json:
    """One input of each type, all with these attributes."""
    return {name: {f"one_{name}": {"title": name, **attributes}} for name in ALL_TYPES}


FORMATS = (
    "date-time", "url", "email", "ipv4", "ipv6", "yaml", "entity", "user", "team", "proto", "markdown", "multi-line",
)  # fmt: skip

FORMS: dict[str, Json] = {
    "every-type": form(every_type(icon="Disk", description="What it is.\nAnd why.")),
    "every-type-required": form(every_type(required=True)),
    "every-type-visible": form(every_type(visible=True, required=True)),
    "every-type-invisible": form(every_type(visible=False)),
    "every-type-visible-by-jq": form(every_type(visible_jq_query=".form.size > 1")),
    "every-type-disabled": form(every_type(disabled=True)),
    "every-type-not-disabled": form(every_type(disabled=False)),
    "every-type-disabled-by-jq": form(every_type(disabled_jq_query="1==1")),
    "every-type-depends": form(
        {
            name: {**inputs, "first": {}} if name == "string_props" else inputs
            for name, inputs in every_type(depends_on=["first"]).items()
        }
    ),
    **{
        f"format-{name}": form(
            strings(value={"format": name, "blueprint": BLUEPRINT} if name == "entity" else {"format": name})
        )
        for name in FORMATS
    },
    "text-with-everything": form(
        strings(
            size={
                "title": "Size",
                "icon": "Disk",
                "description": "How large",
                "default": "small",
                "min_length": 0,
                "max_length": 12,
                "pattern": "^[a-z]+$",
                "enum": ["small", "large"],
                "enum_colors": {"small": "turquoise", "large": "darkGray"},
                "required": True,
            }
        )
    ),
    "text-with-a-format-and-an-enum": form(strings(who={"format": "user", "enum": ["a@example.org"]})),
    "text-with-programs": form(
        strings(
            size={"default_jq_query": "'Test'", "enum_jq_query": '["a", "b"]', "pattern_jq_query": "undefined_here"},
            also={"pattern_jq_query": 'if .form.size == "a" then "^x" else ["x", "y"] end'},
        )
    ),
    "numbers": form(
        {
            "number_props": {
                "one": {"default": 1, "minimum": 0, "maximum": 100, "enum": [1, 2.5, 100]},
                "two": {"default": -0.5, "minimum": -1.25, "maximum": 1e6},
                "three": {"default_jq_query": "1", "enum_jq_query": "[1, 2]"},
                "zero": {"default": 0},
            }
        }
    ),
    "switches": form(
        {"boolean_props": {"on": {"default": True}, "off": {"default": False}, "either": {"default_jq_query": "true"}}}
    ),
    "objects": form(
        {
            "object_props": {
                "fixed": {"default": text({"b": [1, {"c": None}], "a": "<é&>"})},
                "computed": {"default_jq_query": '{ "a": .form.size }'},
                "empty": {"default": text({})},
            }
        }
    ),
    "lists-of-text": form(
        {
            "array_props": {
                "plain": {"string_items": {}, "min_items": 0, "max_items": 3},
                "mails": {"string_items": {"format": "email", "default": ["a@example.org"]}},
                "fixed": {"string_items": {"enum": ["a", "b"], "default": []}},
                "computed": {"string_items": {"enum_jq_query": "'a' | [ . ]"}, "default_jq_query": '["a"]'},
                "bounds": {"string_items": {}, "min_items_jq_query": "1", "max_items_jq_query": "6 - 3"},
                "mixed": {"string_items": {"format": "user"}, "min_items_jq_query": "1", "max_items": 10},
                "untyped": {"default_jq_query": "[ 1 ]"},
            }
        }
    ),
    "lists-of-entities": form(
        {
            "array_props": {
                "many": {
                    "required": True,
                    "string_items": {
                        "format": "entity",
                        "blueprint": BLUEPRINT,
                        "dataset": text(
                            {
                                "combinator": "and",
                                "rules": [
                                    {"property": "$identifier", "operator": "containsAny", "value": "Test"},
                                    {"property": "tier", "operator": "=", "value": {"jqQuery": ".form.tier"}},
                                ],
                            }
                        ),
                    },
                    "sort": {"property": "$updatedAt", "order": "DESC"},
                }
            }
        }
    ),
    "lists-of-others": form(
        {
            "array_props": {
                "numbers": {"number_items": {"enum": [1, 2.5]}},
                "computed": {"number_items": {"enum_jq_query": "[1, 2]"}},
                "switches": {"boolean_items": {}},
                "objects": {"object_items": {"default": [{"name": "a", "url": "https://a.example.org"}, {}]}},
                "plain": {"object_items": {}},
            }
        }
    ),
    "a-dataset": form(
        strings(v=_entity(_leaf("$team", "containsAny", "Test"), sort={"property": "tier", "order": "ASC"}))
    ),
    "a-dataset-without-a-value": form(strings(v=_entity(_leaf("tier", "isNotEmpty", None)))),
    "a-dataset-of-related": form(
        strings(v=_entity({"blueprint": BLUEPRINT, "operator": "relatedTo", "value": {"jq_query": ".form.other"}}))
    ),
    "a-dataset-in-groups": form(
        strings(
            other={"format": "entity", "blueprint": BLUEPRINT},
            v=_entity(
                _leaf("tier", "!=", "false"),
                {
                    "combinator": "or",
                    "rules": [
                        {
                            "combinator": "and",
                            "rules": [
                                _leaf("$identifier", "contains", ".form.other.identifier"),
                                {
                                    "blueprint": BLUEPRINT,
                                    "operator": "relatedTo",
                                    "value": {"jq_query": ".form.other.identifier"},
                                },
                            ],
                        },
                        {"combinator": "and", "rules": [_leaf("tier"), _leaf("$title", "isEmpty", None)]},
                    ],
                },
                depends_on=["other"],
                required=True,
            ),
        )
    ),
    "secrets": form(
        {
            "string_props": {
                "ours": {"encryption": "aes256-gcm", "required": True},
                "theirs": {"client_side_encryption": {"algorithm": "client-side", "key": PEM}},
            },
            "object_props": {
                "ours_too": {"encryption": "aes256-gcm"},
                "theirs_too": {"client_side_encryption": {"algorithm": "client-side", "key": PEM}},
            },
        }
    ),
    "required-by-jq": form(strings(a={}, b={}), required_jq_query='["a"]'),
    "required-by-jq-that-says-yes": form(strings(a={}), required_jq_query="1==1"),
    "required-by-jq-without-inputs": self_service(required_jq_query="[]"),
    "in-order": form(strings(a={}, b={}, c={}), order_properties=["c", "a"]),
    "titles": form(
        strings(a={}, b={}),
        order_properties=["head", "a", "hidden", "b", "maybe"],
        titles={
            "head": {"title": "Where", "description": "Where it shall be"},
            "hidden": {"title": "Hidden", "visible": False},
            "shown": {"title": "Shown", "visible": True},
            "maybe": {"title": "Maybe", "visible_jq_query": ".form.a != null"},
        },
    ),
    "titles-only": self_service(titles={"7f3c-a1": {"title": "Read this"}}, order_properties=["7f3c-a1"]),
    "steps": form(
        strings(a={}, b={}, c={}),
        steps=[
            {"title": "First", "order": ["a"], "visible": True},
            {"title": "Second", "order": ["b"], "visible": False},
            {"title": "Third of the steps here!!", "order": ["c"], "visible_jq_query": '.form.a == "x"'},
            {"title": "Last", "order": []},
        ],
    ),
    "steps-with-titles": form(
        strings(a={}),
        titles={"head": {"title": "Head"}},
        steps=[{"title": "Only", "order": ["head", "a"]}],
    ),
}

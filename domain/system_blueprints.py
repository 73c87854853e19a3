"""The blueprints every organization begins with: its people and its teams. They can be extended, not deleted."""

import copy
from typing import Final

from domain.documents import Document
from domain.users import ADMIN, MEMBER

_USER: Final[Document] = {
    "identifier": "_user",
    "title": "User",
    "icon": "User",
    "description": "A person; the identifier is the email address",
    "schema": {
        "properties": {
            "status": {
                "type": "string",
                "title": "Status",
                "enum": ["Active", "Staged", "Invited", "Disabled"],
                "enumColors": {"Active": "green", "Staged": "yellow", "Invited": "blue", "Disabled": "lightGray"},
                "default": "Active",
            },
            "port_role": {
                "type": "string",
                "title": "Role",
                "description": f"{ADMIN}, {MEMBER} or another role of the organization",
                "default": MEMBER,
            },
            "port_type": {
                "type": "string",
                "title": "Type",
                "enum": ["Standard", "Service Account"],
                "enumColors": {"Standard": "blue", "Service Account": "purple"},
                "default": "Standard",
            },
        },
        "required": [],
    },
    "mirrorProperties": {},
    "calculationProperties": {},
    "aggregationProperties": {},
    "relations": {"teams": {"title": "Teams", "target": "_team", "required": False, "many": True}},
}

_TEAM: Final[Document] = {
    "identifier": "_team",
    "title": "Team",
    "icon": "Team",
    "description": "People who own things together",
    "schema": {"properties": {"description": {"type": "string", "title": "Description"}}, "required": []},
    "mirrorProperties": {},
    "calculationProperties": {},
    "aggregationProperties": {
        "size": {
            "title": "Size",
            "description": "How many people are in it",
            "type": "number",
            "target": "_user",
            "calculationSpec": {"calculationBy": "entities", "func": "count"},
            "pathFilter": [{"path": ["teams"], "fromBlueprint": "_user"}],
        }
    },
    "relations": {},
}


def system_blueprints() -> tuple[Document, ...]:
    """Each of them, a target before those that name it; the caller may change what it gets."""
    return copy.deepcopy((_TEAM, _USER))

"""The schema of a configuration, as JSON Schema: with it, editors complete and check files."""

from __future__ import annotations

from typing import Any

from meshhook.configuration.kinds import KINDS, PROFILE, arguments_of, recipes_of

_PLAIN = {"bool": "boolean", "int": "integer", "float": "number", "str": "string"}


def schema() -> dict[str, Any]:
    """Return a JSON schema of what a file may say. What values mean is checked by ``configure``."""
    kinds = {kind: {"$ref": f"#/$defs/{kind}"} for kind in KINDS}
    by_kind = {"type": "object", "additionalProperties": False, "properties": kinds}
    named = {kind: {"type": "object", "additionalProperties": _policy(kind)} for kind in KINDS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meshhook",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            PROFILE: {"type": "string", "description": "The profile of all policies."},
            "defaults": by_kind | {"description": "What the code leaves out."},
            "profiles": {
                "type": "object",
                "description": "Over the code, in the profile of that name.",
                "additionalProperties": by_kind,
            },
            "policies": {
                "type": "object",
                "description": "Over all profiles, for the policy of that kind and name.",
                "additionalProperties": False,
                "properties": named,
            },
        },
        "$defs": {kind: _table(kind) for kind in KINDS},
    }


def _table(kind: str, *more: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        argument: _value(kind, argument) for argument in sorted(arguments_of(kind) - {"store"})
    }
    properties |= {each: {"type": "string"} for each in more}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _policy(kind: str) -> dict[str, Any]:
    return _table(kind, PROFILE)


def _value(kind: str, argument: str) -> dict[str, Any]:
    """Return what may be said of a value by the annotation of the argument, if it is plain."""
    words = str(recipes_of(kind).annotations[argument]).split(" | ")
    types = {_PLAIN[each] for each in words if each in _PLAIN}
    if not types or {*words} - {*_PLAIN, "None", "Duration"}:
        return {}
    if "None" in words or "Duration" in words:
        types.add("string")  # "none", or a duration such as "250ms"
    if "None" in words:
        types.add("null")
    return {"type": sorted(types)}

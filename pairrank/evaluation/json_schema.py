"""The part of JSON Schema that manifests need, which complains about every fault of a value at once."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pairrank.errors import excerpt, unknown_name


def schema_complaints(value: Any, schema: Mapping[str, Any], place: str) -> list[str]:
    """Return one complaint for each fault of a JSON value, each beginning with its place; [] if it is valid.

    Every schema needs a `description`, which says in a complaint what was expected. Objects may have no other
    properties than those of the schema. NaN and infinity, which JSON does not have, are not numbers.
    """
    if not _is_valid(value, schema):
        return [f"{place}: found {excerpt(value, 100)}, expected {schema['description']}"]
    if not isinstance(value, dict):
        return []
    known = schema["properties"]
    complaints = [f"{place}: {unknown_name('field', key, known)}" for key in value if key not in known]
    complaints += [
        f"{place}.{key}: missing, expected {known[key]['description']}"
        for key in schema["required"]
        if key not in value
    ]
    for key in known:
        if key in value:
            complaints += schema_complaints(value[key], known[key], f"{place}.{key}")
    return complaints


def _is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value fits all keywords but those about the properties of an object."""
    types = schema["type"]
    if not any(_is_of_type(value, kind) for kind in ([types] if isinstance(types, str) else types)):
        return False
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        return False
    if isinstance(value, str):
        fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf)
        return fits and re.search(schema.get("pattern", ""), value) is not None
    return not isinstance(value, int | float) or value >= schema.get("minimum", -math.inf)


def _is_of_type(value: Any, kind: str) -> bool:
    """Return whether a value is of a type of JSON Schema, for which 1.0 is an integer and true is not."""
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float):
        return math.isfinite(value) and (kind == "number" or (kind == "integer" and value.is_integer()))
    types = {"object": dict, "string": str, "integer": int, "number": int, "null": type(None)}
    return kind in types and isinstance(value, types[kind])

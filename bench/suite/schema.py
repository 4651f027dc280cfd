"""JSON Schema of a suite file, by which editors complete and check what is typed.

It says what can be said without expanding the grid; `load_suite` checks the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.components import CHOICES, FACTORS, ROOMS, SETTINGS, Tables, first_line, json_schema
from bench.distribution import DISTRIBUTION
from bench.limits import MEANINGS, MOST, SIZE
from bench.nfe import BUDGET
from bench.suite import claims, published
from bench.suite.axes import ABLATE, MODES
from bench.suite.load import EXCLUSION, KEYS, SEEDS_MAX
from bench.suite.profiles import NAME, PLAIN
from bench.suite.values import PARAMETER
from bench.words import TOPICS

Schema = dict[str, Any]


def suite_schema(tables: Tables) -> Schema:
    """The schema (draft 2020-12) of a suite that names these tables' components."""
    definitions: Schema = {}
    for kind in ROOMS:
        definitions[kind] = _component(kind, tables, definitions)
    for factor, cls in SETTINGS.items():
        definitions[factor] = {**_parameters(cls, definitions), "description": first_line(cls)}
        definitions[factor].pop("required", None)
    for factor, choice in CHOICES.items():
        allowed: Schema = {"enum": list(choice.allowed)} if choice.allowed else {"type": "integer", "minimum": 0}
        definitions[factor] = {**allowed, "default": choice.default, "description": choice.meaning}
    definitions |= {"selector": _selector(), "axes": _axes(), "assignments": _assignments()}
    properties = {key: PROPERTIES[key] for key in KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{DISTRIBUTION} suite",
        "type": "object",
        "required": ["question"],
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }


def _component(kind: str, tables: Tables, definitions: Schema) -> Schema:
    """A name, a name with its parameters, or (for a factor) parameters alone."""
    names = tables.names(kind)
    forms: list[Schema] = [{"enum": names}]
    loose: Schema = {}
    for name in names:
        cls = tables.cls(kind, name)
        schema = _parameters(cls, definitions)
        loose |= dict.fromkeys(schema["properties"], True)
        required = sorted({"name", *schema.get("required", ())})
        own = {"name": {"const": name}, **schema["properties"]}
        forms.append({**schema, "description": first_line(cls), "properties": own, "required": required})
    if kind != "metric":
        forms.append({"type": "object", "properties": loose, "additionalProperties": False, "minProperties": 1})
    return {"anyOf": forms}


def _parameters(cls: type, definitions: Schema) -> Schema:
    """Parameters of one component; what pydantic defines aside moves to the top."""
    schema = json_schema(cls)
    definitions |= schema.pop("$defs", {})
    return {key: schema[key] for key in ("type", "properties", "required", "additionalProperties") if key in schema}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _per_factor(value: Mapping[str, Schema], parameter: Schema) -> Schema:
    """A mapping from factors, or dotted parameters of them, to something."""
    dotted = "|".join(factor for factor in FACTORS if factor not in CHOICES)
    return {
        "type": "object",
        "minProperties": 1,
        "properties": dict(value),
        "patternProperties": {rf"^({dotted})\.(?!name$){PARAMETER.pattern}$": parameter},
        "additionalProperties": False,
    }


def _values(schema: Schema | bool) -> Schema:
    """A list of values, or a mapping of label: value."""
    return {
        "anyOf": [
            {"type": "array", "minItems": 1, "items": schema},
            {"type": "object", "minProperties": 1, "additionalProperties": schema},
        ]
    }


def _axes() -> Schema:
    return _per_factor({factor: _values(_ref(factor)) for factor in FACTORS}, _values(True))


def _assignments() -> Schema:
    return _per_factor({factor: _ref(factor) for factor in FACTORS}, {})


def _selector() -> Schema:
    word: Schema = {"type": ["string", "number", "boolean", "null"]}
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"anyOf": [word, {"type": "array", "minItems": 1, "items": word}]},
    }


def _record(required: Sequence[str], optional: Sequence[str], **schemas: Schema) -> Schema:
    """A mapping with the keys that the suite's reader knows; each has its schema, or this fails."""
    return {
        "type": "object",
        "properties": {key: schemas[key] for key in (*required, *optional)},
        "required": list(required),
        "additionalProperties": False,
    }


def _changes() -> Schema:
    """What an ablation changes: one value per factor, or several with labels."""
    several = {factor: {"anyOf": [_ref(factor), _values(_ref(factor))["anyOf"][1]]} for factor in FACTORS}
    return _per_factor(several, {})


def _include() -> Schema:
    schema = _assignments()
    schema["properties"]["label"] = {"type": "object", "additionalProperties": {"type": "string"}}
    return {"type": "array", "items": schema}


TEXT: Schema = {"type": "string", "minLength": 1}

SAID: Schema = {
    "claim": {**TEXT, "description": "what is claimed, in words"},
    "metric": TEXT,
    "source": {**TEXT, "description": "who says so: a paper, a tutorial, a folk saying"},
    "because": {**TEXT, "description": "what limits the question itself"},
    "topic": {"enum": list(TOPICS), "description": "where an index of claims lists it"},
}

PROPERTIES: Schema = {
    "suite": {**TEXT, "pattern": f"^{NAME.pattern}$", "description": "name; by default the file's"},
    "question": {**TEXT, "description": "the one question that the suite asks"},
    "seeds": {
        "description": "how many (0, 1, ...), or which",
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": SEEDS_MAX},
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "integer", "minimum": 0}},
        ],
    },
    "base": {
        "description": "what all cells share; anything left out has its default",
        "type": "object",
        "minProperties": 1,
        "properties": {factor: _ref(factor) for factor in FACTORS},
        "additionalProperties": False,
    },
    "grid": {**_ref("axes"), "description": "every combination"},
    "zip": {
        "description": "in step",
        "anyOf": [_ref("axes"), {"type": "array", "minItems": 1, "items": _ref("axes")}],
    },
    "ablate": _record(
        ABLATE[:1], ABLATE[1:], factors=_changes(), baseline=_ref("assignments"), mode={"enum": list(MODES)}
    ),
    "include": {**_include(), "description": "cells of their own, laid on the base"},
    "exclude": {
        "type": "array",
        "items": _record(EXCLUSION, (), where=_ref("selector"), because=TEXT),
    },
    "metrics": {"type": "array", "minItems": 1, "items": _ref("metric")},
    "claims": {
        "type": "array",
        "items": {
            "anyOf": [
                _record(
                    claims.REQUIRED,
                    claims.OPTIONAL,
                    better=_ref("selector"),
                    than=_ref("selector"),
                    by={"type": "string", "pattern": f"^{claims.PERCENT}$"},
                    margin={"type": "number", "exclusiveMinimum": 0},
                    at={"type": "string", "pattern": f"^{BUDGET}$"},
                    **SAID,
                ),
                _record(
                    claims.REACHING,
                    claims.SAYING,
                    where=_ref("selector"),
                    reaches={"type": "string", "pattern": f"^{claims.REACHES}$"},
                    **SAID,
                ),
            ]
        },
    },
    "published": {
        "description": "what others reported, to grade a replication",
        "type": "array",
        "items": _record(
            published.KEYS,
            (),
            where=_ref("selector"),
            metric=TEXT,
            mean={"type": "number"},
            sd={"type": "number", "minimum": 0},
            n={"type": "integer", "minimum": published.RUNS_LEAST},
            source=TEXT,
        ),
    },
    "profiles": {
        "description": "variants: dotted path: value",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"const": PLAIN}, "pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {"type": "object", "minProperties": 1},
    },
    "limits": {
        "description": "what one job may take",
        "type": "object",
        "minProperties": 1,
        "properties": {
            key: {
                "description": meaning,
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0, "maximum": MOST},
                    {"enum": ["none", None]},
                    *([{"type": "string", "pattern": f"^{SIZE.pattern}$"}] if key == "memory" else []),
                ],
            }
            for key, meaning in MEANINGS.items()
        },
        "additionalProperties": False,
    },
    "plugins": {"type": "array", "minItems": 1, "items": TEXT, "description": "Python files beside the suite"},
}

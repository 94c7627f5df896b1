"""Write a project as the text of params.yaml, with the reasons as comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
import yaml

from fraud_detection.core.decoding import to_plain
from fraud_detection.core.project_schema import Project
from fraud_detection.onboarding.column_assignment import Finding

_HEAD = """\
# The project file: what the columns of {origin} mean, and what is made of them.
# Proposed by `fraud init`; every line may be changed, and unknown keys are refused.
# It is DVC's parameter file too.
"""
_WIDTH = 2**30


def to_yaml(project: Project, origin: str, findings: Iterable[Finding], ignored: Mapping[str, str]) -> str:
    """Return the text; `load_project` reads the very same project from it."""
    comments: dict[str, str] = {}
    for finding in findings:
        comment = _one_line(str(finding).removeprefix(f"{finding.where}: "))
        comments[finding.where] = (
            f"{comments[finding.where]}; {comment}" if finding.where in comments else comment
        )
    comments |= {f"schema.ignored.{name}": _one_line(why) for name, why in ignored.items()}
    body = to_plain(project)
    body["schema"] = _non_default(project.schema, "schema", comments)
    return _HEAD.format(origin=_one_line(origin)) + "\n".join(_lines(body, "", comments)) + "\n"


def _non_default(value: object, path: str, comments: Mapping[str, str]) -> object:
    """Return settings without those that are at their defaults, so that what was found can be seen.

    Settings with a comment are kept.

    >>> from fraud_detection.core.project_schema import AmountSource
    >>> _non_default(AmountSource(field="amt", minimum=None), "", {"decimals": "inferred"})
    {'field': 'amt', 'decimals': 2, 'minimum': None}
    """
    if isinstance(value, Mapping):
        return {key: _non_default(inner, join(path, key), comments) for key, inner in value.items()}
    if not isinstance(value, msgspec.Struct):
        return to_plain(value)
    stated: dict[str, object] = {}
    for field in msgspec.structs.fields(value):
        here, inner = join(path, field.name), getattr(value, field.name)
        if inner != _default(field) or here in comments:
            stated[field.name] = _non_default(inner, here, comments)
    return stated


def join(path: str, key: str) -> str:
    """Return the path of a key.

    >>> join("schema", "label"), join("", "schema")
    ('schema.label', 'schema')
    """
    return f"{path}.{key}" if path else key


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _lines(block: Mapping[str, object], path: str, comments: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a block; a comment stands above the key that it speaks of."""
    indent = "  " * (path.count(".") + bool(path))
    for key, value in block.items():
        here = join(path, key)
        if not path:
            yield ""
        if here in comments:
            yield f"{indent}# {comments[here]}"
        if here == "schema.ignored":
            yield f"{indent}{key}:"
            yield from (_ignored(str(name), comments) for name in _items(value))
        elif isinstance(value, Mapping) and value:
            yield f"{indent}{scalar(key)}:"
            yield from _lines(value, here, comments)
        else:
            yield f"{indent}{scalar(key)}: {_value(value)}"


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _ignored(name: str, comments: Mapping[str, str]) -> str:
    return f"    - {scalar(name)}  # {comments[f'schema.ignored.{name}']}"


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(scalar(item) for item in value)}]"
    return "{}" if isinstance(value, Mapping) else scalar(value)


def scalar(value: object) -> str:
    """Return one value on one line of YAML, quoted where it must be.

    >>> scalar("amount"), scalar("no"), scalar("a: b"), scalar(None), scalar(0.5)
    ('amount', "'no'", "'a: b'", 'null', '0.5')
    """
    plain = not isinstance(value, str) or value.isprintable()
    style = None if plain else '"'  # only this style keeps line breaks of every kind on one line
    dumped: str = yaml.safe_dump(
        [value], width=_WIDTH, allow_unicode=plain, default_flow_style=True, default_style=style
    )
    return dumped.strip()[1:-1]


def _one_line(text: str) -> str:
    """Return a comment's text without line breaks and without characters that YAML forbids."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())

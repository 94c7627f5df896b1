"""Read a YAML file of settings; whatever is wrong with it is one sentence with its line.

YAML can express far more than settings need.  Keys are text and unique, nesting and what aliases
repeat are bounded, and a value that its own tag does not fit is refused with its line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from fraud_detection.core.errors import ConfigError

MAX_DEPTH = 50
MAX_BYTES = 32 << 20
MAX_EXPANDED = 100_000
"""Values that aliases may expand to, all together: a few lines could expand to billions."""

MAKE_ONE = "make one with `fraud init --data FILE`, or name another with --config"


def read_yaml(path: Path, advice: str = MAKE_ONE) -> object:
    """Return the content of a YAML file as plain values; raise ConfigError that names the file and the line.

    advice: what to do when there is no such file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: has more than {MAX_BYTES >> 20} MB; a file of settings is smaller")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, origin: str) -> object:
    """Do the same with text that is there already; `origin` names it."""
    try:
        return yaml.load(text, _SettingsLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ConfigError(f"{origin}: is not valid YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    """Say in one sentence what YAML found wrong, and where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} - in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())


class _SettingsLoader(Composer, yaml.CSafeLoader):
    """A SafeLoader with the bounds above; libyaml reads the text, and nodes are composed here and counted."""

    def __init__(self, stream: str) -> None:
        yaml.CSafeLoader.__init__(self, stream)
        Composer.__init__(self)
        self._depth = 0
        self._expanded = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if event is not None and self._depth >= MAX_DEPTH:
            raise _refusal(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent) and node is not None:
            if node.end_mark is None:
                raise _refusal("an alias inside its own anchor", event.start_mark)
            self._expanded += self._size(node)
            if self._expanded > MAX_EXPANDED:
                raise _refusal(f"aliases repeat more than {MAX_EXPANDED:,} values", event.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - yaml's own
        try:
            return super().construct_object(node, deep)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            why = f": {error}" if isinstance(error, ValueError) else ""
            raise _refusal(f"cannot be read as {kind}{why}", node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's own
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key has to be text", key.start_mark)
            if key.value in seen:
                raise _refusal(f"the key `{key.value}` appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _size(self, node: yaml.Node) -> int:
        """Return how many values a node expands to, those of its aliases included."""
        size = self._sizes.get(id(node))
        if size is None:
            children = [] if isinstance(node, yaml.ScalarNode) else node.value
            flat = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
            size = self._sizes[id(node)] = 1 + sum(self._size(child) for child in flat)
        return size


def _refusal(problem: str, mark: Any) -> yaml.constructor.ConstructorError:  # noqa: ANN401 - two kinds of marks
    return yaml.constructor.ConstructorError(None, None, problem, mark)

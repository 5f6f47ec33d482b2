"""YAML text → nodes with their lines, within bounds: no bomb, no tag, no duplicate key.

Built on libyaml's events, so the text of every scalar stays as it was written and its type is
decided by the key it stands for (a label ``1.20`` stays ``1.20``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from ..errors import ConfigError

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 24
_MAX_NODES = 50_000


class Scalar:
    __slots__ = ("line", "plain", "size", "text")

    def __init__(self, line: int, text: str, plain: bool) -> None:
        self.line, self.text, self.plain = line, text, plain
        self.size: int = 1

    @property
    def empty(self) -> bool:
        """Nothing was written, or one of YAML's words for it."""
        return self.plain and self.text in ("", "~", "null")


class Sequence:
    __slots__ = ("items", "line", "size")

    def __init__(self, line: int, items: list[Node]) -> None:
        self.line, self.items = line, items
        self.size: int = 1 + sum(item.size for item in items)


class Mapping:
    """Keys are text; ``lines`` is where each key stands."""

    __slots__ = ("items", "line", "lines", "size")

    def __init__(self, line: int, items: dict[str, Node], lines: dict[str, int]) -> None:
        self.line, self.items, self.lines = line, items, lines
        self.size: int = 1 + sum(item.size for item in items.values())


Node = Scalar | Sequence | Mapping


class DocumentError(Exception):
    """Reading cannot go on."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class _Composer:
    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self.problems: list[DocumentError] = []

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise DocumentError(_line(event), "one document only: remove the second ---")
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        if depth > _MAX_DEPTH:
            raise DocumentError(line, f"nested more than {_MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        if getattr(event, "tag", None) is not None:
            raise DocumentError(line, "YAML tags (!...) are not supported; quote such a value")
        node = self._plain_node(event, line, depth)
        self._count(line, 1)
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
        return node

    def _plain_node(self, event: yaml.Event, line: int, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(line, event.value, not event.style)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(line, depth)
        return self._mapping(line, depth)

    def _alias(self, event: yaml.AliasEvent, line: int) -> Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise DocumentError(line, "an alias (*name) needs its anchor (&name) above it")
        self._count(line, node.size)
        return node

    def _count(self, line: int, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            raise DocumentError(line, f"expands to more than {_MAX_NODES} values (an alias bomb?)")

    def _sequence(self, line: int, depth: int) -> Sequence:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(line, items)

    def _mapping(self, line: int, depth: int) -> Mapping:
        items: dict[str, Node] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                raise DocumentError(key.line, "a key must be a word")
            if key.text in items:
                again = f'key "{shown(key.text)}" stands twice (first: line {lines[key.text]})'
                self.problems.append(DocumentError(key.line, again))
                continue
            items[key.text], lines[key.text] = value, key.line
        return Mapping(line, items, lines)


def compose(text: str) -> tuple[Node | None, list[DocumentError]]:
    """The root node (None for an empty file) and the faults that did not stop the reading.

    Raises ``DocumentError`` for text that is not YAML within the bounds.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise DocumentError(1, "larger than 1 MiB")
    composer = _Composer(text)
    try:
        return composer.document(), composer.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(mark.line + 1 if mark else 1, _reason(error)) from None
    except (yaml.YAMLError, UnicodeError):
        raise DocumentError(1, "not YAML: it contains characters that text cannot") from None


def shown(text: str) -> str:
    """A key for a message: short and printable."""
    return "".join(c if c.isprintable() else "?" for c in text[:60])


def raw(text: str, where: str) -> dict[str, object]:
    """The document as plain data, references unresolved; for writing a changed copy."""
    try:
        node, _ = compose(text)
    except DocumentError as fault:
        raise ConfigError([f"{where}:{fault.line} {fault}"]) from None
    data = None if node is None else _plain(node)
    return data if isinstance(data, dict) else {}


def _plain(node: Node) -> object:
    if isinstance(node, Scalar):
        return None if node.empty else node.text
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    return {key: _plain(value) for key, value in node.items.items()}


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _reason(error: yaml.MarkedYAMLError) -> str:
    """What libyaml says, without what it quotes from the file: that may be a secret."""
    said = error.problem or error.context or "syntax error"
    return "not YAML: " + re.sub(r"'[^']{2,}'", "…", said)

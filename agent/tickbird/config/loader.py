"""Text → :class:`Config`. Every problem is found before any is reported."""

from __future__ import annotations

import difflib
import re
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from ..errors import ConfigError
from . import rules
from .document import MAX_BYTES, DocumentError, Mapping, Node, Scalar, Sequence, compose, shown
from .references import has_reference, resolve
from .schema import Config, TargetConfig
from .units import Secret

NOT_YET: dict[str, str] = {
    "targets[].loop.method=estimated": "the loop is traced or probed as with auto",
}
"""Keys of the contract, or single values of one, without a function in this version, and what
happens instead."""

NO_KEYS = frozenset({"warnings"})
"""Fields of the data classes that are not keys of the file."""

_REMEDY = "see `tickbird config example`; check again with `tickbird config check`"
_BAD = object()


def default() -> Config:
    """What an empty file means."""
    return Config()


def load(path: Path | str) -> Config:
    """Read, parse and check a file. Raises ``ConfigError`` with every problem."""
    return parse(read(path), Path(path).name)


def read(path: Path | str) -> str:
    """The text of a configuration file, at most 1 MiB of it."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [f"{path}: cannot read: {error.strerror}"], "give a file you can read with -c FILE"
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{path}: larger than 1 MiB"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(
            [f"{path}: not UTF-8 text"], "save it as UTF-8, in an editor or by: iconv -t utf-8"
        ) from None


def parse(text: str, where: str = "configuration") -> Config:
    """Parse and check ``text``; ``where`` is how problems name it."""
    reader = _Reader()
    config: Config | None = None
    try:
        root, faults = compose(text)
        reader.problems += [(fault.line, str(fault)) for fault in faults]
        config = reader.config(root)
    except DocumentError as fault:
        reader.problems.append((fault.line, str(fault)))
    if reader.problems or config is None:
        lines = [f"{where}:{line} {problem}" for line, problem in sorted(reader.problems)]
        raise ConfigError(list(dict.fromkeys(lines)), _REMEDY)
    return config


class _Reader:
    """Walks nodes and types side by side, and goes on after every problem."""

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []
        self._warnings: list[str] = []

    def config(self, root: Node | None) -> Config | None:
        if root is None or (isinstance(root, Scalar) and root.empty):
            return Config()
        config = self._value(root, inspect.type_info(Config), "")
        if not isinstance(config, Config):
            return None
        for path, reason in rules.unfit_for_raw(config):
            self._problem(_line(root, *path.split(".")), path, reason)
        collector = config.collector
        if collector is not None and collector.endpoint == "none":
            collector = None
        return msgspec.structs.replace(
            config, collector=collector, warnings=tuple(dict.fromkeys(self._warnings))
        )

    def _problem(self, line: int, path: str, reason: str) -> Any:
        self.problems.append((line, f"{path}: {reason}" if path else reason))
        return _BAD

    def _value(self, node: Node, kind: inspect.Type, path: str) -> Any:
        if isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        if isinstance(kind, inspect.StructType):
            return self._struct(node, kind, path)
        if isinstance(kind, inspect.DictType):
            return self._dict(node, kind, path)
        if isinstance(kind, inspect.VarTupleType):
            return self._tuple(node, kind, path)
        return self._scalar(node, kind, path)

    def _struct(self, node: Node, kind: inspect.StructType, path: str) -> Any:
        if not isinstance(node, Mapping):
            return self._problem(node.line, path, "must be a mapping of keys and values")
        fields = {one.encode_name: one for one in kind.fields if one.encode_name not in NO_KEYS}
        values: dict[str, Any] = {}
        before = len(self.problems)
        for key, value in node.items.items():
            at = f"{path}.{key}" if path else key
            if key not in fields:
                self._unknown(node.lines[key], path, key, fields)
            elif not (isinstance(value, Scalar) and value.empty):
                self._warn(at, value)
                values[key] = self._value(value, fields[key].type, at)
        for key, one in fields.items():
            if one.required and key not in node.items:
                self._problem(node.line, f"{path}.{key}" if path else key, "is missing")
        for line, at, reason in rules.problems_of(kind.cls, node, path):
            self._problem(line, at, reason)
        return _BAD if len(self.problems) > before else kind.cls(**values)

    def _unknown(self, line: int, path: str, key: str, fields: dict[str, Any]) -> None:
        at = f"{path}.{shown(key)}" if path else shown(key)
        if key == "<<":
            self._problem(line, at, "merge keys are not supported; write the values out")
            return
        near = difflib.get_close_matches(key[:60].lower(), fields, n=1, cutoff=0.5)
        hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(fields)}"
        self._problem(line, at, f"unknown key; {hint}")

    def _warn(self, path: str, node: Node) -> None:
        pattern = re.sub(r"\[\d+\]", "[]", path)
        value = f"={node.text}" if isinstance(node, Scalar) else ""
        for suffix in ("", value):
            if instead := NOT_YET.get(pattern + suffix):
                told = f"{path}{suffix.replace('=', ': ')}"
                self._warnings.append(f"{told} has no effect in this version: {instead}")

    def _dict(self, node: Node, kind: inspect.DictType, path: str) -> Any:
        if not isinstance(node, Mapping):
            return self._problem(node.line, path, "must be a mapping of keys and values")
        read = {}
        for key, value in node.items.items():
            at = f"{path}.{shown(key)}"
            if reason := rules.bad_key(path, key, value):
                self._problem(node.lines[key], at, reason)
            else:
                read[key] = self._value(value, kind.value_type, at)
        return read

    def _tuple(self, node: Node, kind: inspect.VarTupleType, path: str) -> Any:
        if isinstance(node, Scalar) and path == "redact.patterns" and node.text in rules.WORDS:
            return rules.WORDS[node.text]
        if not isinstance(node, Sequence):
            return self._problem(node.line, path, "must be a list; write it as [one, two]")
        return tuple(
            self._value(item, kind.item_type, f"{path}[{n}]") for n, item in enumerate(node.items)
        )

    def _scalar(self, node: Node, kind: inspect.Type, path: str) -> Any:
        if not isinstance(node, Scalar):
            what = "a list" if isinstance(node, Sequence) else "a mapping"
            return self._problem(node.line, path, f"must be one value, not {what}")
        try:
            value = _convert(resolve(node.text), kind)
            if isinstance(value, Secret) and has_reference(node.text):
                return Secret(value.reveal(), partial(resolve, node.text))
            return value
        except ValueError as error:
            whence = " (in the value of the reference)" if has_reference(node.text) else ""
            return self._problem(node.line, path, f"{error}{whence}")


def _line(node: Node, *keys: str) -> int:
    """Where the innermost of nested ``keys`` stands that there is."""
    for key in keys:
        if isinstance(node, Mapping) and key in node.items:
            node = node.items[key]
    return node.line


def _convert(text: str, kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.Metadata) and kind.extra:
        return kind.extra["read"](text)
    if isinstance(kind, inspect.LiteralType):
        if text not in kind.values:
            near = difflib.get_close_matches(text[:60].lower(), map(str, kind.values), n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(f"must be one of {', '.join(map(str, kind.values))}{hint}")
        return text
    if isinstance(kind, inspect.BoolType):
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    raise TypeError(f"no reader for {kind}")


__all__ = ["NOT_YET", "TargetConfig", "default", "load", "parse", "read"]

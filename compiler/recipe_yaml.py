"""YAML text as a tree with positions, and data as YAML text.

Scalars follow the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3), as editors do: ``off`` is
text and ``1e-3`` is a number. Text from elsewhere is data: only the core tags are known, and size, depth
and the number of nodes after aliases are expanded are limited.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar, NoReturn

import yaml

from tamis.compiler.errors import RecipeError
from tamis.compiler.recipe_tree import MAX_DEPTH, Scalar, Tree, describe

MAX_BYTES = 1_000_000
MAX_NODES = 20_000

CORE_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
"""Core schema: type -> what a plain scalar of that type looks like; anything else is text."""

TAG = "tag:yaml.org,2002:"
SCALARS = {TAG + name for name in (*CORE_SCALARS, "str")}


def parse(text: str, origin: str) -> Tree:
    """Read YAML text that holds one mapping.

    Args:
        text: The whole file.
        origin: Name of the file, for positions.

    Raises:
        RecipeError: Not YAML, not one mapping, a duplicate key, a tag beyond the core ones, a non-finite
            number, or too large, too deep or too many nodes.
    """
    tree = parse_value(text, origin)
    if tree.value is None:
        raise RecipeError("the recipe is empty", where=origin, expected="a mapping that starts with 'version: 1'")
    if not isinstance(tree.value, dict):
        raise RecipeError(
            "this is not a recipe", where=tree.where, expected="a mapping (key: value)", found=describe(tree.plain())
        )
    return tree


def parse_value(text: str, origin: str, *, where: str | None = None) -> Tree:
    """Read YAML text that holds one value of any kind; ``where`` replaces the positions in it.

    Raises:
        RecipeError: As in ``parse``, but for the kind of the value.
    """
    reader = _Reader(origin, where)
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reader.refuse(mark, f"this is not valid YAML: {error.problem or error.context}", fix=_yaml_fix(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        place = where or f"{origin}:{line}:{error.position - text.rfind(chr(10), 0, error.position)}"
        raise RecipeError(
            "a character that YAML does not allow", where=place, found=f"U+{error.character:04X}"
        ) from error
    except (ValueError, OverflowError) as error:
        raise RecipeError(f"this is not valid YAML: {error}", where=where or origin) from error
    if node is None:
        return Tree(None, where or f"{origin}:1:1")
    return reader.convert(node, 0)


def _yaml_fix(error: yaml.MarkedYAMLError) -> str | None:
    if r"'\t'" in (error.problem or ""):
        return "indent with spaces, not tabs"
    if "expected a single document" in (error.context or ""):
        return "keep one document per file"
    return None


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the core scalars of YAML 1.2, stopping at the limits while it reads."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_NODES:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=_limit(self._depth), problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class Dumper(yaml.SafeDumper):
    """PyYAML's writer, without aliases, quoting text that YAML 1.1 or 1.2 would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Line breaks that are not ``\\n`` must be escaped: elsewhere than in double quotes they become blanks."""
        style = '"' if any(mark in data for mark in "\r\x85\u2028\u2029") else None
        return self.represent_scalar(f"{TAG}str", data, style=style)


Dumper.add_representer(str, Dumper.represent_text)

for _name, _pattern in CORE_SCALARS.items():
    _Loader.add_implicit_resolver(TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)
    Dumper.add_implicit_resolver(TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)


def _limit(depth: int) -> str:
    return f"more than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"


class _Reader:
    """Turns PyYAML nodes into a ``Tree``, expanding aliases."""

    def __init__(self, origin: str, where: str | None) -> None:
        self._origin = origin
        self._where = where
        self._count = 0

    def position(self, mark: yaml.Mark | None) -> str:
        return self._where or (f"{self._origin}:{mark.line + 1}:{mark.column + 1}" if mark else self._origin)

    def refuse(self, mark: yaml.Mark | None, message: str, **parts: str | None) -> NoReturn:
        raise RecipeError(message, where=self.position(mark), **parts)

    def convert(self, node: yaml.Node, depth: int, key_where: str = "") -> Tree:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            fix = "use fewer aliases"
            self.refuse(node.start_mark, "the recipe is too large", found=f"{_limit(depth)} after aliases", fix=fix)
        value: dict[str, Tree] | list[Tree] | Scalar
        if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
            value = self._mapping(node, depth)
        elif isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
            value = [self.convert(item, depth + 1) for item in node.value]
        elif isinstance(node, yaml.ScalarNode) and node.tag in SCALARS:
            value = self._scalar(node)
        else:
            tag = node.tag.replace(TAG, "!!")
            self.refuse(
                node.start_mark, f"the tag {tag} is not allowed here", fix="remove the tag: a recipe is plain data"
            )
        return Tree(value, self.position(node.start_mark), key_where)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Tree]:
        entries: dict[str, Tree] = {}
        for key_node, child in node.value:
            place = self.position(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != TAG + "str":
                fix = "put quotes around a key that looks like a number or a word such as true"
                self.refuse(key_node.start_mark, "a key must be a name", found=_node_text(key_node), fix=fix)
            key = self._text(key_node)
            if key in entries:
                found = f"it is first given at {entries[key].key_where}"
                self.refuse(
                    key_node.start_mark, f"the key {key!r} is given twice", found=found, fix="remove one of the two"
                )
            entries[key] = self.convert(child, depth + 1, place)
        return entries

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        kind = node.tag.removeprefix(TAG)
        if kind == "str":
            return self._text(node)
        if not re.fullmatch(CORE_SCALARS[kind], node.value):
            self.refuse(node.start_mark, f"the tag !!{kind} does not fit its value", found=repr(node.value[:40]))
        if kind == "null":
            return None
        if kind == "bool":
            return bool(node.value.lower() == "true")
        return self._int(node) if kind == "int" else self._float(node)

    def _int(self, node: yaml.ScalarNode) -> int:
        base = {"0x": 16, "0o": 8}.get(node.value[:2], 10)
        if len(node.value) > 24 or abs(number := int(node.value, base)) >= 2**63:
            self.refuse(node.start_mark, "the number is too large", expected="at most 63 bits", found=node.value[:40])
        return number

    def _float(self, node: yaml.ScalarNode) -> float:
        number = float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            self.refuse(node.start_mark, "the number is not finite", found=node.value[:40])
        return number

    def _text(self, node: yaml.ScalarNode) -> str:
        text = _joined(node.value)
        if text is None or "\0" in text:
            self.refuse(node.start_mark, "a character that is not allowed in a recipe", found=repr(node.value[:40]))
        return text


def _joined(text: str) -> str | None:
    """The text with pairs of surrogates (JSON's escapes of rare characters) joined; None if one has no partner."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def _node_text(node: yaml.Node) -> str:
    return repr(node.value[:40]) if isinstance(node, yaml.ScalarNode) else "a list or a mapping"

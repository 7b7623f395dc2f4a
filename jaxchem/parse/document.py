"""JSON and YAML as a tree whose every part knows its file and line.

Built from the parser's events, not by a loader: no tag is obeyed, no alias followed, and a scalar
stays the text that it was, so that nothing in a file can run, expand or recurse.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Collection

import yaml

from ..network import MechanismError
from .common import LARGEST, fail, lined

__all__ = ["Node", "has_key", "read"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where it is there: 30 times faster."""
_DEEPEST, _MOST_PARTS = 20, 1_500_000
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Node:
    """A scalar as its text, a sequence or a mapping, and where it stands."""

    value: "str | list[Node] | dict[str, Node]"
    filename: str
    line: int

    @property
    def where(self) -> str:
        """File and line, for `Reaction.where`."""
        return f"{self.filename}, line {self.line}"

    def fail(self, message: str) -> MechanismError:
        """The error about this place; to be raised."""
        return fail(self.filename, self.line, message)

    def put(self, value: "str | list[Node] | dict[str, Node]") -> "Node":
        """Another value in the same place."""
        return Node(value, self.filename, self.line)

    def text(self) -> str:
        """The scalar's text."""
        if not isinstance(self.value, str):
            raise self.fail("one word or number belongs here, not a list or a mapping")
        return self.value

    def number(self) -> float:
        """The scalar as a finite number."""
        text = self.text()
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value):
            raise self.fail(f"{text[:40]!r} is not a finite number")
        return value

    def flag(self) -> bool:
        """The scalar as true or false."""
        text = self.text().lower()
        if text not in ("true", "false"):
            raise self.fail(f"{text[:40]!r}: write true or false")
        return text == "true"

    def items(self) -> "list[Node]":
        """The parts of a sequence."""
        if not isinstance(self.value, list):
            raise self.fail("a list belongs here")
        return self.value

    def mapping(self) -> "dict[str, Node]":
        """The entries of a mapping whose keys are no comments (do not begin with ``__``)."""
        if not isinstance(self.value, dict):
            raise self.fail("a mapping of keys to values belongs here")
        return {k: node for k, node in self.value.items() if not k.startswith("__")}

    def fields(self, known: Collection[str], required: Collection[str] = ()) -> "dict[str, Node]":
        """The entries of a mapping with these keys.

        Raises:
            MechanismError: a key that is not `known`, with the nearest one, or one that is
                `required` and missing.
        """
        found = self.mapping()
        for key, node in found.items():
            if key not in known:
                near = difflib.get_close_matches(key[:80], known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise node.fail(f"unknown key {key[:80]!r}; {hint} (comments begin with '__')")
        for key in required:
            self.get(key)
        return found

    def get(self, key: str) -> "Node":
        """The value of a key of a mapping that must be there."""
        if key not in (found := self.mapping()):
            raise self.fail(f"the key {key!r} is missing; add it")
        return found[key]


def has_key(text: str, key: str) -> bool:
    """Whether a text has a key: at the beginning of a line, or in JSON."""
    return re.search(rf"""^["']?{key}["']?[ ]*:|[{{,]\s*"{key}"\s*:""", text, re.M) is not None


def read(text: str, filename: str) -> Node:
    """Reads one JSON or YAML document.

    Raises:
        MechanismError: text that is neither, aliases, keys given twice, more than 20 levels,
            20 million characters or 1.5 million words, lists and mappings.
    """
    if len(text) > LARGEST:
        raise fail(filename, 1, f"{len(text)} characters; {LARGEST} is the most that is read")
    text = lined(text)
    place, above = 0, 1

    def line_of(mark: yaml.Mark) -> int:
        """As editors count lines; YAML's own count has one more at the end, and at U+2028."""
        nonlocal place, above
        if mark.index < place:
            place, above = 0, 1
        place, above = mark.index, above + text.count("\n", place, mark.index)
        return above

    parts = 0
    root: Node | None = None
    open_nodes: list[Node] = []
    keys: list[str | None] = []  # of each open node, the key whose value comes next
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            line = line_of(event.start_mark)
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                open_nodes.pop()
                keys.pop()
                continue
            if isinstance(event, yaml.ScalarEvent):
                node = Node(event.value, filename, line)
            elif isinstance(event, yaml.MappingStartEvent):
                node = Node({}, filename, line)
            elif isinstance(event, yaml.SequenceStartEvent):
                node = Node([], filename, line)
            elif isinstance(event, yaml.AliasEvent):
                raise fail(filename, line, "aliases ('*name') are not read; write the value out")
            elif isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise fail(filename, line, "a second document; only one is read")
            else:
                continue
            parts += 1
            if parts > _MOST_PARTS:
                what = "words, lists and mappings"
                raise node.fail(f"more than {_MOST_PARTS} {what}; leave out what is of no account")
            if not open_nodes:
                root = node
            elif isinstance(parent := open_nodes[-1].value, list):
                parent.append(node)
            elif isinstance(parent, dict) and (key := keys[-1]) is not None:
                parent[key], keys[-1] = node, None
            elif not isinstance(node.value, str):
                raise node.fail("a key must be a word")
            elif node.value in parent:
                raise node.fail(f"the key {node.value[:80]!r} is given twice; drop one")
            else:
                keys[-1] = node.value
                continue
            if not isinstance(node.value, str):
                open_nodes.append(node)
                keys.append(None)
                if len(open_nodes) > _DEEPEST:
                    raise node.fail(f"nested more than {_DEEPEST} deep")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise fail(
            filename, line_of(mark) if mark else 1, f"neither JSON nor YAML: {error.problem}"
        ) from None
    except (yaml.YAMLError, UnicodeError) as error:
        place = getattr(error, "position", getattr(error, "start", 0))
        line = text.count("\n", 0, place) + 1
        raise fail(filename, line, "neither JSON nor YAML: a character that may not be") from None
    if root is None:
        raise fail(filename, 1, "nothing stands in it")
    return root

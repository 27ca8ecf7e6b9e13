"""XML of strangers as a plain tree: no document types, no entities of its own, no depth without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.reasons import Reason

MAX_DEPTH = 64


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        tag: its name.
        text: all text directly in it.
        children: elements in it, in order.
    """

    tag: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Element]:
        """The children of that name."""
        return (child for child in self.children if child.tag == tag)

    def said(self, *path: str) -> str:
        """Text of the first element down that path without white space around it, "" when there is none."""
        found: Element | None = self
        for tag in path:
            found = next(found.all(tag), None) if found is not None else None
        return found.text.strip() if found is not None else ""


def parse_xml(data: bytes) -> Element:
    """The root element.

    Raises:
        ItemFault: `schema`: no XML, a document type or entity declaration, or more than 64 levels.
    """
    root = Element("")
    path = [root]

    def refuse(*_: Any) -> None:
        raise ItemFault(Reason.SCHEMA, "XML with a document type or entities of its own is refused")

    def start(tag: str, _attributes: Any) -> None:
        if len(path) > MAX_DEPTH:
            raise ItemFault(Reason.SCHEMA, f"XML deeper than {MAX_DEPTH} levels")
        path[-1].children.append(Element(tag))
        path.append(path[-1].children[-1])

    def end(_tag: str) -> None:
        path.pop()

    def text(part: str) -> None:
        path[-1].text += part

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        if isinstance(error, ItemFault):
            raise
        raise ItemFault(Reason.SCHEMA, f"no XML: {error}") from None
    return root.children[0]

"""matplotlib's SVG made fit for a page with a strict policy: no styles, no links to elsewhere, the page's colours."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from adaptkit.evidence.results import Rung

__all__ = ["GRID", "INK", "MUTED", "RUNG_COLOUR", "SURFACE", "inline"]

# Colours that stand for roles until the page's style sheet gives each its colour, by day and by night.
INK, MUTED, GRID, SURFACE = "#000001", "#000002", "#000003", "#000004"
RUNG_COLOUR: dict[Rung, str] = {"none": "#000011", "prompt": "#000012", "fine-tune": "#000013", "train": "#000014"}
_ROLES = {INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "surface"} | {
    colour: rung for rung, colour in RUNG_COLOUR.items()
}
#: What a style may say that an attribute can say as well; fonts are the page's.
_KEPT = {
    "fill", "fill-opacity", "font-size", "font-weight", "opacity", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor",
}  # fmt: skip
_REFERENCE = re.compile(r"url\(#([\w.-]+)\)")


def inline(svg: bytes, prefix: str, title: str, description: str) -> str:
    """The drawing as an element of a page, named and described for those who cannot see it.

    Its ids start with `prefix`, so that two drawings do not mix theirs up.
    """
    root = ET.fromstring(svg)  # noqa: S314 - what matplotlib has just written
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        if element.tag != "text":
            element.text = None
        old = dict(element.attrib)
        element.attrib.clear()
        for name, value in old.items():
            _set(element, name.rpartition("}")[2], value, prefix)
    for group in list(root.iter("defs")):
        for style in group.findall("style"):
            group.remove(style)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-labelledby": f"{prefix}title {prefix}desc", "focusable": "false"})
    for place, (name, words) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(name, {"id": prefix + name})
        element.text = words
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _set(element: ET.Element, name: str, value: str, prefix: str) -> None:
    if name == "style":
        for rule in value.split(";"):
            key, _, said = (part.strip() for part in rule.partition(":"))
            if key in _KEPT:
                _colour(element, key, said)
    elif name == "id":
        element.set("id", prefix + value)
    elif name == "href":
        element.set("href", value.replace("#", f"#{prefix}", 1))
    else:
        element.set(name, _REFERENCE.sub(rf"url(#{prefix}\1)", value))


def _colour(element: ET.Element, key: str, said: str) -> None:
    """Colours become classes, ``f-`` for what is filled and ``k-`` for lines."""
    role = _ROLES.get(said)
    if role is None:
        element.set(key, said)
    else:
        classes = [element.get("class", ""), f"{'f' if key == 'fill' else 'k'}-{role}"]
        element.set("class", " ".join(filter(None, classes)))

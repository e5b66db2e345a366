"""What a report says, as values: sections of words, tables, plots and examples that the page and its twin both show."""

from __future__ import annotations

from dataclasses import dataclass

from adaptkit.evidence.results import Interval, Rung

__all__ = [
    "Advice",
    "Because",
    "Block",
    "Curve",
    "Curves",
    "Document",
    "Drawing",
    "Example",
    "Examples",
    "Facts",
    "Given",
    "Ladder",
    "Paragraph",
    "Plot",
    "Point",
    "Quoted",
    "Scatter",
    "Section",
    "Table",
    "Tile",
    "Told",
    "Words",
    "heads",
    "plain",
]


@dataclass(frozen=True)
class Quoted:
    """Text that others wrote: a model, a user's data, the name of a model. Never markup, wherever it is shown.

    ``length`` is how many characters there were before it was cut, ``None`` if it is whole.
    """

    text: str
    length: int | None = None


@dataclass(frozen=True)
class Told:
    """A sentence that adaptkit wrote for this comparison, and in which there may be words of others."""

    text: str


#: A line of text: the report's own words, what it was told, and what it quotes.
Words = tuple[str | Told | Quoted, ...]


def plain(words: Words) -> str:
    """The same without the distinction, for where no markup can be."""
    return "".join(part if isinstance(part, str) else part.text for part in words)


def heads(*names: str) -> tuple[Words, ...]:
    """Names of columns that are the report's own."""
    return tuple((name,) for name in names)


@dataclass(frozen=True)
class Paragraph:
    """Some sentences; what ``quiet`` says helps to read the rest."""

    words: Words
    quiet: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    items: tuple[tuple[str, Words], ...]


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first cell names its row.

    Attributes:
        caption: What it shows.
        head: Names of the columns.
        rows: The cells.
        figures: The columns that hold figures.
        marks: For each cell how it is shaded, such as ``right-3``; empty for none.
        closed: Whether it only repeats what a plot shows, and is opened by those who want it.
    """

    caption: Words
    head: tuple[Words, ...]
    rows: tuple[tuple[Words, ...], ...]
    figures: frozenset[int] = frozenset()
    marks: tuple[tuple[str, ...], ...] = ()
    closed: bool = False


@dataclass(frozen=True)
class Point:
    """One model in a plot; ``x`` is money or seconds, where it is placed by those too."""

    name: Words
    rung: Rung
    score: Interval
    x: float = 0.0


@dataclass(frozen=True)
class Ladder:
    """Scores with intervals, one model below the other."""

    points: tuple[Point, ...]


@dataclass(frozen=True)
class Scatter:
    """Scores over what they cost: ``unit`` is ``usd`` for a thousand answers, or ``seconds`` for one."""

    points: tuple[Point, ...]
    unit: str


@dataclass(frozen=True)
class Curve:
    """Loss of one training over its steps."""

    name: Words
    rung: Rung
    losses: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Curves:
    """Losses of several trainings."""

    curves: tuple[Curve, ...]


Drawing = Ladder | Scatter | Curves


@dataclass(frozen=True)
class Plot:
    """A drawing, what it shows in words, and its figures as a table for those who cannot see it."""

    name: str
    title: str
    description: str
    drawing: Drawing
    table: Table


@dataclass(frozen=True)
class Given:
    """What one model answered: no text where there was an error, which ``remark`` then tells."""

    name: Words
    rung: Rung
    text: Quoted | None
    score: float
    remark: Words = ()


@dataclass(frozen=True)
class Example:
    """A question and what became of it."""

    number: int
    question: Quoted
    expected: Quoted
    change: str
    given: tuple[Given, ...]


@dataclass(frozen=True)
class Examples:
    """Examples under a heading."""

    title: str
    lead: Words
    items: tuple[Example, ...]


Block = Paragraph | Facts | Table | Plot | Examples


@dataclass(frozen=True)
class Section:
    """A part of the report; ``name`` is what a link to it says after the #."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """One of the few figures at the top."""

    label: str
    value: str
    remark: Words = ()


@dataclass(frozen=True)
class Because:
    """What speaks for a rung, or where there is none for measuring first, and where that comes from."""

    fact: Words
    source: Words
    speaks_for: Rung | None


@dataclass(frozen=True)
class Advice:
    """A recommendation; ``expected`` is the gain that it promises, in words."""

    verdict: str
    expected: str
    reasons: tuple[Because, ...]
    would_change: tuple[Words, ...]
    facts: tuple[tuple[str, Words], ...]


@dataclass(frozen=True)
class Document:
    """The whole report: ``headline`` is what to do where there is advice, else what was found."""

    title: str
    headline: Words
    lead: tuple[Words, ...]
    made: str
    tiles: tuple[Tile, ...]
    advice: Advice | None
    warnings: tuple[Words, ...]
    sections: tuple[Section, ...]

"""Drawings as SVG that lives inside a page: matplotlib draws, text stays text, colours are the page's own."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from adaptkit.evidence.report.document import Curves, Ladder, Plot, Point, Scatter, plain
from adaptkit.evidence.report.svg import GRID, INK, MUTED, RUNG_COLOUR, SURFACE, inline
from adaptkit.evidence.report.words import money, percent, seconds
from adaptkit.evidence.results import Rung

__all__ = ["NARROW", "WIDE", "Size", "draw"]

#: matplotlib's, which differ in shape so that nothing hangs on colour alone.
_MARKERS: dict[Rung, str] = {"none": "o", "prompt": "s", "fine-tune": "^", "train": "D"}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
#: Points of a curve that are drawn at most.
_MOST_POINTS = 400


@dataclass(frozen=True)
class Size:
    """Width of a drawing and size of its type, in pixels; letters of a name that fit."""

    width: int
    type: float
    letters: int


WIDE = Size(760, 13, 34)
NARROW = Size(340, 12, 20)


def draw(plot: Plot, size: Size) -> str:
    """A plot's drawing as an SVG element."""
    drawing = plot.drawing
    with _canvas(size) as new:
        if isinstance(drawing, Ladder):
            figure = _ladder(drawing, size, new)
        elif isinstance(drawing, Scatter):
            figure = _scatter(drawing, size, new)
        else:
            figure = _curves(drawing, size, new)
        figure.patch.set_visible(False)
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return inline(written.getvalue(), f"{plot.name}-{size.width}-", plot.title, plot.description)


@contextmanager
def _canvas(size: Size) -> Iterator[Callable[[float], Any]]:
    """Figures that look the same whatever the user's settings are."""
    settings = {
        **{name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")},
        "svg.fonttype": "none",
        "svg.hashsalt": "adaptkit",
        "text.parse_math": False,
        "font.size": size.type,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's fonts show it, not ours
        yield lambda height: Figure(figsize=(size.width / 72, height / 72), dpi=72)


def _axes(figure: Any, left: float, right: float, bottom: float, top: float) -> Any:
    """Axes with margins in pixels, and nothing but a grid."""
    width, height = (72 * side for side in figure.get_size_inches())
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    axes.tick_params(length=0, colors=MUTED, pad=6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


# drawings ---------------------------------------------------------------------------------------------------------


def _ladder(drawing: Ladder, size: Size, new: Callable[[float], Any]) -> Any:
    row = 50
    count = len(drawing.points)
    figure = new(row * count + 34)
    axes = _axes(figure, 8, 8, 30, 4)
    low, high = _range(drawing.points)
    axes.set_xlim(low, high)
    axes.set_ylim(count * row, 0)
    axes.set_yticks([])
    _percent_ticks(axes.xaxis, low, high)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=1)
    for place, point in enumerate(drawing.points):
        top, middle = place * row + 18, place * row + 35
        colour = RUNG_COLOUR[point.rung]
        score = point.score
        axes.plot([low, high], [middle, middle], color=GRID, linewidth=1, zorder=1)
        axes.plot(_inside(score.low, score.high), [middle, middle], color=colour, linewidth=7, alpha=0.35, zorder=2)
        axes.plot(
            [score.value], [middle], _MARKERS[point.rung], color=colour, markersize=11, markeredgecolor=SURFACE,
            markeredgewidth=1.5, zorder=3, clip_on=False,
        )  # fmt: skip
        name = axes.text(0, top, _short(plain(point.name), size.letters), color=INK, va="baseline", fontweight="bold")
        name.set_transform(axes.get_yaxis_transform())
        value = axes.text(1, top, percent(score.value), color=INK, ha="right", va="baseline", fontweight="bold")
        value.set_transform(axes.get_yaxis_transform())
    return figure


def _scatter(drawing: Scatter, size: Size, new: Callable[[float], Any]) -> Any:
    figure = new(390 if size is WIDE else 340)
    axes = _axes(figure, 46, 14, 48, 24)
    low, high = _range(drawing.points)
    axes.set_ylim(low, high)
    _percent_ticks(axes.yaxis, low, high)
    said = money if drawing.unit == "usd" else seconds
    _place(axes, [point.x for point in drawing.points], said, size)
    axes.grid(visible=True, color=GRID, linewidth=1)
    label = "price of 1,000 answers" if drawing.unit == "usd" else "half of the answers are complete within"
    axes.set_xlabel(label, color=MUTED, labelpad=8)
    front = _front(drawing.points)
    axes.plot([p.x for p in front], [p.score.value for p in front], "--", color=MUTED, linewidth=1, zorder=1)
    for point in drawing.points:
        colour = RUNG_COLOUR[point.rung]
        axes.plot([point.x] * 2, _inside(point.score.low, point.score.high), color=colour, linewidth=5, alpha=0.35)
        axes.plot(
            [point.x], [point.score.value], _MARKERS[point.rung], color=colour, markersize=11, markeredgecolor=SURFACE,
            markeredgewidth=1.5, zorder=3,
        )  # fmt: skip
    _name_points(axes, drawing.points, size)
    return figure


def _curves(drawing: Curves, size: Size, new: Callable[[float], Any]) -> Any:
    key = 20 * len(drawing.curves)
    figure = new((300 if size is WIDE else 260) + key)
    axes = _axes(figure, 46, 14, 48, 14 + key)
    axes.grid(visible=True, color=GRID, linewidth=1)
    axes.set_xlabel("step", color=MUTED, labelpad=8)
    for place, curve in enumerate(drawing.curves):
        kept = curve.losses[:: max(1, math.ceil(len(curve.losses) / _MOST_POINTS))]
        kept = kept if kept[-1] == curve.losses[-1] else (*kept, curve.losses[-1])
        colour, dash = RUNG_COLOUR[curve.rung], _DASHES[place % len(_DASHES)]
        marker = _MARKERS[curve.rung] if len(kept) == 1 else ""
        axes.plot(
            [step for step, _ in kept],
            [loss for _, loss in kept],
            marker=marker,
            color=colour,
            linestyle=dash,
            linewidth=2,
        )
        height = 72 * figure.get_size_inches()[1]
        at = 1 - (12 + 20 * place) / height
        ends = [8 / size.width, 38 / size.width]
        figure.add_artist(Line2D(ends, [at, at], color=colour, linestyle=dash, linewidth=2))
        name = _short(plain(curve.name), size.letters + 4)
        figure.text(46 / size.width, at, name, color=INK, va="center")
    lowest, highest = (end(loss for curve in drawing.curves for _, loss in curve.losses) for end in (min, max))
    axes.set_ylim(min(0.0, lowest), highest * 1.05 if highest > 0 else 1)
    _few_ticks(axes, size)
    return figure


# axes -------------------------------------------------------------------------------------------------------------


def _range(points: tuple[Point, ...]) -> tuple[float, float]:
    """From and to which score: as little as shows everything, in tenths, and at least three of them."""
    seen = [
        end for point in points for end in (point.score.low, point.score.high, point.score.value) if math.isfinite(end)
    ]
    low = math.floor(10 * min(seen, default=0) - 0.3) / 10
    high = math.ceil(10 * max(seen, default=1) + 0.3) / 10
    low, high = max(0.0, low), min(1.0, high)
    while high - low < 0.3:
        low, high = max(0.0, low - 0.1), min(1.0, high + 0.1)
    return low - 0.012, high + 0.012


def _percent_ticks(axis: Any, low: float, high: float) -> None:
    step = 1 if high - low < 0.55 else 2
    tenths = [tenth for tenth in range(0, 11, step) if low <= tenth / 10 <= high]
    axis.set_ticks([tenth / 10 for tenth in tenths], [f"{10 * tenth}%" for tenth in tenths])


def _place(axes: Any, xs: list[float], said: Callable[[float], str], size: Size) -> None:
    """From nothing on; by orders of magnitude where a linear axis would press most of it against the left."""
    if min(xs) > 0 and max(xs) / min(xs) > 20:
        axes.set_xscale("log")
        low, high = min(xs) / 2.2, max(xs) * 2.2
        axes.set_xlim(low, high)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(-0.06 * max(xs), 1.18 * max(xs))
        axes.xaxis.set_major_locator(MaxNLocator(5 if size is WIDE else 3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: said(x) if x >= 0 else ""))
    axes.minorticks_off()


def _few_ticks(axes: Any, size: Size) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(8 if size is WIDE else 4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))


def _front(points: tuple[Point, ...]) -> list[Point]:
    """Those that nothing beats in both, from the cheapest on."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.x, -each.score.value)):
        if not kept or point.score.value > kept[-1].score.value:
            kept.append(point)
    return kept


def _name_points(axes: Any, points: tuple[Point, ...], size: Size) -> None:
    """Names beside their points, where they cover neither a point nor another name."""
    to_pixels = axes.transData.transform
    spots = [tuple(to_pixels((point.x, point.score.value))) for point in points]
    (_, bottom), (_, top) = axes.transAxes.transform([(0, 0), (1, 1)])
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    for point, (x, _) in zip(points, spots, strict=True):
        low, high = (to_pixels((point.x, end))[1] for end in _inside(point.score.low, point.score.high))
        taken.append((x - 4, low, x + 4, high))
    for point, (x, y) in zip(points, spots, strict=True):
        text = _short(plain(point.name), size.letters)
        wide, tall = size.type * _width(text), size.type
        heights = (9, -9 - tall, 24, -24 - tall, 39, -39 - tall)
        corners = [(left, y + away) for left in (x + 11, x - 11 - wide) for away in heights]
        held = [(min(max(left, 4), size.width - 4 - wide), min(max(at, bottom), top - tall)) for left, at in corners]
        boxes = [(left, at, left + wide, at + tall) for left, at in held]
        box = min(boxes, key=lambda each: sum(_overlap(each, other) for other in taken))
        taken.append(box)
        side, at = ("left", box[0]) if box[0] > x else ("right", box[2])
        axes.annotate(text, (at, box[1]), xycoords="figure pixels", ha=side, va="bottom", color=INK, zorder=4)


def _width(text: str) -> float:
    """Of a line, in heights of its type, rather too much than too little: the reader's fonts are not known here."""
    return sum(1.0 if east_asian_width(letter) in "WF" or letter in "MW" else 0.6 for letter in text)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall)


def _inside(low: float, high: float) -> list[float]:
    return [max(0.0, low), min(1.0, high)]


def _short(name: str, letters: int) -> str:
    if len(name) <= letters:
        return name
    tail = letters // 3
    return f"{name[: letters - 1 - tail]}…{name[-tail:]}"

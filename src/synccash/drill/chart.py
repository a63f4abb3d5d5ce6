"""Draws a drill on one time axis as inline SVG: faults, breakers, orders and latencies. Pure.

Colours are those of Okabe and Ito, which readers with a colour deficiency can tell apart.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from html import escape
from math import ceil

from synccash.drill.timeline import (
    CLOSED,
    BreakerSpan,
    DrillTimeline,
    FaultSpan,
    percentile,
)

WIDTH, _LEFT, _RIGHT = 1080, 168, 16
_LANE, _PLOT, _GAP = 18, 92, 42
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
_BUCKETS = 90
_LETTER = 5.6
"""The width of a letter of a fault's name, in pixels."""
_RED, _ORANGE, _GREEN, _BLUE, _GREY = "#d55e00", "#e69f00", "#009e73", "#0072b2", "#9aa3ad"
_STATUS_COLOURS = {"succeeded": _GREEN, "failed": _RED, "canceled": _GREY, "open": _ORANGE}
_BREAKER_COLOURS = {CLOSED: "#cfe8de", "half_open": _ORANGE, "open": _RED, "forced_open": "#000000"}


def chart(timeline: DrillTimeline, *, latency_max_s: float | None = None) -> str:
    """Return the drill as one SVG element. `latency_max_s`: the top of the scales of times, so that two
    charts can be compared."""
    axis = _Axis(max(timeline.seconds, 1.0))
    bucket_s = axis.bucket_s
    parts: list[str] = []
    y = 26.0
    for title, drawn, height in (
        _faults(axis, timeline.faults),
        _breakers(axis, timeline.breakers),
        _orders(axis, timeline),
        _latencies(
            axis,
            "Time until the API accepted an order",
            [(one.at_s, one.seconds) for one in timeline.requests if one.seconds is not None],
            latency_max_s,
        ),
        _latencies(
            axis,
            "Time until a payment ended",
            [
                (one.at_s, one.end_after_s)
                for one in timeline.orders
                if one.kind == "payment" and one.end_after_s is not None
            ],
            None,
        ),
    ):
        parts.append(f'<text class="title" x="0" y="{y - 12:.0f}">{escape(title)}</text>')
        parts.append(f'<g transform="translate(0 {y:.0f})">{axis.grid(height)}{drawn}</g>')
        y += height + _GAP
    parts.append(axis.labels(y - _GAP + 16))
    label = f"The drill on one time axis; one column is {bucket_s:g} s"
    return (
        f'<svg viewBox="0 -4 {WIDTH} {y + 4:.0f}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


class _Axis:
    """The time axis: seconds to pixels."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.tick_s = next((tick for tick in _TICKS_S if seconds / tick <= 16), ceil(seconds / 16))
        self.bucket_s = max(1.0, float(ceil(seconds / _BUCKETS)))

    def x(self, at_s: float) -> float:
        share = max(0.0, min(1.0, at_s / self.seconds))
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[int]:
        return list(range(0, int(self.seconds) + 1, self.tick_s))

    def grid(self, height: float) -> str:
        return "".join(
            f'<line class="grid" x1="{self.x(tick):.1f}" x2="{self.x(tick):.1f}" y1="0" y2="{height:.0f}"/>'
            for tick in self.ticks()
        )

    def labels(self, y: float) -> str:
        return "".join(
            f'<text class="tick" x="{self.x(tick):.1f}" y="{y:.0f}" text-anchor="middle">{tick} s</text>'
            for tick in self.ticks()
        )


_Drawn = tuple[str, str, float]
"""A title, the drawing, and its height."""


def _faults(axis: _Axis, faults: Sequence[FaultSpan]) -> _Drawn:
    lanes: dict[str, list[FaultSpan]] = defaultdict(list)
    for fault in faults:
        lanes[fault.target].append(fault)
    drawn: list[str] = []
    for number, target in enumerate(sorted(lanes)):
        drawn.append(_lane_name(target, number))
        begins = [*[axis.x(fault.begins_s) for fault in lanes[target]][1:], float(WIDTH)]
        drawn += [
            _fault(axis, fault, number * _LANE, free_to)
            for fault, free_to in zip(lanes[target], begins, strict=True)
        ]
    if not drawn:
        drawn.append(_lane_name("no faults", 0))
    return "Faults: what was hit, and when", "".join(drawn), max(1, len(lanes)) * _LANE


def _fault(axis: _Axis, fault: FaultSpan, y: float, free_to: float) -> str:
    """Draw a fault with its name: inside where it fits, else behind it up to `free_to`, else in the tip."""
    begins, ends = axis.x(fault.begins_s), axis.x(fault.ends_s)
    tip = f"<title>{escape(f'{fault.target} {fault.what}, {_when(fault)}')}</title>"
    if fault.ends_s == fault.begins_s:
        middle = y + _LANE / 2 - 1
        corners = ((begins - 5, middle - 6), (begins + 5, middle - 6), (begins, middle + 5))
        points = " ".join(f"{x:.1f},{at:.1f}" for x, at in corners)
        return f'<polygon points="{points}" fill="{_RED}">{tip}</polygon>'
    width = max(2.0, ends - begins)
    box = _box(begins, y + 2, width, _LANE - 5, _BLUE, tip)
    needed = _LETTER * len(fault.what) + 8
    if width > needed:
        return box + _text("inside", begins + 4, y, fault.what)
    if free_to - ends > needed:
        return box + _text("behind", begins + width + 4, y, fault.what)
    return box


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y + _LANE - 6:.0f}">{escape(text)}</text>'


def _when(fault: FaultSpan) -> str:
    if fault.begins_s == fault.ends_s:
        return f"at {fault.begins_s:.1f} s"
    return f"from {fault.begins_s:.1f} to {fault.ends_s:.1f} s"


def _breakers(axis: _Axis, spans: Sequence[BreakerSpan]) -> _Drawn:
    """Draw the breakers that left the closed state, one lane each."""
    moved = sorted({span.name for span in spans if span.state != CLOSED})
    drawn = [_lane_name(name, number) for number, name in enumerate(moved)]
    for span in spans:
        if span.name in moved:
            tip = f"{span.name} {span.state.replace('_', ' ')}, {span.begins_s:.0f} to {span.ends_s:.0f} s"
            begins = axis.x(span.begins_s)
            width = max(1.5, axis.x(span.ends_s) - begins)
            y, colour = moved.index(span.name) * _LANE + 2, _BREAKER_COLOURS.get(span.state, _GREY)
            drawn.append(_box(begins, y, width, _LANE - 5, colour, f"<title>{escape(tip)}</title>"))
    if not moved:
        drawn.append(_lane_name("all closed all the time", 0))
    return "Circuit breakers", "".join(drawn), max(1, len(moved)) * _LANE


def _orders(axis: _Axis, timeline: DrillTimeline) -> _Drawn:
    """Draw the payments by the time of their creation, as stacked columns of their present status."""
    counts: dict[int, Counter[str]] = defaultdict(Counter[str])
    for order in timeline.orders:
        if order.kind == "payment":
            counts[int(order.at_s / axis.bucket_s)][order.status] += 1
    top = max((count.total() for count in counts.values()), default=1)
    drawn = [_scale(f"{top}", 0), _scale("0", _PLOT)]
    for bucket, count in sorted(counts.items()):
        y, x = float(_PLOT), axis.x(bucket * axis.bucket_s)
        width = max(1.0, axis.x((bucket + 1) * axis.bucket_s) - x - 1)
        for status, colour in _STATUS_COLOURS.items():
            height = count[status] / top * _PLOT
            if height:
                y -= height
                tip = f"<title>{count[status]} payments {status}, from {bucket * axis.bucket_s:.0f} s</title>"
                drawn.append(_box(x, y, width, height, colour, tip))
    title = f"Payments by the second of their creation and by how they ended, each {axis.bucket_s:g} s"
    return title, "".join(drawn), _PLOT


def _latencies(
    axis: _Axis, title: str, samples: Sequence[tuple[float, float]], top_s: float | None
) -> _Drawn:
    """Draw each sample as a dot, and the median and the 95th percentile of each column as lines."""
    buckets: dict[int, list[float]] = defaultdict(list)
    for at_s, seconds in samples:
        buckets[int(at_s / axis.bucket_s)].append(seconds)
    top = max(top_s or 0.0, *(seconds for _, seconds in samples), 0.1)
    drawn = [_scale(f"{top:.3g} s", 0), _scale("0 s", _PLOT)]
    drawn += [
        f'<circle cx="{axis.x(at_s):.1f}" cy="{_PLOT - min(seconds, top) / top * _PLOT:.1f}" r="1.6" '
        f'fill="{_GREY}" fill-opacity=".55"/>'
        for at_s, seconds in samples
    ]
    for share, colour in ((0.5, _BLUE), (0.95, _RED)):
        points = [
            f"{axis.x((bucket + 0.5) * axis.bucket_s):.1f},"
            f"{_PLOT - (percentile(sorted(values), share) or 0.0) / top * _PLOT:.1f}"
            for bucket, values in sorted(buckets.items())
        ]
        drawn.append(f'<polyline points="{" ".join(points)}" stroke="{colour}" class="line"/>')
    return f"{title}: each one (grey), median (blue), 95th percentile (red)", "".join(drawn), _PLOT


def _lane_name(name: str, number: int) -> str:
    return f'<text class="lane" x="{_LEFT - 8}" y="{number * _LANE + _LANE - 5}">{escape(name)}</text>'


def _scale(text: str, y: float) -> str:
    line = f'<line class="base" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.0f}" y2="{y:.0f}"/>'
    return f'{line}<text class="lane" x="{_LEFT - 8}" y="{y + 4:.0f}">{text}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str, inner: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
        f"{inner}</rect>"
    )

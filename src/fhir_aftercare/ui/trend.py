"""The drawing of a trend: where each score, infusion and missed form stands in the picture (ui §1 and §4.5).

Pure: values in, positions out; ``templates/trend.svg.html`` prints them. Heights are pixels, as the axis is fixed;
places in time are percent of the width, so that the same picture is right on a phone and on a wide screen without
any text becoming smaller. A line joins two scores unless a form between them was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import local, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.instruments import Instrument
    from fhir_aftercare.care.outcome import Point
    from fhir_aftercare.flows.course_events import GivenInfusion, MissedForm

TOP: Final = 22  # room for the numbers of the infusions
BOTTOM: Final = 24  # and for the days
STEP: Final = 8  # pixels of one point of a score
_LEFT, _RIGHT, _LEFT_HALF = 3.0, 96.0, 50.0  # percent: time runs from the first to the second
_SHORTEST: Final = timedelta(days=14)  # less is drawn as that: one score alone stands in the middle
_MOST_DAYS: Final = 3
_LAST_DAY: Final = 88.0  # percent: a day written further to the right would be cut off
_STEPS: Final = tuple(timedelta(days=days) for days in (1, 2, 7, 14, 28, 91, 182, 365, 730, 1826, 3652))
# How wide the place is that can be pressed, in percent: 24 pixels on a phone where the neighbours allow it.
_TARGETS: Final = (("l", 8.2), ("m", 3.0), ("s", 0.0))
_LABEL_APART: Final = 5.0  # percent: two digits on a phone
_MOST_VALUES: Final = 9  # of more scores only some have their number beside them

# What a mark is, and what the legend says of it.
LEGEND: Final[Mapping[str, str]] = {
    "dot": "score",
    "diamond": "item 9 answered above 0",
    "ring": "not counted: day 1 or 3 after an infusion",
    "lozenge": "item 9 above 0, not counted: day 1 or 3",
    "cross": "form not answered, the line is broken",
    "tick": "infusion with its number",
    "cutoff": "cut-off",
    "half": "half of the baseline",
}


@dataclass(frozen=True, slots=True)
class BandBox:
    """One severity band: where it begins, how high it is, its name, how strongly it is shaded (0 lightest).

    ``side`` is where its name stands on a narrow screen, left or right: away from the scores in it.
    """

    y: int
    height: int
    name: str
    shade: int
    side: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One score: its place, its shape (a key of ``LEGEND``), how wide its target is, what it says, where it leads.

    ``number`` is printed beside it, below it if ``below``.
    """

    x: str
    y: int
    shape: str
    target: str
    words: str
    address: str | None
    number: str
    below: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole picture. ``rules`` are dashed lines (height, kind), ``axis`` numbers at heights, ``days`` dates at
    places; ``infusions`` (with a number that may be empty) and ``missed`` are places with words; ``path`` is the line.
    """

    key: str
    title: str
    words: str
    height: int
    bands: tuple[BandBox, ...]
    axis: tuple[tuple[int, int], ...]
    rules: tuple[tuple[int, str], ...]
    days: tuple[tuple[str, str], ...]
    infusions: tuple[tuple[str, str, str], ...]
    missed: tuple[tuple[str, str], ...]
    path: str
    marks: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be drawn: ``points`` oldest first, one for each day; ``response`` is the total that is a response."""

    instrument: Instrument
    points: Sequence[Point]
    infusions: Sequence[GivenInfusion] = ()
    missed: Sequence[MissedForm] = ()
    baseline: Point | None = None
    response: float | None = None


def draw(shown: Shown, as_of: datetime, zone: ZoneInfo, *, address: Callable[[Point], str | None]) -> Drawing:
    """Give the picture, up to ``as_of``, days in ``zone``. ``address`` tells where a score leads, None: nowhere."""
    scale = _Scale.of(shown, as_of, zone)
    top = shown.instrument.max_total
    marks = tuple(_marks(shown, scale, address))
    infusions = tuple(_infusions(shown.infusions, scale))
    missed = tuple((_text(scale.x(each.due)), f"Not answered, {asked_from(each, zone)}") for each in shown.missed)
    rules = tuple(_rules(shown))
    present = {
        *(each.shape for each in marks),
        *(kind for _, kind in rules),
        *(["tick"] if infusions else []),
        *(["cross"] if missed else []),
    }
    name, count = shown.instrument.key.upper(), len(shown.points)
    return Drawing(
        key=shown.instrument.key,
        title=f"{name}, {count} score{'' if count == 1 else 's'} over time",
        words=f"Axis from 0 to {top}, lower is better. The table beside it has the same scores.",
        height=TOP + top * STEP + BOTTOM,
        bands=tuple(_bands(shown, scale)),
        axis=tuple((_y(shown.instrument, at), at) for at in (*(each.low for each in shown.instrument.bands), top)),
        rules=rules,
        days=tuple(_days(scale, zone)),
        infusions=infusions,
        missed=missed,
        path=_path(shown, scale),
        marks=marks,
        legend=tuple((shape, _legend_words(shape, shown)) for shape in LEGEND if shape in present),
    )


def shape_of(point: Point) -> str:
    """Give the shape a score is drawn in."""
    if point.item9:
        return "lozenge" if point.recall_mismatch else "diamond"
    return "ring" if point.recall_mismatch else "dot"


def asked_from(missed: MissedForm, zone: ZoneInfo) -> str:
    """Say since when a form that was not answered had been asked."""
    return f"asked from {wording.short_date(local(missed.opens, zone).date())}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """From time to percent of the width."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    @classmethod
    def of(cls, shown: Shown, as_of: datetime, zone: ZoneInfo) -> _Scale:
        events = [each.at for each in shown.points]
        events += [each.end for each in shown.infusions] + [each.due for each in shown.missed]
        moments = [utc(each) for each in (*events, as_of)]
        start, end = min(moments), max(moments)
        missing = max(_SHORTEST - (end - start), timedelta()) / 2
        return cls(start - missing, end + missing, zone)

    def x(self, moment: datetime) -> float:
        share: float = (utc(moment) - self.start) / (self.end - self.start)
        return _LEFT + share * (_RIGHT - _LEFT)


def _text(percent: float) -> str:
    return f"{percent:.1f}"


def _y(instrument: Instrument, total: float) -> int:
    return TOP + round((instrument.max_total - total) * STEP)


def _bands(shown: Shown, scale: _Scale) -> Iterator[BandBox]:
    """Each band reaches up to where the next begins, the highest one to the top."""
    instrument, bands = shown.instrument, shown.instrument.bands
    ends = [*(each.low for each in bands[1:]), instrument.max_total]
    for shade, (band, end) in enumerate(zip(bands, ends, strict=True)):
        places = [scale.x(each.at) for each in shown.points if band.low <= each.total <= band.high + 1]
        left, right = sum(each < _LEFT_HALF for each in places), sum(each >= _LEFT_HALF for each in places)
        side = "right" if left > right else "left"
        yield BandBox(_y(instrument, end), (end - band.low) * STEP, band.name, shade, side)


def _rules(shown: Shown) -> Iterator[tuple[int, str]]:
    if shown.instrument.cutoff is not None:
        yield _y(shown.instrument, shown.instrument.cutoff), "cutoff"
    if shown.response is not None:
        yield _y(shown.instrument, shown.response), "half"


def _legend_words(shape: str, shown: Shown) -> str:
    if shape == "cutoff":
        return f"{LEGEND[shape]}, {shown.instrument.cutoff}"
    if shape == "half" and shown.baseline is not None and shown.response is not None:
        part = LEGEND[shape] if shown.response * 2 == shown.baseline.total else "response"
        return f"{part}, {shown.response:g}"
    return LEGEND[shape]


def _days(scale: _Scale, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    """Give a few midnights with their day, evenly apart."""
    first, last = local(scale.start, zone).date(), local(scale.end, zone).date()
    step = next((each for each in _STEPS if (last - first) // each < _MOST_DAYS), _STEPS[-1])
    day = first + timedelta(days=1)
    while day <= last:
        x = scale.x(datetime(day.year, day.month, day.day, tzinfo=zone))
        if x <= _LAST_DAY:
            yield _text(x), wording.short_date(day)
        day += step


def _infusions(infusions: Sequence[GivenInfusion], scale: _Scale) -> Iterator[tuple[str, str, str]]:
    """Give each infusion's place; its number only where it does not touch the one before."""
    labelled = -_LABEL_APART
    for each in infusions:
        x = scale.x(each.end)
        fits = x - labelled >= _LABEL_APART
        labelled = x if fits else labelled
        day = wording.short_date(local(each.end, scale.zone).date())
        yield _text(x), str(each.number) if fits else "", f"Infusion {each.number}, {day}"


def _path(shown: Shown, scale: _Scale) -> str:
    """Give the line through the scores that count, in thousandths of the width and pixels, broken by missed forms."""
    found, before = [], None
    for each in shown.points:
        if each.recall_mismatch:
            continue
        joined = before is not None and not any(_between(before, form, each) for form in shown.missed)
        found.append(f"{'L' if joined else 'M'}{round(scale.x(each.at) * 10)} {_y(shown.instrument, each.total)}")
        before = each
    return "".join(found)


def _between(before: Point, missed: MissedForm, after: Point) -> bool:
    return utc(before.at) < utc(missed.due) <= utc(after.at)


def _marks(shown: Shown, scale: _Scale, address: Callable[[Point], str | None]) -> Iterator[Mark]:
    places = [scale.x(each.at) for each in shown.points]
    for number, (point, x) in enumerate(zip(shown.points, places, strict=True)):
        gaps = [abs(x - places[other]) for other in (number - 1, number + 1) if 0 <= other < len(places)]
        nearest = min(gaps, default=100.0)
        ends = point is shown.points[-1] or point is shown.baseline
        few = len(places) <= _MOST_VALUES and nearest >= _LABEL_APART
        y = _y(shown.instrument, point.total)
        yield Mark(
            x=_text(x),
            y=y,
            shape=shape_of(point),
            target=next(name for name, width in _TARGETS if nearest >= width),
            words=_point_words(point, shown, scale.zone),
            address=address(point),
            number=str(point.total) if ends or few else "",
            below=y < TOP + 2 * STEP,
        )


def _point_words(point: Point, shown: Shown, zone: ZoneInfo) -> str:
    said = [
        f"{point.total} on {wording.short_date(local(point.at, zone).date())}",
        shown.instrument.band(point.total).name,
        f"item 9 answered {point.item9}" if point.item9 else "",
        "not counted" if point.recall_mismatch else "",
        "baseline" if point is shown.baseline else "",
    ]
    return ", ".join(each for each in said if each)

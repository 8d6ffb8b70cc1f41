"""The infusion record in words: what is given, when the next check is due, the rows in place with what stands out.

Wording and order only, from what ``flows.open_visit`` found. What is due is ``care.schedule``'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.infusion import InfusionStatus, Measure
from fhir_aftercare.care.schedule import is_asked, outlook, schedule
from fhir_aftercare.care.timing import local, same_local_day, utc
from fhir_aftercare.fhir import careplan, tasks
from fhir_aftercare.fhir.corrections import has_identifier_of
from fhir_aftercare.fhir.drug_record import dose_of, route_of
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.flows.situation import parts_of
from fhir_aftercare.ui import record_rows
from fhir_aftercare.ui.record_rows import COLUMNS, NAMES, UNITS, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.schedule import Point
    from fhir_aftercare.fhir.findings import Administration
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.ui.record_rows import Row

# What was found before the infusion belongs to it for so long …
BEFORE: Final = timedelta(hours=12)
# … and of what a monitor charts every minute, a page shows the last.
MOST_ROWS: Final = 24
# Nobody is given ketamine for so long: that it ended was not recorded.
_LONGEST: Final = timedelta(hours=12)
_WORDS: Final = {"urgent": "Urgent", "watch": "Watch"}
_STATUS: Final = {
    InfusionStatus.IN_PROGRESS: "running",
    InfusionStatus.COMPLETED: "completed",
    InfusionStatus.STOPPED: "stopped early",
    InfusionStatus.NOT_DONE: "not done",
}


@dataclass(frozen=True, slots=True)
class FlagLine:
    """A value to look at again. ``level`` is urgent or watch, ``word`` says it."""

    level: str
    word: str
    rule: str
    source: str


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one column: each value with whether it is from the chart; ``level`` if it stands out."""

    label: str
    values: tuple[tuple[str, bool], ...]
    level: str


@dataclass(frozen=True, slots=True)
class RowLine:
    """A row as it is printed. ``own`` is the id by which it is opened and corrected; None: nothing of it is ours."""

    clock: str
    day: str
    cells: tuple[Cell, ...]
    flags: tuple[FlagLine, ...]
    more: tuple[str, ...]
    back: tuple[str, ...]
    marks: tuple[str, ...]
    own: str | None


@dataclass(frozen=True, slots=True)
class DueLine:
    """A check that is due: its name, clock and instant, what it asks, and how long it still is in words."""

    name: str
    clock: str
    iso: str
    left: str
    late: bool
    required: bool
    asks: str


@dataclass(frozen=True, slots=True)
class RecordView:
    """The page. ``editable``: the record of the drug is ours; ``last`` tells of each measure what was found last."""

    stage: Stage
    facts: tuple[tuple[str, str], ...]
    editable: bool
    running: bool
    due: DueLine | None
    following: DueLine | None
    no_baseline: bool
    heads: tuple[tuple[str, str], ...]
    rows: tuple[RowLine, ...]
    hidden: int
    last: dict[str, str]
    ask_respiratory_rate: bool
    ask_sedation: bool
    gaps: tuple[str, ...]
    dose: str
    as_of: str


def is_ours(given: Administration, context: ClinicContext) -> bool:
    """Tell whether we wrote a record of the drug; the EHR's own is the EHR's (design §9.4)."""
    return has_identifier_of(given.resource, context.identifiers.system("drug-record"))


def rows_of(view: VisitView, context: ClinicContext) -> list[Row]:
    """Give the rows of a visit's sheet."""
    return record_rows.rows(
        view.findings,
        view.chart.of("Observation"),
        context.identifiers.system("observation"),
        since=(view.start or view.as_of) - BEFORE,
        policy=context.clinic.policy,
        start=view.start,
        age=view.age,
    )


def record(view: VisitView, context: ClinicContext, zone: ZoneInfo, *, whole: bool = False) -> RecordView:
    """Give the page of a visit; times in ``zone``. ``whole``: all rows, however many."""
    made = rows_of(view, context)
    policy = context.clinic.policy
    latest = view.given[-1] if view.given else None
    start = view.start
    lines = list(_lines(made, zone, start))
    shown = lines if whole else lines[-MOST_ROWS:]
    due, following = _due(view, made, context, zone)
    dose = dose_of(latest.resource) if latest else None
    return RecordView(
        stage=view.stage,
        facts=tuple(_facts(view, zone)),
        editable=latest is not None and is_ours(latest, context),
        running=latest is not None and latest.status is InfusionStatus.IN_PROGRESS,
        due=due,
        following=following,
        no_baseline=start is not None and record_rows.baseline(made, start) is None and not view.gaps,
        heads=tuple((each.value, text) for each, text in COLUMNS.items()),
        rows=tuple(shown),
        hidden=len(lines) - len(shown),
        last=_last(made, zone),
        ask_respiratory_rate=is_asked(Measure.RESPIRATORY_RATE, policy),
        ask_sedation=is_asked(Measure.MOAA_S, policy),
        gaps=tuple(view.gaps),
        dose=f"{dose:f}" if dose is not None else "",
        as_of=f"{local(view.as_of, zone):%H:%M %Z}",
    )


def at_a_glance(view: VisitView, context: ClinicContext, zone: ZoneInfo) -> tuple[DueLine | None, RowLine | None]:
    """Give the check that is due next and the last row: what of a visit's record is read from afar."""
    made = rows_of(view, context)
    due, following = _due(view, made, context, zone)
    return due or following, next(_lines(made[-1:], zone, view.start), None)


def _facts(view: VisitView, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    if not view.given:
        return
    latest = view.given[-1]
    number = infusion_number(view)
    yield "Infusion", f"{number} of this course" if number else "number not known"
    dose, route = dose_of(latest.resource), route_of(latest.resource)
    amount = f"{dose:f} mg" if dose is not None else "dose not recorded"
    yield "Drug", " ".join(each for each in ("Ketamine", amount, route.value if route else "") if each)
    yield "Started", wording.short_text(latest.start, zone, with_zone=True)
    if latest.end is not None:
        minutes = round((utc(latest.end) - utc(latest.start)).total_seconds() / 60)
        ended = wording.short_text(latest.end, zone, with_zone=True)
        yield "Ended", f"{ended}, {_STATUS[latest.status]} after {minutes} min"
    elif is_forgotten(view):
        yield "Ended", "no end is recorded: end the infusion, or correct it"
    elif latest.status is not InfusionStatus.IN_PROGRESS:
        yield "Ended", f"{_STATUS[latest.status]}, the time is not recorded"
    if len(view.given) > 1:
        yield "In this visit", f"{len(view.given)} records of the drug, the latest is shown"


def is_forgotten(view: VisitView) -> bool:
    """Tell whether the latest infusion runs in the record only: nobody is checked then, but its end is wanted."""
    if not view.given or view.given[-1].status is not InfusionStatus.IN_PROGRESS:
        return False
    return utc(view.as_of) - utc(view.given[-1].start) > _LONGEST


def infusion_number(view: VisitView) -> int | None:
    """Give which infusion of its course this is; None if that is not known."""
    if view.plan is None or "plans" in view.gaps:
        return None
    courses = [each for each in view.chart.of("CarePlan") if careplan.is_kind(each, "course")]
    own = next((each for each in courses if any(refers_to(part, each) for part in view.plan.get("partOf") or ())), None)
    if own is None:  # its course begins with it, when the patient leaves
        return 1 if not [each for each in courses if each.get("status") not in careplan.ENDED] else None
    began = _began(view.plan)
    before = [
        each
        for each in parts_of(view.chart, own)
        if each.get("status") not in careplan.ENDED and began is not None and _is_before(each, began)
    ]
    return len(before) + 1


def _began(plan: dict[str, Any]) -> datetime | None:
    return tasks.moment((plan.get("period") or {}).get("start"))


def _is_before(plan: dict[str, Any], moment: datetime) -> bool:
    began = _began(plan)
    return began is not None and utc(began) < utc(moment)


def _due(
    view: VisitView, made: Sequence[Row], context: ClinicContext, zone: ZoneInfo
) -> tuple[DueLine | None, DueLine | None]:
    if not view.given or view.stage is Stage.LEFT or is_forgotten(view):
        return None, None
    latest, policy = view.given[-1], context.clinic.policy
    running = latest.status is InfusionStatus.IN_PROGRESS
    points = schedule(latest.start, latest.end, policy, running_at=view.as_of if running else None)
    found = outlook(points, record_rows.times_of(made), view.as_of)
    lines = []
    if found.open is not None and found.missing:
        lines.append(_due_line(found.open, found.missing, view.as_of, zone))
    if found.next is not None:
        lines.append(_due_line(found.next, found.next.asks, view.as_of, zone))
    return (lines[0] if lines else None), (lines[1] if len(lines) > 1 else None)


def _due_line(point: Point, asks: Sequence[Measure], now: datetime, zone: ZoneInfo) -> DueLine:
    there = local(point.due, zone)
    minutes = round((utc(point.due) - utc(now)).total_seconds() / 60)
    return DueLine(
        name=point.name,
        clock=f"{there:%H:%M}",
        iso=there.isoformat(),
        left=f"in {minutes} min" if minutes >= 0 else f"{-minutes} min late",
        late=minutes < 0,
        required=point.required,
        asks=wording.list_text([_ask(each) for each in asks]),
    )


def _ask(measure: Measure) -> str:
    name = NAMES[measure]
    return name if name == "SpO2" else name.lower()


def _lines(made: Sequence[Row], zone: ZoneInfo, start: datetime | None) -> Iterator[RowLine]:
    previous = start
    for row in made:
        there = local(row.at, zone)
        new_day = previous is None or not same_local_day(previous, row.at, zone)
        previous = row.at
        levels = {flag.measure: flag.level for flag in reversed(row.flags)}
        yield RowLine(
            clock=f"{there:%H:%M}",
            day=wording.short_date(there.date()) if new_day else "",
            cells=tuple(_cell(row, each, levels.get(each, "")) for each in COLUMNS),
            flags=tuple(flag_line(each.level, each.rule, each.source) for each in row.flags),
            more=tuple(
                told(each.finding.measure, each.finding.value)
                for each in row.values
                if each.finding.measure not in COLUMNS
            ),
            back=tuple(told(each.finding.measure, each.finding.value) for each in row.back),
            marks=tuple(_marks(row, start)),
            own=row.own.rpartition("/")[2] if row.own else None,
        )


def flag_line(level: str, rule: str, source: str) -> FlagLine:
    """Give a flag with its word."""
    return FlagLine(level, _WORDS[level], rule, source)


def _marks(row: Row, start: datetime | None) -> Iterator[str]:
    if start is not None and utc(row.at) <= utc(start):
        yield "Before"
    if row.values and not any(each.ours for each in row.values):
        yield "From the chart"
    if row.late:
        yield "Late entry"


def _cell(row: Row, measure: Measure, level: str) -> Cell:
    values = tuple((each.text, not each.ours) for each in row.of(measure))
    unit = UNITS.get(measure, "")
    return Cell(f"{COLUMNS[measure]} {unit}".strip() if unit in {"%", "0–10"} else COLUMNS[measure], values, level)


def _last(made: Sequence[Row], zone: ZoneInfo) -> dict[str, str]:
    """Give of each measure the last value with its time, empty if there is none: what stands beside the field."""
    found = {each.value: "" for each in COLUMNS}
    for row in made:
        for measure in COLUMNS:
            for each in row.of(measure)[:1]:
                found[measure.value] = f"{each.text} at {local(row.at, zone):%H:%M}"
    return found

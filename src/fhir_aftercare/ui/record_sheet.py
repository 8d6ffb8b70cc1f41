"""A whole paper sheet, typed afterwards in one grid and written in one transaction, marked as late entry.

Clocks are typed without a day: a row belongs to the day on which it lies near the start, also over midnight. A clock
that the change of the clocks skips, or that comes twice, is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.infusion import InfusionRecord, InfusionStatus, Measure, Route
from fhir_aftercare.care.schedule import is_asked
from fhir_aftercare.flows.next_infusion import next_infusion
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.record import is_ours, record
from fhir_aftercare.ui.record_desk import Entry, Refused, entered, in_visit, known, opened, row_id, to_record
from fhir_aftercare.ui.record_form import VALUES, Reading, typed_row
from fhir_aftercare.ui.typed import clock_text, day_text, typed_clock, typed_moment

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.responses import Response

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.ui.record_form import Fault, Typed

router: Final = new_router()

LATE: Final = "Late entry from a paper sheet"
ROWS: Final = 12
MOST_ROWS: Final = 36
# A row lies at most so long before the start; the others of its 24 hours follow.
_BEFORE: Final = timedelta(hours=4)
_HEADS: Final = {
    "at": "Time",
    "systolic": "Sys",
    "diastolic": "Dia",
    "heart_rate": "HR",
    "spo2": "SpO2",
    "respiratory_rate": "RR",
    "dissociation": "Diss. 0–3",
    "moaa_s": "Sed. 0–5",
    "nausea": "Naus. 0–10",
}


@view(router, "record/sheet")
async def show(desk: Desk) -> Response:
    """Show the grid; with what was typed, if more rows were asked for."""
    desk.staff_only()
    found = await opened(desk, desk.context)
    return draw(desk, found) if found.encounter else await desk.done("record")


@action(router, "record/sheet/save")
async def save(desk: Desk) -> Response:
    """Write the whole sheet."""
    context = desk.writer("record")
    found = await opened(desk, context)
    in_visit(found)
    given = Reading(desk.form)
    wanted = _infusion(desk, context, found, given)
    sheet, count = row_id(desk), _rows(desk)
    lines = [_line(desk, wanted.start, f"r{number}_", f"{sheet}-{number}") for number in range(1, count + 1)]
    if not any(each.check or each.faults for each in lines):
        given.faults.append(("", "Nothing was typed. Give at least one row."))
    entry = Entry("sheet", replace(wanted, late=True), lines, given.faults, LATE)
    done = await entered(desk, context, found, entry)
    if isinstance(done, Refused):
        return draw(desk, found, replace(done, faults=[_named(each) for each in done.faults]))
    return await to_record(desk, found, done, "row-saved")


def columns(policy: Policy) -> list[tuple[str, str]]:
    """Give the fields of a row with their headings: only what the clinic asks for."""
    names = {"respiratory_rate": Measure.RESPIRATORY_RATE, "moaa_s": Measure.MOAA_S}
    asked = [name for name in VALUES if name not in names or is_asked(names[name], policy)]
    return [(name, _HEADS[name]) for name in ("at", *asked)]


def _infusion(desk: Desk, context: ClinicContext, found: VisitView, given: Reading) -> InfusionRecord:
    """Give the infusion of the sheet: as it is recorded, with the end if it still runs; else as it was typed."""
    if _is_new(found):
        return _typed_infusion(desk, given)
    recorded = known(found, context)
    if recorded.status is not InfusionStatus.IN_PROGRESS or not is_ours(found.given[-1], context):
        return recorded
    if not desk.form.get("end", "").strip():
        return recorded
    return _ended(desk, recorded, given)


def _typed_infusion(desk: Desk, given: Reading) -> InfusionRecord:
    form = desk.form
    begun = given.moment("start", lambda: typed_moment(form.get("day", ""), form.get("start", ""), desk.zone, "start"))
    started = InfusionRecord(
        start=begun or desk.now,
        end=None,
        status=InfusionStatus.IN_PROGRESS,
        route=given.route() or Route.INTRAVENOUS,
        escort=given.escort(),
        infusion=form.get("infusion", "1"),
        recorded_by=desk.person,
    )
    return _ended(desk, started, given)


def _ended(desk: Desk, started: InfusionRecord, given: Reading) -> InfusionRecord:
    """Give the infusion with its end; one that still runs has none."""
    outcome = desk.form.get("outcome", "completed")
    dose = given.dose() or started.dose_mg
    if outcome == "running":
        return replace(started, dose_mg=dose)
    end = given.moment("end", lambda: typed_clock(desk.form.get("end", ""), started.start, desk.zone, "end"))
    status = InfusionStatus.STOPPED if outcome == "stopped" else InfusionStatus.COMPLETED
    return replace(started, end=end or started.start, status=status, dose_mg=dose)


def _line(desk: Desk, start: datetime, prefix: str, row: str) -> Typed:
    def at(name: str) -> datetime:
        return typed_clock(desk.form.get(name, ""), start - _BEFORE, desk.zone, name)

    return typed_row(desk.form, at, row=row, by=desk.person, prefix=prefix)


def _named(fault: Fault) -> Fault:
    """Say which row a fault is in."""
    field, text = fault
    prefix, _, name = field.partition("_")
    return (
        (field, f"Row {prefix[1:]}: {text[0].lower() if name != 'spo2' else text[0]}{text[1:]}")
        if _is_row(prefix)
        else fault
    )


def _is_row(prefix: str) -> bool:
    return prefix[:1] == "r" and prefix[1:].isdecimal()


def _rows(desk: Desk) -> int:
    """Give how many rows the grid has."""
    given = desk.form.get("rows", "")
    have = int(given) if given.isdecimal() and len(given) < 4 else ROWS
    more = ROWS if desk.query.get("more") == "1" else 0
    return max(ROWS, min(have + more, MOST_ROWS))


def _is_new(found: VisitView) -> bool:
    return not found.given


def draw(desk: Desk, found: VisitView, refused: Refused | None = None) -> Response:
    """Give the grid with what was typed."""
    context, zone = desk.context, desk.zone
    shown = record(found, context, zone)
    count = _rows(desk)
    defaults = {"day": day_text(desk.now, zone), "dose_mg": shown.dose, "outcome": "completed"}
    return desk.at(found.encounter).page(
        "record_sheet.html",
        status=refused.status if refused else 200,
        banner=people.banner(found.patient, found.as_of, zone),
        view_name="record",
        view=shown,
        new=_is_new(found),
        typed={**defaults, **desk.form},
        columns=columns(context.clinic.policy),
        count=count,
        more=count < MOST_ROWS,
        sheet=row_id(desk),
        infusion=next_infusion(context, found) if _is_new(found) else None,
        routes=[(each.value, each.value) for each in Route],
        refused=refused or Refused(),
        now=clock_text(desk.now, zone),
        drug_record=context.clinic.drug_record,
        why=desk.why_not("record"),
    )

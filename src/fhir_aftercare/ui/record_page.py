"""The infusion record: start it, add rows, end it (design §4.1, ui §4.1). What was wrong is beside its field, what was
typed stays typed; a value beyond the clinic's limits is asked once before it is written.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.infusion import InfusionRecord, InfusionStatus, Route
from fhir_aftercare.care.timing import same_local_day, utc
from fhir_aftercare.flows.next_infusion import next_infusion
from fhir_aftercare.flows.open_visit import Stage, find_encounters, open_known
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.record import record
from fhir_aftercare.ui.record_desk import (
    KEPT,
    Entry,
    Refused,
    changed_elsewhere,
    entered,
    in_visit,
    known,
    known_as_ours,
    new_row,
    opened,
    row_id,
    to_record,
)
from fhir_aftercare.ui.record_form import Reading, typed_row
from fhir_aftercare.ui.record_rows import DISSOCIATION_WORDS, SEDATION_WORDS
from fhir_aftercare.ui.record_visits import choose
from fhir_aftercare.ui.typed import clock_text, day_text, typed_clock, typed_moment

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.responses import Response

    from fhir_aftercare.flows.open_visit import VisitView

router: Final = new_router()

_AHEAD: Final = timedelta(minutes=5)
_DAY: Final = timedelta(days=1)
_STARTED: Final = f"Somebody else has recorded the start since you opened the page. It is shown above. {KEPT}"
_ENDED: Final = (
    "Somebody else has recorded the end since you opened the page. It is shown below. If it is wrong, correct it."
)


@view(router, "record")
async def show(desk: Desk) -> Response:
    """Show the record of the visit; where it is not known which, ask."""
    desk.staff_only()
    encounter = desk.place.visit
    if encounter is None:
        found = await find_encounters(desk.context, desk.patient)
        if len(found) > 1:
            return await choose(desk, found)
        encounter = f"Encounter/{found[0]['id']}" if found else None
    return draw(desk, await open_known(desk.context, desk.patient, encounter))


@action(router, "record/start")
async def start(desk: Desk) -> Response:
    """Record that an infusion has started, with what was found before it and who takes the patient home."""
    context = desk.writer("record")
    found = await opened(desk, context)
    in_visit(found)
    form, given = desk.form, Reading(desk.form)
    begun = given.moment("start", lambda: typed_moment(form.get("day", ""), form.get("start", ""), desk.zone, "start"))
    wanted = InfusionRecord(
        start=begun or desk.now,
        end=None,
        status=InfusionStatus.IN_PROGRESS,
        dose_mg=given.dose(),
        route=given.route(),
        escort=given.escort(),
        infusion=form.get("infusion", "1"),
        recorded_by=desk.person,
    )
    if found.stage is Stage.RUNNING and all(utc(each.start) != utc(wanted.start) for each in found.given):
        return draw(desk, found, changed_elsewhere(desk, "row", _STARTED))
    earliest = wanted.start - _DAY + _AHEAD
    row = typed_row(
        form, lambda _: typed_clock(form.get("at", ""), earliest, desk.zone, "at"), row=row_id(desk), by=desk.person
    )
    done = await entered(desk, context, found, Entry("start", wanted, [row], given.faults))
    return draw(desk, found, done) if isinstance(done, Refused) else await to_record(desk, found, done, "started")


@action(router, "record/row")
async def add_row(desk: Desk) -> Response:
    """Record one row."""
    context = desk.writer("record")
    found = await opened(desk, context)
    wanted = known(found, context)
    row = typed_row(desk.form, lambda name: _moment(desk, name), row=row_id(desk), by=desk.person)
    if row.check is None and not row.faults:
        return draw(desk, found, Refused("row", [("systolic", "Nothing was typed. Give at least one value.")]))
    done = await entered(desk, context, found, Entry("row", wanted, [row]))
    return draw(desk, found, done) if isinstance(done, Refused) else await to_record(desk, found, done, "row-saved")


@action(router, "record/end")
async def end(desk: Desk) -> Response:
    """Record that the infusion has ended, with the dose that was given in all."""
    context = desk.writer("record")
    found = await opened(desk, context)
    running, given = known_as_ours(found, context), Reading(desk.form)
    ended = given.moment("end", lambda: _moment(desk, "end"))
    if running.end is not None and running.end != ended:
        return draw(desk, found, changed_elsewhere(desk, "page", _ENDED))
    stopped = desk.form.get("outcome") == "stopped"
    wanted = replace(
        running,
        end=ended or desk.now,
        status=InfusionStatus.STOPPED if stopped else InfusionStatus.COMPLETED,
        dose_mg=given.dose() or running.dose_mg,
    )
    done = await entered(desk, context, found, Entry("end", wanted, faults=given.faults))
    return draw(desk, found, done) if isinstance(done, Refused) else await to_record(desk, found, done, "ended")


@action(router, "record/not-done")
async def not_done(desk: Desk) -> Response:
    """Record that there is no infusion in this visit: none was given."""
    context = desk.writer("record")
    found = await opened(desk, context)
    in_visit(found)
    given = Reading(desk.form)
    reason = given.reason()
    wanted = InfusionRecord(
        start=desk.now,
        end=None,
        status=InfusionStatus.NOT_DONE,
        infusion=desk.form.get("infusion", "1"),
        recorded_by=desk.person,
    )
    done = await entered(desk, context, found, Entry("not-done", wanted, faults=given.faults, reason=reason))
    return draw(desk, found, done) if isinstance(done, Refused) else await to_record(desk, found, done, "not-done")


def draw(desk: Desk, found: VisitView, refused: Refused | None = None) -> Response:
    """Give the page of a visit as it stands, with what was typed where a form was refused."""
    now, zone = desk.now, desk.zone
    latest = found.given[-1] if found.given else None
    clock = clock_text(now, zone)
    beginning = found.encounter is not None and (not found.given or desk.query.get("new") == "1")
    return desk.at(found.encounter).page(
        "record.html",
        status=refused.status if refused else 200,
        banner=people.banner(found.patient, found.as_of, zone),
        view_name="record",
        view=record(found, desk.context, zone, whole=desk.query.get("all") == "1"),
        beginning=beginning,
        typed={"day": day_text(now, zone), "at": clock, "start": clock, "end": clock, **desk.form},
        row=row_id(desk) if refused else new_row(),
        infusion=next_infusion(desk.context, found) if beginning else None,
        another_day=latest is not None and not same_local_day(latest.start, now, zone),
        refused=refused or Refused(),
        saved="said" in desk.query,
        zone_name=zone.key,
        dissociation=[("", "–"), *((key.value, word) for key, word in DISSOCIATION_WORDS.items())],
        sedation=[("", "–"), *((str(key), f"{key} {word}") for key, word in SEDATION_WORDS.items())],
        routes=[(each.value, each.value) for each in Route],
        drug_record=desk.context.clinic.drug_record,
        why=desk.why_not("record"),
    )


def _moment(desk: Desk, name: str) -> datetime:
    """Read a clock: of the day given beside it, else of the last 24 hours."""
    clock = desk.form.get(name, "")
    if desk.form.get("day"):
        return typed_moment(desk.form["day"], clock, desk.zone, name)
    return typed_clock(clock, desk.now - _DAY + _AHEAD, desk.zone, name)

"""What the pages of the infusion record do alike: open the visit to write in it, write what was typed, or say why not.

Nothing is written while anything is wrong, and nothing that is beyond the clinic's limits before somebody has confirmed
just that (ui §4.1). What the chart says already is not written twice.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fhir_aftercare.errors import AftercareError, InvalidInput, NotAnInfusion
from fhir_aftercare.flows.open_visit import find_encounters, open_known
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.ui.record import is_ours, rows_of
from fhir_aftercare.ui.record_form import confirmation, faults_in, repeats, standing_out, without_known
from fhir_aftercare.ui.record_rows import baseline, in_check, told
from fhir_aftercare.ui.typed import clock_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from fhir_aftercare.care.infusion import InfusionRecord
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.ui.desk import Desk
    from fhir_aftercare.ui.record_form import Fault, Typed
    from fhir_aftercare.ui.record_rows import Row

_ROW: Final = re.compile(r"[A-Za-z0-9_-]{8,40}")
KEPT: Final = "What you typed is still here."


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a form was not written. ``form`` is which; ``confirm`` are values to be confirmed under ``token``; ``stale``:
    somebody else was first.
    """

    form: str = ""
    faults: Sequence[Fault] = ()
    confirm: Sequence[tuple[str, str]] = ()
    token: str = ""
    unsaved: str = ""
    status: int = 422
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What a form would write: the infusion as it should be, rows to add, what is wrong with them so far."""

    form: str
    record: InfusionRecord
    rows: Sequence[Typed] = ()
    faults: Sequence[Fault] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written: so many observations; nothing if all of it was in the chart."""

    observations: int
    changed: bool


async def opened(desk: Desk, context: ClinicContext) -> VisitView:
    """Give the visit as it stands, read with the token of ``context``; none where it is not known which."""
    encounter = desk.place.visit
    if encounter is None:
        found = await find_encounters(context, desk.patient)
        encounter = f"Encounter/{found[0]['id']}" if len(found) == 1 else None
    return await open_known(context, desk.patient, encounter)


def in_visit(found: VisitView) -> VisitView:
    """Give the visit, if there is one. Raises ``NotAnInfusion``."""
    if found.encounter is None:
        raise NotAnInfusion(
            "No visit is open in the EHR for this patient.",
            where="visit",
            remedy="Start the visit in the EHR, then open this page again.",
        )
    return found


def known(found: VisitView, context: ClinicContext) -> InfusionRecord:
    """Give the infusion as it is recorded. Raises ``NotAnInfusion`` if none is."""
    recorded = found.record(context.identifiers)
    if recorded is None:
        raise NotAnInfusion("No infusion is recorded for this visit.", where="visit")
    return recorded


def known_as_ours(found: VisitView, context: ClinicContext) -> InfusionRecord:
    """As ``known``, of a record of the drug that we wrote. Raises ``InvalidInput`` for the EHR's own."""
    recorded = known(found, context)
    if not is_ours(found.given[-1], context):
        raise InvalidInput("The EHR keeps the record of this drug.", where="end", remedy="Correct it in the EHR.")
    return recorded


def row_id(desk: Desk) -> str:
    """Give the id that a row's form carries: sent again, it is the same row. It never tells who or when."""
    given = desk.form.get("row", "")
    return given if _ROW.fullmatch(given) else new_row()


def new_row() -> str:
    """Give an id for what is still to be typed."""
    return secrets.token_urlsafe(12)


async def entered(desk: Desk, context: ClinicContext, found: VisitView, entry: Entry) -> Saved | Refused:
    """Write what was typed in one transaction, or say what is wrong with it or must be confirmed first."""
    there, zone = rows_of(found, context), desk.zone
    left = [without_known(each, there, zone) for each in entry.rows]
    wrong = [*entry.faults, *faults_in(entry.record, left, desk.now), *repeats(entry.rows, zone)]
    if wrong:
        return Refused(entry.form, wrong)
    asked = to_confirm(desk, context, found, replace(entry, rows=left), there)
    if asked is not None:
        return asked
    checks = tuple(each.check for each in left if each.check is not None)
    record = replace(entry.record, checks=checks)
    request = RecordRequest(desk.patient, found.encounter, record, reason=entry.reason, person=desk.person)
    try:
        done = await record_infusion(context, request)
    except AftercareError as fault:
        return not_saved(desk, entry.form, fault)
    return Saved(len(done.observations), done.changed)


def to_confirm(
    desk: Desk, context: ClinicContext, found: VisitView, entry: Entry, there: Sequence[Row]
) -> Refused | None:
    """Ask once for values beyond the clinic's limits; None if there are none, or if just these were confirmed."""
    start = entry.record.start
    unusual = standing_out(entry.rows, baseline(there, start), context.clinic.policy, found.age, start)
    token = confirmation(unusual)
    if not unusual or desk.form.get("confirmed") == token:
        return None
    asked = [
        (
            f"{clock_text(check.at, desk.zone)} {told(flag.measure, in_check(check, flag.measure))}",
            f"{flag.rule} ({flag.source})",
        )
        for check, flag in unusual
    ]
    return Refused(entry.form, confirm=asked, token=token)


def not_saved(desk: Desk, form: str, fault: AftercareError) -> Refused:
    """Say what could not be written."""
    return Refused(form, unsaved=f"{fault.message} {fault.remedy} {KEPT}", status=_taken(desk, fault.status))


def changed_elsewhere(desk: Desk, form: str, text: str) -> Refused:
    """Say that somebody else was first."""
    return Refused(form, unsaved=text, status=_taken(desk, 412), stale=True)


def _taken(desk: Desk, status: int) -> int:
    """A page that a script puts in place of the old must have a status that it takes."""
    return 422 if "hx-request" in desk.request.headers else status


async def to_record(desk: Desk, found: VisitView, saved: Saved, said: str) -> Response:
    """Go to the record, which says what was saved."""
    if not saved.changed:
        said = "unchanged"
    elif saved.observations:
        said = "row-saved" if saved.observations > 1 else "row-saved-one"
    return await desk.at(found.encounter).done("record", said=said, n=saved.observations)

"""Correct one row of the sheet, or take it back: with a reason, in one transaction; nothing is erased (design §4.1).

What somebody else has changed since the page was opened is shown; what was typed stays typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.infusion import Check
from fhir_aftercare.errors import AftercareError, NotFound, Stale
from fhir_aftercare.flows.correct_row import RowCorrection, ValueChange, correct_row
from fhir_aftercare.flows.row_history import row_history
from fhir_aftercare.ui import people
from fhir_aftercare.ui.desk import Desk, action, new_router, view
from fhir_aftercare.ui.record import rows_of
from fhir_aftercare.ui.record_desk import KEPT, Entry, Refused, changed_elsewhere, known, not_saved, opened, to_confirm
from fhir_aftercare.ui.record_form import Reading, Typed, faults_in, is_blank, typed_row
from fhir_aftercare.ui.record_row import histories, own_values
from fhir_aftercare.ui.record_rows import DISSOCIATION_WORDS, SEDATION_WORDS, in_check
from fhir_aftercare.ui.typed import clock_text, day_text, typed_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from starlette.responses import Response

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView
    from fhir_aftercare.ui.record_row import OwnValue
    from fhir_aftercare.ui.record_rows import Row

router: Final = new_router()

_FORM: Final = "correction"
_STALE: Final = f"Changed in the chart since you opened it. What is there now is shown with each value. {KEPT}"


@view(router, "record/row")
async def show(desk: Desk) -> Response:
    """Show a row with its history."""
    desk.staff_only()
    found = await opened(desk, desk.context)
    return await draw(desk, found, row_in(desk, desk.context, found))


@action(router, "record/row/save")
async def save(desk: Desk) -> Response:
    """Write a correction of the row."""
    context = desk.writer("record")
    found = await opened(desk, context)
    row = row_in(desk, context, found)
    values = own_values(row, found.chart.of("Observation"))
    given = Reading(desk.form)
    reason = given.reason() or ""
    whole = desk.form.get("all") == "1"
    back = {each.id for each in values if whole or desk.form.get(f"{each.prefix}back") == "yes"}
    moved = given.moment("at", lambda: _moved(desk, row))
    rows = [_typed(desk, each, moved) for each in values if each.id not in back]
    record = known(found, context)
    wrong = [*given.faults, *faults_in(record, rows, desk.now)]
    if wrong:
        return await draw(desk, found, row, Refused(_FORM, wrong))
    other = [each for each in rows if each.check is not None and _is_other(each.check, values)]
    asked = to_confirm(desk, context, found, Entry(_FORM, record, other), rows_of(found, context))
    if asked is not None:
        return await draw(desk, found, row, asked)
    changes = _changes(desk, values, rows, back)
    try:
        changed = await correct_row(context, RowCorrection(desk.patient, record, changes, reason, desk.person))
    except Stale:
        return await draw(desk, found, row, changed_elsewhere(desk, _FORM, _STALE))
    except AftercareError as fault:
        return await draw(desk, found, row, not_saved(desk, _FORM, fault))
    said = "unchanged" if not changed else "taken-back" if whole else "corrected"
    return await desk.at(found.encounter).done("record", said=said)


def row_in(desk: Desk, context: ClinicContext, found: VisitView) -> Row:
    """Give the row that the address names. Raises ``NotFound``."""
    source = f"Observation/{desk.query.get('of', '')}"
    for row in rows_of(found, context):
        if any(each.ours and each.finding.source == source for each in (*row.values, *row.back)):
            return row
    raise NotFound("There is no such row in this visit's record.", where="of", remedy="Open the infusion record again.")


def _moved(desk: Desk, row: Row) -> datetime:
    """Give the row's time: as it is, to the second, unless another was typed."""
    day, clock = desk.form.get("day", ""), desk.form.get("at", "")
    if (day, clock) == (day_text(row.at, desk.zone), clock_text(row.at, desk.zone)):
        return row.at
    return typed_moment(day, clock, desk.zone, "at")


def _typed(desk: Desk, value: OwnValue, moved: datetime | None) -> Typed:
    """Read what a value should be. One that is no number only moves in time with the others."""
    at, reference = moved or value.finding.at, f"Observation/{value.id}"
    if not value.fields:
        held: dict[str, Any] = {value.finding.measure.value: value.finding.value}
        return Typed(Check(at=at, id=reference, **held), value.prefix)
    if is_blank(desk.form, value.prefix):
        field = f"{value.prefix}{value.fields[0][0]}"
        return Typed(None, value.prefix, ((field, f"{value.name}: give a value, or take it back."),))
    return typed_row(desk.form, lambda _: at, row=reference, by=None, prefix=value.prefix)


def _is_other(check: Check, values: Sequence[OwnValue]) -> bool:
    """Tell whether a check says another value than stands: what was confirmed once is not asked again."""
    finding = next(each.finding for each in values if f"Observation/{each.id}" == check.id)
    return in_check(check, finding.measure) != finding.value


def _changes(desk: Desk, values: Sequence[OwnValue], rows: Sequence[Typed], back: set[str]) -> tuple[ValueChange, ...]:
    """Give what each Observation should say."""
    typed = {each.check.id: each.check for each in rows if each.check is not None}
    found = []
    for each in values:
        reference = f"Observation/{each.id}"
        version = desk.form.get(f"{each.prefix}version", "")
        if each.id in back:
            found.append(ValueChange(reference, version, None))
        elif reference in typed:
            found.append(ValueChange(reference, version, typed[reference]))
    return tuple(found)


async def draw(desk: Desk, found: VisitView, row: Row, refused: Refused | None = None) -> Response:
    """Give the page of a row, with what was typed where it was refused."""
    zone, observations = desk.zone, found.chart.of("Observation")
    if refused and refused.stale:  # what is there now, and not what was decided on
        found = await opened(desk.at(found.encounter), desk.context)
        row, observations = row_in(desk, desk.context, found), found.chart.of("Observation")
    sources = {each.finding.source for each in (*row.values, *row.back) if each.ours}
    own = [each for each in observations if f"Observation/{each['id']}" in sources]
    reads = desk.found.session.tokens.granted.allows("Provenance", "s")
    history = await row_history(desk.context, own, reads_reasons=reads)
    values = own_values(row, observations)
    held = {f"{each.prefix}{name}": text for each in values for name, text in each.fields}
    return desk.at(found.encounter).page(
        "record_row.html",
        status=refused.status if refused else 200,
        banner=people.banner(found.patient, found.as_of, zone),
        view_name="record",
        clock=wording.short_text(row.at, zone, with_zone=True),
        of=desk.query.get("of", ""),
        values=values,
        theirs=[each for each in row.values if not each.ours],
        histories=list(histories(row, history, zone)),
        reads=reads,
        typed={"day": day_text(row.at, zone), "at": clock_text(row.at, zone), **held, **desk.form},
        refused=refused or Refused(),
        dissociation=[(each.value, word) for each, word in DISSOCIATION_WORDS.items()],
        sedation=[(str(key), f"{key} {word}") for key, word in SEDATION_WORDS.items()],
        why=desk.why_not("record"),
    )

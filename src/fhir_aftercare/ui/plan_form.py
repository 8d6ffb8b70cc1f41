"""What the form of the plan says, as a request to discharge: and its fields as they were typed, to be shown again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.infusion import Escort
from fhir_aftercare.care.plan import CallWish
from fhir_aftercare.care.readiness import Override
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.ui.typed import clock_text, day_text, typed_moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.discharge import DischargeRequest

_LONGEST: Final = 500
CALL: Final = ("call_day", "call_from", "call_until")


@dataclass(frozen=True, slots=True)
class PlanForm:
    """The request as far as it can be read, and what cannot: pairs of a field and what is wrong with it."""

    request: DischargeRequest
    faults: tuple[tuple[str, str], ...] = ()


def call_fields(call: tuple[datetime, datetime] | None, zone: ZoneInfo) -> dict[str, str]:
    """Give the fields of the follow-up call as the protocol would have it."""
    if call is None:
        return {}
    opens, due = call
    return {
        "call_day": day_text(opens, zone),
        "call_from": clock_text(opens, zone),
        "call_until": clock_text(due, zone),
    }


def read_form(form: Mapping[str, str], plain: DischargeRequest, zone: ZoneInfo) -> PlanForm:
    """Read the form on top of ``plain``; times in ``zone``, the clinic's. Everything that is wrong is told at once."""
    text = {name: value.strip()[:_LONGEST] for name, value in form.items()}
    faults: list[tuple[str, str]] = []
    request = replace(
        _leaving(text, plain),
        language=text.get("language") or None,
        zone=text.get("zone") or None,
        zone_unsure="zone_unsure" in text,
        sedatives_given="sedatives" in text,
    )
    if "day" in text:
        try:
            request = replace(request, left_at=typed_moment(text["day"], text.get("at", ""), zone, "at"))
        except InvalidInput as fault:
            faults.append(("at", fault.message))
    wish, wrong = _call(text, zone)
    faults += wrong
    override, wrong = _override(text, request)
    return PlanForm(replace(request, call=wish, override=override), (*faults, *wrong))


def _leaving(text: Mapping[str, str], plain: DischargeRequest) -> DischargeRequest:
    name, relationship, phone = (text.get(f"escort_{each}") or None for each in ("name", "relationship", "phone"))
    person = Escort(name, relationship, phone) if name or relationship or phone else None
    known = replace(plain, escort_person=person)
    match text.get("leaves"):
        case "escort":
            return replace(known, escort="present")
        case "alone":  # that has happened already: nobody is asked whether the patient may
            return replace(known, escort="left-alone", mode="happened")
        case _:
            return known


def _call(text: Mapping[str, str], zone: ZoneInfo) -> tuple[CallWish | None, list[tuple[str, str]]]:
    """Give what was agreed about the call: only what differs from what the page offered."""
    phone = text.get("call_phone") or None
    if all(text.get(name, "") == text.get(f"{name}_offered", "") for name in CALL):
        return (CallWish(phone=phone) if phone else None), []
    ends, faults = {}, []
    for name in ("call_from", "call_until"):
        try:
            ends[name] = typed_moment(text.get("call_day", ""), text.get(name, ""), zone, name)
        except InvalidInput as fault:
            faults.append((name, fault.message))
    return CallWish(ends.get("call_from"), ends.get("call_until"), phone), faults


def _override(text: Mapping[str, str], request: DischargeRequest) -> tuple[Override | None, list[tuple[str, str]]]:
    name, reason = text.get("override_name", ""), text.get("override_reason", "")
    if not name and not reason:
        return None, []
    wrong = [
        (field, words)
        for field, value, words in (
            ("override_name", name, "Name who decides."),
            ("override_reason", reason, "Give the reason."),
        )
        if not value
    ]
    if request.person is None:
        wrong.append(("override_name", "The EHR did not say who signed in: nobody can stand for it."))
    if wrong or request.person is None:
        return None, wrong
    return Override(by=request.person, at=request.left_at, reason=reason, by_name=name), []

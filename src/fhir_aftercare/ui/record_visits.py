"""Which visit is meant, where the EHR does not say and several are under way: a person chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.flows.chart import patient_section, read_chart
from fhir_aftercare.ui import people

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from fhir_aftercare.ui.desk import Desk

Resource = dict[str, Any]


async def choose(desk: Desk, encounters: Sequence[Resource]) -> Response:
    """Ask which visit is meant."""
    patient = (await read_chart(desk.context.fhir, [patient_section(desk.patient)])).patient
    lines = []
    for each in encounters:
        place = desk.at(f"Encounter/{each['id']}").place
        since = people.when((each.get("period") or {}).get("start"), desk.zone)
        lines.append((place.at("record"), _kind(each), since, str(each.get("status"))))
    return desk.page(
        "record_visits.html",
        banner=people.banner(patient, desk.now, desk.zone),
        view_name="record",
        visits=lines,
    )


def _kind(encounter: Resource) -> str:
    """Give what a visit is in words, as far as the chart tells."""
    concepts = [*(encounter.get("type") or ()), encounter.get("serviceType") or {}]
    texts = [str(each["text"]) for each in concepts if each.get("text")]
    displays = [str(code["display"]) for each in concepts for code in each.get("coding") or () if code.get("display")]
    places = [str((each.get("location") or {}).get("display") or "") for each in encounter.get("location") or ()]
    return (
        ", ".join(part for part in (*texts[:1], *(displays[:1] if not texts else ()), *places[:1]) if part) or "Visit"
    )

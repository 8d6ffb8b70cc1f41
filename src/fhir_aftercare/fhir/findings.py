"""What is on the server, read back: Observations → findings, records of the drug → administrations.

Whoever wrote them: we, an EHR's flowsheet, a monitor (design §9.19). What is not about a measure we know is left out;
a known measure in a form that cannot be read (another unit, half a blood pressure, beyond what can be real) is a
finding without value, so that nothing older is taken for the present state.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal

from fhir_aftercare.care.infusion import DECIMALS, LIMITS, Dissociation, InfusionStatus, Measure
from fhir_aftercare.care.readiness import BloodPressure, Finding
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.faults import has_value
from fhir_aftercare.fhir.observations import DISSOCIATION_LEVELS, FORMS, MEAN_PRESSURE_TEXT
from fhir_aftercare.fhir.tasks import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.readiness import FindingValue

Resource = dict[str, Any]
Pressure = Literal["systolic", "diastolic"]

_COUNTS: Final = frozenset({"final", "amended", "corrected", "preliminary"})


def _codes() -> dict[tuple[str, str], Measure | Pressure]:
    known: dict[tuple[str, str], Measure | Pressure] = {
        (coding["system"], coding["code"]): measure
        for measure, form in FORMS.items()
        if measure is not Measure.BLOOD_PRESSURE
        for coding in form.code.get("coding", ())
    }
    known[terms.SYSTOLIC.system, terms.SYSTOLIC.code] = "systolic"
    known[terms.DIASTOLIC.system, terms.DIASTOLIC.code] = "diastolic"
    return known


_KNOWN: Final = _codes()
# Our own judgement is no finding: its components have the codes of what they were judged from.
_JUDGEMENT: Final = (terms.READINESS.system, terms.READINESS.code)

# Each unit a value may come in (lower case, no spaces) with factor and summand to ours. Scores have none.
_Scale = tuple[Decimal, Decimal]
_AS_IS: Final[_Scale] = (Decimal(1), Decimal(0))
_PER_MINUTE: Final = ("/min", "1/min", "/minute", "{beats}/min", "beats/min", "beats/minute", "bpm", "{breaths}/min",
                      "breaths/min", "breaths/minute", "br/min")  # fmt: skip
_UNITS: Final[Mapping[str, Mapping[str, _Scale]]] = {
    **dict.fromkeys(("systolic", "diastolic", "mean_pressure"), dict.fromkeys(("mm[hg]", "mmhg"), _AS_IS)),
    **dict.fromkeys(("heart_rate", "respiratory_rate"), dict.fromkeys(_PER_MINUTE, _AS_IS)),
    **dict.fromkeys(("spo2", "oxygen_concentration"), dict.fromkeys(("%", "percent", "%{oxygen}"), _AS_IS)),
    "oxygen_flow": dict.fromkeys(("l/min", "lpm", "l/minute"), _AS_IS),
    "weight": {
        **dict.fromkeys(("kg", "kgs"), _AS_IS),
        "g": (Decimal("0.001"), Decimal(0)),
        **dict.fromkeys(("[lb_av]", "lb", "lbs"), (Decimal("0.45359237"), Decimal(0))),
    },
    "temperature": {
        **dict.fromkeys(("cel", "°c", "c", "degc"), _AS_IS),
        **dict.fromkeys(("[degf]", "°f", "f", "degf"), (Decimal(5) / Decimal(9), Decimal(-160) / Decimal(9))),
    },
}
# Pounds and kilograms overlap; elsewhere a number without unit can only be one thing within its limits.
_UNIT_NEEDED: Final = frozenset({"weight"})
_BOOLEANS: Final = frozenset(
    {
        Measure.ORIENTED, Measure.WALKS_UNAIDED, Measure.NO_ACUTE_SUICIDAL_INTENT, Measure.ESCORT_PRESENT,
        Measure.WRITTEN_INSTRUCTIONS, Measure.EMERGENCY_CONTACT,
    }
)  # fmt: skip


def read_findings(observations: Sequence[Resource]) -> list[Finding]:
    """Give what the Observations say, oldest first; times as written.

    Left out: what was taken back or is not done yet, what has no instant (a bare date), what says that nothing was
    measured (``dataAbsentReason``). Lone systolic and diastolic values of one instant make one blood pressure.
    """
    findings: list[Finding] = []
    halves: list[_Half] = []
    for owner, resource in enumerate(observations):
        at = _instant(resource) if resource.get("status") in _COUNTS else None
        if at is None or _JUDGEMENT in _pairs(resource.get("code")):
            continue
        source = f"Observation/{resource['id']}" if resource.get("id") else None
        for what, part in _parts(resource):
            if isinstance(what, Measure):
                findings.append(Finding(what, at, _value(what, part), source))
            else:
                halves.append(_Half(what, at, _number(what, part), source, owner))
    findings += _pressures(halves)
    return sorted(findings, key=lambda each: utc(each.at))


def _instant(resource: Resource) -> datetime | None:
    """Of a period its end: then the value was still so."""
    period = resource.get("effectivePeriod") or {}
    given = (
        resource.get("effectiveDateTime"),
        resource.get("effectiveInstant"),
        period.get("end"),
        period.get("start"),
    )
    return next((found for each in given if (found := moment(each)) is not None), None)


def _pairs(concept: Any) -> list[tuple[str, str]]:
    codings = concept.get("coding") or () if isinstance(concept, dict) else ()
    return [(str(each.get("system")), str(each.get("code"))) for each in codings if isinstance(each, dict)]


def _parts(resource: Resource) -> Iterator[tuple[Measure | Pressure, Resource]]:
    """Give the Observation and its components, where they are about a measure we know and something was measured."""
    for part in (resource, *(resource.get("component") or ())):
        what = _measured(part.get("code"))
        if what is not None and has_value(part):
            yield what, part


def _measured(code: Any) -> Measure | Pressure | None:
    for pair in _pairs(code):
        if pair in _KNOWN:
            return _KNOWN[pair]
    is_mean = isinstance(code, dict) and not code.get("coding") and code.get("text") == MEAN_PRESSURE_TEXT
    return Measure.MEAN_PRESSURE if is_mean else None


def _value(measure: Measure, part: Resource) -> FindingValue | None:
    if measure is Measure.DISSOCIATION:
        return _dissociation(part)
    if measure in _BOOLEANS:
        value = part.get("valueBoolean")
        return value if isinstance(value, bool) else None
    if measure is Measure.NAUSEA and (terms.ABSENT.system, terms.ABSENT.code) in _pairs(
        part.get("valueCodeableConcept")
    ):
        return 0
    return _number(measure.value, part)


def _dissociation(part: Resource) -> Dissociation | None:
    pairs = _pairs(part.get("valueCodeableConcept"))
    for level, code in DISSOCIATION_LEVELS.items():
        if (code.system, code.code) in pairs:
            return level
    words = part.get("valueString") or (part.get("valueCodeableConcept") or {}).get("text")
    word = words.strip().lower() if isinstance(words, str) else ""
    return Dissociation(word) if word in set(Dissociation) else None


def _number(name: str, part: Resource) -> int | Decimal | None:
    """Give a value in our unit; None if it cannot be read or cannot be real. Whole numbers as ``int``."""
    quantity = part.get("valueQuantity")
    if isinstance(quantity, dict):
        raw, units = quantity.get("value"), [each for each in (quantity.get("code"), quantity.get("unit")) if each]
        if quantity.get("comparator"):  # "< 90" is a bound, no value
            return None
    else:
        raw, units = part.get("valueInteger", part.get("valueString")), []
    number, scale = _decimal(raw), _scale(name, units)
    if number is None or scale is None:
        return None
    value = number if scale == _AS_IS else (number * scale[0] + scale[1]).quantize(Decimal("0.01"))
    if not LIMITS[name].holds(value):
        return None
    return value if name in DECIMALS or value != value.to_integral_value() else int(value)


def _decimal(raw: Any) -> Decimal | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal | str):
        return None
    try:
        return Decimal(str(raw).strip())
    except InvalidOperation:
        return None


def _scale(name: str, units: Sequence[Any]) -> _Scale | None:
    """Give how to come from one of these units to ours. What has no unit in ``_UNITS`` is a score or a count."""
    if name not in _UNITS:
        return _AS_IS
    if not units:
        return None if name in _UNIT_NEEDED else _AS_IS
    known = _UNITS[name]
    return next((known[unit] for each in units if (unit := str(each).replace(" ", "").lower()) in known), None)


@dataclass(frozen=True, slots=True)
class _Half:
    """One of the two pressures; ``owner`` tells which resource it stands in."""

    which: Pressure
    at: datetime
    value: int | Decimal | None
    source: str | None
    owner: int


def _pressures(halves: Iterable[_Half]) -> Iterator[Finding]:
    """Put halves together: those of one resource, then the lone ones of one instant."""
    instants: dict[datetime, list[_Half]] = {}
    for half in halves:
        instants.setdefault(utc(half.at), []).append(half)
    for found in instants.values():
        whole: list[list[_Half]] = []
        lone: list[_Half] = []
        for owner in dict.fromkeys(half.owner for half in found):
            own = [half for half in found if half.owner == owner]
            if _is_whole(own):
                whole.append(own)
            else:
                lone += own
        said = {(half.which, half.value) for own in whole for half in own}
        rest = lone if _is_whole(lone) else [half for half in lone if (half.which, half.value) not in said]
        yield from (_pressure(own) for own in (*whole, rest) if own)


def _is_whole(halves: Sequence[_Half]) -> bool:
    return {half.which for half in halves} == {"systolic", "diastolic"}


def _pressure(halves: Sequence[_Half]) -> Finding:
    """Of several values of one instant the highest count, as it is them that matter; half of one cannot be read."""
    first = halves[0]
    values = {
        which: [half.value for half in halves if half.which == which and half.value is not None]
        for which in ("systolic", "diastolic")
    }
    readable = _is_whole(halves) and all(half.value is not None for half in halves)
    pressure = BloodPressure(max(values["systolic"]), max(values["diastolic"])) if readable else None
    if pressure is not None and pressure.systolic <= pressure.diastolic:
        pressure = None
    return Finding(Measure.BLOOD_PRESSURE, first.at, pressure, first.source)


# --- records of the drug ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Administration:
    """One record of ketamine given, or not done, under ``reference`` (``Type/id``).

    ``end`` is None while it runs, and where nobody recorded it.
    """

    reference: str
    start: datetime
    end: datetime | None
    status: InfusionStatus
    resource: Resource


_STATUS: Final[Mapping[str, InfusionStatus]] = {
    "in-progress": InfusionStatus.IN_PROGRESS,
    "on-hold": InfusionStatus.IN_PROGRESS,
    "completed": InfusionStatus.COMPLETED,
    "stopped": InfusionStatus.STOPPED,
    "not-done": InfusionStatus.NOT_DONE,
    # Nobody knows what became of it: the drug may have been given, and aftercare is owed for any dose.
    "unknown": InfusionStatus.STOPPED,
}
_DRUG: Final = frozenset(
    (code.system, code.code) for code in (terms.KETAMINE_RXNORM, terms.KETAMINE_SNOMED, terms.KETAMINE_INFUSION)
)


def read_administrations(resources: Sequence[Resource], clinic: Clinic) -> list[Administration]:
    """Give the records of ketamine among MedicationAdministrations and Procedures, oldest first (design §9.1).

    Ketamine is known by the standard codes, ours, and ``clinic.ketamine_codes``. Left out: what was entered in error or
    is only prepared, and what has no instant at all. Where only the end is known it is the start too.
    """
    medications = {each["id"]: each for each in resources if each.get("resourceType") == "Medication" and "id" in each}
    found = []
    for resource in resources:
        status = _STATUS.get(str(resource.get("status")))
        times = _times(resource)
        if status is None or times is None or not _is_ketamine(resource, clinic, medications):
            continue
        start, end = times
        running = status is InfusionStatus.IN_PROGRESS  # an end would be a planned one
        reference = f"{resource['resourceType']}/{resource['id']}"
        found.append(Administration(reference, start, None if running else end, status, resource))
    return sorted(found, key=lambda each: utc(each.start))


def _times(resource: Resource) -> tuple[datetime, datetime | None] | None:
    name = {"MedicationAdministration": "effective", "Procedure": "performed"}.get(str(resource.get("resourceType")))
    if name is None:
        return None
    period = resource.get(f"{name}Period") or {}
    end = moment(period.get("end"))
    start = moment(period.get("start")) or moment(resource.get(f"{name}DateTime")) or end
    if start is None:
        return None
    return start, end if end is not None and utc(end) >= utc(start) else None


def _is_ketamine(resource: Resource, clinic: Clinic, medications: Mapping[str, Resource]) -> bool:
    contained = {f"#{each.get('id')}": each for each in resource.get("contained") or ()}
    target = str((resource.get("medicationReference") or {}).get("reference", ""))
    medication = contained.get(target) or medications.get(target.rsplit("/", 1)[-1]) or {}
    concepts = (
        resource.get("medicationCodeableConcept"),
        resource.get("code"),
        medication.get("code"),
        *(resource.get("usedCode") or ()),
    )
    return any(pair in _DRUG or pair in clinic.ketamine_codes for each in concepts for pair in _pairs(each))

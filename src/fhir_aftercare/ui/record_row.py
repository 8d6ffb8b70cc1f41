"""One row of the sheet in words: each value of ours as a field, and what stood there before, by whom and why.

Wording only. A row is known by the id of one of its Observations: the others are those of the same minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.infusion import Dissociation, Measure
from fhir_aftercare.care.readiness import BloodPressure
from fhir_aftercare.ui import people
from fhir_aftercare.ui.record_rows import NAMES, UNITS, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.readiness import Finding
    from fhir_aftercare.flows.row_history import RowHistory, Version
    from fhir_aftercare.ui.record_rows import Row, Value

Resource = dict[str, Any]

_RECORDED: Final = "Recorded"
_STATUS: Final = {"amended": "Corrected", "corrected": "Corrected", "entered-in-error": "Taken back"}
# What is typed as a number or a level; the rest of a row can only be taken back.
_FIELDS: Final[Mapping[Measure, tuple[str, ...]]] = {
    Measure.BLOOD_PRESSURE: ("systolic", "diastolic"),
    **{
        each: (each.value,)
        for each in (
            Measure.HEART_RATE, Measure.SPO2, Measure.RESPIRATORY_RATE, Measure.DISSOCIATION, Measure.MOAA_S,
            Measure.NAUSEA,
        )
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OwnValue:
    """A value of ours that stands. ``fields`` are the names of its fields with what they hold, none if it is no number;
    ``prefix`` begins their names in a form.
    """

    id: str
    version: str
    name: str
    text: str
    fields: tuple[tuple[str, str], ...]
    finding: Finding

    @property
    def prefix(self) -> str:
        """What the names of its fields begin with."""
        return f"{self.id}_"


@dataclass(frozen=True, slots=True)
class VersionLine:
    """What one version of a value said, by whom, when and why. Empty: not known."""

    at: str
    text: str
    status: str
    who: str
    reason: str


@dataclass(frozen=True, slots=True)
class ValueHistory:
    """All versions of one value, newest first; None where they could not be read."""

    name: str
    versions: tuple[VersionLine, ...] | None

    @property
    def changed(self) -> bool:
        """Whether there is more to tell than that it was recorded."""
        return self.versions is None or len(self.versions) != 1 or self.versions[0].status != _RECORDED


def own_values(row: Row, observations: Sequence[Resource]) -> list[OwnValue]:
    """Give the values of a row that we wrote and that stand."""
    known = {f"Observation/{each['id']}": each for each in observations}
    return [_own(each, known[str(each.finding.source)]) for each in row.values if each.ours]


def _own(value: Value, resource: Resource) -> OwnValue:
    finding = value.finding
    unit = UNITS.get(finding.measure, "")
    return OwnValue(
        id=str(resource["id"]),
        version=str((resource.get("meta") or {}).get("versionId", "")),
        name=f"{NAMES[finding.measure]} {unit}".strip(),
        text=value.text,
        fields=tuple((name, _typed(finding, name)) for name in _FIELDS.get(finding.measure, ())),
        finding=finding,
    )


def _typed(finding: Finding, name: str) -> str:
    """Give what a field holds as people type it."""
    value = finding.value
    if isinstance(value, BloodPressure):
        return f"{getattr(value, name)}"
    if isinstance(value, Dissociation):
        return value.value
    return "" if value is None else f"{value}"


def histories(row: Row, history: RowHistory, zone: ZoneInfo) -> Iterator[ValueHistory]:
    """Give the history of each value of ours in a row, of those taken back too."""
    for each in (*row.values, *row.back):
        if each.ours:
            versions = history.versions.get(str(each.finding.source))
            lines = None if versions is None else tuple(_line(one, history.people, zone) for one in versions)
            yield ValueHistory(NAMES[each.finding.measure], lines)


def _line(version: Version, known: Mapping[str, Resource], zone: ZoneInfo) -> VersionLine:
    finding, said = version.finding, version.said
    text = "not readable"
    if finding is not None:
        text = f"{told(finding.measure, finding.value)} at {wording.short_text(finding.at, zone)}"
    who = (said.who if said else None) or version.by or ""
    return VersionLine(
        at=wording.short_text(version.at, zone) if version.at else people.NOT_KNOWN,
        text=text,
        status=_STATUS.get(version.status, _RECORDED),
        who=people.name_of(known[who]) if who in known else who or people.NOT_KNOWN,
        reason=(said.reason if said else None) or "",
    )

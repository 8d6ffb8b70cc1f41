"""One decision being made: the chart as it was read, and the difference that is to be written.

What every flow does to a chart is here, once: find what is there by its business identifier, add what is missing, amend
what differs, and sign the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.timing import local
from fhir_aftercare.fhir import provenance
from fhir_aftercare.fhir.bundles import Transaction
from fhir_aftercare.fhir.observations import amended
from fhir_aftercare.fhir.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.apply import Wanted
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]


def reference_of(resource: Resource) -> str:
    """Give ``Type/id`` of a resource that is on the server."""
    return f"{resource['resourceType']}/{resource['id']}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision in the making. References given back are ``Type/id``, or ``urn:uuid`` for what is not there yet."""

    context: ClinicContext
    chart: Chart
    patient: str
    encounter: str | None = None
    transaction: Transaction = field(default_factory=Transaction)

    @property
    def now(self) -> datetime:
        """The present instant, in the clinic's zone."""
        return local(self.context.clock(), self.context.clinic.zone)

    def existing(self, resource: Resource) -> Resource | None:
        """Give what is on the server under the same first business identifier."""
        given = resource["identifier"]
        first = given[0] if isinstance(given, list) else given
        return self.chart.by_identifier().get((first["system"], first["value"]))

    def ensure(self, resource: Resource, urn: str) -> str:
        """Add a resource if it is not there, and give its reference; what is there is left as it is."""
        there = self.existing(resource)
        return reference_of(there) if there else self.transaction.create(resource, urn)

    def ensure_wanted(self, wanted: Wanted) -> str:
        """Add what the protocol wants if it is not there, and give its reference."""
        return self.ensure(wanted.resource, wanted.urn)

    def where(self, wanted: Wanted) -> str:
        """Give the reference of what the protocol wants: where it is, or where it will be."""
        there = self.existing(wanted.resource)
        return reference_of(there) if there else wanted.urn

    def write(self, resource: Resource, urn: str | None = None) -> str:
        """Add a resource, or amend the one that is there where it differs, and give its reference."""
        there = self.existing(resource)
        if there is None:
            return self.transaction.create(resource, urn or f"urn:uuid:{resource['identifier'][0]['value']}")
        changed = amended(there, resource)
        return self.transaction.update(changed, there) if changed else reference_of(there)

    def setting(
        self, key: tuple[str, ...], *, drug_record: str | None = None, recorded_by: str | None = None
    ) -> Setting:
        """Give what the resources of one record have in common."""
        return Setting(
            clinic=self.context.clinic,
            identifiers=self.context.identifiers,
            patient=self.patient,
            encounter=self.encounter,
            key=key,
            drug_record=drug_record,
            recorded_by=recorded_by,
        )

    def device(self) -> str:
        """Add the Device that stands for this software, and give its reference."""
        return provenance.add_device(self.transaction, self.context.identifiers, self.context.version)

    def sign(
        self,
        policy: Sequence[str],
        *,
        person: str | None,
        sources: Sequence[str | None] = (),
        reason: str | None = None,
    ) -> None:
        """Add the Provenance of everything written; ``policy`` are ``url|version``. Unwritten sources are left out."""
        updates = any(entry["request"]["method"] == "PUT" for entry in self.transaction.entries)
        provenance.sign(
            self.transaction,
            self.context.identifiers,
            self.context.author(person),
            at=self.now,
            policy=policy,
            sources=[source for source in sources if source and not source.startswith("urn:")],
            activity="UPDATE" if updates else "CREATE",
            reason=reason,
        )

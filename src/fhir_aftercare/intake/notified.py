"""What of a notification is used: which version of which resource changed, and whose it is. Nothing else of it is read.

Pure. Encounter, MedicationAdministration, Procedure and QuestionnaireResponse mean something; the rest is somebody
else's. A notification is never believed further than that: what is true is read from the FHIR server (design §2.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.intake.hook_faults import HookMalformed

if TYPE_CHECKING:
    from collections.abc import Mapping

Resource = dict[str, Any]

UNDERSTOOD: Final = frozenset({"Encounter", "MedicationAdministration", "Procedure", "QuestionnaireResponse"})
ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_INSTANT: Final = re.compile(r"[0-9T:.+\-Z]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Notified:
    """A resource that changed: ``reference`` is ``Type/id``, ``version`` names its state as far as the sender does.

    ``patient`` (``Patient/7``) and ``encounter`` only if the sender told them.
    """

    reference: str
    version: str
    patient: str | None = None
    encounter: str | None = None

    @property
    def type(self) -> str:
        """The resource type."""
        return self.reference.partition("/")[0]

    def signal(self, clinic: str, source: str) -> DischargeSignal | None:
        """Give the signal; None if it names neither an encounter nor a patient, and only a sweep can find it."""
        own = self.reference if self.type == "Encounter" else None
        encounter = own or self.encounter
        if encounter is None and self.patient is None:
            return None
        event = f"{self.reference}/_history/{self.version}"
        return DischargeSignal(clinic, source, event, encounter, self.patient, "changed")


def notified_of(resource: Resource, base_url: str, unversioned: str) -> Notified:
    """Give what a resource tells. ``unversioned`` stands for its version if it carries none.

    Raises ``HookMalformed`` if it has no usable id. After a restored backup a version number may come twice, with
    another time, so the time is part of the version.
    """
    type_, id_ = resource["resourceType"], resource.get("id")
    if not isinstance(id_, str) or not ID.fullmatch(id_):
        raise HookMalformed("The notification's resource has no usable id.", where=f"{type_}.id")
    meta = resource.get("meta")
    return Notified(
        f"{type_}/{id_}",
        version_in(meta if isinstance(meta, dict) else {}) or unversioned,
        here(resource.get("subject"), "Patient", base_url),
    )


def version_in(meta: Mapping[str, Any]) -> str:
    """Give version and time of a ``meta``, as far as they are there and look like it; else an empty text."""
    version, changed = meta.get("versionId"), meta.get("lastUpdated")
    parts = [
        version if isinstance(version, str) and ID.fullmatch(version) else "",
        changed if isinstance(changed, str) and _INSTANT.fullmatch(changed) else "",
    ]
    return "/".join(part for part in parts if part)


def here(reference: object, type_: str, base_url: str) -> str | None:
    """Give ``Type/id`` of a Reference to a resource of one type on the clinic's own server; else None.

    The same id on another server is somebody else.
    """
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    relative = text.removeprefix(f"{base_url}/")
    place = location_of(relative)
    if place is None or "://" in relative or place.type != type_ or not ID.fullmatch(place.id):
        return None
    return place.reference if relative.startswith(place.reference) else None

"""What a launch is about: patient, encounter, who signed in. Read from the token answer, checked, never assumed.

Nothing is fetched here; an address that leads out of the EHR's FHIR base is refused (integration §1.2 rows 15, 16, 19).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from fhir_aftercare.smart import addresses
from fhir_aftercare.smart.faults import ContextFault, UnsafeAddress

if TYPE_CHECKING:
    from fhir_aftercare.smart.registration import ClientRegistration

USER_TYPES: Final = ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Person")
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_REFERENCE: Final = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")
_LONGEST_TEXT: Final = 1024
_MOST_ENTRIES: Final = 100


@dataclass(frozen=True, slots=True)
class FhirUser:
    """Who signed in, as a resource of the EHR: its type, its id, and the absolute URL inside the FHIR base."""

    type: str
    id: str
    url: str

    @property
    def reference(self) -> str:
        """The relative literal reference."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class ContextItem:
    """One entry of ``fhirContext``. At least one of reference, canonical and identifier is given."""

    role: str = "launch"
    type: str | None = None
    reference: str | None = None
    canonical: str | None = None
    identifier: dict[str, Any] | None = None

    @property
    def is_local(self) -> bool:
        """Whether the reference is one of the EHR's own resources; only such a one may be read with its token."""
        return self.reference is not None and bool(_REFERENCE.fullmatch(self.reference))


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What the EHR had open. ``patient`` and ``encounter`` are ids. Without a word on it, the banner is drawn."""

    patient: str | None = None
    encounter: str | None = None
    items: tuple[ContextItem, ...] = ()
    intent: str | None = None
    need_patient_banner: bool = True
    smart_style_url: str | None = None
    tenant: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON, to be sealed and stored."""
        return {**asdict(self), "items": [asdict(item) for item in self.items]}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LaunchContext:
        """Read what ``to_dict`` gave."""
        return cls(**{**stored, "items": tuple(ContextItem(**item) for item in stored["items"])})


def read_context(members: dict[str, Any], registration: ClientRegistration) -> LaunchContext:
    """Read the launch context of a token answer. Raises ``ContextFault`` with the parameter's name."""
    banner = members.get("need_patient_banner")
    if banner is not None and not isinstance(banner, bool):
        raise ContextFault("need_patient_banner is not true or false.", where="need_patient_banner")
    return LaunchContext(
        patient=_id(members, "patient"),
        encounter=_id(members, "encounter"),
        items=_items(members.get("fhirContext")),
        intent=_text(members, "intent"),
        need_patient_banner=banner is not False,
        smart_style_url=_style(members.get("smart_style_url"), registration),
        tenant=_text(members, "tenant"),
    )


def read_fhir_user(value: object, registration: ClientRegistration) -> FhirUser:
    """Read the ``fhirUser`` claim, absolute or relative to the FHIR base.

    Raises ``ContextFault`` if it is another type of resource or lies outside the base: it would be read with a token.
    """
    base = registration.iss
    if not isinstance(value, str) or not value:
        raise ContextFault("fhirUser is not a reference.", where="fhirUser")
    if "://" in value:
        if not addresses.within(base, value):
            raise ContextFault("fhirUser lies outside the EHR's FHIR base.", where="fhirUser")
        # Both paths percent-decoded, so that no spelling of one makes it shorter than the other.
        value = httpx.URL(value).path[len(httpx.URL(base).path.rstrip("/")) :].lstrip("/")
    match = _REFERENCE.fullmatch(value)
    if not match or match[1] not in USER_TYPES or match[2] in {".", ".."}:
        raise ContextFault("fhirUser is no reference to a person.", where="fhirUser")
    return FhirUser(match[1], match[2], f"{base}/{match[1]}/{match[2]}")


def _id(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in {".", ".."}:
        raise ContextFault(f"{name} is not a FHIR id.", where=name)
    return value


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ContextFault(f"{name} is not a short text.", where=name)
    return value


def _items(value: object) -> tuple[ContextItem, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES:
        raise ContextFault("fhirContext is not a list.", where="fhirContext")
    return tuple(_item(entry) for entry in value)


def _item(entry: object) -> ContextItem:
    if not isinstance(entry, dict):
        raise ContextFault("An entry of fhirContext is not an object.", where="fhirContext")
    reference, canonical, identifier = (entry.get(name) for name in ("reference", "canonical", "identifier"))
    texts = (reference, canonical, entry.get("type"), entry.get("role"))
    if not all(text is None or (isinstance(text, str) and 0 < len(text) <= _LONGEST_TEXT) for text in texts):
        raise ContextFault("An entry of fhirContext holds something else than text.", where="fhirContext")
    if identifier is not None and not isinstance(identifier, dict):
        raise ContextFault("An identifier of fhirContext is not an object.", where="fhirContext")
    if reference is None and canonical is None and identifier is None:
        raise ContextFault("An entry of fhirContext names no resource.", where="fhirContext")
    return ContextItem(entry.get("role") or "launch", entry.get("type"), reference, canonical, identifier)


def _style(value: object, registration: ClientRegistration) -> str | None:
    """Give the style document's address if it is of a known origin; style is not worth refusing a launch for."""
    if value is None:
        return None
    try:
        url = addresses.endpoint(value, "smart_style_url", base=registration.iss)
    except UnsafeAddress:
        return None
    known = {addresses.origin(each) for each in (registration.iss, *registration.style_origins)}
    return url if addresses.origin(url) in known else None

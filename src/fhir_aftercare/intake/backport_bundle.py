"""Reads a topic notification of the R5 Subscriptions Backport: what it is about, and how many events there were.

Pure. Both shapes of the status are read: ``Parameters`` (R4) and ``SubscriptionStatus`` (R4B; integration §2.1), and
all three payloads: empty, ids only, whole resources. What an event does not tell stays None.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.intake.hook_faults import HookMalformed
from fhir_aftercare.intake.notified import UNDERSTOOD, Notified, here, version_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Resource = dict[str, Any]

TYPES: Final = frozenset({"handshake", "heartbeat", "event-notification", "query-status", "query-event"})
# Where a clinic's patients leave by their appointment (integration §2.1, check-out), the event names the patient.
_FOLLOWED: Final = UNDERSTOOD | {"Appointment"}
_LONGEST_KEY: Final = 80
_STATUS: Final = "Bundle.entry[0].resource"


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification. ``type`` is one of ``TYPES``, ``status`` the subscription's own.

    ``subscription`` is ``Subscription/12``, or a hash of how it is named otherwise. ``numbers`` are those of its
    events, ``total`` is how many events there were since the subscription began. ``notified`` is what changed;
    ``unnamed`` counts the events that do not say what.
    """

    type: str
    status: str
    subscription: str
    numbers: tuple[int, ...]
    total: int | None
    notified: tuple[Notified, ...]
    unnamed: int


def notification_of(bundle: Resource, base_url: str) -> Notification:
    """Give what a notification Bundle tells. ``base_url`` is the clinic's FHIR server.

    Raises ``HookMalformed`` if it is no such Bundle.
    """
    entries = _objects(bundle.get("entry"))
    if bundle["resourceType"] != "Bundle" or not entries:
        raise HookMalformed("A topic notification is a Bundle whose first entry is its status.", where="Bundle.entry")
    status = _status(entries[0].get("resource"))
    type_ = str(status.get("type"))
    if type_ not in TYPES:
        raise HookMalformed("The status tells no known type of notification.", where=f"{_STATUS}.type")
    subscription = status.get("subscription")
    if not isinstance(subscription, dict) or not isinstance(subscription.get("reference"), str):
        raise HookMalformed("The status does not name its subscription.", where=f"{_STATUS}.subscription")
    events = _objects(status.get("notificationEvent"))
    told = list(_told(events, entries[1:], base_url, bundle)) if type_ in {"event-notification", "query-event"} else []
    return Notification(
        type_,
        str(status.get("status") or ""),
        _key(subscription["reference"]),
        tuple(number for number in (_number(each.get("eventNumber")) for each in events) if number is not None),
        _number(status.get("eventsSinceSubscriptionStart")),
        tuple(each for each in told if each is not None and each.type in _FOLLOWED),
        told.count(None),
    )


def _status(resource: Any) -> Resource:
    """Give the status in the names of ``SubscriptionStatus``, whichever resource tells it."""
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if kind == "SubscriptionStatus":
        return dict(resource)
    if kind == "Parameters":
        return _named(resource.get("parameter"))
    raise HookMalformed("The first entry must be Parameters or a SubscriptionStatus.", where=_STATUS)


def _named(parameters: Any) -> Resource:
    found: Resource = {"notificationEvent": [], "additionalContext": []}
    for each in _objects(parameters):
        if not isinstance(each.get("name"), str):
            continue
        name = _camel(each["name"])
        value = next((value for key, value in each.items() if key.startswith("value")), None)
        if name == "notificationEvent":
            found["notificationEvent"].append(_named(each.get("part")))
        elif name == "additionalContext":
            found["additionalContext"].append(value)
        else:
            found[name] = value
    return found


def _camel(name: str) -> str:
    first, *others = name.split("-")
    return first + "".join(part.capitalize() for part in others)


def _number(value: Any) -> int | None:
    """Give a counter: an integer in R4B, the text of one in R4 (integer64)."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _key(reference: str) -> str:
    place = location_of(reference)
    named = place.reference if place else ""
    return named if 0 < len(named) <= _LONGEST_KEY else f"sha256-{_hash(reference)}"


def _told(
    events: list[Resource], entries: list[Resource], base_url: str, bundle: Resource
) -> Iterator[Notified | None]:
    """Yield what each event is about, None for one that does not say; if no event is listed, what the entries hold."""
    listed = {reference: each for each in entries if (reference := _reference_of(each, base_url)) is not None}
    if not events:
        mentioned = [name for name in listed if name.partition("/")[0] in _FOLLOWED]
        yield from (_one(name, {}, listed[name], base_url, bundle) for name in mentioned)
        if not mentioned:
            yield None
    for event in events:
        reference = _on_server(_focus(event), base_url)
        yield _one(reference, event, listed.get(reference, {}), base_url, bundle) if reference else None


def _one(reference: str, event: Resource, entry: Resource, base_url: str, bundle: Resource) -> Notified:
    resource = _object(entry.get("resource"))
    around = _objects(event.get("additionalContext"))
    patients = [each for each in (here(one, "Patient", base_url) for one in (resource.get("subject"), *around)) if each]
    visits = [each for each in (here(one, "Encounter", base_url) for one in around) if each]
    version = _version(event, entry, resource) or _occasion(event, bundle)
    return Notified(reference, version, *(found[0] if found else None for found in (patients, visits)))


def _version(event: Resource, entry: Resource, resource: Resource) -> str:
    """Give the version as the resource, the entry's address or the focus tells it."""
    told = version_in(_object(resource.get("meta")))
    for text in (entry.get("fullUrl"), _focus(event)):
        place = location_of(text) if isinstance(text, str) else None
        told = told or (version_in({"versionId": place.version}) if place else "")
    return told


def _occasion(event: Resource, bundle: Resource) -> str:
    """Name an event by when it was told: the same when it is told again, another one for the next change.

    Its number alone would not do: a server that was restarted may begin to count anew (HAPI does). Some give it an id
    of its own (integration §2.3).
    """
    if isinstance(event.get("id"), str):
        return f"sha256-{_hash(event['id'])[:32]}"
    said = [event.get("eventNumber"), event.get("timestamp"), bundle.get("timestamp"), bundle.get("id")]
    return f"sha256-{_hash(repr(said))[:32]}"


def _hash(text: str) -> str:
    # JSON may hold half of a surrogate pair.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _reference_of(entry: Mapping[str, Any], base_url: str) -> str | None:
    found = _on_server(entry.get("fullUrl"), base_url)
    resource = _object(entry.get("resource"))
    return found or _on_server(f"{resource.get('resourceType')}/{resource.get('id')}", base_url)


def _on_server(url: Any, base_url: str) -> str | None:
    """Give ``Type/id`` of an address on the clinic's own server, whatever its type."""
    place = location_of(url) if isinstance(url, str) else None
    return here({"reference": url}, place.type, base_url) if place else None


def _focus(event: Mapping[str, Any]) -> Any:
    return _object(event.get("focus")).get("reference")


def _object(value: Any) -> Resource:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Resource]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

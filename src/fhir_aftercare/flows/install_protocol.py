"""Install the protocol's definitions and profiles in a FHIR server, in an order in which each finds what it refers to.

    files → one batch (what is there) → the difference, kind by kind, each by its own id

Installing again changes nothing; what differs is updated by ``If-Match``. An id or a canonical that something else has
on that server is refused before anything is written. The examples that the guide lists are nobody's: they stay out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from fhir_aftercare.ehr.answers import etag_of
from fhir_aftercare.errors import FhirRejected, FhirServerError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fhir_aftercare.ehr.client import FhirClient

Resource = dict[str, Any]
Outcome = Literal["created", "updated", "unchanged", "refused", "not tried"]

# Each kind may refer to those before it; extensions are used by the other profiles.
_ORDER: Final = (
    "CodeSystem",
    "ValueSet",
    "StructureDefinition of an extension",
    "StructureDefinition",
    "SearchParameter",
    "Questionnaire",
    "ActivityDefinition",
    "PlanDefinition",
    "CapabilityStatement",
    "ImplementationGuide",
)
# A server adds these; none of ours has a narrative or a snapshot.
_SERVERS_OWN: Final = ("meta", "text", "snapshot")


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of one file. ``error`` is what the server said where it ``refused``."""

    file: str
    reference: str
    outcome: Outcome
    error: FhirServerError | None = None


async def install_protocol(fhir: FhirClient, files: Mapping[str, Resource]) -> list[Installed]:
    """Write the definitions (by file name) that the server lacks or has otherwise; give what became of each, in order.

    After a kind with a refusal the kinds after it are not tried. Raises ``InvalidInput`` naming every file of a kind
    that is not installed or whose place is taken, and what the client raises if a batch fails as a whole; installing
    again goes on where it stopped.
    """
    _check(files)
    there = await _there(fhir, files)
    results: list[Installed] = []
    failed = False
    for kind in _ORDER:
        names = [name for name, resource in files.items() if _kind(resource) == kind]
        if failed:
            results += [Installed(name, _reference(files[name]), "not tried") for name in names]
            continue
        installed = await _install(fhir, {name: _installable(files[name], files) for name in names}, there)
        results += installed
        failed = any(each.error is not None for each in installed)
    return results


def _kind(resource: Resource) -> str:
    extension = resource["resourceType"] == "StructureDefinition" and resource.get("type") == "Extension"
    return "StructureDefinition of an extension" if extension else str(resource["resourceType"])


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _check(files: Mapping[str, Resource]) -> None:
    unknown = [name for name, each in files.items() if _kind(each) not in _ORDER or not isinstance(each.get("id"), str)]
    if unknown:
        raise InvalidInput(
            "These files are no definitions that are installed, or have no id.",
            where=unknown,
            remedy="Take them out of the folder, or give them an id.",
        )
    by_place: dict[str, list[str]] = {}
    for name, each in files.items():
        by_place.setdefault(_reference(each), []).append(name)
    doubles = [name for names in by_place.values() if len(names) > 1 for name in names]
    if doubles:
        raise InvalidInput(
            "These files have one id: on the server one would replace the other.",
            where=doubles,
            remedy="Give each version of a definition an id of its own.",
        )


async def _there(fhir: FhirClient, files: Mapping[str, Resource]) -> dict[str, Resource]:
    """Give what the server has under our ids, by ``Type/id``, after seeing that no place is taken by others.

    Raises ``InvalidInput`` naming each file whose id or canonical is something else's.
    """
    types = sorted({each["resourceType"] for each in files.values()})
    queries = [(type_, _by_ids(type_, files)) for type_ in types]
    queries += [(type_, _by_urls(type_, files)) for type_ in types]
    answers = await fhir.batch([query for _, query in queries])
    found: dict[str, Resource] = {}
    for (type_, _), answer in zip(queries, answers, strict=True):
        pages = await fhir.collect(type_, answer.unwrap())
        found.update({_reference(each): each for each in pages.matches})
    ours = {_reference(each): name for name, each in files.items()}
    versions = {(each["url"], each.get("version")): name for name, each in files.items()}
    taken: list[str] = []
    for place, resource in found.items():
        if place in ours and resource.get("url") != files[ours[place]]["url"]:
            taken.append(f"{ours[place]}: {place} is another definition")
        elif place not in ours and (resource.get("url"), resource.get("version")) in versions:
            taken.append(f"{versions[resource['url'], resource.get('version')]}: it is there as {place}")
    if taken:
        raise InvalidInput(
            "The server has other definitions in the place of these; nothing was written.",
            where=taken,
            remedy="Delete what is in the way on the server, or give the file another id.",
        )
    return {place: resource for place, resource in found.items() if place in ours}


def _by_ids(type_: str, files: Mapping[str, Resource]) -> str:
    ids = ",".join(each["id"] for each in files.values() if each["resourceType"] == type_)
    return f"{type_}?_id={quote(ids, safe=',')}&_count=200"


def _by_urls(type_: str, files: Mapping[str, Resource]) -> str:
    urls = ",".join(sorted({each["url"] for each in files.values() if each["resourceType"] == type_}))
    return f"{type_}?url={quote(urls, safe=',:/')}&_count=200"


def _installable(resource: Resource, files: Mapping[str, Resource]) -> Resource:
    """Give a definition as it is written: a guide lists only what is installed with it."""
    rows = (
        (resource.get("definition") or {}).get("resource")
        if resource["resourceType"] == "ImplementationGuide"
        else None
    )
    if not rows:
        return resource
    known = {_reference(each) for each in files.values()}
    kept = [row for row in rows if row["reference"]["reference"] in known]
    return {**resource, "definition": {**resource["definition"], "resource": kept}}


async def _install(fhir: FhirClient, files: Mapping[str, Resource], there: Mapping[str, Resource]) -> list[Installed]:
    changed = {name: each for name, each in files.items() if _differs(each, there.get(_reference(each)))}
    errors = await _send(fhir, {name: _put(each, there.get(_reference(each))) for name, each in changed.items()})
    return [
        Installed(name, _reference(each), _outcome(name, errors, _reference(each) in there), errors.get(name))
        for name, each in files.items()
    ]


async def _send(fhir: FhirClient, entries: Mapping[str, Resource]) -> dict[str, FhirServerError | None]:
    """Send entries and give each one's error, or None."""
    try:
        answers = await fhir.batch([*entries.values()])
    except FhirRejected as refused:
        if len(entries) == 1:
            return dict.fromkeys(entries, refused)
        # A server that cannot read one entry refuses them all: which one it is shows when each comes alone.
        alone = [await _send(fhir, {name: entry}) for name, entry in entries.items()]
        return {name: error for each in alone for name, error in each.items()}
    return {name: answer.error for name, answer in zip(entries, answers, strict=True)}


def _outcome(name: str, errors: Mapping[str, FhirServerError | None], was_there: bool) -> Outcome:
    if name not in errors:
        return "unchanged"
    if errors[name] is not None:
        return "refused"
    return "updated" if was_there else "created"


def _differs(ours: Resource, theirs: Resource | None) -> bool:
    if theirs is None:
        return True
    owned = [name for name in _SERVERS_OWN if name not in ours]
    return ours != {name: value for name, value in theirs.items() if name not in owned}


def _put(resource: Resource, before: Resource | None) -> dict[str, Any]:
    request = {"method": "PUT", "url": _reference(resource)}
    if before is not None:
        request["ifMatch"] = etag_of(before)
    return {"request": request, "resource": resource}


def counted(results: Sequence[Installed]) -> dict[Outcome, int]:
    """Give how many files had each outcome, those that happened."""
    found: dict[Outcome, int] = {}
    for each in results:
        found[each.outcome] = found.get(each.outcome, 0) + 1
    return found

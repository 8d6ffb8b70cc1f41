"""The last look before anything is sent: a transaction that a FHIR server should not be given is not sent at all.

Structure by the R4B models of fhir.resources; what those let pass (required codes, invariants, reference targets, what
R4 lacks, moves of status, conditions of requests) by the rules here (fhir-model §5). Whether it is the right thing to
write is decided in ``flows/``; profiles and terminology are checked by HL7's validator in the tests.
"""

from __future__ import annotations

import re
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import ValidationError

from fhir_aftercare.care.status import Kind, check_move
from fhir_aftercare.errors import CheckFailed, IllegalMove
from fhir_aftercare.fhir.faults import REFERENCE, Fault, dicts
from fhir_aftercare.fhir.identifiers import token_query
from fhir_aftercare.fhir.invariants import INVARIANTS
from fhir_aftercare.fhir.required_codes import elements_of, model_of
from fhir_aftercare.fhir.shape import KnownShapes, shape_of
from fhir_aftercare.fhir.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fhir_aftercare.fhir.required_codes import Model

Resource = dict[str, Any]

WRITTEN: Final = (
    "CarePlan", "Communication", "Device", "Goal", "MedicationAdministration", "Observation", "Procedure", "Provenance",
    "QuestionnaireResponse", "ServiceRequest", "Task",
)  # fmt: skip
_MOVING: Final = frozenset(get_args(Kind))
_SHOWN = 12  # faults named in the message; ``where`` has all
_CONDITION: Final = {"POST": "ifNoneExist", "PUT": "ifMatch"}
_URN: Final = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ETAG: Final = re.compile(r'W/"([^"]+)"')


def check_bundle(
    bundle: Resource, existing: Mapping[str, Resource], merged: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Check a transaction of conditional creates (POST) and guarded updates (PUT), in plain FHIR JSON.

    ``existing`` maps ``Type/id`` to the version read, for every PUT. A fault that this version has already is not ours
    to refuse. ``merged`` maps a patient's record (``Patient/7``) to the one that replaced it: they are one person.
    Raises ``CheckFailed``; ``where`` names every place, such as ``entry[3].Task.status``.
    """
    entries = bundle.get("entry")
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction" or not isinstance(entries, list):
        raise CheckFailed("What is sent is a transaction Bundle.", where="Bundle.type")
    if not all(isinstance(part, dict) for entry in entries for part in _parts(entry)):
        raise CheckFailed("Every entry has a resource and a request.", where="Bundle.entry")
    urns = {entry["fullUrl"]: str(entry["resource"].get("resourceType")) for entry in entries if _is_urn(entry)}
    found = [*_of_bundle(entries, existing, merged)]
    for index, entry in enumerate(entries):
        before = _before(entry, existing)
        within = [*_of_request(entry, before), *_fresh(entry["resource"], before, urns)]
        found += [Fault(f"entry[{index}].{place}", rule) for place, rule in within]
    if found:
        named = "; ".join(f"{place} {rule}" for place, rule in found[:_SHOWN])
        raise CheckFailed(f"Not sent: {named}.", where=tuple(dict.fromkeys(place for place, _ in found)))


def faults_of(resource: Resource, urns: Mapping[str, str] | None = None) -> list[Fault]:
    """Give what is wrong with one resource by itself; ``urns`` maps each ``fullUrl`` of its Bundle to a type."""
    model = model_of(resource.get("resourceType"))
    if model is None:
        return [Fault("resource", "is of no type that R4 has")]
    name = str(resource["resourceType"])
    structure = [*_of_structure(resource, model, name)]
    walk = Walk(resource, urns or {}, name)
    walk.visit(resource, elements_of(model), (None, name, None))
    invariants = INVARIANTS.get(name)
    broken = invariants(resource) if invariants and not structure else ()
    return [*structure, *walk.faults, *(Fault(f"{name}.{place}", rule) for place, rule in broken)]


def warm() -> None:
    """Import and build the models of all that is written, so that the first check is as fast as the next."""
    reached: set[Model] = set()
    waiting = [model for model in map(model_of, WRITTEN) if model is not None]
    while waiting:
        model = waiting.pop()
        if model not in reached:
            reached.add(model)
            waiting += [element.model for element in elements_of(model).values() if element.model is not None]
            list(_of_structure({}, model, ""))  # what the models find out about themselves at first use


def _parts(entry: Any) -> tuple[Any, ...]:
    return (entry.get("resource"), entry.get("request")) if isinstance(entry, dict) else (None,)


def _is_urn(entry: Resource) -> bool:
    return _URN.fullmatch(str(entry.get("fullUrl"))) is not None


def _before(entry: Resource, existing: Mapping[str, Resource]) -> Resource | None:
    request = entry["request"]
    return existing.get(str(request.get("url"))) if request.get("method") == "PUT" else None


def _fresh(resource: Resource, before: Resource | None, urns: Mapping[str, str]) -> list[Fault]:
    """Give the faults that are ours. What others wrote we hand back as it was, faults and all (design §2.8)."""
    found = faults_of(resource, urns)
    if found and before is not None:
        old = set(faults_of(before, urns))
        found = [each for each in found if each not in old]
    return [*found, *(_of_move(resource, before) if before is not None else ())]


def _of_move(resource: Resource, before: Resource) -> Iterator[Fault]:
    kind = str(resource.get("resourceType"))
    if kind in _MOVING:
        try:
            check_move(kind, str(before.get("status")), str(resource.get("status")))  # type: ignore[arg-type]
        except IllegalMove as error:
            yield Fault(f"{kind}.status", f"cannot move like that. {error.remedy.rstrip('.')}")


# --- the Bundle and its requests -------------------------------------------------------------------------------------
def _of_bundle(
    entries: Sequence[Resource], existing: Mapping[str, Resource], merged: Mapping[str, str]
) -> Iterator[Fault]:
    """No two entries may be one; all is about one patient, who was the patient before."""
    full_urls = Counter(str(entry["fullUrl"]) for entry in entries if "fullUrl" in entry)
    targets = Counter(_target(entry) for entry in entries)
    patient: str | None = None
    for index, entry in enumerate(entries):
        if full_urls[str(entry.get("fullUrl"))] > 1:
            yield Fault(f"entry[{index}].fullUrl", "is another entry's too")
        if targets[_target(entry)] > 1:
            yield Fault(f"entry[{index}].request", "writes what another entry writes")
        for each in (_before(entry, existing), entry["resource"]):
            place, about = _patient_of(each or {})
            about = merged.get(about, about) if about is not None else None
            patient = patient or about
            if about is not None and about != patient:
                yield Fault(f"entry[{index}].{place}", "is another patient than that of the other entries or before")


def _target(entry: Resource) -> tuple[str, str]:
    request = entry["request"]
    return str(request.get("url")), str(request.get("ifNoneExist", "") or request.get("method"))


def _patient_of(resource: Resource) -> tuple[str, str | None]:
    name = "for" if resource.get("resourceType") == "Task" else "subject"
    subject = resource.get(name)
    reference = str(subject.get("reference", "")) if isinstance(subject, dict) else ""
    match = REFERENCE.fullmatch(reference)
    about = f"Patient/{match[2]}" if match and match[1] == "Patient" else None
    return f"{resource.get('resourceType')}.{name}", about


def _of_request(entry: Resource, before: Resource | None) -> Iterator[Fault]:
    """A create is conditional, an update guarded by the version that was read (design §5.3)."""
    resource, request = entry["resource"], entry["request"]
    method = str(request.get("method"))
    if method not in _CONDITION:
        yield Fault("request.method", "is neither POST nor PUT")
        return
    full_url = entry.get("fullUrl")
    if not (_is_urn(entry) if method == "POST" else full_url in (None, request.get("url"))):
        yield Fault("fullUrl", "is no urn:uuid of its own" if method == "POST" else "is not what its request updates")
    condition = request.get(_CONDITION[method])
    if not isinstance(condition, str) or not condition:
        yield Fault(f"request.{_CONDITION[method]}", "is required")
    if entry.keys() - {"fullUrl", "resource", "request"} or request.keys() - {"method", "url", _CONDITION[method]}:
        yield Fault("request", "has more than it needs")
    if method == "POST":
        if request.get("url") != resource.get("resourceType"):
            yield Fault("request.url", "is not the type of the resource")
        if condition and condition not in _own_conditions(resource):
            yield Fault("request.ifNoneExist", "asks for none of the resource's own identifiers or tags")
        return
    if request.get("url") != f"{resource.get('resourceType')}/{resource.get('id')}":
        yield Fault("request.url", "is not the type and id of the resource")
    if before is None:
        yield Fault("request.url", "updates what was not read")
    elif isinstance(condition, str) and condition:
        match = _ETAG.fullmatch(condition)
        if not match or match[1] != str((before.get("meta") or {}).get("versionId")):
            yield Fault("request.ifMatch", "is not the version that was read")


def _own_conditions(resource: Resource) -> list[str]:
    """Give the conditions under which a resource finds itself again; any other would make it twice."""
    identifiers = resource.get("identifier")
    meta = resource.get("meta")
    named = [("identifier", each) for each in dicts(identifiers if isinstance(identifiers, list) else [identifiers])]
    named += [("_tag", each) for each in dicts(meta.get("tag") if isinstance(meta, dict) else None)]
    return [
        token_query(parameter, each)
        for parameter, each in named
        if isinstance(each.get("system"), str) and isinstance(each.get("value") or each.get("code"), str)
    ]


# --- structure -------------------------------------------------------------------------------------------------------
_GOOD: Final = KnownShapes()
_STRUCTURE: Final = {
    "missing": "is required",
    "model_field_validation.missing": "is required",
    "extra_forbidden": "is no element of R4",
}


def _of_structure(resource: Resource, model: Model, name: str) -> Iterator[Fault]:
    """Give the models' own findings. Their words may hold values, so only their kind is kept."""
    shape = shape_of(resource)
    if _GOOD.has(shape):
        return
    try:
        model.model_validate(resource)
        _GOOD.add(shape)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            steps = [step for step in each["loc"] if step != "root"]  # the models' word for "all of it"
            place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
            yield Fault(name + place, _STRUCTURE.get(each["type"], "does not have the shape R4 gives it"))
    except (KeyError, TypeError, ValueError):  # what the models make of an unknown type inside "contained"
        yield Fault(f"{name}.contained", "is of no type that R4 has")

"""The last look before anything is sent: a transaction that a FHIR server should not be given is not sent at all.

Structure by the R4B models of fhir.resources; what those let pass (required codes, invariants, reference targets, what
R4 lacks, moves of status, conditions of requests) by the rules here (fhir-model §5). Whether it is the right thing to
write is decided in ``flows/``; profiles and terminology are checked by HL7's validator in the tests.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from pydantic import ValidationError

from fhir_aftercare.care.status import Kind, check_move
from fhir_aftercare.errors import CheckFailed, IllegalMove
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.identifiers import token_query
from fhir_aftercare.fhir.required_codes import elements_of, is_type, model_of
from fhir_aftercare.fhir.shape import KnownShapes, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fhir_aftercare.fhir.required_codes import Element, Model

Resource = dict[str, Any]

WRITTEN: Final = (
    "CarePlan", "Communication", "Device", "Goal", "MedicationAdministration", "Observation", "Procedure", "Provenance",
    "QuestionnaireResponse", "ServiceRequest", "Task",
)  # fmt: skip
_MOVING: Final = frozenset(get_args(Kind))
_SHOWN = 12  # faults named in the message; ``where`` has all
_CONDITION: Final = {"POST": "ifNoneExist", "PUT": "ifMatch"}
# What the R4B models take and R4 servers do not know (fhir-model §5).
_NOT_IN_R4: Final = frozenset({"subjectCanonical", "valueCodeableReference", "valueRatioRange", "fhir_comments"})
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_URN: Final = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REFERENCE: Final = re.compile(r"(?:https?://.+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?")
_JSON: Final = {"boolean": (bool,), "number": (int, float, Decimal)}
_ETAG: Final = re.compile(r'W/"([^"]+)"')


class Fault(NamedTuple):
    """A broken rule and its place, such as ``Task.restriction.period``. Never holds a value."""

    place: str
    rule: str


def check_bundle(bundle: Resource, existing: Mapping[str, Resource]) -> None:
    """Check a transaction of conditional creates (POST) and guarded updates (PUT), in plain FHIR JSON.

    ``existing`` maps ``Type/id`` to the version read, for every PUT. A fault that this version has already is not ours
    to refuse. Raises ``CheckFailed``; ``where`` names every place, such as ``entry[3].Task.status``.
    """
    entries = bundle.get("entry")
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction" or not isinstance(entries, list):
        raise CheckFailed("What is sent is a transaction Bundle.", where="Bundle.type")
    if not all(isinstance(part, dict) for entry in entries for part in _parts(entry)):
        raise CheckFailed("Every entry has a resource and a request.", where="Bundle.entry")
    urns = {entry["fullUrl"]: str(entry["resource"].get("resourceType")) for entry in entries if _is_urn(entry)}
    found = [*_of_bundle(entries, existing)]
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
    walk = _Walk(resource, urns or {}, name)
    walk.visit(resource, elements_of(model), (None, name, None))
    invariants = _INVARIANTS.get(name)
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
def _of_bundle(entries: Sequence[Resource], existing: Mapping[str, Resource]) -> Iterator[Fault]:
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
    match = _REFERENCE.fullmatch(reference)
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
    named = [("identifier", each) for each in _dicts(identifiers if isinstance(identifiers, list) else [identifiers])]
    named += [("_tag", each) for each in _dicts(meta.get("tag") if isinstance(meta, dict) else None)]
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


def _dicts(value: Any) -> list[Resource]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


_Path = tuple["_Path | None", str, "int | None"]


def _place(path: _Path) -> str:
    parent, name, index = path
    step = name if index is None else f"{name}[{index}]"
    return step if parent is None else f"{_place(parent)}.{step}"


class _Walk:
    """Every element of one resource, once. A path is a chain of steps and is put into words only for a fault."""

    def __init__(self, resource: Resource, urns: Mapping[str, str], name: str) -> None:
        self.faults: list[Fault] = []
        self._urns = urns
        self._contained = {
            f"#{each.get('id')}": str(each.get("resourceType")) for each in _dicts(resource.get("contained"))
        }
        self._contained["#"] = name
        # A patient's answers are kept as they came, and an open choice has words without a system.
        self._strict_codings = name != "QuestionnaireResponse"

    def _fault(self, path: _Path, rule: str) -> None:
        self.faults.append(Fault(_place(path), rule))

    def visit(self, node: Resource, elements: Mapping[str, Element], path: _Path) -> None:
        """Look at each element of a node."""
        for name, value in node.items():
            element = elements.get(name)
            if name in _NOT_IN_R4:
                self._fault((path, name, None), "is not in R4")
            if element is None:  # resourceType, or what the models have refused already
                continue
            if type(value) is not list:
                self._value(value, element, (path, name, None))
                continue
            if not value:
                self._fault((path, name, None), "is empty")
            for index, each in enumerate(value):
                # Only beside a primitive's extension an array may have gaps.
                if each is not None or not (name.startswith("_") or f"_{name}" in node):
                    self._value(each, element, (path, name, index))

    def _value(self, value: Any, element: Element, path: _Path) -> None:
        if type(value) is dict:
            if not value:
                self._fault(path, "is empty")
            check = _TYPES.get(element.type)
            if check is not None:
                check(self, value, element, path)
            held = model_of(value.get("resourceType")) if element.resource else element.model
            if held is not None:
                self.visit(value, elements_of(held), path)
            elif element.resource:
                self._fault(path, "is of no type that R4 has")
        elif isinstance(value, str):
            self._string(value, element, path)
        elif not isinstance(value, _JSON.get(element.json, ())) or isinstance(value, bool) != (
            element.json == "boolean"
        ):
            self._fault(path, "is not the JSON that R4 has there")

    def _string(self, value: str, element: Element, path: _Path) -> None:
        if element.json != "string":
            self._fault(path, "is not the JSON that R4 has there")
        if not value.strip():
            self._fault(path, "is empty")
        if element.codes is not None and value not in element.codes:
            self._fault(path, "is no code of the required value set")
        if value in self._urns and path[1] != "reference":  # servers rewrite it in a Reference only (design §10.14)
            self._fault(path, "names an entry where no server will replace it")
        if path[1] == "id" and element.model is None and not _ID.fullmatch(value):
            self._fault(path, "is no id: 1 to 64 letters, digits, - and .")

    def reference(self, value: Resource, element: Element, path: _Path) -> None:
        """A reference leads somewhere, and to a type that R4 allows there."""
        given = value.get("reference")
        if not isinstance(given, str):
            return
        type_ = self._urns.get(given) or self._contained.get(given)
        match = None if type_ else _REFERENCE.fullmatch(given)
        if match is not None and is_type(match[1]):
            type_ = match[1]
        if type_ is None:
            if given.startswith("urn:"):
                self._fault(path, "refers to no entry of the Bundle")
            elif not given.startswith(("http://", "https://")):
                self._fault(path, "refers to nothing: it is no Type/id")
        elif element.targets is not None and type_ not in element.targets:
            self._fault(path, f"refers to a {type_}, which R4 does not allow there")

    def coding(self, value: Resource, _element: Element, path: _Path) -> None:
        """A code or a display alone means nothing."""
        if self._strict_codings and not ("system" in value and "code" in value):
            self._fault(path, "has no system and code")

    def quantity(self, value: Resource, _element: Element, path: _Path) -> None:
        """R4 qty-3; and a unit alone is no quantity."""
        if "code" in value and "system" not in value:
            self._fault(path, "has a code without its system")
        if "value" not in value and "_value" not in value:
            self._fault(path, "has no value")

    def extension(self, value: Resource, _element: Element, path: _Path) -> None:
        """R4 ext-1."""
        if _has_value(value) == ("extension" in value):
            self._fault(path, "has neither or both of a value and extensions")

    def period(self, value: Resource, _element: Element, path: _Path) -> None:
        """R4 per-1."""
        if not _in_order(value.get("start"), value.get("end")):
            self._fault(path, "ends before it starts")


_TYPES: Final[Mapping[str, Callable[[_Walk, Resource, Element, _Path], None]]] = {
    "Reference": _Walk.reference,
    "Coding": _Walk.coding,
    "Quantity": _Walk.quantity,
    "Period": _Walk.period,
    "Extension": _Walk.extension,
}


def _in_order(first: Any, second: Any) -> bool:
    """Tell whether two FHIR dates are in order. Of partial dates only what both state is compared."""
    if not isinstance(first, str) or not isinstance(second, str):
        return True
    earlier, later = tasks.moment(first), tasks.moment(second)
    if earlier is not None and later is not None:
        return earlier <= later
    stated = min(len(first.partition("T")[0]), len(second.partition("T")[0]))
    return first[:stated] <= second[:stated]


# --- invariants: R4's own by their key, ours by their rule in profiles/ -----------------------------------------------
def _task(task: Resource) -> Iterator[Fault]:
    for name in ("for", "authoredOn", "requester"):
        if name not in task:
            yield Fault(name, "is required of a Task")
    status, dates = task["status"], (task.get("restriction") or {}).get("period") or {}
    if "end" not in dates:
        yield Fault("restriction.period.end", "is required: a Task is due some time")
    if not _in_order(task.get("authoredOn"), task.get("lastModified")):  # inv-1
        yield Fault("lastModified", "is before authoredOn")
    if status in {"cancelled", "failed", "rejected"} and "statusReason" not in task:
        yield Fault("statusReason", "is required of a Task that ended without being done")
    if status in {"requested", "ready"} and "executionPeriod" in task:
        yield Fault("executionPeriod", "is only of a Task that somebody has acted on")
    for each in task.get("extension") or ():
        if each["url"] == terms.EXT_TASK_EXPIRY and not _in_order(dates.get("end"), each.get("valueDateTime")):
            yield Fault("extension", "expires before it is due")
    if tasks.has_code(task, terms.COMPLETE_QUESTIONNAIRE):
        yield from _form_task(task)


def _form_task(task: Resource) -> Iterator[Fault]:
    if "focus" in task:  # sdc-t1
        yield Fault("focus", "is not of a Task that asks for a questionnaire")
    if tasks.asks_for(task) is None:
        yield Fault("input", "does not name the questionnaire")
    if task["status"] == "completed" and not any(
        tasks.has_code({"code": each["type"]}, terms.SDC_RESPONSE) for each in task.get("output") or ()
    ):
        yield Fault("output", "does not point to the answers")


def _care_plan(plan: Resource) -> Iterator[Fault]:
    for index, each in enumerate(plan.get("activity") or ()):
        if "detail" in each or "reference" not in each:  # cpl-3, design §5.1
            yield Fault(f"activity[{index}]", "is not by reference alone")
    if plan["status"] not in {"draft", "entered-in-error"} and "start" not in (plan.get("period") or {}):
        yield Fault("period.start", "is required of a plan that is no longer a draft")


def _restriction(request: Resource) -> Iterator[Fault]:
    restricts = terms.PROFILE_RESTRICTION in ((request.get("meta") or {}).get("profile") or ())
    if restricts and request.get("doNotPerform") is not True:  # without it, it orders what it was to forbid
        yield Fault("doNotPerform", "is required to be true of a restriction")
    if request.get("doNotPerform") and not {"start", "end"} <= (request.get("occurrencePeriod") or {}).keys():
        yield Fault("occurrencePeriod", "needs start and end: a restriction ends some time")


def _observation(observation: Resource) -> Iterator[Fault]:
    if "subject" not in observation:
        yield Fault("subject", "is required of an Observation")
    if not _has_value(observation) and not observation.keys() & {"component", "hasMember", "dataAbsentReason"}:
        yield Fault("value", "is required, or the reason why it is absent")
    parts = [
        ("", observation),
        *((f"component[{i}].", each) for i, each in enumerate(observation.get("component") or ())),
    ]
    for place, part in parts:
        if _has_value(part) and "dataAbsentReason" in part:  # obs-6
            yield Fault(f"{place}dataAbsentReason", "is only where there is no value")
        if place and not _has_value(part) and "dataAbsentReason" not in part:
            yield Fault(f"{place}value", "is required, or the reason why it is absent")


def _has_value(part: Resource) -> bool:
    return any(name.startswith("value") for name in part)


def _answers(response: Resource) -> Iterator[Fault]:
    if "subject" not in response:
        yield Fault("subject", "is required: answers of nobody are found by nobody")


def _goal(goal: Resource) -> Iterator[Fault]:
    for index, each in enumerate(goal.get("target") or ()):
        if "measure" not in each and any(name.startswith("detail") for name in each):  # gol-1
            yield Fault(f"target[{index}].measure", "is required where there is a detail")


def _administration(record: Resource) -> Iterator[Fault]:
    dosage = record.get("dosage")
    if dosage is not None and not dosage.keys() & {"dose", "rateRatio", "rateQuantity"}:  # mad-1
        yield Fault("dosage", "needs a dose or a rate")
    yield from _ended(record, "effectivePeriod")


def _ended(record: Resource, name: str) -> Iterator[Fault]:
    if record["status"] == "completed" and "end" not in (record.get(name) or {"end"}):
        yield Fault(f"{name}.end", "is required of what is completed")


def _provenance(provenance: Resource) -> Iterator[Fault]:
    for index, each in enumerate(provenance["target"]):
        if "/_history/" in str(each.get("reference")):  # the transaction itself gives the versions (design §5.3)
            yield Fault(f"target[{index}]", "is versioned")


_INVARIANTS: Final[Mapping[str, Callable[[Resource], Iterator[Fault]]]] = {
    "Task": _task,
    "CarePlan": _care_plan,
    "ServiceRequest": _restriction,
    "Observation": _observation,
    "Goal": _goal,
    "MedicationAdministration": _administration,
    "Procedure": lambda procedure: _ended(procedure, "performedPeriod"),
    "Provenance": _provenance,
    "QuestionnaireResponse": _answers,
}

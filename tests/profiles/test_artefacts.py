"""The files of profiles/: well formed, in the order of the specification, named, versioned, pointing at each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from fhir_aftercare.fhir import terms
from profiles.lock import EXAMPLES, LOCK, PROFILES, changed_in_silence, current, read

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(terms.__file__).parents[1]
ARTEFACTS = read()
ALL = {**ARTEFACTS, **{f"examples/{name}": resource for name, resource in read(EXAMPLES).items()}}
BY_URL = {resource["url"]: resource for resource in ARTEFACTS.values()}
OF_TYPE = {
    kind: {name: each for name, each in ARTEFACTS.items() if each["resourceType"] == kind}
    for kind in ("StructureDefinition", "CodeSystem", "ValueSet")
}


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def out_of_order(ours: Any, modelled: Any, path: str) -> list[str]:
    if isinstance(ours, dict):
        known = [name for name in modelled if name in ours]
        nested = [fault for name in ours for fault in out_of_order(ours[name], modelled[name], f"{path}.{name}")]
        return nested if list(ours) == known else [f"{path}: {list(ours)}", *nested]
    if isinstance(ours, list):
        pairs = enumerate(zip(ours, modelled, strict=True))
        return [fault for at, (one, other) in pairs for fault in out_of_order(one, other, f"{path}[{at}]")]
    return []


@pytest.mark.parametrize("name", ALL)
def test_a_file_is_r4_in_the_order_of_the_specification(name: str) -> None:
    resource = ALL[name]
    model = get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    assert not out_of_order(resource, json.loads(model.model_dump_json()), resource["resourceType"])


@pytest.mark.parametrize("name", ALL)
def test_a_file_is_named_and_laid_out_alike(name: str) -> None:
    resource = ALL[name]
    assert name.removeprefix("examples/") == f"{resource['resourceType']}-{resource['id']}.json"
    text = (PROFILES / name).read_text("utf-8")
    assert text == json.dumps(resource, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", ARTEFACTS)
def test_an_artefact_says_what_it_is(name: str) -> None:
    resource = ARTEFACTS[name]
    assert resource["url"] == f"{terms.BASE}/{resource['resourceType']}/{resource['id']}"
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", resource["id"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", resource["version"])
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", resource["name"])
    assert {"status", "experimental", "date", "publisher", "description"} <= resource.keys()
    if resource["resourceType"] == "StructureDefinition":
        assert resource["fhirVersion"] == "4.0.1"
        assert "snapshot" not in resource


def test_no_two_artefacts_share_a_canonical_or_a_name() -> None:
    assert len(BY_URL) == len(ARTEFACTS)
    names = [(each["resourceType"], each["name"]) for each in ARTEFACTS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ALL)
def test_every_canonical_of_ours_resolves(name: str) -> None:
    for text in strings(ALL[name]):
        for canonical in re.findall(re.escape(terms.BASE) + r"/[A-Za-z]+/[a-z0-9-]+(?:\|[0-9.]+)?", text):
            url, _, version = canonical.partition("|")
            assert url in BY_URL, canonical
            assert version in {"", BY_URL[url]["version"]}, canonical


@pytest.mark.parametrize("name", [each for each in ALL if each.startswith(("examples/", "ImplementationGuide"))])
def test_every_reference_resolves(name: str) -> None:
    told = [entry["resource"] for each in ALL.values() for entry in each.get("entry", [])]
    known = {f"{each['resourceType']}/{each['id']}" for each in (*ALL.values(), *told)}
    assert set(references(ALL[name])) <= known


def test_the_course_is_told_with_a_correction_a_retraction_and_the_night_the_clocks_change() -> None:
    steps = {name: each for name, each in ALL.items() if "Bundle-course-" in name}
    assert len(steps) == 7
    told = [entry["resource"] for each in steps.values() for entry in each["entry"]]
    assert {"amended", "entered-in-error"} <= {each["status"] for each in told if each["resourceType"] == "Observation"}
    restrictions = [each for each in told if each["resourceType"] == "ServiceRequest"]
    assert "2026-03-08T07:00:00-04:00" in {each["occurrencePeriod"]["end"] for each in restrictions}
    forms = [each for each in told if each["resourceType"] == "Task" and each["status"] == "cancelled"]
    assert "superseded" in {each["businessStatus"]["coding"][0]["code"] for each in forms}


def test_the_implementation_guide_lists_everything() -> None:
    listed = {row["reference"]["reference"] for row in _guide()["definition"]["resource"]}
    everything = {f"{each['resourceType']}/{each['id']}" for each in ALL.values()}
    assert everything - listed == {f"ImplementationGuide/{_guide()['id']}"}


def _guide() -> dict[str, Any]:
    return next(each for each in ARTEFACTS.values() if each["resourceType"] == "ImplementationGuide")


def test_every_profile_has_a_good_example() -> None:
    shown = {profile for each in ALL.values() for profile in each.get("meta", {}).get("profile", [])}
    profiles = {each["url"] for each in OF_TYPE["StructureDefinition"].values() if each["type"] != "Extension"}
    assert profiles <= shown


def test_the_software_and_the_files_know_the_same_definitions() -> None:
    known = {
        value
        for name, value in vars(terms).items()
        if isinstance(value, str)
        and name.startswith(("PROFILE_", "EXT_", "PLAN_", "QUESTIONNAIRE_", "SEARCH_"))
        and value.startswith(terms.BASE)
    }
    kinds = {"StructureDefinition", "PlanDefinition", "Questionnaire", "SearchParameter"}
    assert known == {each["url"] for each in ARTEFACTS.values() if each["resourceType"] in kinds}


def test_the_readme_names_the_module_that_writes_each_profile() -> None:
    row = r"^\| `(aftercare-[\w-]+)` \| \w+ \| `(fhir/\w+)` \|$"
    table = re.findall(row, (PROFILES / "README.md").read_text(), re.MULTILINE)
    names = {value.rpartition("/")[2]: name for name, value in vars(terms).items() if name.startswith("PROFILE_")}
    assert {profile for profile, _ in table} == set(names)
    for profile, module in table:
        source = (SOURCES / f"{module}.py").read_text()
        assert f"terms.{names[profile]}" in source, f"{module} does not write {profile}"


# --- differentials: one out of base order is accepted by servers and part of its rules silently not enforced ----------
def place(path: str) -> tuple[int, ...]:
    """Give the position of an element path in its base type, level by level."""
    kind, *names = path.split(".")
    found = _place(get_fhir_model_class(kind), names)
    assert found is not None, f"no element {path}"
    return found


def _place(model: Any, names: list[str]) -> tuple[int, ...] | None:
    if not names:
        return ()
    name, *more = names
    choice = re.compile(name.removesuffix("[x]") + "[A-Z]") if name.endswith("[x]") else re.compile(name + "$")
    sequence = model.elements_sequence()
    for element in filter(choice.match, sequence):
        below = _place(_inner(model, element), more)
        if below is not None:
            return (sequence.index(next(filter(choice.match, sequence))), *below)
    return None


def _inner(model: Any, element: str) -> Any:
    field = next(each for name, each in model.model_fields.items() if (each.alias or name) == element)
    kind = re.search(r"abc\.(\w+)Type\b", str(field.annotation))
    return get_fhir_model_class(kind.group(1) if kind else "Element")


@pytest.mark.parametrize("name", OF_TYPE["StructureDefinition"])
def test_a_differential_is_in_base_order(name: str) -> None:
    elements = OF_TYPE["StructureDefinition"][name]["differential"]["element"]
    assert _in_order([(each["path"], each["id"]) for each in elements]) == []


def _in_order(elements: list[tuple[str, str]]) -> list[str]:
    """Give the ids that come too early or too late; a slice comes after the element it slices, in any order."""
    faults: list[str] = []
    slices: dict[str, list[str]] = {}
    before: list[tuple[int, int]] | None = None
    for path, identity in elements:
        position = []
        for at, (number, part) in enumerate(zip(place(path), identity.split(".")[1:], strict=True)):
            name = part.partition(":")[2]
            seen = slices.setdefault(".".join(path.split(".")[: at + 2]), [""])
            if name not in seen:
                seen.append(name)
            position.append((number, seen.index(name)))
        if before is not None and position <= before:
            faults.append(identity)
        before = position
    return faults


def test_the_order_check_can_fail() -> None:
    assert _in_order([("Task", "Task"), ("Task.code", "Task.code"), ("Task.status", "Task.status")]) == ["Task.status"]


# --- code systems ----------------------------------------------------------------------------------------------------
def codes(value: Any) -> Iterator[terms.Code]:
    if isinstance(value, terms.Code):
        yield value
    elif isinstance(value, dict):
        yield from codes(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from codes(each)


@pytest.mark.parametrize("name", OF_TYPE["CodeSystem"])
def test_a_code_system_holds_exactly_the_codes_of_the_software(name: str) -> None:
    system = OF_TYPE["CodeSystem"][name]
    ours = {each.code: each.display for each in codes(list(vars(terms).values())) if each.system == system["url"]}
    assert {each["code"]: each["display"] for each in system["concept"]} == ours
    assert system["count"] == len(ours)


def test_each_code_of_our_own_has_a_code_system() -> None:
    used = {each.system for each in codes(list(vars(terms).values())) if each.system.startswith(terms.BASE)}
    assert used == {each["url"] for each in OF_TYPE["CodeSystem"].values()}


@pytest.mark.parametrize("name", OF_TYPE["ValueSet"])
def test_a_value_set_holds_codes_that_exist(name: str) -> None:
    for include in OF_TYPE["ValueSet"][name]["compose"]["include"]:
        if include["system"] in BY_URL:
            known = {each["code"]: each["display"] for each in BY_URL[include["system"]]["concept"]}
            assert {each["code"]: each["display"] for each in include.get("concept", [])}.items() <= known.items()


# --- versions --------------------------------------------------------------------------------------------------------
def test_no_content_changes_under_the_same_version() -> None:
    locked = json.loads(LOCK.read_text())
    assert changed_in_silence(locked, current()) == [], "raise the version, then run tests/profiles/lock.py"
    assert locked == current(), "run tests/profiles/lock.py"


def test_a_silent_change_is_noticed() -> None:
    now = current()
    url = terms.PLAN_INFUSION
    before = {url: {"version": now[url]["version"], "sha256": "0"}}
    assert changed_in_silence(before, now) == [url]
    assert changed_in_silence({url: {"version": "0.9.0", "sha256": "0"}}, now) == []
    assert changed_in_silence({url: {"version": "1.0.1", "sha256": "0"}}, now) == [url]

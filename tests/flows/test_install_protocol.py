"""Installing the definitions: whole, in order, twice without harm, and never over what is somebody else's."""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from fhir_aftercare.errors import FhirRejected, FhirServerError, FhirStale, InvalidInput
from fhir_aftercare.flows.install_protocol import counted, install_protocol
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fhir_aftercare.ehr.client import FhirClient
    from servers import Server

Resource = dict[str, Any]

SHIPPED = read_protocol_files(None)


def small() -> dict[str, Resource]:
    """Give a few definitions that no other test has: a code system, its value set, a form, and a guide."""
    mark = uuid.uuid4().hex[:12]
    base = f"https://clinic.example.com/{mark}"

    def definition(type_: str, **more: Any) -> Resource:
        name = f"{type_.lower()}-{mark}"
        common = {"url": f"{base}/{type_}/{name}", "version": "1.0.0", "name": "Small", "status": "active"}
        return {"resourceType": type_, "id": name, **common, **more}

    system = definition("CodeSystem", content="complete", concept=[{"code": "a", "display": "A"}])
    found = {
        "form.json": definition("Questionnaire", title="A form", item=[{"linkId": "a", "type": "boolean"}]),
        "values.json": definition("ValueSet", compose={"include": [{"system": system["url"]}]}),
        "codes.json": system,
    }
    rows = [{"reference": {"reference": f"{each['resourceType']}/{each['id']}"}} for each in found.values()]
    rows.append({"reference": {"reference": "Patient/an-example-that-stays-out"}, "exampleBoolean": True})
    guide = definition("ImplementationGuide", packageId="small", fhirVersion=["4.0.1"], definition={"resource": rows})
    return {"a-guide.json": guide, **found}


@pytest.fixture
def client(server: Server) -> FhirClient:
    return server.client()


async def test_everything_that_is_shipped_is_accepted_in_order_and_the_second_time_nothing_changes(
    client: FhirClient,
) -> None:
    first = await install_protocol(client, SHIPPED)
    assert [(each.file, each.error) for each in first if each.error] == []
    assert {each.file for each in first} == SHIPPED.keys()
    assert list(dict.fromkeys(each.reference.partition("/")[0] for each in first)) == [
        "CodeSystem", "ValueSet", "StructureDefinition", "SearchParameter", "Questionnaire", "ActivityDefinition",
        "PlanDefinition", "CapabilityStatement", "ImplementationGuide",
    ]  # fmt: skip
    profiles = [SHIPPED[each.file] for each in first if each.reference.startswith("StructureDefinition/")]
    extensions = [each["type"] == "Extension" for each in profiles]
    assert extensions == sorted(extensions, reverse=True)
    assert counted(await install_protocol(client, SHIPPED)) == {"unchanged": len(SHIPPED)}
    for name in ("PlanDefinition-ketamine-infusion-aftercare.json", "Questionnaire-phq-9.json"):
        there = await client.read(SHIPPED[name]["resourceType"], SHIPPED[name]["id"])
        there.pop("meta")
        assert there == SHIPPED[name]


async def test_each_file_is_created_then_unchanged_then_updated(client: FhirClient) -> None:
    files = small()
    assert counted(await install_protocol(client, files)) == {"created": 4}
    assert counted(await install_protocol(client, files)) == {"unchanged": 4}
    files["form.json"]["title"] = "Another title"
    results = {each.file: each.outcome for each in await install_protocol(client, files)}
    assert results == {
        "codes.json": "unchanged", "values.json": "unchanged", "form.json": "updated", "a-guide.json": "unchanged",
    }  # fmt: skip
    stored = await client.read("Questionnaire", files["form.json"]["id"])
    assert stored["title"] == "Another title"


async def test_a_part_that_was_taken_out_is_gone_on_the_server_too(client: FhirClient) -> None:
    files = small()
    await install_protocol(client, files)
    files["form.json"].pop("title")
    await install_protocol(client, files)
    assert "title" not in await client.read("Questionnaire", files["form.json"]["id"])


async def test_the_examples_of_a_guide_stay_out(client: FhirClient) -> None:
    files = small()
    await install_protocol(client, files)
    guide = await client.read("ImplementationGuide", files["a-guide.json"]["id"])
    assert len(guide["definition"]["resource"]) == 3
    assert len(files["a-guide.json"]["definition"]["resource"]) == 4


async def test_what_somebody_changed_meanwhile_is_not_overwritten(client: FhirClient) -> None:
    files = small()
    await install_protocol(client, files)
    files["form.json"]["title"] = "Ours"

    class Meddling:
        """The client of an installer whom somebody else overtakes between looking and writing."""

        def __init__(self) -> None:
            self.looked = False

        async def batch(self, entries: Sequence[str | Mapping[str, Any]]) -> Any:
            if self.looked and entries:
                theirs = await client.read("Questionnaire", files["form.json"]["id"])
                await client.update({**theirs, "title": "Theirs"}, if_match=theirs["meta"]["versionId"])
            self.looked = True
            return await client.batch(entries)

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    results = {each.file: each for each in await install_protocol(Meddling(), files)}  # type: ignore[arg-type]
    assert (results["form.json"].outcome, type(results["form.json"].error)) == ("refused", FhirStale)
    assert results["a-guide.json"].outcome == "not tried"
    assert (await client.read("Questionnaire", files["form.json"]["id"]))["title"] == "Theirs"


async def test_a_refusal_names_the_file_and_installing_again_goes_on(client: FhirClient) -> None:
    files = small()
    good = copy.deepcopy(files["values.json"])
    files["values.json"]["status"] = "finished"
    results = {each.file: each for each in await install_protocol(client, files)}
    assert isinstance(results["values.json"].error, FhirRejected)
    assert {name: each.outcome for name, each in results.items()} == {
        "codes.json": "created", "values.json": "refused", "form.json": "not tried", "a-guide.json": "not tried",
    }  # fmt: skip
    files["values.json"] = good
    assert counted(await install_protocol(client, files)) == {"unchanged": 1, "created": 3}


async def test_an_id_that_another_definition_has_is_not_taken(client: FhirClient) -> None:
    files = small()
    theirs = {**files["form.json"], "url": f"{files['form.json']['url']}-elsewhere", "title": "Theirs"}
    await install_protocol(client, {"theirs.json": theirs})
    with pytest.raises(InvalidInput) as refused:
        await install_protocol(client, files)
    assert refused.value.where == (f"form.json: Questionnaire/{theirs['id']} is another definition",)
    assert (await client.read("Questionnaire", theirs["id"]))["title"] == "Theirs"
    with pytest.raises(FhirServerError):
        await client.read("CodeSystem", files["codes.json"]["id"])


async def test_a_definition_that_is_there_under_another_id_is_not_doubled(client: FhirClient) -> None:
    files = small()
    elsewhere = {**files["form.json"], "id": f"x-{files['form.json']['id']}"}
    await install_protocol(client, {"elsewhere.json": elsewhere})
    with pytest.raises(InvalidInput) as refused:
        await install_protocol(client, files)
    assert refused.value.where == (f"form.json: it is there as Questionnaire/{elsewhere['id']}",)


async def test_files_that_are_not_installed_or_share_an_id_are_named_at_once(client: FhirClient) -> None:
    files = small()
    with pytest.raises(InvalidInput) as refused:
        await install_protocol(client, {**files, "library.json": {"resourceType": "Library", "id": "x", "url": "x"}})
    assert refused.value.where == ("library.json",)
    again = {**files["form.json"], "version": "2.0.0"}
    with pytest.raises(InvalidInput) as refused:
        await install_protocol(client, {**files, "form-2.json": again})
    assert refused.value.where == ("form.json", "form-2.json")

"""Subscriptions of a clinic on both servers: made once, kept right and active, taken away; nobody else's is touched."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import FhirRejected, FhirStale, FhirUnauthorized
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.subscribe import active, look, subscribe, unsubscribe, watch
from fhir_aftercare.flows.subscribe_forms import (
    TOPIC,
    Receiver,
    criteria_forms,
    searches,
    topic_filters,
    topic_form,
    topic_subscription_form,
)
from world import make_clinic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fhir_aftercare.flows.subscribe import Subscribed
    from fhir_aftercare.flows.subscribe_forms import Form
    from world import World

Resource = dict[str, Any]

SECRET = "a-secret-of-the-clinic-0001"
# Nothing listens there; nothing is written that would be told of.
RECEIVER = Receiver("http://127.0.0.1:9", "harbor", f"X-Aftercare-Secret: {SECRET}")
CRITERIA = "Encounter?status=finished,cancelled,entered-in-error"


def forms_of(world: World, receiver: Receiver = RECEIVER, **more: Any) -> list[Form]:
    return criteria_forms(searches(world.context.clinic), receiver, world.context.identifiers, **more)


@pytest.fixture
async def forms(world: World) -> AsyncIterator[list[Form]]:
    found = forms_of(world)
    yield found
    await unsubscribe(world.context.fhir, found)


async def stored(world: World, form: Form) -> list[Resource]:
    tag = f"{form.tag['system']}|{form.tag['code']}"
    return (await world.context.fhir.search_all(form.resource["resourceType"], {"_tag": tag})).matches


async def changed(world: World, form: Form, **values: Any) -> None:
    """Write values into a Subscription as somebody else would. The server may be changing it too."""
    for _ in range(5):
        (there,) = await stored(world, form)
        try:
            await world.context.fhir.update({**there, **values}, if_match=there["meta"]["versionId"])
        except FhirStale:
            await asyncio.sleep(0.3)
        else:
            return
    raise AssertionError("the Subscription could not be changed")


def outcomes(found: list[Subscribed]) -> list[str]:
    return [each.outcome for each in found]


# --- what is asked for -----------------------------------------------------------------------------------------------
def test_a_clinic_asks_for_what_a_sweep_looks_for(small_world: World) -> None:
    encounters, drug, procedures = forms_of(small_world)
    assert encounters.label == CRITERIA
    assert drug.label.startswith("MedicationAdministration?code=http://www.nlm.nih.gov/research/umls/rxnorm|6130,")
    assert procedures.label == drug.label.replace("MedicationAdministration", "Procedure")
    channel = encounters.resource["channel"]
    assert channel["endpoint"] == "http://127.0.0.1:9/hooks/harbor/subscription"
    assert channel["header"] == [f"X-Aftercare-Secret: {SECRET}"]
    assert channel["payload"] == "application/fhir+json"


def test_what_a_clinic_calls_the_drug_and_its_answers_are_asked_for_too(small_world: World) -> None:
    clinic = make_clinic("Organization/1", ketamine_codes=frozenset({("https://ehr.example.com/drugs", "KET&50")}))
    wanted = searches(clinic, answers=True)
    labels = [each.label for each in criteria_forms(wanted, RECEIVER, small_world.context.identifiers)]
    assert labels[1].endswith("https://ehr.example.com/drugs|KET%2650")
    assert labels[3] == "QuestionnaireResponse?status=completed,amended"


def test_without_payload_nothing_of_a_patient_is_sent(small_world: World) -> None:
    assert all("payload" not in each.resource["channel"] for each in forms_of(small_world, payload=False))


def test_the_secret_is_not_shown_by_repr() -> None:
    assert SECRET not in repr(RECEIVER)


# --- made once, kept right -------------------------------------------------------------------------------------------
async def test_subscribing_makes_each_once_and_waits_until_it_is_active(world: World, forms: list[Form]) -> None:
    found = await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    assert [(each.outcome, each.status, each.error, each.active) for each in found] == [
        ("created", "active", None, True)
    ] * 3
    assert [len(await stored(world, each)) for each in forms] == [1, 1, 1]


async def test_repeating_it_changes_nothing_on_the_server(world: World, forms: list[Form]) -> None:
    await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    before = [await stored(world, each) for each in forms]
    world.round_trips()
    assert outcomes(await subscribe(world.context.fhir, forms)) == ["unchanged"] * 3
    assert "update" not in world.round_trips()
    assert [await stored(world, each) for each in forms] == before


async def test_of_two_at_once_one_makes_it(world: World, forms: list[Form]) -> None:
    both = await asyncio.gather(*(subscribe(each, forms) for each in (world.context.fhir, world.server.client())))
    assert {each.reference for each in both[0]} == {each.reference for each in both[1]}
    assert [len(await stored(world, each)) for each in forms] == [1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"header": "X-Aftercare-Secret: a-secret-of-the-clinic-0002"},
        {"base_url": "http://127.0.0.1:10"},
    ],
)
async def test_a_new_secret_or_address_goes_to_the_one_that_is_there(
    world: World, forms: list[Form], change: Resource
) -> None:
    first = await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    again = forms_of(world, replace(RECEIVER, **change))
    assert outcomes(await look(world.context.fhir, again)) == ["outdated"] * 3
    found = await active(world.context.fhir, await subscribe(world.context.fhir, again))
    assert [(each.reference, each.outcome, each.status) for each in found] == [
        (each.reference, "updated", "active") for each in first
    ]
    assert [(await stored(world, each))[0]["channel"] for each in again] == [each.resource["channel"] for each in again]


async def test_what_others_subscribed_stays(world: World, forms: list[Form]) -> None:
    tag = {"system": "https://others.example.com", "code": world.organization}
    resource = {**copy.deepcopy(forms[0].resource), "meta": {"tag": [tag]}}
    others = [replace(forms[0], tag=tag, resource=resource)]
    try:
        (theirs,) = await subscribe(world.context.fhir, others)
        await subscribe(world.context.fhir, forms)
        await unsubscribe(world.context.fhir, forms)
        assert [(each.reference, each.outcome) for each in await look(world.context.fhir, others)] == [
            (theirs.reference, "unchanged")
        ]
        assert outcomes(await look(world.context.fhir, forms)) == ["missing"] * 3
    finally:
        await unsubscribe(world.context.fhir, others)


async def test_one_can_be_taken_away_while_the_server_makes_it_active(world: World, forms: list[Form]) -> None:
    for _ in range(3):
        await subscribe(world.context.fhir, forms)
        assert outcomes(await unsubscribe(world.context.fhir, forms)) == ["removed"] * 3
    await asyncio.sleep(1)
    assert outcomes(await look(world.context.fhir, forms)) == ["missing"] * 3


async def test_of_several_with_our_tag_one_stays(world: World, forms: list[Form]) -> None:
    for _ in range(3):
        await world.context.fhir.create(forms[0].resource)
    await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    assert len(await stored(world, forms[0])) == 1


# --- watched ---------------------------------------------------------------------------------------------------------
async def test_one_that_was_switched_off_is_seen_and_asked_for_again(world: World, forms: list[Form]) -> None:
    await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    await changed(world, forms[1], status="off")
    seen = await look(world.context.fhir, forms)
    assert [(each.status, each.active) for each in seen] == [("active", True), ("off", False), ("active", True)]
    found = await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    assert [(each.outcome, each.status) for each in found] == [
        ("unchanged", "active"), ("activated", "active"), ("unchanged", "active"),
    ]  # fmt: skip


async def test_watching_mends_what_fails_and_tells_why_it_failed(world: World, forms: list[Form]) -> None:
    async def moments(_: float) -> None:
        """While nobody looks: one fails, another is deleted; then they are mended."""
        steps.append(len(steps))
        if steps == [0]:
            await changed(world, forms[0], status="error", error="The endpoint did not answer.")
            await unsubscribe(world.context.fhir, forms[2:])
        else:
            await active(world.context.fhir, [each for each in last if each.reference], every=0.2)

    steps: list[int] = []
    seen: list[list[Subscribed]] = []
    last: list[Subscribed] = await active(world.context.fhir, await subscribe(world.context.fhir, forms))
    async for found in watch(world.context.fhir, forms, sleep=moments):
        last = found
        seen.append(found)
        if len(seen) == 3:
            break
    assert [outcomes(each) for each in seen] == [
        ["unchanged"] * 3, ["activated", "unchanged", "created"], ["unchanged"] * 3,
    ]  # fmt: skip
    assert seen[1][0].error == "The endpoint did not answer."
    assert [(each.status, each.error) for each in seen[2]] == [("active", None)] * 3


# --- a topic ---------------------------------------------------------------------------------------------------------
async def test_our_own_topic_and_its_subscription_are_made_once(world: World) -> None:
    wanted = searches(world.context.clinic)
    identifiers = world.context.identifiers
    forms = [
        topic_form(wanted, identifiers),
        topic_subscription_form(TOPIC, topic_filters(wanted), RECEIVER, identifiers),
    ]
    try:
        assert outcomes(await subscribe(world.context.fhir, forms)) == ["created", "created"]
        topic, subscription = [(await stored(world, each))[0] for each in forms]
        assert topic["code"]["coding"][0]["code"] == "SubscriptionTopic"
        assert subscription["criteria"] == TOPIC == f"{terms.BASE}/SubscriptionTopic/aftercare"
        assert subscription["channel"]["endpoint"].endswith("/hooks/harbor/topic")
        assert (await look(world.context.fhir, forms))[0].outcome == "unchanged"
        assert [each.reference.partition("/")[0] for each in await unsubscribe(world.context.fhir, forms)] == [
            "Subscription", "Basic",
        ]  # fmt: skip
    finally:
        await unsubscribe(world.context.fhir, forms)


# --- servers that cannot, or do not let us ---------------------------------------------------------------------------
FAR = "https://fhir.example.com/r4"


def statement(*types: str) -> httpx.Response:
    known = [{"type": each, "interaction": [{"code": "read"}, {"code": "create"}]} for each in types]
    return httpx.Response(200, json={"resourceType": "CapabilityStatement", "rest": [{"resource": known}]})


async def test_a_server_without_subscriptions_is_told_apart_before_anything_is_written(small_world: World) -> None:
    with respx.mock(assert_all_called=False) as wire:
        wire.get(f"{FAR}/metadata").mock(return_value=statement("Encounter"))
        async with httpx.AsyncClient() as http:
            with pytest.raises(FhirRejected) as caught:
                await subscribe(FhirClient(FAR, http), forms_of(small_world))
        assert [call.request.method for call in wire.calls] == ["GET"]
    assert "HL7 v2" in caught.value.remedy


async def test_a_server_that_keeps_the_secret_to_itself_is_not_written_to_each_time(small_world: World) -> None:
    form = forms_of(small_world)[0]
    shown = {**copy.deepcopy(form.resource), "id": "1", "status": "active"}
    del shown["channel"]["header"]
    shown["meta"]["versionId"] = "1"
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": shown}]}
    with respx.mock as wire:
        wire.get(f"{FAR}/metadata").mock(return_value=statement("Subscription"))
        wire.get(url__startswith=f"{FAR}/Subscription?").mock(return_value=httpx.Response(200, json=bundle))
        put = wire.put(f"{FAR}/Subscription/1").mock(return_value=httpx.Response(200, json=shown))
        async with httpx.AsyncClient() as http:
            fhir = FhirClient(FAR, http)
            assert outcomes(await subscribe(fhir, [form])) == ["unchanged"]
            assert not put.called
            assert outcomes(await subscribe(fhir, [form], renew=True)) == ["updated"]
            assert SECRET.encode() in put.calls.last.request.content


async def test_a_server_that_does_not_let_us_is_told(small_world: World) -> None:
    with respx.mock as wire:
        wire.get(f"{FAR}/metadata").mock(return_value=statement("Subscription"))
        wire.get(url__startswith=f"{FAR}/Subscription?").mock(return_value=httpx.Response(403))
        async with httpx.AsyncClient() as http:
            with pytest.raises(FhirUnauthorized):
                await subscribe(FhirClient(FAR, http), forms_of(small_world))

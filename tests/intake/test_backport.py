"""The door for topic notifications: both shapes of the status, all payloads, and events that did not arrive."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_aftercare.intake.backport import MOST_SIGNALS
from intake.hook_cases import BASE, ENCOUNTER, PROCEDURE, SECRET, Hooks, event, r4, r4b, refused, signed, taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from intake.hook_cases import Resource

KEY = ("harbor", "Subscription/s1")
SHAPES = pytest.mark.parametrize("shape", [r4, r4b])
ID_ONLY = {"fullUrl": "Encounter/e1/_history/3", "request": {"method": "PUT", "url": "Encounter/e1"}}
WHOLE = {"fullUrl": f"{BASE}/Encounter/e1", "resource": ENCOUNTER, "request": {"method": "PUT", "url": "Encounter/e1"}}


def accepted(answer: Any) -> None:
    taken(answer, "Bundle")


def number(hooks: Hooks) -> int | None:
    found: int | None = hooks.app.state.subscription_events.numbers.get(KEY)
    return found


# --- the kinds of notification ---------------------------------------------------------------------------------------
@SHAPES
async def test_a_handshake_is_answered_and_begins_the_count(hooks: Hooks, shape: Callable[..., Resource]) -> None:
    accepted(await hooks.topic(shape("handshake", total=0, status="requested")))
    assert (hooks.inbox.told, hooks.inbox.looks, number(hooks)) == (0, [], 0)


@SHAPES
async def test_an_event_becomes_a_signal(hooks: Hooks, shape: Callable[..., Resource]) -> None:
    accepted(await hooks.topic(shape("event-notification", event(1), total=1, entries=[ID_ONLY])))
    (signal,) = hooks.inbox.taken
    assert (signal.source, signal.event) == ("subscription-topic", "Encounter/e1/_history/3")
    assert (signal.encounter, signal.patient, signal.kind) == ("Encounter/e1", None, "changed")
    assert (hooks.inbox.looks, number(hooks)) == ([], 1)


@SHAPES
async def test_a_whole_resource_tells_its_patient_and_version(hooks: Hooks, shape: Callable[..., Resource]) -> None:
    told = shape("event-notification", event(1, f"{BASE}/Encounter/e1"), total=1, entries=[WHOLE])
    accepted(await hooks.topic(told))
    (signal,) = hooks.inbox.taken
    assert (signal.patient, signal.event) == ("Patient/p1", "Encounter/e1/_history/3/2026-09-16T19:10:00.123+00:00")


@SHAPES
async def test_an_empty_payload_has_the_clinic_swept(hooks: Hooks, shape: Callable[..., Resource]) -> None:
    accepted(await hooks.topic(shape("event-notification", event(1, None), total=1)))
    assert (hooks.inbox.taken, hooks.inbox.looks, number(hooks)) == ([], ["harbor"], 1)


@SHAPES
async def test_a_record_whose_patient_is_told_beside_it_leads_there(
    hooks: Hooks, shape: Callable[..., Resource]
) -> None:
    around = [{"reference": f"{BASE}/Patient/p1"}, {"reference": "Encounter/e9"}]
    told = shape("event-notification", event(1, "Procedure/d1", additionalContext=around), total=1)
    accepted(await hooks.topic(told))
    (signal,) = hooks.inbox.taken
    assert (signal.patient, signal.encounter, hooks.inbox.looks) == ("Patient/p1", "Encounter/e9", [])


async def test_a_patient_who_leaves_by_an_appointment_is_looked_at(hooks: Hooks) -> None:
    around = [{"reference": "Organization/a-1.Department-2"}, {"reference": "Patient/a-1.E-5"}]
    accepted(await hooks.topic(r4b("event-notification", event(1, "Appointment/a-1.9", additionalContext=around))))
    (signal,) = hooks.inbox.taken
    assert (signal.patient, signal.encounter, hooks.inbox.looks) == ("Patient/a-1.E-5", None, [])


@pytest.mark.parametrize(
    "focus",
    [
        {"reference": "Procedure/d1"},
        {"identifier": {"system": "urn:proprietary", "value": "42"}},
        {"reference": "https://other.example.com/r4/Encounter/e1"},
        {"reference": "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7"},
        {"reference": 7},
    ],
)
async def test_an_event_that_does_not_say_what_changed_has_the_clinic_swept(hooks: Hooks, focus: Resource) -> None:
    accepted(await hooks.topic(r4b("event-notification", {**event(1), "focus": focus}, total=1)))
    assert (hooks.inbox.taken, hooks.inbox.looks) == ([], ["harbor"])


async def test_events_of_what_means_nothing_here_are_ignored(hooks: Hooks) -> None:
    accepted(await hooks.topic(r4b("event-notification", event(1, "Patient/p1"), total=1)))
    assert (hooks.inbox.told, hooks.inbox.looks, number(hooks)) == (0, [], 1)


async def test_a_bundle_that_lists_no_events_is_read_by_its_entries(hooks: Hooks) -> None:
    procedure = {"resource": PROCEDURE}
    audit = {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "AuditEvent"}}
    accepted(await hooks.topic(r4b(total=2, entries=[WHOLE, audit, procedure])))
    assert [each.event.partition("/_")[0] for each in hooks.inbox.taken] == ["Encounter/e1", "Procedure/d1"]


@SHAPES
async def test_old_events_that_were_asked_for_are_followed_and_not_counted(
    hooks: Hooks, shape: Callable[..., Resource]
) -> None:
    accepted(await hooks.topic(shape("query-event", event(3), total=9)))
    assert (len(hooks.inbox.taken), hooks.inbox.looks, number(hooks)) == (1, [], None)


# --- told again, told late, not told ---------------------------------------------------------------------------------
async def test_an_event_told_again_is_the_same_work(hooks: Hooks) -> None:
    told = r4("event-notification", event(1), total=1)
    for _ in range(3):
        accepted(await hooks.topic(told))
    assert (hooks.inbox.told, len(hooks.inbox.taken), hooks.inbox.looks) == (3, 1, [])


async def test_an_event_with_an_id_of_its_own_is_known_in_another_bundle(hooks: Hooks) -> None:
    hooks.change(topic_counters=False)
    for bundle, id_ in (("b1", "v1"), ("b2", "v1"), ("b3", "v2")):
        told = r4b("event-notification", event(1, id=id_), total=1)
        accepted(await hooks.topic({**told, "id": bundle, "timestamp": f"2026-09-16T19:10:0{bundle[1]}Z"}))
    assert (hooks.inbox.told, len(hooks.inbox.taken)) == (3, 2)


async def test_two_changes_of_an_encounter_are_two_events_even_if_no_version_is_told(hooks: Hooks) -> None:
    accepted(await hooks.topic(r4("event-notification", event(1), total=1)))
    accepted(await hooks.topic({**r4("event-notification", event(2), total=2), "id": "b2"}))
    assert len(hooks.inbox.taken) == 2


@SHAPES
async def test_a_gap_has_the_clinic_swept_once(hooks: Hooks, shape: Callable[..., Resource]) -> None:
    for each in (1, 2, 5, 6):
        accepted(await hooks.topic(shape("event-notification", event(each, f"Encounter/e{each}"), total=each)))
    assert (len(hooks.inbox.taken), hooks.inbox.looks, number(hooks)) == (4, ["harbor"], 6)


@SHAPES
@pytest.mark.parametrize("type_", ["heartbeat", "query-status"])
async def test_a_heartbeat_tells_of_events_that_did_not_arrive(
    hooks: Hooks, shape: Callable[..., Resource], type_: str
) -> None:
    accepted(await hooks.topic(shape("event-notification", event(1), total=1)))
    accepted(await hooks.topic(shape(type_, total=1)))
    assert hooks.inbox.looks == []
    accepted(await hooks.topic(shape(type_, total=3)))
    assert (hooks.inbox.looks, number(hooks)) == (["harbor"], 3)


async def test_the_first_event_ever_seen_tells_whether_there_were_others(hooks: Hooks) -> None:
    accepted(await hooks.topic(r4("event-notification", event(40), total=40)))
    assert hooks.inbox.looks == ["harbor"]


async def test_events_under_way_are_no_gap(hooks: Hooks) -> None:
    accepted(await hooks.topic(r4("event-notification", event(1), total=3)))
    accepted(await hooks.topic(r4("event-notification", event(2, "Encounter/e2"), event(3, "Encounter/e3"), total=3)))
    assert (hooks.inbox.looks, number(hooks)) == ([], 3)


@pytest.mark.parametrize("anew", [1, 5])
async def test_a_server_that_counts_anew_is_swept_and_followed(hooks: Hooks, anew: int) -> None:
    accepted(await hooks.topic(r4("event-notification", event(1), total=1)))
    accepted(await hooks.topic(r4("heartbeat", total=60)))
    assert hooks.inbox.looks == ["harbor"]
    for each in (anew, anew + 1):
        told = {**r4("event-notification", event(each, f"Encounter/n{each}"), total=each), "id": f"n{each}"}
        accepted(await hooks.topic(told))
    assert (hooks.inbox.looks, number(hooks)) == (["harbor", "harbor"], anew + 1)


async def test_a_subscription_that_is_active_again_has_the_clinic_swept(hooks: Hooks) -> None:
    accepted(await hooks.topic(r4("handshake", total=0)))
    assert hooks.inbox.looks == []
    accepted(await hooks.topic(r4("handshake", total=7)))
    assert (hooks.inbox.looks, number(hooks)) == (["harbor"], 7)


@SHAPES
@pytest.mark.parametrize("status", ["error", "off"])
async def test_a_subscription_that_failed_has_the_clinic_swept(
    hooks: Hooks, shape: Callable[..., Resource], status: str
) -> None:
    accepted(await hooks.topic(shape("heartbeat", total=0, status=status)))
    assert hooks.inbox.looks == ["harbor"]


async def test_where_each_bundle_counts_for_itself_numbers_mean_nothing(hooks: Hooks) -> None:
    hooks.change(topic_counters=False)
    for each in (1, 5, 1):
        accepted(await hooks.topic(r4b("event-notification", event(each, f"Encounter/e{each}"), total=each)))
    assert (hooks.inbox.looks, number(hooks)) == ([], None)


# --- nothing is told yes that is not kept ----------------------------------------------------------------------------
async def test_what_could_not_be_kept_is_told_again_with_its_gap(hooks: Hooks) -> None:
    told = r4("event-notification", event(3, "Encounter/e3"), total=3)
    hooks.inbox.failures = 1
    refused(await hooks.topic(told), 503, "store-unavailable", "transient")
    assert number(hooks) is None
    accepted(await hooks.topic(told))
    assert (len(hooks.inbox.taken), hooks.inbox.looks, number(hooks)) == (1, ["harbor"], 3)


async def test_a_sweep_that_could_not_be_kept_is_asked_for_again(hooks: Hooks) -> None:
    told = r4("heartbeat", total=3)
    hooks.inbox.failures = 1
    refused(await hooks.topic(told), 503, "store-unavailable", "transient")
    accepted(await hooks.topic(told))
    assert (hooks.inbox.looks, number(hooks)) == (["harbor"], 3)


async def test_the_answer_comes_before_the_sender_gives_up(hooks: Hooks) -> None:
    hooks.change(seconds=0.05)
    hooks.inbox.seconds = 5
    answer = await hooks.topic(r4("event-notification", event(1), total=1))
    refused(answer, 503, "hook-late", "transient")
    assert answer.elapsed.total_seconds() < 2


async def test_more_events_than_can_be_kept_in_time_are_found_by_a_sweep(hooks: Hooks) -> None:
    events = [event(each + 1, f"Encounter/e{each}") for each in range(MOST_SIGNALS + 1)]
    accepted(await hooks.topic(r4b("event-notification", *events, total=len(events))))
    assert (hooks.inbox.taken, hooks.inbox.looks, number(hooks)) == ([], ["harbor"], len(events))


# --- who may tell ----------------------------------------------------------------------------------------------------
async def test_the_secret_is_asked_for(hooks: Hooks) -> None:
    refused(await hooks.topic(r4("handshake"), x_aftercare_secret=""), 401, "hook-unauthenticated", "login")


async def test_a_signature_over_the_body_as_received_opens_the_door(hooks: Hooks) -> None:
    hooks.change(topic_check="signature")
    body = json.dumps(r4("event-notification", event(1), total=1), indent=3).encode()
    for secret in (SECRET, "a-secret-of-the-clinic-0000"):
        accepted(await hooks.topic(body, x_aftercare_secret="", x_hub_signature=signed(body, secret)))
    accepted(await hooks.topic(body, x_hub_signature=signed(body).replace("sha256=", "").upper().join(["sha256=", ""])))


@pytest.mark.parametrize("change", ["", "sha1=", "sha256=", "cut", "other", "none"])
async def test_any_other_signature_is_refused(hooks: Hooks, change: str) -> None:
    hooks.change(topic_check="signature")
    body = json.dumps(r4("event-notification", event(1), total=1)).encode()
    right = signed(body)
    given = {
        "": right.removeprefix("sha256="),
        "sha1=": right.replace("sha256=", "sha1="),
        "sha256=": "sha256=",
        "cut": right[:-2],
        "other": signed(body + b" "),
        "none": "",
    }[change]
    refused(await hooks.topic(body, x_hub_signature=given), 401, "hook-unauthenticated", "login")
    assert hooks.inbox.told == 0


# --- what cannot be used ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "bundle",
    [
        ENCOUNTER,
        {"resourceType": "Bundle", "type": "history"},
        {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Bundle", "entry": "x"},
        {"resourceType": "Bundle", "entry": [{"resource": ENCOUNTER}]},
        r4b("something"),
        r4b("handshake", subscription={"display": "x"}),
        r4("something"),
    ],
)
async def test_what_is_no_notification_is_refused(hooks: Hooks, bundle: Resource) -> None:
    said = refused(await hooks.topic(bundle), 400, "hook-malformed", "structure")
    assert "Bundle.entry" in said


@pytest.mark.parametrize("name", ["urn:x:" + "y" * 200, "half a letter: \ud800"])
async def test_a_subscription_named_by_something_odd_is_counted_too(hooks: Hooks, name: str) -> None:
    accepted(await hooks.topic(r4b("event-notification", event(1, id=name), total=2, subscription={"reference": name})))
    ((_, name),) = hooks.app.state.subscription_events.numbers
    assert len(name) <= 80


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["notification-event", "focus", "event-number", "type", "additional-context"]) | JSON,
        "valueReference": JSON,
        "valueString": JSON,
        "part": JSON | st.lists(st.fixed_dictionaries({"name": JSON, "valueReference": JSON}), max_size=2),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(PARTS, max_size=3),
    events=JSON | st.lists(st.fixed_dictionaries({"focus": JSON, "additionalContext": JSON}), max_size=2),
    entry=JSON | st.fixed_dictionaries({}, optional={"fullUrl": JSON, "resource": JSON}),
)
async def test_whatever_stands_in_a_bundle_the_answer_is_a_resource(
    hooks: Hooks, parts: list[Any], events: Any, entry: Any
) -> None:
    first, second = r4("event-notification", event(1), entries=[entry]), r4b("event-notification", entries=[entry])
    first["entry"][0]["resource"]["parameter"] += parts
    second["entry"][0]["resource"]["notificationEvent"] = events
    for bundle in (first, second):
        answer = await hooks.topic(bundle)
        assert answer.status_code in {200, 400}, answer.text
        assert answer.json()["resourceType"] in {"Bundle", "OperationOutcome"}

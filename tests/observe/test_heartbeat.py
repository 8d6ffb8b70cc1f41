"""The heartbeat: numbers that age, and people told once when something stops and once when it goes on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.observe.heartbeat import Beat, Heartbeat, Webhook, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOW = datetime(2026, 9, 16, 18, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
URL = "https://alarm.example.com/hooks/aftercare"


class World:
    """A sweep whose last success can be set, people who are told, and a clock."""

    def __init__(self, *answers: int | Exception, webhook: Webhook | None = None) -> None:
        self.now, self.last, self.error = NOW, NOW, "fhir-timeout"
        self.calls: list[httpx.Request] = []
        self.slept: list[float] = []
        self.answers = list(answers)
        self.registry = CollectorRegistry()
        self.webhook = webhook or Webhook(URL, SECRET)
        self.told: str | None = None
        self.beats: Callable[[], Sequence[Beat]] = lambda: [
            Beat("harbor", "encounters", self.last, self.error, self.told)
        ]
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.heartbeat = self.process()

    def process(self) -> Heartbeat:
        return Heartbeat(
            CollectorRegistry() if hasattr(self, "heartbeat") else self.registry,
            self._read,
            self._note,
            allowed=HOUR,
            webhook=self.webhook,
            http=self.http,
            sleep=self._sleep,
            now=lambda: self.now,
        )

    async def _read(self) -> Sequence[Beat]:
        return self.beats()

    async def _note(self, _clinic: str, _name: str, before: str | None, incident: str | None) -> bool:
        if self.told != before:
            return False
        self.told = incident
        return True

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"location": "https://elsewhere.example.com/"})

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(each.content) for each in self.calls]


# --- what is told ---------------------------------------------------------------------------------------------------
async def test_an_incident_is_told_once_and_its_end_once() -> None:
    world = World()
    assert await world.heartbeat.look() == []
    for minutes in (61, 66, 600):
        world.now = NOW + timedelta(minutes=minutes)
        await world.heartbeat.look()
    assert [each["type"] for each in world.bodies] == ["aftercare.encounters.stopped"]
    world.last = world.now
    for _ in range(3):
        await world.heartbeat.look()
    assert [each["type"] for each in world.bodies] == ["aftercare.encounters.stopped", "aftercare.encounters.recovered"]
    world.now += 2 * HOUR
    await world.heartbeat.look()
    assert len(world.calls) == 3
    assert len({each.headers["webhook-id"] for each in world.calls}) == 3


async def test_what_is_sent_names_clinic_sweep_and_times_and_nothing_else() -> None:
    world = World()
    world.now = NOW + 2 * HOUR
    await world.heartbeat.look()
    assert world.bodies == [
        {
            "type": "aftercare.encounters.stopped",
            "timestamp": "2026-09-16T20:00:00+00:00",
            "data": {
                "clinic": "harbor",
                "name": "encounters",
                "lastSuccess": "2026-09-16T18:00:00+00:00",
                "error": "fhir-timeout",
            },
        }
    ]


async def test_it_is_signed_as_standard_webhooks_have_it() -> None:
    world = World()
    world.now = NOW + 2 * HOUR
    await world.heartbeat.look()
    (call,) = world.calls
    id_, timestamp = call.headers["webhook-id"], call.headers["webhook-timestamp"]
    assert timestamp == str(int(world.now.timestamp()))
    signed = f"{id_}.{timestamp}.".encode() + call.content
    wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{wanted}"
    assert (call.url, call.method) == (URL, "POST")


async def test_a_restart_or_another_process_does_not_tell_it_again() -> None:
    world = World()
    world.now = NOW + 2 * HOUR
    await world.heartbeat.look()
    await world.process().look()
    assert len(world.calls) == 1


async def test_two_processes_that_find_it_at_once_tell_it_under_one_id() -> None:
    world = World()
    world.now = NOW + 2 * HOUR
    stale = world.beats()
    world.beats = lambda: stale
    await asyncio.gather(world.heartbeat.look(), world.process().look())
    assert len({each.headers["webhook-id"] for each in world.calls}) == 1


# --- a receiver that fails ------------------------------------------------------------------------------------------
async def test_a_receiver_that_fails_is_asked_three_times_and_told_again_at_the_next_look() -> None:
    world = World(500, httpx.ConnectError("no"), httpx.ReadTimeout("late"))
    world.now = NOW + 2 * HOUR
    assert await world.heartbeat.look() == []
    assert (len(world.calls), world.told) == (3, None)
    assert len({each.headers["webhook-id"] for each in world.calls}) == 1
    assert 0.5 <= world.slept[0] <= 1.0 <= world.slept[1] <= 2.0
    (told,) = await world.heartbeat.look()
    assert told.type == "stopped"
    assert len(world.calls) == 4


async def test_a_redirect_is_not_followed() -> None:
    world = World(307, 307, 307)
    world.now = NOW + 2 * HOUR
    await world.heartbeat.look()
    assert {str(each.url) for each in world.calls} == {URL}


async def test_a_receiver_that_does_not_answer_is_not_waited_for() -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            await asyncio.sleep(30)
            return httpx.Response(204)

    world = World(webhook=Webhook(URL, SECRET, timeout=0.01, attempts=2))
    world.http = httpx.AsyncClient(transport=Silent())
    world.now = NOW + 2 * HOUR
    assert await asyncio.wait_for(world.process().look(), 5) == []


async def test_one_that_cannot_be_told_hides_no_other() -> None:
    world = World(500, 500, 500)
    world.now = NOW + 2 * HOUR
    world.beats = lambda: [Beat("harbor", name, NOW) for name in ("encounters", "plans")]
    assert [each.beat.name for each in await world.heartbeat.look()] == ["plans"]


# --- the gauge ------------------------------------------------------------------------------------------------------
async def test_the_age_of_the_last_success_is_a_number_that_grows_by_itself() -> None:
    world = World()
    await world.heartbeat.look()
    world.now = NOW + timedelta(minutes=5)
    assert age(world.registry) == 300
    world.now = NOW + timedelta(minutes=50)  # and nobody has looked again
    assert age(world.registry) == 3000
    world.last = world.now
    await world.heartbeat.look()
    assert age(world.registry) == 0


async def test_without_a_webhook_the_number_and_the_log_are_all() -> None:
    async def told(*_: Any) -> bool:
        return True

    async def read() -> Sequence[Beat]:
        return [Beat("harbor", "worker", None)]

    now = [NOW]
    registry = CollectorRegistry()
    heartbeat = Heartbeat(registry, read, told, allowed=HOUR, now=lambda: now[0])
    assert await heartbeat.look() == []
    now[0] = NOW + 2 * HOUR
    assert [each.type for each in await heartbeat.look()] == ["stopped"]
    assert 'aftercare_sweep_age_seconds{clinic="harbor",sweep="worker"} 7200.0' in generate_latest(registry).decode()


def age(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("aftercare_sweep_age_seconds", {"clinic": "harbor", "sweep": "encounters"})


async def test_looking_goes_on_after_a_look_that_failed() -> None:
    world, looks = World(), 0

    async def read() -> Sequence[Beat]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ConfigFault(["broken"])
        if looks == 3:
            raise KeyboardInterrupt
        return []

    heartbeat = Heartbeat(CollectorRegistry(), read, world._note, allowed=HOUR, sleep=world._sleep)
    with pytest.raises(KeyboardInterrupt):
        await heartbeat.run(timedelta(seconds=30))
    assert world.slept == [30.0, 30.0]


# --- the decision ---------------------------------------------------------------------------------------------------
ages = st.integers(0, 10_000).map(lambda seconds: timedelta(seconds=seconds))


@given(ages | st.none(), st.booleans(), ages)
def test_told_is_only_what_changed(old: timedelta | None, told: bool, running: timedelta) -> None:
    last = None if old is None else NOW - old
    found = decide([Beat("harbor", "plans", last, None, "incident" if told else None)], HOUR, NOW - running, NOW)
    stopped = (running if old is None else old) > HOUR
    assert [each.type for each in found] == ([] if stopped == told else ["stopped" if stopped else "recovered"])


@given(st.lists(st.booleans(), max_size=40))
def test_however_it_comes_and_goes_stops_and_recoveries_alternate(successes: list[bool]) -> None:
    now, last, told, said = NOW, NOW, None, []
    for success in successes:
        now += timedelta(minutes=40)
        last = now if success else last
        for notice in decide([Beat("harbor", "plans", last, None, told)], HOUR, NOW, now):
            said.append(notice.type)
            told = notice.incident
    assert said == (["stopped", "recovered"] * len(said))[: len(said)]


# --- settings -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    ["http://alarm.example.com/", "ftp://a/", "https://", "nonsense", "https://me:pw@a.example.com/", "https://a/#x"],
)
def test_an_address_that_is_not_safe_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        Webhook(url, SECRET)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!", "whsec_" + base64.b64encode(b"short").decode(), "k" * 44])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        Webhook(URL, secret)
    assert len(secret) < 10 or secret not in str(refused.value)


def test_this_machine_may_be_told_without_tls_and_the_secret_is_not_printed() -> None:
    assert SECRET not in repr(Webhook("http://127.0.0.1:9000/", SECRET))


def test_settings_that_cannot_work_are_refused() -> None:
    world = World()
    for more in ({"allowed": timedelta()}, {"allowed": HOUR, "webhook": world.webhook}):
        with pytest.raises(ConfigFault):
            Heartbeat(CollectorRegistry(), world._read, world._note, **more)

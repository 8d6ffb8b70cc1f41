"""Replay guards: of many equal requests one runs, of many unequal ones none is taken for another."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from fhir_aftercare.errors import ConfigFault, StoreUnavailable
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.idempotency import IdempotencyKeys, Outcome, fingerprint, key_id, purging
from fhir_aftercare.store.schema import idempotency_keys

KEY = key_id("client", "POST /v1/things", "k1")
BODY = fingerprint("/v1/things", b"", b"{}")


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 9, 16, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **by: float) -> None:
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, clock: Clock) -> IdempotencyKeys:
    return IdempotencyKeys(database, now=clock, lease=timedelta(seconds=90))


async def test_a_new_request_runs_and_its_repeat_is_a_replay_with_status_and_references(keys: IdempotencyKeys) -> None:
    first = await keys.claim(KEY, BODY)
    assert first.outcome is Outcome.RUN
    await keys.done(first, 201, ["CarePlan/12", "Task/3"])
    again = await keys.claim(KEY, BODY)
    assert (again.outcome, again.status, again.written) == (Outcome.REPLAY, 201, ("CarePlan/12", "Task/3"))


async def test_another_body_under_the_same_key_is_refused_running_or_done(keys: IdempotencyKeys) -> None:
    first = await keys.claim(KEY, BODY)
    other = fingerprint("/v1/things", b"", b'{"a":1}')
    assert (await keys.claim(KEY, other)).outcome is Outcome.OTHER
    await keys.done(first, 200, [])
    assert (await keys.claim(KEY, other)).outcome is Outcome.OTHER


async def test_while_the_first_runs_its_repeat_waits_for_what_is_left_of_the_lease(
    keys: IdempotencyKeys, clock: Clock
) -> None:
    await keys.claim(KEY, BODY)
    clock.forward(seconds=60)
    waiting = await keys.claim(KEY, BODY)
    assert (waiting.outcome, waiting.wait) == (Outcome.RUNNING, timedelta(seconds=30))


async def test_a_crash_in_between_leaves_the_request_free_to_run_again(keys: IdempotencyKeys, clock: Clock) -> None:
    dead = await keys.claim(KEY, BODY)
    clock.forward(seconds=91)
    heir = await keys.claim(KEY, BODY)
    assert heir.outcome is Outcome.RUN
    await keys.done(dead, 500, [])  # it was only slow: it must not end what its heir is doing
    assert (await keys.claim(KEY, BODY)).outcome is Outcome.RUNNING
    await keys.done(heir, 201, [])
    assert (await keys.claim(KEY, BODY)).status == 201


async def test_after_a_failure_the_same_request_may_run_and_no_other(keys: IdempotencyKeys) -> None:
    await keys.failed(await keys.claim(KEY, BODY), ["Task/1"])
    assert (await keys.claim(KEY, fingerprint("/v1/things", b"", b"[]"))).outcome is Outcome.OTHER
    again = await keys.claim(KEY, BODY)
    assert (again.outcome, again.written) == (Outcome.RUN, ("Task/1",))


async def test_after_a_refusal_the_key_is_free_for_a_corrected_request(keys: IdempotencyKeys) -> None:
    await keys.forget(await keys.claim(KEY, BODY))
    assert (await keys.claim(KEY, fingerprint("/v1/things", b"", b"[]"))).outcome is Outcome.RUN


async def test_a_key_is_forgotten_after_its_time_even_before_the_purge(keys: IdempotencyKeys, clock: Clock) -> None:
    await keys.done(await keys.claim(KEY, BODY), 201, ["Task/1"])
    clock.forward(hours=47)
    assert (await keys.claim(KEY, BODY)).outcome is Outcome.REPLAY
    clock.forward(hours=2)
    assert (await keys.claim(KEY, fingerprint("/v1/things", b"", b"[]"))).outcome is Outcome.RUN


async def test_the_purge_deletes_what_has_expired_and_nothing_else(
    keys: IdempotencyKeys, clock: Clock, database: Database
) -> None:
    await keys.done(await keys.claim(KEY, BODY), 201, [])
    clock.forward(hours=24)
    young = key_id("client", "POST /v1/things", "k2")
    await keys.claim(young, BODY)
    clock.forward(hours=24)
    assert await keys.purge() == 1
    assert await keys.purge() == 0
    async with database.begin() as connection:
        assert (await connection.execute(select(idempotency_keys.c.id))).scalars().all() == [young]


async def test_the_service_purges_while_it_runs_and_survives_a_database_that_fails(
    keys: IdempotencyKeys, clock: Clock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys.claim(KEY, BODY)
    clock.forward(hours=48)
    purge, asked = keys.purge, 0

    async def fails_at_first() -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise StoreUnavailable("gone")
        return await purge()

    monkeypatch.setattr(keys, "purge", fails_at_first)
    async with purging(keys, timedelta(milliseconds=5)), asyncio.timeout(5):
        left = 1
        while left:
            await asyncio.sleep(0.01)
            async with database.begin() as connection:
                left = len((await connection.execute(select(idempotency_keys.c.id))).all())
    assert asked > 1


async def test_of_many_equal_requests_at_once_exactly_one_runs(database: Database, database_url: str) -> None:
    other_process = Database(database_url)
    guardians = [IdempotencyKeys(database), IdempotencyKeys(other_process)]
    claims = await asyncio.gather(*(guardians[n % 2].claim(KEY, BODY) for n in range(16)))
    await other_process.close()
    outcomes = [claim.outcome for claim in claims]
    assert outcomes.count(Outcome.RUN) == 1
    assert outcomes.count(Outcome.RUNNING) == 15


async def test_of_many_heirs_of_a_dead_request_exactly_one_runs(
    database: Database, database_url: str, clock: Clock
) -> None:
    other_process = Database(database_url)
    guardians = [IdempotencyKeys(database, now=clock), IdempotencyKeys(other_process, now=clock)]
    await guardians[0].claim(KEY, BODY)
    clock.forward(seconds=91)
    claims = await asyncio.gather(*(guardians[n % 2].claim(KEY, BODY) for n in range(16)))
    await other_process.close()
    assert [claim.outcome for claim in claims].count(Outcome.RUN) == 1


async def test_neither_the_callers_key_nor_the_body_is_kept(keys: IdempotencyKeys, database: Database) -> None:
    id_ = key_id("client", "POST /v1/patients/{patient}", "mrn-4711")
    await keys.claim(id_, fingerprint("/v1/patients/4711", b"", b'{"name":"Rivera"}'))
    async with database.begin() as connection:
        kept = str((await connection.execute(select(idempotency_keys))).all())
    assert "4711" not in kept
    assert "Rivera" not in kept


def test_parts_of_a_key_do_not_run_together() -> None:
    assert key_id("a", "bc", "d") != key_id("ab", "c", "d")
    assert fingerprint("/a", b"b", b"") != fingerprint("/a", b"", b"b")


@pytest.mark.parametrize("hours", [23, 73])
async def test_keys_are_kept_for_one_to_three_days(database: Database, hours: int) -> None:
    with pytest.raises(ConfigFault):
        IdempotencyKeys(database, ttl=timedelta(hours=hours))

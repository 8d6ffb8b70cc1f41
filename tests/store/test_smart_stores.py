"""Launches, browsers and sealed tokens in our own database: atomic, sealed, shared by processes, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from fhir_aftercare.errors import StoreUnavailable
from fhir_aftercare.smart import LaunchContext, LaunchRecord, LaunchSession, TokenSet, Vault
from fhir_aftercare.smart.faults import SessionOver, VaultFault
from fhir_aftercare.smart.scopes import parse
from fhir_aftercare.smart.session import digest
from fhir_aftercare.store.browsers import Browser, Browsers
from fhir_aftercare.store.database import Database
from fhir_aftercare.store.launch_sessions import LaunchSessions
from fhir_aftercare.store.launches import SqlLaunchStore
from fhir_aftercare.store.visitors import Visitor, Visitors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = Vault.new_key()
IDLE, LONGEST = timedelta(minutes=15), timedelta(hours=12)


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault() -> Vault:
    return Vault([KEY])


@pytest.fixture
async def another(database: Database, database_url: str) -> AsyncIterator[Database]:
    """The same database, as another process opens it."""
    made = Database(database_url)
    yield made
    await made.close()


def record(state: str = "state", **more: Any) -> LaunchRecord:
    values: dict[str, Any] = {
        "launch_id": f"launch-of-{state}",
        "state": digest(state),
        "session": digest("session"),
        "clinic": "harbor",
        "iss": "https://ehr.example/fhir",
        "redirect_uri": "https://app.example/callback",
        "asked": "launch",
        "verifier": "the-verifier",
        "nonce": "the-nonce",
        "began_at": datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
        **more,
    }
    return LaunchRecord(**values)


def session(launch_id: str = "launch-1", *, access: str = "the-access-token", **more: Any) -> LaunchSession:
    at = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    values: dict[str, Any] = {
        "launch_id": launch_id,
        "clinic": "harbor",
        "tokens": TokenSet(access, at + timedelta(hours=1), parse("launch user/Task.rs"), "the-refresh-token"),
        "context": LaunchContext(patient="pat-1"),
        "user": None,
        "subject": "dr-grey",
        "missing": (),
        "session": digest("a browser"),
        "signed_in_at": at,
        **more,
    }
    return LaunchSession(**values)


# Launches under way


async def test_a_launch_is_found_by_its_state_and_used_once(database: Database, vault: Vault) -> None:
    store = SqlLaunchStore(database, vault)
    await store.add(record())
    assert await store.clinic_of(digest("state")) == "harbor"
    assert await store.take(digest("state")) == record()
    assert await store.take(digest("state")) == record(used=True)
    assert await store.take(digest("another")) is None
    assert await store.clinic_of(digest("another")) is None


async def test_of_many_who_take_a_launch_at_once_one_finds_it_unused(
    database: Database, another: Database, vault: Vault
) -> None:
    await SqlLaunchStore(database, vault).add(record())
    stores = [SqlLaunchStore(each, vault) for each in (database, another) for _ in range(5)]
    taken = await asyncio.gather(*(each.take(digest("state")) for each in stores))
    assert [each.used for each in taken if each is not None].count(False) == 1


async def test_old_launches_are_forgotten(database: Database, vault: Vault) -> None:
    store = SqlLaunchStore(database, vault)
    began = record().began_at
    await store.add(record("old"))
    await store.add(record("new", began_at=began + timedelta(minutes=1)))
    assert await store.purge(began + timedelta(seconds=1)) == 1
    assert await store.take(digest("old")) is None
    assert await store.take(digest("new")) is not None


# Browsers


async def test_a_new_value_takes_over_when_it_has_come_back(database: Database, clock: Clock) -> None:
    browsers = Browsers(database, now=clock)
    first = await browsers.begin("harbor")
    browser = await browsers.of(first)
    assert browser is not None
    second, generation = await browsers.renamed(browser)
    assert (generation, second != first) == (1, True)
    still = await browsers.of(first)  # the answer with the new value may have got lost
    assert still is not None
    assert (still.id, still.generation) == (browser.id, 0)
    now = await browsers.of(second)
    assert now is not None
    assert (now.id, now.generation) == (browser.id, 1)
    assert await browsers.of(first) is None


async def test_two_values_given_at_once_are_both_good_and_the_older_ends_with_the_newer(
    database: Database, clock: Clock
) -> None:
    browsers = Browsers(database, now=clock)
    browser = await browsers.of(await browsers.begin("harbor"))
    assert browser is not None
    (one, _), (two, _) = [await browsers.renamed(browser) for _ in range(2)]
    assert await browsers.of(one) is not None
    assert await browsers.of(two) is not None
    assert await browsers.of(one) is None


async def test_a_value_nobody_was_given_is_nobodys(database: Database) -> None:
    browsers = Browsers(database)
    await browsers.begin("harbor")
    for value in (None, "", "x", "A" * 43):
        assert await browsers.of(value) is None


async def test_a_browser_that_was_forgotten_is_gone_with_its_values(database: Database, clock: Clock) -> None:
    browsers = Browsers(database, now=clock)
    value = await browsers.begin("harbor")
    browser = await browsers.of(value)
    assert browser is not None
    await browsers.launching(browser, "bay")
    assert (await browsers.of(value)) == Browser(browser.id, "bay")
    await browsers.forget(browser)
    assert await browsers.of(value) is None
    with pytest.raises(SessionOver):
        await browsers.renamed(browser)


async def test_browsers_that_launch_nothing_are_forgotten(database: Database, clock: Clock) -> None:
    browsers = Browsers(database, now=clock)
    unfinished, finished = await browsers.begin("harbor"), await browsers.begin("harbor")
    browser = await browsers.of(finished)
    assert browser is not None
    value, _ = await browsers.renamed(browser)
    clock.move(minutes=31)
    new = await browsers.begin("harbor")
    assert await browsers.purge() == 1
    assert await browsers.of(unfinished) is None
    assert await browsers.of(value) is not None
    assert await browsers.of(new) is not None
    clock.move(hours=24)
    assert await browsers.purge() == 2


# Finished launches


async def test_a_session_is_kept_replaced_and_dropped(database: Database, vault: Vault, clock: Clock) -> None:
    store = LaunchSessions(database, vault, now=clock)
    await store.put(session())
    assert await store.get("launch-1") == session()
    await store.put(session(access="another"))
    assert await store.get("launch-1") == session(access="another")
    await store.put(session("launch-2", clinic="bay"))
    assert await store.of_clinic("harbor") == ["launch-1"]
    assert await store.clinics() == {"harbor", "bay"}
    assert await store.of_browser(digest("a browser")) == ["launch-1", "launch-2"]
    await store.drop("launch-1")
    await store.drop("launch-1")
    assert await store.get("launch-1") is None


async def test_what_is_secret_is_sealed_for_its_place(database: Database, vault: Vault) -> None:
    store = LaunchSessions(database, vault)
    await SqlLaunchStore(database, vault).add(record())
    await store.put(session("launch-1"))
    await store.put(session("launch-2"))
    async with database.begin() as connection:
        rows = [*(await connection.execute(text("SELECT * FROM launches"))).all()]
        rows += (await connection.execute(text("SELECT * FROM launch_sessions"))).all()
        # Somebody who can write to the database puts one launch's tokens in the place of another's.
        await connection.execute(
            text(
                "UPDATE launch_sessions SET sealed = (SELECT sealed FROM launch_sessions WHERE launch_id = 'launch-1') "
                "WHERE launch_id = 'launch-2'"
            )
        )
    for secret in ("the-access-token", "the-refresh-token", "the-verifier", "the-nonce", "pat-1", "dr-grey"):
        assert secret not in str(rows)
    with pytest.raises(VaultFault):
        await store.get("launch-2")
    with pytest.raises(VaultFault):
        await LaunchSessions(database, Vault([Vault.new_key()])).get("launch-1")


async def test_use_is_what_keeps_a_session_and_refreshing_is_no_use(
    database: Database, vault: Vault, clock: Clock
) -> None:
    store = LaunchSessions(database, vault, now=clock)
    await store.put(session())
    clock.move(minutes=14)
    assert await store.used("launch-1", idle=IDLE, longest=LONGEST)
    clock.move(minutes=14)
    await store.put(session(access="refreshed"))
    assert await store.idle("harbor", idle=IDLE, longest=LONGEST) == []
    clock.move(minutes=1)
    assert await store.idle("harbor", idle=IDLE, longest=LONGEST) == ["launch-1"]
    assert await store.idle("bay", idle=IDLE, longest=LONGEST) == []
    assert not await store.used("launch-1", idle=IDLE, longest=LONGEST)
    assert not await store.used("unknown", idle=IDLE, longest=LONGEST)


async def test_use_does_not_keep_a_session_for_ever(database: Database, vault: Vault, clock: Clock) -> None:
    store = LaunchSessions(database, vault, now=clock)
    await store.put(session())
    for _ in range(71):
        clock.move(minutes=10)
        assert await store.used("launch-1", idle=IDLE, longest=LONGEST)
    clock.move(minutes=10)
    assert not await store.used("launch-1", idle=IDLE, longest=LONGEST)


async def test_a_session_without_a_cookie_is_opened_by_its_handle(database: Database, vault: Vault) -> None:
    store = LaunchSessions(database, vault)
    await store.put(session())
    assert await store.by_handle("launch-1", digest("x")) is None
    await store.give_handle("launch-1", digest("x"))
    assert await store.by_handle("launch-1", digest("x")) == session()
    assert await store.by_handle("launch-1", digest("y")) is None
    assert await store.by_handle("launch-2", digest("x")) is None


# Who asks for a launch


@dataclass
class Desk:
    """A browser that launched twice, and the launch it began with its second cookie."""

    visitors: Visitors
    kept: LaunchSessions
    browser: Browser
    cookies: list[str]

    async def at(self, cookie: str | None, launch_id: str = "launch-1") -> Visitor:
        return await self.visitors.at(launch_id, cookie, idle={"harbor": IDLE}.__getitem__, longest=LONGEST)


@pytest.fixture
async def desk(database: Database, vault: Vault, clock: Clock) -> Desk:
    browsers, kept = Browsers(database, now=clock), LaunchSessions(database, vault, now=clock)
    cookies = [await browsers.begin("harbor")]
    browser = await browsers.of(cookies[0])
    assert browser is not None
    await kept.put(session(session=browser.digest))
    cookies += [(await browsers.renamed(browser))[0] for _ in range(2)]
    return Desk(Visitors(database, vault, now=clock), kept, browser, cookies)


async def test_a_launch_is_opened_by_cookies_made_after_it(desk: Desk) -> None:
    assert (await desk.at(desk.cookies[0])).session is None  # not bound yet
    await desk.kept.bind("launch-1", 1)
    before, first, second = [await desk.at(each) for each in desk.cookies]
    assert before == Visitor(desk.browser)
    assert first == Visitor(replace(desk.browser, generation=1), session(session=desk.browser.digest), in_use=True)
    assert (second.session, second.in_use) == (first.session, True)
    assert await desk.at(desk.cookies[1]) == Visitor()  # what came before the newest that has come back
    assert (await desk.at(desk.cookies[2], "launch-2")).session is None


async def test_nobody_elses_cookie_opens_a_launch_or_keeps_it_in_use(
    desk: Desk, database: Database, clock: Clock
) -> None:
    await desk.kept.bind("launch-1", 0)
    strange = await Browsers(database, now=clock).begin("harbor")
    clock.move(minutes=14)
    for value in (strange, None, "", "x"):
        found = await desk.at(value)
        assert (found.session, found.in_use) == (None, False)
    clock.move(minutes=1)
    assert await desk.kept.idle("harbor", idle=IDLE, longest=LONGEST) == ["launch-1"]


async def test_a_visit_is_a_use_and_what_was_idle_is_not_revived(desk: Desk, clock: Clock) -> None:
    await desk.kept.bind("launch-1", 0)
    clock.move(minutes=14)
    assert (await desk.at(desk.cookies[0])).in_use
    clock.move(minutes=14)
    assert (await desk.at(desk.cookies[0])).in_use
    clock.move(minutes=15)
    over = await desk.at(desk.cookies[0])
    assert (over.session is not None, over.in_use) == (True, False)
    assert not (await desk.at(desk.cookies[0])).in_use


async def test_pages_in_quick_succession_are_uses_too(desk: Desk, clock: Clock) -> None:
    await desk.kept.bind("launch-1", 0)
    for _ in range(100):
        clock.move(seconds=10)
        assert (await desk.at(desk.cookies[0])).in_use
    clock.move(minutes=14, seconds=45)
    assert (await desk.at(desk.cookies[0])).in_use
    clock.move(minutes=15)
    assert not (await desk.at(desk.cookies[0])).in_use


async def test_however_often_it_is_used_a_launch_ends_so_long_after_sign_in(desk: Desk, clock: Clock) -> None:
    await desk.kept.bind("launch-1", 0)
    while clock() - session().signed_in_at < LONGEST:
        assert (await desk.at(desk.cookies[0])).in_use
        clock.move(minutes=10)
    assert not (await desk.at(desk.cookies[0])).in_use


# One at a time


async def test_one_at_a_time_holds_a_session_in_all_processes(
    database: Database, another: Database, vault: Vault
) -> None:
    inside, most = 0, 0

    async def work(store: LaunchSessions) -> None:
        nonlocal inside, most
        async with store.alone("launch-1"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    stores = [LaunchSessions(each, vault) for each in (database, another)]
    await asyncio.gather(*(work(each) for each in stores for _ in range(5)))
    assert (inside, most) == (0, 1)


async def test_different_sessions_do_not_wait_for_each_other(database: Database, vault: Vault) -> None:
    store = LaunchSessions(database, vault)
    async with store.alone("launch-1"), store.alone("launch-2"):
        pass


async def test_a_session_is_free_again_after_an_error(database: Database, another: Database, vault: Vault) -> None:
    one, two = LaunchSessions(database, vault), LaunchSessions(another, vault)
    with pytest.raises(ZeroDivisionError):
        async with one.alone("launch-1"):
            raise ZeroDivisionError
    async with asyncio.timeout(1), two.alone("launch-1"):
        pass


async def test_a_holder_that_died_is_waited_for_no_longer_than_its_lease(
    database: Database, another: Database, vault: Vault, clock: Clock
) -> None:
    dead = LaunchSessions(database, vault, now=clock)
    holding = dead.alone("launch-1")
    await holding.__aenter__()
    clock.move(seconds=29)
    waiting = LaunchSessions(another, vault, now=clock)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), waiting.alone("launch-1"):
            pass
    clock.move(seconds=1)
    async with asyncio.timeout(1), waiting.alone("launch-1"):
        await holding.__aexit__(None, None, None)  # it was not dead, only slow: it releases nothing that is not its own
        third = LaunchSessions(another, vault, now=clock)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), third.alone("launch-1"):
                pass


async def test_waiting_has_an_end(database: Database, another: Database, vault: Vault, clock: Clock) -> None:
    short = timedelta(seconds=-4.9)  # of the five seconds on top of the lease
    holder = LaunchSessions(database, vault, now=clock)
    async with holder.alone("launch-1"):
        with pytest.raises(StoreUnavailable):
            async with LaunchSessions(another, vault, now=clock, lease=short).alone("launch-1"):
                pass


async def test_leases_that_were_left_are_cleared_away(database: Database, vault: Vault, clock: Clock) -> None:
    store = LaunchSessions(database, vault, now=clock)
    holding = store.alone("launch-1")
    await holding.__aenter__()
    assert await store.purge() == 0
    clock.move(seconds=30)
    assert await store.purge() == 1
    await holding.__aexit__(None, None, None)

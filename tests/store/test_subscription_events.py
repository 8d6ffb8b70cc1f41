"""How many events of a topic subscription have arrived: kept for each clinic and subscription, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fhir_aftercare.store.subscription_events import SubscriptionCount, SubscriptionEvents

if TYPE_CHECKING:
    from fhir_aftercare.store.database import Database

AT = datetime(2026, 9, 16, 17, 40, tzinfo=UTC)


async def test_a_subscription_that_never_told_anything_has_no_number(database: Database) -> None:
    assert await SubscriptionEvents(database).last("harbor", "Subscription/1") is None


async def test_the_highest_number_counts_and_a_late_one_takes_nothing_back(database: Database) -> None:
    events = SubscriptionEvents(database, now=lambda: AT)
    for number in (3, 5, 4):
        await events.note("harbor", "Subscription/1", number)
    assert await events.all() == [SubscriptionCount("harbor", "Subscription/1", 5, AT)]


async def test_a_server_that_counts_from_the_start_again_is_believed(database: Database) -> None:
    events = SubscriptionEvents(database)
    await events.note("harbor", "Subscription/1", 5_000_000_000)
    await events.note("harbor", "Subscription/1", 1, restarted=True)
    assert await events.last("harbor", "Subscription/1") == 1


async def test_of_many_at_once_the_highest_stays(database: Database) -> None:
    events = SubscriptionEvents(database)
    await asyncio.gather(*(events.note("harbor", "Subscription/1", number) for number in (4, 9, 2, 7, 1)))
    assert await events.last("harbor", "Subscription/1") == 9


async def test_clinics_and_subscriptions_do_not_touch_each_other(database: Database) -> None:
    events = SubscriptionEvents(database)
    await events.note("harbor", "Subscription/1", 1)
    await events.note("harbor", "Subscription/2", 2)
    await events.note("bay", "Subscription/1", 3)
    assert [(each.clinic, each.subscription, each.number) for each in await events.all()] == [
        ("bay", "Subscription/1", 3),
        ("harbor", "Subscription/1", 1),
        ("harbor", "Subscription/2", 2),
    ]

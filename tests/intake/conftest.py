"""Fixtures of the doors for discharge signals.

``inbox``  an inbox that only remembers (``intake.inboxes``).
``hooks``  the subscription doors of the clinic ``harbor`` with that inbox, reached without a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from intake.hook_cases import Hooks, hooks_app
from intake.inboxes import RecordingInbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def inbox() -> RecordingInbox:
    return RecordingInbox()


@pytest.fixture
async def hooks(inbox: RecordingInbox) -> AsyncIterator[Hooks]:
    async with Hooks.open(hooks_app(inbox), inbox) as made:
        yield made

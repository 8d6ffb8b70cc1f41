"""Who asks for a page of a launch: the browser, the launch if its cookie opens it, and that it is used now.

One transaction, as every page begins with it. What is kept of browsers and of launches is told in ``browsers`` and in
``launch_sessions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, bindparam

from fhir_aftercare.smart.session import digest
from fhir_aftercare.store.browsers import KNOWN_BY, Browser, browser_in
from fhir_aftercare.store.launch_sessions import noted, unsealed
from fhir_aftercare.store.schema import browser_cookies as cookies
from fhir_aftercare.store.schema import launch_sessions as sessions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from fhir_aftercare.smart.session import LaunchSession
    from fhir_aftercare.smart.vault import Vault
    from fhir_aftercare.store.database import Database


_OPENS: Final = and_(sessions.c.launch_id == bindparam("launch"), sessions.c.generation <= cookies.c.generation)
_ASKED_BY: Final = KNOWN_BY.add_columns(
    sessions.c.sealed,
    sessions.c.browser.label("launched_by"),
    sessions.c.clinic.label("of"),
    sessions.c.seen_at.label("used_at"),
    sessions.c.began_at,
).outerjoin(sessions, _OPENS)
# A use is noted again after this part of the time that would be too long: for 15 minutes, every 15 seconds. Nobody is
# signed out earlier by more than that, and most pages write nothing.
_PART: Final = 60


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser, None if nobody's; ``session`` is the launch asked for, if the browser's cookie opens it.

    ``in_use``: the launch is not over, and its use is noted.
    """

    browser: Browser | None = None
    session: LaunchSession | None = None
    in_use: bool = False


class Visitors:
    """Looks at both tables. Raises ``StoreUnavailable``, and ``VaultFault`` if a launch cannot be opened any more."""

    def __init__(
        self, database: Database, vault: Vault, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database, self._vault, self._now = database, vault, now

    async def at(
        self, launch_id: str, cookie: str | None, *, idle: Callable[[str], timedelta], longest: timedelta
    ) -> Visitor:
        """Give who has this cookie and asks for this launch; a browser's earlier cookies open nothing any more.

        A launch is over when it was unused for what ``idle`` gives for its clinic, or ``longest`` after sign-in.
        """
        if not cookie:
            return Visitor()
        asked = {"value": digest(cookie), "launch": launch_id}
        async with self._database.begin() as connection:
            row = (await connection.execute(_ASKED_BY, asked)).one_or_none()
            if row is None:
                return Visitor()
            browser = await browser_in(row, connection)
            if row.sealed is None or row.launched_by != browser.digest:
                return Visitor(browser)
            now, too_long = self._now(), idle(row.of)
            fresh = now - row.used_at < too_long / _PART and row.began_at > now - longest
            in_use = fresh or await noted(connection, launch_id, now, idle=too_long, longest=longest)
        return Visitor(browser, unsealed(self._vault, launch_id, row.sealed), in_use)

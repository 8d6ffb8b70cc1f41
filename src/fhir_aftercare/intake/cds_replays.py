"""Which CDS clients' tokens were used: each is good for one call (CDS Hooks 2.0, Trusting CDS Clients, ``jti``)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from fhir_aftercare.store.idempotency import Outcome, key_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.store.idempotency import IdempotencyKeys

_ROUTE: Final = "cds-hooks jti"
_PURGE_ABOVE: Final = 10_000


class Replays(Protocol):
    """Remembers tokens at least until they have expired."""

    async def first(self, issuer: str, jti: str, until: datetime) -> bool:
        """Note a token that is good ``until``, and tell whether it was not seen before.

        Raises ``StoreUnavailable`` if that cannot be known.
        """


class StoredReplays:
    """In the service's database, for all its processes: as requests that were made, by a hash (kept 24 h or longer)."""

    def __init__(self, keys: IdempotencyKeys) -> None:
        self._keys = keys

    async def first(self, issuer: str, jti: str, until: datetime) -> bool:  # noqa: ARG002  (kept longer than any lives)
        """Note a token, and tell whether it was not seen before. Raises ``StoreUnavailable``."""
        id_ = key_id(issuer, _ROUTE, jti)
        claim = await self._keys.claim(id_, id_)
        if claim.outcome is not Outcome.RUN:
            return False
        await self._keys.done(claim, 200, ())
        return True


class MemoryReplays:
    """In memory: for one process, and for tests."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._seen: dict[tuple[str, str], datetime] = {}

    async def first(self, issuer: str, jti: str, until: datetime) -> bool:
        """Note a token that is good ``until``, and tell whether it was not seen before."""
        if len(self._seen) > _PURGE_ABOVE:
            self._seen = {name: end for name, end in self._seen.items() if end > self._now()}
        if (issuer, jti) in self._seen:
            return False
        self._seen[issuer, jti] = until
        return True

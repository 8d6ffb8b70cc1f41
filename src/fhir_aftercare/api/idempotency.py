"""``Idempotency-Key``: the same request sent twice has one effect and the same status (integration §3, design §9.13).

A route says ``once: Once`` (or ``once: MustBeOnce``) and may note what it wrote with ``once.wrote(reference)``. On a
replay the route runs again: it is idempotent by its natural keys, so the body is read afresh and only the status is
kept. Statuses below 300 end a key; other 4xx give it back; 5xx and a cut-off leave the same request free to run again.
A key is its caller's alone: another client, or another person using the same one, may use the same key.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Header, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_aftercare.api.faults import KeyReused, StillRunning
from fhir_aftercare.api.scope import client, route_template
from fhir_aftercare.api.security import holder_of
from fhir_aftercare.errors import InvalidInput, StoreUnavailable
from fhir_aftercare.store.idempotency import Claim, IdempotencyKeys, Outcome, fingerprint, key_id

HEADER: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255
LONGEST_WAIT: Final = 5.0
_KEY: Final = re.compile(rf'^([!#-~]{{1,{LONGEST_KEY}}}|"[!#-~]{{1,{LONGEST_KEY}}}")$')
_ATTEMPT: Final = "aftercare.idempotency"

log = structlog.get_logger(__name__)


class Attempt:
    """One run of a request. ``replayed`` tells that it was done before, ``earlier`` what an earlier run wrote."""

    def __init__(self, claim: Claim | None = None) -> None:
        self._claim = claim
        self.replayed = claim is not None and claim.outcome is Outcome.REPLAY
        self.earlier = claim.written if claim else ()
        self.written: list[str] = list(self.earlier)

    def wrote(self, *references: str) -> None:
        """Note the references of what was written (``CarePlan/12``), to be found again on a replay."""
        self.written += [reference for reference in references if reference not in self.written]

    @property
    def held(self) -> Claim | None:
        """The claim to be settled when the answer is known; None if there is nothing to settle."""
        return None if self.replayed else self._claim

    @property
    def status(self) -> int | None:
        """The status of the first run, on a replay."""
        return self._claim.status if self._claim and self.replayed else None


# The schema says what a key looks like, the code refuses others: a value that is none is a 400 as a missing one is.
_HEADER: Final[dict[str, Any]] = {
    "alias": HEADER,
    "description": "A fresh value (a UUID) for each new request, the same one when it is repeated.",
    "examples": ["0b6ad9f2-3c1e-4a57-9d4b-7f1f5a0c2e88"],
    "json_schema_extra": {"pattern": _KEY.pattern},
}


async def _may_be_once(request: Request, key: Annotated[str | None, Header(**_HEADER)] = None) -> Attempt:
    return Attempt() if key is None else await _attempt(request, key)


async def _must_be_once(request: Request, key: Annotated[str, Header(**_HEADER)]) -> Attempt:
    return await _attempt(request, key)  # without one, ``reasons`` makes it a ``KeyMissing``


Once = Annotated[Attempt, Depends(_may_be_once)]
MustBeOnce = Annotated[Attempt, Depends(_must_be_once)]


async def _attempt(request: Request, given: str) -> Attempt:
    keys: IdempotencyKeys = request.app.state.idempotency
    route = f"{request.method} {route_template(request.scope)}"
    id_ = key_id(client(request.scope) + holder_of(request.scope), route, _readable(given))
    sent = fingerprint(request.scope["path"], request.scope["query_string"], await request.body())
    claim = await keys.claim(id_, sent)
    match claim.outcome:
        case Outcome.OTHER:
            raise KeyReused("The Idempotency-Key was used for another request.", where=HEADER)
        case Outcome.RUNNING:
            wait = min(claim.wait.total_seconds(), LONGEST_WAIT)
            raise StillRunning("The first request with this Idempotency-Key is not done yet.", retry_after=wait)
        case Outcome.RUN | Outcome.REPLAY:
            attempt = Attempt(claim)
            request.scope[_ATTEMPT] = (attempt, keys)
            return attempt


def _readable(given: str) -> str:
    """Give the key without the quotes that the IETF draft wants around it and most callers leave out."""
    if not _KEY.fullmatch(given):
        raise InvalidInput(f"The Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters.", where=HEADER)
    return given.strip('"')


class Idempotency:
    """ASGI middleware that settles a key when the status is known, before the caller learns it.

    ``on_replay`` is told the route template of each replay. If the key cannot be settled the answer goes out all the
    same: what it reports is written, and a repeat runs again when the lease has ended.
    """

    def __init__(self, app: ASGIApp, *, on_replay: Callable[[str], None] | None = None) -> None:
        self._app, self._on_replay = app, on_replay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settled = False

        async def settling(message: Message) -> None:
            nonlocal settled
            if message["type"] == "http.response.start" and _ATTEMPT in scope:
                settled = True
                message = await self._settle(scope, message)
            await send(message)

        try:
            await self._app(scope, receive, settling)
        finally:
            if _ATTEMPT in scope and not settled:  # it raised, or was cut off by the time limit
                attempt, keys = scope[_ATTEMPT]
                await _gave_back(attempt, keys)

    async def _settle(self, scope: Scope, message: Message) -> Message:
        attempt, keys = scope[_ATTEMPT]
        status: int = message["status"]
        if attempt.replayed and status < 300:
            if self._on_replay:
                self._on_replay(route_template(scope))
            headers = [*message.get("headers", ()), (b"idempotent-replayed", b"true")]
            # An answer without a body cannot be given the status of one that had one, nor the other way round.
            kept = status if 204 in {status, attempt.status} else attempt.status
            return {**message, "status": kept, "headers": headers}
        held = attempt.held
        if held is None:
            return message
        if status < 300:
            await _quietly(keys.done(held, status, attempt.written))
        elif status < 500 and not attempt.written:
            await _quietly(keys.forget(held))
        else:
            await _quietly(keys.failed(held, attempt.written))
        return message


async def _gave_back(attempt: Attempt, keys: IdempotencyKeys) -> None:
    if attempt.held:
        # Shielded: the request may be cancelled once more while this is written.
        await asyncio.shield(asyncio.ensure_future(_quietly(keys.failed(attempt.held, attempt.written))))


async def _quietly(settling: Awaitable[Any]) -> None:
    try:
        await settling
    except StoreUnavailable as fault:
        log.warning("idempotency key not settled", code=fault.code)

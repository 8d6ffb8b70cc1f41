"""Tells people when a sweep or a worker has stopped: a number for Prometheus, and a call to one address.

    last successes → decide → webhook, once for an incident and once when it is over

``decide`` is pure; the rest carries it out. The call names clinic, sweep and times, never a patient, and is signed as
Standard Webhooks have it. It is made to the configured address alone: redirects are not followed. What could not be
told is told at the next look.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import httpx
import orjson
import structlog
from prometheus_client import Gauge

from fhir_aftercare.errors import AftercareError, ConfigFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client import CollectorRegistry

log = structlog.get_logger(__name__)

_PREFIX: Final = "whsec_"
_SHORTEST_SECRET: Final = 24  # bytes: what Standard Webhooks ask for at least
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Beat:
    """One thing that must go on. ``last`` is its last success, None if there was none; ``error`` the code since then.

    ``told`` is the incident that people were told of. All times aware.
    """

    clinic: str
    name: str
    last: datetime | None
    error: str | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told: that something ``stopped``, or ``recovered``. ``incident`` is None once it is over."""

    beat: Beat
    type: str
    id: str
    incident: str | None


class Told(Protocol):
    """Keeps what was told, so that no restart and no other process tells it again."""

    async def __call__(self, clinic: str, name: str, before: str | None, incident: str | None) -> bool:
        """Note it; False if another process was first."""


def decide(beats: Sequence[Beat], allowed: timedelta, since: datetime, now: datetime) -> list[Notice]:
    """Give what people must be told now.

    A thing has stopped if its last success is longer ago than ``allowed``; one without any counts from ``since``, when
    the looking began. The incident is named by the last success, so that it is one, whoever finds it.
    """
    found = []
    for beat in beats:
        stopped = now - (beat.last or since) > allowed
        if stopped and beat.told is None:
            incident = _incident(beat)
            found.append(Notice(beat, "stopped", f"{incident}-stopped", incident))
        elif not stopped and beat.told is not None:
            found.append(Notice(beat, "recovered", f"{beat.told}-recovered", None))
    return found


def _incident(beat: Beat) -> str:
    last = beat.last.astimezone(UTC).isoformat() if beat.last else "never"
    return hashlib.sha256(f"{beat.clinic} {beat.name} {last}".encode()).hexdigest()[:32]


def body_of(notice: Notice, now: datetime) -> bytes:
    """Give what is sent, as JSON: which clinic, what, since when, and the code of the error."""
    last = notice.beat.last.astimezone(UTC).isoformat(timespec="seconds") if notice.beat.last else None
    return orjson.dumps(
        {
            "type": f"aftercare.{notice.beat.name}.{notice.type}",
            "timestamp": now.astimezone(UTC).isoformat(timespec="seconds"),
            "data": {
                "clinic": notice.beat.clinic,
                "name": notice.beat.name,
                "lastSuccess": last,
                "error": notice.beat.error,
            },
        }
    )


def signature(secret: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """Give the header ``webhook-signature`` (Standard Webhooks): HMAC-SHA256 over id, time and body."""
    signed = b".".join((id_.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where it is told: an https address (http on this machine alone) and the secret ``whsec_…`` both sides know.

    Raises ``ConfigFault`` naming every fault.
    """

    url: str
    secret: str = field(repr=False)
    timeout: float = 5.0
    attempts: int = 3
    first_wait: float = 0.5

    def __post_init__(self) -> None:
        faults = [*self._faults_of_url()]
        if self.key is None:
            faults.append(f"the webhook secret is {_PREFIX} and at least {_SHORTEST_SECRET} bytes in base64")
        if faults:
            raise ConfigFault(faults, where="webhook")

    @property
    def key(self) -> bytes | None:
        """The secret's bytes; None if it is none."""
        try:
            found = base64.b64decode(self.secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return None
        return found if self.secret.startswith(_PREFIX) and len(found) >= _SHORTEST_SECRET else None

    def _faults_of_url(self) -> list[str]:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            return ["the webhook URL cannot be read"]
        if not url.host or url.userinfo or url.fragment:
            return ["the webhook URL has a host, and neither a name nor a password in it"]
        if url.scheme == "https" or (url.scheme == "http" and url.host in _LOOPBACK):
            return []
        return ["the webhook URL begins with https://"]


class Undelivered(AftercareError):
    """A webhook was not taken; it is told again at the next look."""

    code, status, issue = "webhook-undelivered", 502, "transient"
    default_remedy = "Check the address of the webhook and that its receiver answers with 2xx."


class Heartbeat:
    """Looks at the beats, sets the gauge, and tells what has stopped.

    ``read`` gives the beats, ``told`` keeps what was told; ``webhook`` None: only the gauge is set. ``http`` is shared
    and closed by its owner. ``sleep`` and ``now`` are there for tests.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        read: Callable[[], Awaitable[Sequence[Beat]]],
        told: Told,
        *,
        allowed: timedelta,
        webhook: Webhook | None = None,
        http: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if allowed <= timedelta():
            raise ConfigFault(
                ["the time after which a sweep has stopped must be longer than nothing"], where="heartbeat"
            )
        if webhook is not None and http is None:
            raise ConfigFault(["a webhook needs an HTTP client"], where="webhook")
        self._read, self._told, self._allowed = read, told, allowed
        self._webhook, self._http, self._sleep, self._now = webhook, http, sleep, now
        self._since = now()
        name, text = "aftercare_sweep_age_seconds", "Time since a sweep or worker last went well."
        self._age = Gauge(name, text, ["clinic", "sweep"], registry=registry)
        self._last: dict[tuple[str, str], datetime] = {}

    async def look(self) -> list[Notice]:
        """Look once, and give what was told. Raises what ``read`` and ``told`` raise.

        What the receiver did not take is logged, and told at the next look.
        """
        beats, done = await self._read(), []
        for beat in beats:
            self._show(beat)
        for notice in decide(beats, self._allowed, self._since, self._now()):
            log.warning(notice.type, clinic=notice.beat.clinic, component=notice.beat.name, code=notice.beat.error)
            try:
                await self._deliver(notice)
            except Undelivered as fault:
                log.warning("webhook not delivered", clinic=notice.beat.clinic, code=fault.code)
                continue
            await self._told(notice.beat.clinic, notice.beat.name, notice.beat.told, notice.incident)
            done.append(notice)
        return done

    async def run(self, every: timedelta) -> None:
        """Look again and again until cancelled; a look that fails is logged, and the next one made."""
        while True:
            try:
                await self.look()
            except AftercareError as fault:
                log.warning("heartbeat not looked at", code=fault.code)
            await self._sleep(every.total_seconds())

    def _show(self, beat: Beat) -> None:
        """Let the age grow by itself between two looks, also if there is no further one."""
        key = (beat.clinic, beat.name)
        new = key not in self._last
        self._last[key] = beat.last or self._since
        if new:
            self._age.labels(*key).set_function(partial(self._age_of, key))

    def _age_of(self, key: tuple[str, str]) -> float:
        return (self._now() - self._last[key]).total_seconds()

    async def _deliver(self, notice: Notice) -> None:
        if self._webhook is None or self._http is None:
            return
        body = body_of(notice, self._now())
        for attempt in range(self._webhook.attempts):
            if attempt:
                longest = self._webhook.first_wait * 2.0**attempt
                await self._sleep(longest / 2 + random.uniform(0, longest / 2))  # noqa: S311 - jitter, not a secret
            if await _sent(self._http, self._webhook, notice.id, int(self._now().timestamp()), body):
                return
        raise Undelivered("The receiver of the webhook did not take it.", where="webhook")


async def _sent(http: httpx.AsyncClient, webhook: Webhook, id_: str, timestamp: int, body: bytes) -> bool:
    """Tell whether the receiver took it; what it says beyond that is not read."""
    headers = {
        "content-type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(webhook.key or b"", id_, timestamp, body),
    }
    try:
        async with (
            asyncio.timeout(webhook.timeout),
            http.stream("POST", webhook.url, content=body, headers=headers, follow_redirects=False) as answer,
        ):
            return answer.is_success
    except (httpx.TransportError, TimeoutError) as fault:
        log.info("webhook not answered", error=type(fault).__name__)
        return False

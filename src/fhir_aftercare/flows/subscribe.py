"""Have a clinic's FHIR server tell of what changes: make its Subscriptions, keep them active, take them away.

    capabilities → search by tag (what is there) → the difference → wait until the server made them active

Repeating it changes nothing. What others subscribed stays as it is. A server that knows no Subscriptions is told apart
before anything is written; there, and wherever one fails, the sweep finds what nobody told (integration §2.1).
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from fhir_aftercare.ehr.answers import etag_of
from fhir_aftercare.errors import FhirGone, FhirNotFound, FhirRejected, FhirStale
from fhir_aftercare.fhir.identifiers import token_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.flows.subscribe_forms import Form

Resource = dict[str, Any]
Outcome = Literal["created", "updated", "unchanged", "activated", "removed", "missing", "outdated"]

# What of a resource is ours; the server adds its own tags, and an error.
_OWNED: Final = ("reason", "criteria", "_criteria", "channel", "extension", "modifierExtension", "code")
_ASLEEP: Final = frozenset({"off", "error"})
_ATTEMPTS: Final = 5
_SETTLING: Final = 15.0


@dataclass(frozen=True, slots=True)
class Subscribed:
    """One resource, and what became of it. ``status`` is the server's, empty for what has none; ``error`` its words.

    ``missing`` and ``outdated`` are what ``look`` finds: it is not there, or otherwise than it should be.
    """

    label: str
    reference: str
    outcome: Outcome
    status: str
    error: str | None = None

    @property
    def active(self) -> bool:
        """Whether the server tells us, as it is to."""
        return self.status in {"", "active"} and self.outcome not in {"missing", "outdated", "removed"}


async def subscribe(fhir: FhirClient, forms: Sequence[Form], *, renew: bool = False) -> list[Subscribed]:
    """Make what is not there, in order, and change what is otherwise; give what became of each.

    One that was switched off, or failed, is asked for again. ``renew`` writes all of them again: a server that keeps
    the secret to itself does not show whether it has the new one. Raises ``FhirRejected`` if the server takes no
    Subscriptions, and what it answers otherwise; doing it again goes on where it stopped.
    """
    await _check(fhir)
    return [await _ensure(fhir, form, renew=renew) for form in forms]


async def look(fhir: FhirClient, forms: Sequence[Form]) -> list[Subscribed]:
    """Give how each is, and change nothing. Raises as ``subscribe`` does."""
    await _check(fhir)
    return [await _seen(fhir, form) for form in forms]


async def active(
    fhir: FhirClient,
    made: Sequence[Subscribed],
    *,
    seconds: float = 30.0,
    every: float = 0.5,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[Subscribed]:
    """Wait until the server has made all of them active, or refused one, at most ``seconds``; give how they are."""
    waited = 0.0
    found = await _read(fhir, made)
    while any(each.status == "requested" for each in found) and waited < seconds:
        await sleep(every)
        waited += every
        found = await _read(fhir, made)
    return found


async def watch(
    fhir: FhirClient,
    forms: Sequence[Form],
    *,
    every: float = 60.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[list[Subscribed]]:
    """Yield how the Subscriptions are, first now and then ``every`` so many seconds, for ever.

    One that was switched off, failed or was taken away is asked for again before it is yielded (its ``outcome`` says
    so, ``error`` what the server said before). Raises what the server answers: the caller decides whether to go on.
    """
    await _check(fhir)
    while True:
        before = [(await _seen(fhir, form)).error for form in forms]
        done = [await _ensure(fhir, form) for form in forms]
        yield [replace(each, error=each.error or said) for each, said in zip(done, before, strict=True)]
        await sleep(every)


async def unsubscribe(fhir: FhirClient, forms: Sequence[Form]) -> list[Subscribed]:
    """Take away what is there of ``forms``, the last first; give what that was. Nothing else is touched."""
    gone = []
    for form in reversed(forms):
        for each in await _tagged(fhir, form):
            await _delete(fhir, each)
            gone.append(Subscribed(form.label, _reference(each), "removed", ""))
    return gone


async def _delete(fhir: FhirClient, resource: Resource) -> None:
    """Delete one. HAPI 8.8 goes on making active what was deleted meanwhile, and it is there again (measured): that is
    awaited first.
    """
    reference = _reference(resource)
    if resource.get("status") == "requested":
        with suppress(FhirNotFound, FhirGone):
            await active(fhir, [_subscribed("", resource, "removed")], seconds=_SETTLING)
    for attempt in range(_ATTEMPTS):
        (answer,) = await fhir.batch([{"request": {"method": "DELETE", "url": reference}}])
        if answer.error is None or answer.error.http_status in {404, 410}:
            return
        if not isinstance(answer.error, FhirStale) or attempt == _ATTEMPTS - 1:
            raise answer.error
        await _pause()


async def _check(fhir: FhirClient) -> None:
    statement = await fhir.capabilities()
    servers = [each for each in statement.get("rest") or () if each.get("mode", "server") == "server"]
    known = [each for one in servers for each in one.get("resource") or () if each.get("type") == "Subscription"]
    if not any(each.get("code") == "create" for one in known for each in one.get("interaction") or ()):
        raise FhirRejected(
            "The FHIR server takes no Subscriptions: its CapabilityStatement names no Subscription that can be made.",
            where="CapabilityStatement.rest.resource",
            remedy="Have discharges told by HL7 v2, CDS Hooks or REST instead; the sweep finds the rest.",
        )


async def _tagged(fhir: FhirClient, form: Form) -> list[Resource]:
    """Give what is there; if by mishap that is more than one, the same comes first for whoever looks."""
    tag = f"{form.tag['system']}|{form.tag['code']}"
    found = (await fhir.search_all(form.resource["resourceType"], {"_tag": tag})).matches
    return sorted(found, key=lambda each: str(each["id"]))


async def _seen(fhir: FhirClient, form: Form) -> Subscribed:
    there = await _tagged(fhir, form)
    if not there:
        return Subscribed(form.label, "", "missing", "")
    return _subscribed(form.label, there[0], "outdated" if _differs(form.resource, there[0]) else "unchanged")


async def _read(fhir: FhirClient, made: Sequence[Subscribed]) -> list[Subscribed]:
    found = []
    for each in made:
        type_, _, id_ = each.reference.partition("/")
        found.append(_subscribed(each.label, await fhir.read(type_, id_), each.outcome))
    return found


async def _ensure(fhir: FhirClient, form: Form, *, renew: bool = False) -> Subscribed:
    """Make or change one resource. The server changes it too while it makes it active: then it is read again.

    Of several the first stays: else everything would be told that many times.
    """
    for attempt in range(_ATTEMPTS):
        there = await _tagged(fhir, form)
        try:
            if not there:
                stored = await fhir.create(form.resource, if_none_exist=token_query("_tag", form.tag))
                return _subscribed(form.label, stored, "created")
            for surplus in there[1:]:
                await _delete(fhir, surplus)
            return await _changed(fhir, form, there[0], renew=renew)
        except FhirStale:
            if attempt == _ATTEMPTS - 1:
                raise
            await _pause()
    raise AssertionError  # the last attempt returned or raised


async def _pause() -> None:
    await asyncio.sleep(random.SystemRandom().uniform(0.1, 0.5))


async def _changed(fhir: FhirClient, form: Form, before: Resource, *, renew: bool) -> Subscribed:
    differs = renew or _differs(form.resource, before)
    asleep = before.get("status") in _ASLEEP
    if not differs and not asleep:
        return _subscribed(form.label, before, "unchanged")
    after = {name: value for name, value in before.items() if name not in (*_OWNED, "error")}
    after |= {name: value for name, value in form.resource.items() if name != "meta"}
    if form.resource["meta"].get("profile"):
        after["meta"] = {**before["meta"], "profile": form.resource["meta"]["profile"]}
    stored = await fhir.update(after, if_match=etag_of(before))
    return _subscribed(form.label, stored, "updated" if differs else "activated")


def _differs(ours: Resource, theirs: Resource) -> bool:
    """Tell whether something of ours is otherwise there. A server may keep the secret to itself."""
    hidden = isinstance(theirs.get("channel"), dict) and "header" not in theirs["channel"]
    return any(_shown(ours.get(name), hidden=hidden) != _shown(theirs.get(name), hidden=hidden) for name in _OWNED)


def _shown(value: Any, *, hidden: bool) -> Any:
    if hidden and isinstance(value, dict):
        return {name: each for name, each in value.items() if name != "header"}
    return value


def _subscribed(label: str, resource: Resource, outcome: Outcome) -> Subscribed:
    error = resource.get("error")
    status = str(resource.get("status") or "")
    return Subscribed(label, _reference(resource), outcome, status, error if isinstance(error, str) else None)


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"

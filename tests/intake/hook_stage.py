"""A clinic on a real FHIR server that tells a real server of ours on loopback: ``from intake.hook_stage import Stage``.

Only one patient's records are asked for, so that nothing else on the server is told of.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fhir_aftercare.flows.subscribe import active, subscribe, unsubscribe
from fhir_aftercare.flows.subscribe_forms import (
    TOPIC,
    Receiver,
    criteria_forms,
    searches,
    topic_filters,
    topic_form,
    topic_subscription_form,
)
from intake.hook_cases import SECRET, hooks_app
from intake.inboxes import RecordingInbox
from openapi.loopback import served
from servers import free_port
from world import END, make_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from fhir_aftercare.flows.subscribe import Subscribed
    from fhir_aftercare.flows.subscribe_forms import Form
    from servers import Server
    from world import World

Resource = dict[str, Any]

# A delivery takes half a second.
SOON = 15.0
# Long enough for what must not come.
LATER = 2.0


@dataclass
class Received:
    """Everything that was sent to the doors, and what was answered: method, path below /hooks, bytes, status.

    While ``swallows`` is set, something in front of the doors says yes and keeps nothing.
    """

    app: ASGIApp
    calls: list[tuple[str, str, int, int]] = field(default_factory=list)
    swallows: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = status = 0

        async def reading() -> Any:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await (self._swallow if self.swallows else self.app)(scope, reading, sending)
        self.calls.append((scope["method"], scope["path"].removeprefix("/hooks/harbor"), size, status))

    async def _swallow(self, _: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            continue
        headers = [(b"content-type", b"application/fhir+json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"resourceType":"Bundle","type":"transaction-response"}'})


@dataclass
class Stage:
    """A clinic on its server, the doors on a port of their own, which may be up or down, and what came through them."""

    world: World
    patient: str
    inbox: RecordingInbox
    received: Received
    app: Any
    port: int
    wanted: dict[str, dict[str, str]]
    forms: list[Form] = field(default_factory=list)
    _up: ExitStack = field(default_factory=ExitStack)

    @classmethod
    async def make(cls, server: Server) -> Self:
        world, inbox = await make_world(server), RecordingInbox()
        patient = await world.patient()
        app = hooks_app(inbox, base_url=server.base_url)
        wanted = {name: {**each, "subject": patient} for name, each in searches(world.context.clinic).items()}
        return cls(world, patient, inbox, Received(app), app, free_port(), wanted)

    def up(self) -> None:
        """Have the doors answer."""
        self._up.enter_context(served(self.received, self.port))

    def down(self) -> None:
        """Have nobody listen."""
        self._up.close()

    def receiver(self, secret: str = SECRET) -> Receiver:
        return Receiver(f"http://127.0.0.1:{self.port}", "harbor", f"X-Aftercare-Secret: {secret}")

    async def criteria(self, secret: str = SECRET, **more: Any) -> None:
        await self.ask(criteria_forms(self.wanted, self.receiver(secret), self.world.context.identifiers, **more))

    async def topic(self) -> None:
        identifiers = self.world.context.identifiers
        filters = topic_filters(self.wanted)
        await self.ask(
            [
                topic_form(self.wanted, identifiers),
                topic_subscription_form(TOPIC, filters, self.receiver(), identifiers),
            ]
        )

    async def ask(self, forms: list[Form]) -> None:
        self.forms = forms
        assert [each.active for each in await self.again()] == [True] * len(forms)

    async def again(self) -> list[Subscribed]:
        """Subscribe as before, and wait until the server has made it active, or refused."""
        fhir = self.world.context.fhir
        return await active(fhir, await subscribe(fhir, self.forms))

    async def close(self) -> None:
        await unsubscribe(self.world.context.fhir, self.forms)
        self.down()

    # what happens in the clinic
    async def leaves(self, status: str = "finished") -> str:
        """A visit begins, and ends; give its reference."""
        return await self.ends(await self.world.encounter(self.patient), status)

    async def ends(self, encounter: str, status: str = "finished") -> str:
        fhir = self.world.context.fhir
        there = await fhir.read("Encounter", encounter.partition("/")[2])
        period = {**there["period"], "end": END.isoformat()}
        await fhir.update({**there, "status": status, "period": period}, if_match=there["meta"]["versionId"])
        return encounter

    async def given(self, drug: Resource) -> str:
        """A drug is recorded; give the reference."""
        stored = await self.world.context.fhir.create(
            {
                "resourceType": "MedicationAdministration",
                "status": "completed",
                "medicationCodeableConcept": drug,
                "subject": {"reference": self.patient},
                "effectiveDateTime": END.isoformat(),
            }
        )
        return f"MedicationAdministration/{stored['id']}"

    async def event(self, reference: str) -> str:
        """Give the id of the event that the newest version of a resource is."""
        meta = (await self.world.context.fhir.read(*reference.split("/")))["meta"]
        return f"{reference}/_history/{meta['versionId']}/{meta['lastUpdated']}"

    def encounters(self) -> list[str | None]:
        return [each.encounter for each in self.inbox.taken]


async def until(happened: Callable[[], object], seconds: float = SOON) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"did not happen within {seconds:g} s"
        await asyncio.sleep(0.05)

"""All that the pretend EHR remembers between two requests, in one place, and what may be done to it from outside.

A test and the demo hold this object (``app.state.ehr``); the endpoints share it. One asyncio process: no locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.sandbox.ehr.faults import Faults
from fhir_aftercare.sandbox.ehr.grants import Grants
from fhir_aftercare.sandbox.ehr.launches import Launches
from fhir_aftercare.sandbox.ehr.scope_policy import ScopePolicy
from fhir_aftercare.sandbox.ehr.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fhir_aftercare.sandbox.ehr.launches import Launch
    from fhir_aftercare.sandbox.ehr.settings import EhrSettings

ACTIONS: Final = ("expire_tokens", "revoke_tokens", "rotate_keys", "reset")


class PretendEhr:
    """One EHR. ``faults`` may be changed at any time; ``now`` gives seconds since 1970."""

    def __init__(self, settings: EhrSettings, now: Callable[[], float]) -> None:
        self.settings, self.now = settings, now
        self.faults = Faults()
        self.policy = ScopePolicy(self.faults)
        self.launches = Launches(now)
        self.grants = Grants(now)
        self.signer = Signer(settings, self.faults, now)

    def launch_url(self, launch: Launch) -> str:
        """Open a launch and give the address to send a browser to. Raises ``InvalidInput`` if the app has none."""
        client = self.settings.client(launch.client_id)
        if client is None or client.launch_url is None:
            raise InvalidInput("This app cannot be launched from the EHR.", where="client")
        query = urlencode({"iss": self.settings.fhir_base, "launch": self.launches.open(launch)})
        return f"{client.launch_url}{'&' if '?' in client.launch_url else '?'}{query}"

    def act(self, action: str) -> None:
        """Do one of ``ACTIONS`` at once. Raises ``InvalidInput`` for any other."""
        acts: dict[str, Callable[[], None]] = {
            "expire_tokens": self.grants.expire_access,
            "revoke_tokens": self.grants.end_all,
            "rotate_keys": self.signer.rotate,
            "reset": self.faults.reset,
        }
        if action not in acts:
            raise InvalidInput("There is no such action.", where="action")
        acts[action]()

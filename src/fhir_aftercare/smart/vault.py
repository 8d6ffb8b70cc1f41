"""What is stored is sealed: encrypted, authenticated, bound to its place, with keys that can be changed.

Fernet with several keys: the first seals, all open. Where the text is kept is not decided here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart.faults import VaultFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Vault:
    """Seals and opens JSON objects. ``keys``: url-safe base64 of 32 bytes each, the newest first.

    Raises ``ConfigFault`` for a key that is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except (ValueError, TypeError):
            raise ConfigFault(
                ["a vault needs at least one key, each of 32 bytes in url-safe base64"], where="vault keys"
            ) from None

    @staticmethod
    def new_key() -> str:
        """Make a key."""
        return Fernet.generate_key().decode("ascii")

    def seal(self, place: str, value: Mapping[str, Any]) -> str:
        """Give ``value`` sealed for one place, such as ``launch:`` and its id: it opens nowhere else."""
        return self._fernet.encrypt(json.dumps([place, dict(value)]).encode()).decode("ascii")

    def open(self, place: str, sealed: str) -> dict[str, Any]:
        """Give what was sealed for this place. Raises ``VaultFault`` if it cannot be opened or was sealed elsewhere."""
        try:
            sealed_for, value = json.loads(self._fernet.decrypt(sealed))
        except (InvalidToken, ValueError, TypeError):
            raise VaultFault("Stored text cannot be opened.") from None
        if sealed_for != place or not isinstance(value, dict):
            raise VaultFault("Stored text was sealed for another place.")
        return value

    def reseal(self, sealed: str) -> str:
        """Give the same content sealed with the newest key. Raises ``VaultFault``."""
        try:
            return self._fernet.rotate(sealed).decode("ascii")
        except (InvalidToken, TypeError):
            raise VaultFault("Stored text cannot be opened.") from None

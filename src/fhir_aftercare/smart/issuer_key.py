"""A public key that others sign their tokens with, and which keys of a JWK Set are usable: for access and id tokens.

Pure: when a set is read, and which of its keys a token may be tried with, is said where the tokens are checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from fhir_aftercare.smart.faults import DiscoveryFault

if TYPE_CHECKING:
    from collections.abc import Mapping

# Signatures with public keys only: with HS* whoever knows the public key could sign.
ALGORITHMS: Final = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
MOST_KEYS: Final = 50
SMALLEST_RSA: Final = 2048
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_KINDS: Final[Mapping[Any, type[ECKey | RSAKey]]] = {"EC": ECKey, "RSA": RSAKey}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One public key. ``alg`` is the only algorithm it may be used with, if the issuer named one."""

    kid: str | None
    alg: str | None
    jose: ECKey | RSAKey

    def can_check(self, alg: str) -> bool:
        """Tell whether it may check signatures of an algorithm of ``ALGORITHMS``."""
        kind = self.jose.curve_name == _CURVES.get(alg) if isinstance(self.jose, ECKey) else alg[:2] in {"RS", "PS"}
        return kind and self.alg in {None, alg}


def read_keys(members: Mapping[str, Any]) -> tuple[IssuerKey, ...]:
    """Give the usable keys of a JWK Set; others are passed over (RFC 7517 §5). Raises ``DiscoveryFault`` if none is."""
    entries = members.get("keys")
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise DiscoveryFault("The issuer's keys are not a JWK Set.", where="keys")
    read = tuple(key for entry in entries if isinstance(entry, dict) for key in _read_key(entry))
    if not read:
        raise DiscoveryFault("The issuer publishes no key to check signatures with.", where="keys")
    return read


def _read_key(entry: Mapping[str, Any]) -> list[IssuerKey]:
    kind, kid, alg = _KINDS.get(entry.get("kty")), entry.get("kid"), entry.get("alg")
    if kind is None or entry.get("use", "sig") != "sig":
        return []
    if not all(text is None or isinstance(text, str) for text in (kid, alg)):
        return []
    # Public members only: a private or a symmetric one is never used, whoever published it.
    bare = {str(name): entry[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in entry}
    try:
        jose = kind.import_key(bare)
    except (JoseError, ValueError, TypeError):
        return []
    too_small = isinstance(jose, RSAKey) and jose.raw_value.key_size < SMALLEST_RSA
    return [] if too_small else [IssuerKey(kid, alg, jose)]

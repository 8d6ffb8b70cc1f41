"""The client's signing keys: make, keep in a file only the service reads, rotate, publish the public half.

For each algorithm a ring holds the *current* key (signs), the *next* one (published ahead, so that an EHR that caches
the JWKS knows it before it signs) and for a while the *retired* one (integration §1.3 rows 21, 23, 25).
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from fhir_aftercare.smart.faults import KeyFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Status = Literal["current", "next", "retired"]

ALGORITHMS: Final = ("ES384", "RS384")
RSA_BITS: Final = 3072
SMALLEST_RSA: Final = 2048
# Longer than an assertion lives and than replicas need to read a rotated file again.
RETIRED_IS_PUBLISHED_FOR: Final = timedelta(hours=24)
# For the route that serves the JWKS. Shorter than the time a next key is published before it signs.
JWKS_CACHE_CONTROL: Final = "public, max-age=3600"
_ORDER: Final = ("current", "next", "retired")
_PEM: Final = b"-----BEGIN"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Key:
    """One private key. ``kid`` is its RFC 7638 thumbprint, so it is unique and never chosen by hand."""

    kid: str
    alg: str
    jose: ECKey | RSAKey = field(repr=False, compare=False)
    created_at: datetime
    status: Status = "current"
    retired_at: datetime | None = None

    def public_jwk(self) -> dict[str, str]:
        """Give the public half as a JWK: kty, kid, alg, use and the bare key members, nothing else."""
        bare = ("kty", "crv", "x", "y") if self.alg == "ES384" else ("kty", "n", "e")
        members = self.jose.as_dict(private=False)
        return {name: str(members[name]) for name in bare} | {"kid": self.kid, "alg": self.alg, "use": "sig"}

    def to_pem(self) -> bytes:
        """Give the private key as unencrypted PKCS#8 PEM."""
        return self.jose.as_pem(private=True)

    def private_jwk(self) -> dict[str, Any]:
        """Give the private key as a JWK with ``kid`` and ``alg``, for a file or a secret manager."""
        return dict(self.jose.as_dict(private=True)) | {"kid": self.kid, "alg": self.alg, "use": "sig"}


def new_key(alg: str = "ES384", *, now: Callable[[], datetime] = _utc_now) -> Key:
    """Make a key: EC P-384 for ES384, RSA 3072 for RS384. Raises ``KeyFault`` for any other algorithm."""
    if alg == "ES384":
        return _key(ECKey.generate_key("P-384"), now())
    if alg == "RS384":
        return _key(RSAKey.generate_key(RSA_BITS), now())
    raise KeyFault(f"{alg!r} is not an algorithm SMART clients sign with.", where="alg", remedy="Use ES384 or RS384.")


def key_from_pem(pem: bytes, *, now: Callable[[], datetime] = _utc_now) -> Key:
    """Give the key of a PEM file: EC P-384 becomes ES384, RSA of 2048 bits or more RS384. Raises ``KeyFault``."""
    try:
        native = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise KeyFault("The PEM text holds no unencrypted private key.", where="PEM") from None
    if isinstance(native, EllipticCurvePrivateKey) and native.curve.name == "secp384r1":
        return _key(ECKey.import_key(native), now())
    if isinstance(native, RSAPrivateKey) and native.key_size >= SMALLEST_RSA:
        return _key(RSAKey.import_key(native), now())
    raise KeyFault("The private key is neither EC P-384 nor RSA of 2048 bits or more.", where="PEM")


class Signer(Protocol):
    """What a registration signs with: a ``KeyRing``, or whatever gives the ring as it is now."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that can be signed with."""

    def signing(self, alg: str) -> Key:
        """Give the key that signs now. Raises ``KeyFault`` if there is none for the algorithm."""


class KeyRing:
    """The keys of one environment. Immutable: ``rotate`` and ``add`` give a new ring; ``save`` writes it."""

    def __init__(self, keys: Iterable[Key], *, now: Callable[[], datetime] = _utc_now) -> None:
        self._now = now
        self._keys = tuple(sorted(keys, key=lambda key: (key.alg, _ORDER.index(key.status), key.created_at)))
        if not self._keys:
            raise KeyFault("A key ring needs at least one key.", where="keys")
        for alg in self.algorithms:
            if [key.status for key in self._keys if key.alg == alg].count("current") != 1:
                raise KeyFault(f"A key ring needs exactly one current key for {alg}.", where="status")
        if len({key.kid for key in self._keys}) != len(self._keys):
            raise KeyFault("A key stands twice in the ring.", where="kid")

    @classmethod
    def new(cls, *algs: str, now: Callable[[], datetime] = _utc_now) -> KeyRing:
        """Give a ring with a current and a next key for each algorithm (default: ES384). Raises ``KeyFault``."""
        return cls((key for alg in algs or ("ES384",) for key in _pair(alg, now)), now=now)

    @classmethod
    def load(cls, path: Path | str, *, now: Callable[[], datetime] = _utc_now) -> KeyRing:
        """Read a ring (JSON) or one private key (PEM). Raises ``KeyFault``, also if others may read the file."""
        content = _read(Path(path))
        if content.lstrip().startswith(_PEM):
            return cls([key_from_pem(content, now=now)], now=now)
        try:
            return cls([_from_json(entry) for entry in json.loads(content)["keys"]], now=now)
        except (ValueError, KeyError, TypeError, AttributeError, JoseError) as fault:
            raise KeyFault("The key file is not one of ours.", where=Path(path).name) from fault

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys, by algorithm: current, next, retired."""
        return self._keys

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms the ring can sign with."""
        return tuple(dict.fromkeys(key.alg for key in self._keys))

    def signing(self, alg: str) -> Key:
        """Give the key that signs now. Raises ``KeyFault`` if the ring has none for the algorithm."""
        for key in self._keys:
            if key.alg == alg and key.status == "current":
                return key
        raise KeyFault(f"The key ring holds no key for {alg}.", where="alg", remedy=f"Add one: keys new --alg {alg}.")

    def add(self, alg: str) -> KeyRing:
        """Give the ring with a current and a next key for one more algorithm. Raises ``KeyFault`` if it has them."""
        if alg in self.algorithms:
            raise KeyFault(f"The key ring has keys for {alg} already.", where="alg", remedy="Use `keys rotate`.")
        return KeyRing([*self._keys, *_pair(alg, self._now)], now=self._now)

    def rotate(self, alg: str | None = None, *, compromised: bool = False) -> KeyRing:
        """Give the ring in which next has become current and a fresh next is published (one algorithm, or all).

        The old current key stays published for a day, as retired, for assertions under way. ``compromised``: both it
        and the old next key (they lay in one file) are gone at once; EHRs that cache the JWKS refuse us until they
        read it again.
        """
        algs = self.algorithms if alg is None else (self.signing(alg).alg,)
        kept: list[Key] = [key for key in self._published() if key.alg not in algs]
        for each in algs:
            mine = {key.status: key for key in self._keys if key.alg == each and key.status != "retired"}
            if compromised:
                kept += _pair(each, self._now)
                continue
            promoted = mine.get("next") or new_key(each, now=self._now)
            kept += [key for key in self._published() if key.alg == each and key.status == "retired"]
            kept.append(replace(mine["current"], status="retired", retired_at=self._now()))
            kept.append(replace(promoted, status="current"))
            kept.append(replace(new_key(each, now=self._now), status="next"))
        return KeyRing(kept, now=self._now)

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Give the JWK Set to publish: current, next, and what was retired within a day. Never a private member."""
        return {"keys": [key.public_jwk() for key in self._published()]}

    def save(self, path: Path | str) -> None:
        """Write the ring as JSON, or its one key as PEM if the name ends in ``.pem``: whole or not at all, mode 0600.

        Raises ``KeyFault`` if it cannot be written, or if a PEM file would lose keys.
        """
        target = Path(path)
        if target.suffix == ".pem":
            if len(self._keys) > 1:
                raise KeyFault(
                    "A PEM file holds one key, the ring has more.", where=target.name, remedy="Save as JSON."
                )
            _write(target, self._keys[0].to_pem())
            return
        _write(target, json.dumps({"keys": [_to_json(key) for key in self._keys]}, indent=1).encode() + b"\n")

    def _published(self) -> tuple[Key, ...]:
        oldest = self._now() - RETIRED_IS_PUBLISHED_FOR
        return tuple(key for key in self._keys if key.retired_at is None or key.retired_at > oldest)


def _pair(alg: str, now: Callable[[], datetime]) -> list[Key]:
    return [new_key(alg, now=now), replace(new_key(alg, now=now), status="next")]


def _key(jose: ECKey | RSAKey, created_at: datetime) -> Key:
    if not jose.is_private:
        raise KeyFault("A public key cannot sign.", where="key")
    if isinstance(jose, ECKey):
        if jose.curve_name != "P-384":
            raise KeyFault("An EC key must be on the curve P-384.", where="crv")
        return Key(jose.thumbprint(), "ES384", jose, created_at)
    if jose.raw_value.key_size < SMALLEST_RSA:
        raise KeyFault("An RSA key must have 2048 bits or more.", where="n")
    return Key(jose.thumbprint(), "RS384", jose, created_at)


def _to_json(key: Key) -> dict[str, Any]:
    retired = {"retired_at": key.retired_at.isoformat()} if key.retired_at else {}
    return {**key.private_jwk(), "status": key.status, "created_at": key.created_at.isoformat(), **retired}


def _from_json(entry: dict[str, Any]) -> Key:
    status, created, retired = entry["status"], entry["created_at"], entry.get("retired_at")
    if status not in _ORDER or (status == "retired") != (retired is not None):
        raise KeyFault("A key in the file has no usable status.", where="status")
    kind: type[ECKey | RSAKey] = ECKey if entry["kty"] == "EC" else RSAKey
    own = ("status", "created_at", "retired_at", "kid", "alg", "use")
    key = _key(kind.import_key({name: value for name, value in entry.items() if name not in own}), _aware(created))
    if (key.kid, key.alg) != (entry["kid"], entry["alg"]):
        raise KeyFault("A key in the file does not fit its kid and alg.", where="kid")
    return replace(key, status=status, retired_at=_aware(retired) if retired else None)


def _aware(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("a time without an offset")
    return value


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise KeyFault("Others may read the key file.", where=path.name, remedy=f"chmod 600 {path.name}")
            return file.read(1_000_000)
    except OSError as fault:
        raise KeyFault("The key file cannot be read.", where=path.name) from fault


def _write(path: Path, content: bytes) -> None:
    """Write beside the file and rename (mkstemp makes mode 0600), so that a reader never sees half of it."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as fault:
        raise KeyFault("The key file cannot be written.", where=path.name) from fault

"""Signing keys and the vault: made, kept for the service alone, rotated, published (our §1.3 rows 23, 25)."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import KeyRing, LaunchRecord, Vault, keys, new_key
from fhir_aftercare.smart.faults import KeyFault, VaultFault
from smart.conformance import requirement

if TYPE_CHECKING:
    from pathlib import Path

    from smart.clinic import Clinic, Clock
    from smart.strict_server import StrictEhr

SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@requirement("1.3-25", "keys are made here: EC P-384 or RSA of 3072 bits, the kid is the thumbprint", rows=(290, 322))
@pytest.mark.parametrize(("alg", "kind"), [("ES384", "EC"), ("RS384", "RSA")])
def test_keys_are_made_for_either_algorithm(alg: str, kind: str) -> None:
    key = new_key(alg)
    jwk = key.public_jwk()
    assert (jwk["kty"], jwk["alg"], jwk["use"]) == (kind, alg, "sig")
    assert jwk["kid"] == key.kid == key.jose.thumbprint()
    assert new_key(alg).kid != key.kid
    if isinstance(key.jose, RSAKey):
        assert key.jose.raw_value.key_size == 3072


@requirement(
    "1.3-23",
    "the published set holds current and next key, bare public members, never a private one",
    rows=(22, 293, 294, 313, 314, 315),
)
def test_only_public_members_are_published() -> None:
    ring = KeyRing.new("ES384", "RS384")
    published = ring.public_jwks()
    assert [key["kty"] for key in published["keys"]] == ["EC", "EC", "RSA", "RSA"]
    for key in published["keys"]:
        bare = {"crv", "x", "y"} if key["kty"] == "EC" else {"n", "e"}
        assert set(key) == bare | {"kty", "kid", "alg", "use"}
        assert not PRIVATE & set(key)
    assert KeySet.import_key_set(json.loads(json.dumps(published)))


def test_the_published_set_may_be_cached_for_less_than_a_next_key_waits() -> None:
    assert keys.JWKS_CACHE_CONTROL == "public, max-age=3600"
    assert timedelta(seconds=3600) < keys.RETIRED_IS_PUBLISHED_FOR


@requirement("1.3-23", "rotation: next signs, the old one stays published for a day, a new next appears")
def test_rotation_moves_next_to_current(clock: Clock) -> None:
    ring = KeyRing.new("ES384", now=clock)
    current, following = ring.keys
    rotated = ring.rotate()
    assert rotated.signing("ES384").kid == following.kid
    assert [key.status for key in rotated.keys] == ["current", "next", "retired"]
    published = [key["kid"] for key in rotated.public_jwks()["keys"]]
    assert published[0] == following.kid
    assert published[2] == current.kid
    clock.move(hours=24)
    assert current.kid not in [key["kid"] for key in rotated.public_jwks()["keys"]]
    assert len(rotated.rotate().keys) == 3, "what is long retired is forgotten"


def test_one_algorithm_can_be_rotated_or_added_alone() -> None:
    ring = KeyRing.new("ES384").add("RS384")
    rotated = ring.rotate("RS384")
    assert rotated.signing("ES384") == ring.signing("ES384")
    assert rotated.signing("RS384") != ring.signing("RS384")
    with pytest.raises(KeyFault):
        ring.add("RS384")


def test_after_a_leak_no_old_key_stays_published() -> None:
    ring = KeyRing.new("ES384").rotate()
    old = {key.kid for key in ring.keys}
    assert not old & {key["kid"] for key in ring.rotate(compromised=True).public_jwks()["keys"]}


@requirement("1.3-25", "the private keys lie in a file that only the service may read", rows=(295,))
def test_a_saved_ring_is_readable_by_the_service_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = KeyRing.new("ES384", "RS384").rotate()
    ring.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]
    loaded = KeyRing.load(path)
    assert loaded.keys == ring.keys
    signed = jwt.encode({"alg": "ES384"}, {"a": 1}, loaded.signing("ES384").jose, algorithms=["ES384"])
    assert jwt.decode(signed, ring.signing("ES384").jose, algorithms=["ES384"]).claims == {"a": 1}
    path.chmod(0o640)
    with pytest.raises(KeyFault) as refused:
        KeyRing.load(path)
    assert "chmod 600" in refused.value.remedy


def test_saving_leaves_the_old_file_whole_if_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    ring = KeyRing.new()
    ring.save(path)

    def full(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFault):
        ring.rotate().save(path)
    assert KeyRing.load(path).keys == ring.keys
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_one_key_may_be_kept_as_pem(tmp_path: Path, alg: str) -> None:
    path, key = tmp_path / "key.pem", new_key(alg)
    KeyRing([key]).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = KeyRing.load(path)
    assert loaded.signing(alg).kid == key.kid
    assert len(loaded.rotate().public_jwks()["keys"]) == 3
    with pytest.raises(KeyFault):
        loaded.rotate().save(path)


def pem(key: ECKey | RSAKey, *, private: bool = True) -> bytes:
    return key.as_pem(private=private)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [{}]}',
        b'{"keys": [{"kty": "EC", "status": "current", "created_at": "x", "kid": "x", "alg": "ES384"}]}',
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ECKey.generate_key("P-256")),
        SMALL_RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        SMALL_RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")),
        pem(ECKey.generate_key("P-384"), private=False),
        pem(RSAKey.generate_key(2048), private=False),
    ],
)
def test_a_file_that_holds_no_usable_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFault):
        KeyRing.load(path)


@pytest.mark.parametrize(
    "change",
    [{"kid": "other"}, {"alg": "RS384"}, {"status": "old"}, {"status": "retired"}, {"created_at": "2026-01-01"}],
)
def test_a_changed_key_file_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "keys.json"
    KeyRing.new().save(path)
    stored = json.loads(path.read_text())
    stored["keys"][0] |= change
    path.write_text(json.dumps(stored))
    with pytest.raises(KeyFault):
        KeyRing.load(path)


def test_a_missing_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFault) as fault:
        KeyRing.load(tmp_path / "none.json")
    assert "keys new" in fault.value.remedy
    with pytest.raises(KeyFault):
        KeyRing.new().save(tmp_path / "no" / "folder.json")


def test_no_private_member_shows_in_a_repr() -> None:
    ring = KeyRing.new("ES384")
    secret = str(ring.keys[0].private_jwk()["d"])
    assert secret not in f"{ring!r} {ring.keys!r}"


def test_a_ring_has_one_current_key_for_each_algorithm() -> None:
    key = new_key()
    for faulty in ([], [key, key], [key, new_key()]):
        with pytest.raises(KeyFault):
            KeyRing(faulty)


@requirement("1.1-8", "what is stored is encrypted, bound to its place, and opens with rotated keys")
async def test_a_sealed_session_opens_only_in_its_place(clinic: Clinic, ehr: StrictEhr) -> None:
    old, new = Vault.new_key(), Vault.new_key()
    arrived = await clinic.sign_in(ehr)
    sealed = Vault([old]).seal(f"session:{arrived.launch_id}", arrived.to_dict())
    assert arrived.tokens.access_token not in sealed
    both = Vault([new, old])
    assert both.open(f"session:{arrived.launch_id}", sealed) == arrived.to_dict()
    with pytest.raises(VaultFault):
        both.open("session:another", sealed)
    resealed = both.reseal(sealed)
    assert Vault([new]).open(f"session:{arrived.launch_id}", resealed) == arrived.to_dict()
    for other in (Vault([Vault.new_key()]), Vault([new])):
        with pytest.raises(VaultFault):
            other.open(f"session:{arrived.launch_id}", sealed)
        with pytest.raises(VaultFault):
            other.reseal(sealed)


@pytest.mark.parametrize("damage", ["", "x", "é", "gAAAAA"])
def test_damaged_text_does_not_open(damage: str) -> None:
    vault = Vault([Vault.new_key()])
    with pytest.raises(VaultFault):
        vault.open("x", damage)
    with pytest.raises(VaultFault):
        vault.open("x", vault.seal("x", {})[:-2] + "AA")


@pytest.mark.parametrize("given", [[], ["short"], ["x" * 44], [""]])
def test_a_vault_needs_real_keys(given: list[str]) -> None:
    with pytest.raises(ConfigFault):
        Vault(given)


async def test_a_launch_record_survives_being_sealed(clinic: Clinic, ehr: StrictEhr) -> None:
    await clinic.depart(ehr)
    [record] = clinic.launches._records.values()
    vault = Vault([Vault.new_key()])
    assert LaunchRecord.from_dict(vault.open("launch", vault.seal("launch", record.to_dict()))) == record

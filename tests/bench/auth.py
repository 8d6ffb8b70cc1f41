"""What checking a caller's token costs: the same call of one application, open and protected, taken in turn.

    PYTHONPATH=tests python -m bench.auth

Keys are warm, nothing is on a network: what is left is the check itself. Told is the median difference.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime

from fastapi import APIRouter, FastAPI

from bench.ways import answered, request_for
from fhir_aftercare.api.app import Machinery, make_app
from fhir_aftercare.api.clinics import PREFIX, Clinic
from fhir_aftercare.api.scopes import PERMISSIONS, WAYS
from fhir_aftercare.api.security import OPEN, PLAN_READERS, Protection
from fhir_aftercare.flows.context import Clinics
from fhir_aftercare.observe import logs
from fhir_aftercare.smart.bearer import BearerTokens, Trust
from fhir_aftercare.smart.http import BoundedHttp
from smart.bearer_issuer import AUDIENCE, ISSUER, KEYS, Issuer

PAIRS = 2_000
WARM = 200
AIM = 1.0
SMART = " ".join(sorted({scope for each in PERMISSIONS for scope in each.smart}))


class Now:
    """The real time, for an issuer."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


def application(protection: Protection) -> FastAPI:
    app = make_app("Bench", "1", Machinery(docs=False, protection=protection))
    router = APIRouter(prefix=PREFIX)

    @router.get("/nothing", dependencies=[PLAN_READERS])
    async def nothing(clinic: Clinic) -> dict[str, str]:
        return {}

    app.include_router(router)
    app.state.clinics = Clinics({"harbor": None})  # type: ignore[dict-item]
    return app


async def once(app: FastAPI, headers: list[tuple[bytes, bytes]]) -> float:
    """Call the application as a server does, and give the seconds it took."""
    request = request_for("http://bench/v1/clinics/harbor/nothing", headers)
    began = time.perf_counter()
    status = await answered(app, request)
    took = time.perf_counter() - began
    assert status == 200, status
    return took


async def overhead(alg: str, scope: str) -> tuple[float, float]:
    """Give the median milliseconds of the open call, and how many more the protected one takes."""
    issuer = Issuer(clock=Now(), keys={"first": KEYS[alg]})  # type: ignore[arg-type]
    trust = Trust(issuers=(ISSUER,), audience=AUDIENCE, permissions=WAYS)
    async with issuer.http() as http:
        bearer = BearerTokens(trust, BoundedHttp(http))
        free, guarded = application(OPEN), application(Protection(bearer, AUDIENCE, (ISSUER,)))
        headers = [(b"authorization", b"Bearer " + issuer.token(scope=scope).encode())]
        without, differences = [], []
        for number in range(PAIRS + WARM):
            pair = [await once(free, headers), await once(guarded, headers)]
            if number >= WARM:
                without.append(pair[0])
                differences.append(pair[1] - pair[0])
        await bearer.close()
    return statistics.median(without) * 1000, statistics.median(differences) * 1000


async def rows() -> list[tuple[str, str, str]]:
    """Give the lines of a table: what, figure, aim."""
    found = []
    for alg, words, scope in (
        ("ES256", "one scope", "aftercare/plans.read"),
        ("RS256", "one scope", "aftercare/plans.read"),
        ("ES384", "one scope", "aftercare/plans.read"),
        ("ES384", "SMART scopes", SMART),
    ):
        without, more = await overhead(alg, scope)
        found.append(
            (f"a call with a checked token ({alg}, {words}) over one without", f"+{more:.2f} ms", f"≤ {AIM:g} ms")
        )
        print(f"  open {without:.2f} ms, {found[-1][0]}: {found[-1][1]}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    logs.configure("warning")
    found = asyncio.run(rows())
    print("\n".join(f"| {what} | {figure} | {aim} |" for what, figure, aim in found))
    return int(any(float(figure.removesuffix(" ms")) > AIM for _, figure, _ in found))


if __name__ == "__main__":
    raise SystemExit(main())

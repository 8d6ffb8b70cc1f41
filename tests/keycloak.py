"""A real authorization server for our API: Keycloak 26, downloaded by Maven, unpacked once, one process per run.

``start`` takes about a minute the first time (it builds itself) and 15 seconds later; everything is in memory, so each
run begins empty. ``realm()`` makes what the tests need through its admin API. Not SMART: no FHIR, no launch.
26.2 is the first whose access tokens can call themselves ``at+jwt`` (RFC 9068).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from servers import ServerFailed, _alone, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION = "26.2.5"
CACHE = Path(__file__).resolve().parents[1] / ".cache" / "keycloak"
HOME = CACHE / f"keycloak-{VERSION}"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
DOWNLOAD_SECONDS = 600.0
BOOT_SECONDS = 240.0
ADMIN = ("admin", "only-on-this-machine")


@dataclass(frozen=True, slots=True)
class Realm:
    """One realm: its issuer and endpoints."""

    issuer: str
    admin_url: str
    admin: httpx.Client

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/protocol/openid-connect/token"

    @property
    def introspection_endpoint(self) -> str:
        return f"{self.token_endpoint}/introspect"

    @property
    def revocation_endpoint(self) -> str:
        return f"{self.issuer}/protocol/openid-connect/revoke"

    def create(self, what: str, **members: Any) -> str:
        """Create ``what`` (clients, client-scopes, users, components) and give its id."""
        answer = self.admin.post(f"{self.admin_url}/{what}", json=members)
        assert answer.status_code == 201, f"{what}: {answer.status_code} {answer.text}"
        return answer.headers["location"].rpartition("/")[2]

    def scope(self, name: str) -> None:
        """Create a scope that shows in tokens."""
        self.create(
            "client-scopes", name=name, protocol="openid-connect", attributes={"include.in.token.scope": "true"}
        )

    def client(
        self,
        name: str,
        *,
        jwks: Mapping[str, Any] | None = None,
        secret: str | None = None,
        scopes: Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        audience: str | None = None,
        alg: str = "ES384",
        rfc9068: bool = True,
    ) -> str:
        """Create a client that acts for itself, known by its keys or a secret; ``claims`` stand in its tokens."""
        attributes = {"access.token.header.type.rfc9068": str(rfc9068).lower(), "access.token.lifespan": "300"}
        if jwks is not None:
            attributes |= {
                "use.jwks.string": "true",
                "jwks.string": json.dumps(jwks),
                "token.endpoint.auth.signing.alg": alg,
            }
        mappers = [
            {
                "name": claim,
                "protocol": "openid-connect",
                "protocolMapper": "oidc-hardcoded-claim-mapper",
                "config": {
                    "claim.name": claim,
                    "claim.value": value if isinstance(value, str) else json.dumps(value),
                    "jsonType.label": "String" if isinstance(value, str) else "JSON",
                    "access.token.claim": "true",
                    "introspection.token.claim": "true",
                },
            }
            for claim, value in (claims or {}).items()
        ]
        if audience:
            mappers.append(
                {
                    "name": "audience",
                    "protocol": "openid-connect",
                    "protocolMapper": "oidc-audience-mapper",
                    "config": {
                        "included.custom.audience": audience,
                        "access.token.claim": "true",
                        "introspection.token.claim": "true",
                    },
                }
            )
        return self.create(
            "clients",
            clientId=name,
            protocol="openid-connect",
            publicClient=False,
            serviceAccountsEnabled=True,
            standardFlowEnabled=False,
            directAccessGrantsEnabled=True,
            clientAuthenticatorType="client-jwt" if jwks is not None else "client-secret",
            secret=secret,
            attributes=attributes,
            optionalClientScopes=list(scopes),
            protocolMappers=mappers,
        )


class Keycloak:
    """The process. What it prints goes to ``log``."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: httpx.Client | None = None
        self.base_url = ""

    def start(self) -> None:
        """Download and unpack it if needed, start it on a free port, wait until it answers; raises ServerFailed."""
        missing = [tool for tool in ("java", "mvn") if not shutil.which(tool)]
        if missing:
            raise ServerFailed(
                f"Keycloak needs Java 17 and Maven; not found: {', '.join(missing)}. Run: make test-deps"
            )
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN[0],
            "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN[1],
            "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
        }
        arguments = ["start-dev", "--http-host=127.0.0.1", f"--http-port={port}", "--cache=local", "--db=dev-mem"]
        with _alone(CACHE / "install.lock"), self._log.open("wb") as output:
            self._install(output)
            self._process = subprocess.Popen(
                [HOME / "bin" / "kc.sh", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # the script has a child: both are ended together
            )
            try:
                self._wait(time.monotonic() + BOOT_SECONDS)
                self._admin = httpx.Client(base_url=self.base_url, timeout=60)
                self.renew()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End it, by force if it does not go within 20 s. Harmless when repeated."""
        process, self._process = self._process, None
        if self._admin:
            self._admin.close()
        if process is None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def realm(self, name: str) -> Realm:
        """Create a realm."""
        assert self._admin
        answer = self._admin.post("/admin/realms", json={"realm": name, "enabled": True})
        assert answer.status_code == 201, answer.text
        return Realm(f"{self.base_url}/realms/{name}", f"/admin/realms/{name}", self._admin)

    def _install(self, output: Any) -> None:
        if (HOME / "bin" / "kc.sh").exists():
            return
        copy = ["mvn", "-q", "dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={CACHE}"]
        try:
            subprocess.run(copy, cwd=CACHE, stdout=output, stderr=output, timeout=DOWNLOAD_SECONDS, check=True)
        except subprocess.SubprocessError as fault:
            raise ServerFailed(f"Keycloak could not be downloaded ({fault}).\n{self._tail()}") from fault
        archive = CACHE / f"keycloak-quarkus-dist-{VERSION}.zip"
        unpacked = CACHE / "unpacking"
        shutil.rmtree(unpacked, ignore_errors=True)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(unpacked)
        (unpacked / HOME.name / "bin" / "kc.sh").chmod(0o755)
        (unpacked / HOME.name).rename(HOME)
        unpacked.rmdir()
        archive.unlink()

    def _wait(self, deadline: float) -> None:
        assert self._process
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerFailed(f"Keycloak ended with {self._process.returncode} while starting.\n{self._tail()}")
            try:
                if httpx.get(f"{self.base_url}/realms/master", timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise ServerFailed(f"Keycloak did not answer within {BOOT_SECONDS:.0f} s.\n{self._tail()}")

    def renew(self) -> None:
        """Sign in to the admin API again: a token of the command line's client lives a minute."""
        assert self._admin
        form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN[0], "password": ADMIN[1]}
        answer = self._admin.post("/realms/master/protocol/openid-connect/token", data=form)
        assert answer.status_code == 200, answer.text
        self._admin.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace")
        return f"The end of its output ({self._log}):\n" + "\n".join(text.splitlines()[-60:])

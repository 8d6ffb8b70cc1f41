"""``fhir-aftercare keys``: make, rotate and list the keys this service signs with.

What a rotation means is decided in ``smart.keys``.
Key ids and public keys go to standard output; a private key is only ever written into the file.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.smart.keys import ALGORITHMS, KeyRing
from fhir_aftercare.smart.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(name="keys", help="Make, rotate and list the keys this service signs with.", no_args_is_help=True)

_FILE = Annotated[
    Path, typer.Option("--file", envvar="AFTERCARE_KEYS", help="The key file, which only the service may read.")
]
_ALGORITHM = Annotated[str | None, typer.Option("--alg", help=f"{' or '.join(ALGORITHMS)}.")]


_KNOWN_AFTER = timedelta(hours=1)


@app.command("new")
def new(file: _FILE, alg: _ALGORITHM = None) -> None:
    """Make a key file, or add keys for one more algorithm to it. A key that is there stays."""
    try:
        wanted = alg or ALGORITHMS[0]
        ring = KeyRing.load(file).add(wanted) if file.exists() else KeyRing.new(wanted)
        ring.save(file)
    except AftercareError as fault:
        _refuse(fault)
    typer.echo(f"{file}: keys for {wanted} made. Give EHRs the address of /.well-known/jwks.json.", err=True)
    _show(ring)


@app.command("rotate")
def rotate(
    file: _FILE,
    alg: _ALGORITHM = None,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Withdraw all old keys at once: somebody else may have them.")
    ] = False,
) -> None:
    """Sign with the next key from now on. The old one stays published for a day; a running service sees the change."""
    try:
        old = KeyRing.load(file)
        ring = old.rotate(alg, compromised=compromised)
        ring.save(file)
    except AftercareError as fault:
        _refuse(fault)
    typer.echo(f"{file}: rotated.", err=True)
    # EHRs may keep our key set as long as its Cache-Control says.
    if any(key.status == "next" and datetime.now(UTC) - key.created_at < _KNOWN_AFTER for key in old.keys):
        typer.echo(
            "The key that signs now was published less than an hour ago: some EHRs may not know it yet.", err=True
        )
    if compromised:
        typer.echo("EHRs that keep our public keys refuse us until they read them again: tell them.", err=True)
    _show(ring)


@app.command("list")
def list_keys(
    file: _FILE,
    jwks: Annotated[
        bool, typer.Option("--jwks", help="Print the JWK Set, for an EHR that cannot read it from an address.")
    ] = False,
) -> None:
    """List the keys: which sign, which come next, which are retired. Never a private key."""
    try:
        ring = KeyRing.load(file)
    except AftercareError as fault:
        _refuse(fault)
    if jwks:
        typer.echo(json.dumps(ring.public_jwks(), indent=1))
    else:
        _show(ring)


@app.command("vault")
def vault() -> None:
    """Make a key that seals stored tokens, for AFTERCARE_VAULT_KEYS: put it before the old ones, which still open."""
    typer.echo(Vault.new_key())


def _show(ring: KeyRing) -> None:
    published = {key["kid"] for key in ring.public_jwks()["keys"]}
    rows = [
        (key.kid, key.alg, key.status, f"{key.created_at:%Y-%m-%d}", "yes" if key.kid in published else "no")
        for key in ring.keys
    ]
    console = Console(width=None if Console().is_terminal else 120)
    console.print(_table(rows))


def _table(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("kid", "alg", "status", "made", "published"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _refuse(fault: AftercareError) -> NoReturn:
    typer.echo(f"{fault.message}\n{fault.remedy}", err=True)
    raise typer.Exit(1) from None

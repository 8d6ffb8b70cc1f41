"""Makes ``tests/data/work/release-1.sql``: the work of a release with one piece in each state, as its file holds it.

``python tests/work/make_release.py FILE`` with ``tests`` on PYTHONPATH. Made once for each release whose pending work
the next ones must be able to do; a file that is there is never made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from fhir_aftercare.errors import FhirBroken, FhirRejected
from fhir_aftercare.work.engine import Engine, Limits
from fhir_aftercare.work.place import work_url
from fhir_aftercare.work.retry import Retries
from work.bench import CLINIC, QUICK, Hands, drained, until

OUTCOME = {"issue": [{"severity": "error", "code": "invariant", "details": {"coding": [{"code": "care-1"}]}}]}


async def make(url: str) -> None:
    hands = Hands(FhirRejected("400", outcome=OUTCOME))
    limits = {CLINIC: Limits()}

    def running(retries: Retries | None = None) -> contextlib.AbstractAsyncContextManager[Engine]:
        return Engine.running(url, {"do": hands.do}, limits, executor_id="previous", pace=QUICK, retries=retries)

    async with running(Retries(first=timedelta(seconds=0.1))) as engine:
        await engine.submit("do", CLINIC, "refused", {"encounter": "Encounter/1"})
        await drained(engine)
        hands.errors = [FhirBroken("500"), FhirRejected("400", outcome=OUTCOME)]
        await engine.submit("do", CLINIC, "refused-later", {"encounter": "Encounter/2"})
        await drained(engine)
        await engine.submit("do", CLINIC, "done", {"encounter": "Encounter/3"})
        await drained(engine)
    hands.errors = [FhirBroken("500")]
    # Put off for so long that no test will see it come.
    async with running(Retries(first=timedelta(days=30_000), longest=timedelta(days=30_000))) as engine:
        await engine.submit("do", CLINIC, "put-off", {"encounter": "Encounter/4"}, budget=timedelta(days=36_500))
        await until(lambda: not hands.errors)
        hands.hold.clear()
        await engine.submit("do", CLINIC, "begun", {"encounter": "Encounter/5"})
        await until(lambda: len(hands.begun) == 6)
        await engine.submit("do", "elsewhere", "not-begun", {"encounter": "Encounter/6"})
        file = str(work_url(url).database)
        with contextlib.closing(sqlite3.connect(file)) as connection:
            # As if its process had died here.
            lines = [line for line in connection.iterdump() if not line.startswith('INSERT INTO "workers"')]
    text = "\n".join(lines).replace("work.elsewhere", f"work.{CLINIC}").replace('"elsewhere"', f'"{CLINIC}"')
    await asyncio.to_thread(Path(sys.argv[1]).write_text, text + "\n", "utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(f"sqlite:///{folder}/aftercare.db"))

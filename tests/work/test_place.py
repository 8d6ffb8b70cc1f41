"""Where work is kept, of the URL of the service's own database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.work.items import Refused
from fhir_aftercare.work.place import is_made, quiet, work_url

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("sqlite:////data/aftercare.db", "sqlite:////data/aftercare-work.db"),
        ("sqlite+aiosqlite:////data/aftercare", "sqlite:////data/aftercare-work.db"),
        ("postgres://app:pw@db/clinic", "postgresql+psycopg://app:pw@db/clinic"),
        ("postgresql+asyncpg://db/clinic?ssl=require", "postgresql+psycopg://db/clinic?sslmode=require"),
    ],
)
def test_work_is_kept_beside_the_services_own_tables(given: str, found: str) -> None:
    assert work_url(given).render_as_string(hide_password=False) == found


@pytest.mark.parametrize("given", ["sqlite://", "sqlite:///:memory:", "mysql://app:secret@db/x", "secret nonsense"])
def test_a_database_that_cannot_keep_work_is_refused_without_its_password(given: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        work_url(given)
    assert caught.value.where == ("AFTERCARE_DATABASE_URL",)
    assert "secret" not in caught.value.message


def test_asking_whether_there_is_work_makes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state' / 'aftercare.db'}"
    assert not is_made(work_url(url))
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_no_refusals_and_not_the_same_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    quiet()
    quiet()
    logger = logging.getLogger("dbos")
    assert not logger.isEnabledFor(logging.INFO)
    with caplog.at_level(logging.WARNING):
        logger.error("Exception encountered in asynchronous workflow:", exc_info=Refused("fhir-rejected"))
        for number in range(5):
            logger.warning("Exception encountered in queue thread for work.a-test-of-the-log: %d", number)
    assert [record.levelname for record in caplog.records] == ["WARNING"]

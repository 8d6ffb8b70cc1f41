"""The official HL7 validator, started once per run. Mark a test that uses it ``@pytest.mark.hapi`` (it needs Java)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from validator import OfficialValidator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def official_validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficialValidator]:
    validator = OfficialValidator(tmp_path_factory.mktemp("validator") / "validator.log")
    validator.start()
    yield validator
    validator.stop()

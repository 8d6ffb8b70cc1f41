"""The table of requirements is whole, and the file that shows it is up to date."""

from __future__ import annotations

from smart import conformance


def test_every_requirement_of_the_specification_is_shown_or_said_to_be_elsewhere() -> None:
    shown = {row for mark in conformance.collect() for row in mark.rows}
    assert conformance.SHALL - shown - set(conformance.ELSEWHERE) == set()
    assert shown & set(conformance.ELSEWHERE) == set()


def test_every_row_of_our_own_list_has_a_test() -> None:
    rows = {mark.id for mark in conformance.collect()}
    ours = (
        [f"1.1-{n}" for n in range(1, 11)] + [f"1.2-{n}" for n in range(11, 21)] + [f"1.3-{n}" for n in range(21, 26)]
    )
    assert set(ours) - rows == set()


def test_the_readme_is_what_a_run_in_which_all_pass_writes() -> None:
    written = conformance.README.read_text(encoding="utf-8")
    assert written == conformance.render(conformance.collect()), "run: python tests/smart/conformance.py"

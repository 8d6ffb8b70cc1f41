"""A piece of work as it is stored and as it is shown: ids, states and codes, never what a patient said or is called.

Each attempt is stored as a workflow of its own; what has not come to an end is the last one. Nothing here reads or
writes a database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from dbos import PortableWorkflowError

from fhir_aftercare.errors import AftercareError, FhirServerError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbos import WorkflowStatus

State = Literal["waiting", "running", "refused", "done"]

STATES: Final[Mapping[State, tuple[str, ...]]] = {
    "waiting": ("ENQUEUED", "DELAYED"),
    "running": ("PENDING",),
    "refused": ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"),
    "done": ("SUCCESS",),
}
_STATE_OF: Final = {status: state for state, statuses in STATES.items() for status in statuses}
# Between the id of the work and the number of the attempt.
_NUMBER: Final = "#"
_LONGEST_ID: Final = 200
_LONGEST_VALUE: Final = 1_000
_MOST_ISSUES: Final = 10
_CODE: Final = re.compile(r"[a-z][a-z-]{0,39}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_HAPI: Final = re.compile(r"\bHAPI-\d{4}\b")


class Refused(Exception):
    """An attempt came to an end that will not change by itself: stored as code and safe part of the outcome."""

    def __init__(self, code: str, outcome: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(code)
        self.code, self.data = code, {"outcome": list(outcome)}


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One piece of work. ``outcome`` are the issues of the server's OperationOutcome, as ``safe_outcome`` gives them.

    ``attempts`` were begun; ``code`` is the error of the last one that failed; ``result`` is what a finished job said;
    ``last_at`` is when the state last changed, ``next_at`` when the next attempt may begin (both aware, UTC).
    """

    id: str
    job: str
    clinic: str
    ids: Mapping[str, str]
    state: State
    attempts: int
    last_at: datetime
    code: str | None = None
    outcome: tuple[Mapping[str, Any], ...] = ()
    result: str | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a piece of work, the ``n``-th (from 1), after waits of ``waited`` in all.

    ``budget``: how long this work may wait in all, if not as usual. ``code`` and ``outcome`` tell why the one before
    failed.
    """

    job: str
    clinic: str
    ids: Mapping[str, str]
    work_id: str
    n: int = 1
    waited: timedelta = timedelta()
    budget: timedelta | None = None
    code: str | None = None
    outcome: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def id(self) -> str:
        """The workflow's id: the first one bears the id of the work, which is how a repeated signal is known."""
        return attempt_id(self.work_id, self.n)

    def after(self, wait: timedelta, code: str, outcome: tuple[Mapping[str, Any], ...]) -> Attempt:
        """Give the next attempt, after a failure and a wait."""
        return replace(self, n=self.n + 1, waited=self.waited + wait, code=code, outcome=outcome)

    def stored(self) -> tuple[str, str, dict[str, str], dict[str, Any]]:
        """Give what is stored. The next release must be able to read it, and this one what the next one adds."""
        trail: dict[str, Any] = {"work": self.work_id, "n": self.n, "waited": self.waited.total_seconds()}
        if self.budget is not None:
            trail["budget"] = self.budget.total_seconds()
        if self.code is not None:
            trail |= {"code": self.code, "outcome": list(self.outcome)}
        return self.job, self.clinic, dict(self.ids), trail

    @classmethod
    def of(cls, job: str, clinic: str, ids: Mapping[str, str], trail: Mapping[str, Any]) -> Attempt:
        """Give the attempt of what was stored."""
        return cls(
            job=job,
            clinic=clinic,
            ids=ids,
            work_id=trail["work"],
            n=trail["n"],
            waited=timedelta(seconds=trail["waited"]),
            budget=timedelta(seconds=trail["budget"]) if trail.get("budget") is not None else None,
            code=trail.get("code"),
            outcome=tuple(trail.get("outcome") or ()),
        )


def attempt_id(work_id: str, n: int) -> str:
    """Give the workflow id of an attempt."""
    return work_id if n == 1 else f"{work_id}{_NUMBER}{n}"


def later_attempts(work_id: str) -> str:
    """Give what the workflow ids of all attempts but the first begin with."""
    return work_id + _NUMBER


def checked(work_id: str, ids: Mapping[str, str]) -> None:
    """Refuse what cannot be the id of work, or is more than ids. Raises ``InvalidInput``."""
    if not work_id.strip() or len(work_id) > _LONGEST_ID or not work_id.isprintable() or _NUMBER in work_id:
        raise InvalidInput(f"An id of work has 1 to {_LONGEST_ID} printable characters, without {_NUMBER}.")
    for name, value in ids.items():
        if not isinstance(name, str) or not isinstance(value, str) or len(value) > _LONGEST_VALUE:
            raise InvalidInput(f"Work is stored as ids: texts of at most {_LONGEST_VALUE} characters.", where=str(name))


def code_of(error: BaseException) -> str:
    """Give the stable code of an error; ``internal`` if it is none of ours."""
    return error.code if isinstance(error, AftercareError) else "internal"


def safe_outcome(error: BaseException) -> tuple[Mapping[str, Any], ...]:
    """Give of a server's OperationOutcome what cannot hold patient data: for each issue its codes.

    Texts, diagnostics and expressions are left out: servers quote there what they were sent.
    """
    outcome = error.outcome if isinstance(error, FhirServerError) else None
    issues = outcome.get("issue") if outcome else None
    found = [_safe_issue(each) for each in issues if isinstance(each, dict)] if isinstance(issues, list) else []
    return tuple(each for each in found[:_MOST_ISSUES] if each)


def _safe_issue(issue: Mapping[str, Any]) -> dict[str, Any]:
    safe: dict[str, Any] = {}
    for name in ("severity", "code"):
        value = issue.get(name)
        if isinstance(value, str) and _CODE.fullmatch(value):
            safe[name] = value
    details = issue.get("details")
    details = details if isinstance(details, dict) else {}
    codings = details.get("coding")
    codes = [each.get("code") for each in codings if isinstance(each, dict)] if isinstance(codings, list) else []
    tokens = [each for each in codes if isinstance(each, str) and _TOKEN.fullmatch(each)]
    if tokens:
        safe["details"] = tokens[:_MOST_ISSUES]
    for text in (issue.get("diagnostics"), details.get("text")):
        hapi = _HAPI.search(text) if isinstance(text, str) else None
        if hapi:
            safe["hapi"] = hapi[0]
            break
    return safe


def attempt_of(row: WorkflowStatus) -> Attempt | None:
    """Give the attempt a workflow was; None if it is none of ours."""
    arguments = row.input["args"] if isinstance(row.input, dict) else ()
    return Attempt.of(*arguments) if len(arguments) == 4 else None


def is_superseded(row: WorkflowStatus) -> bool:
    """Tell whether an attempt failed and was followed by another."""
    return row.status == "SUCCESS" and isinstance(row.output, dict) and "again" in row.output


def item_of(row: WorkflowStatus) -> WorkItem | None:
    """Give the item whose last attempt this workflow is; None if it is not the last one, or none of ours."""
    attempt = attempt_of(row)
    if attempt is None or is_superseded(row):
        return None
    state = _STATE_OF[row.status]
    begun = attempt.n - 1 if state == "waiting" else attempt.n
    code, outcome, result = attempt.code, attempt.outcome, None
    if state == "refused":
        code, outcome = _refusal(row)
    elif state == "done":
        code, outcome, result = None, (), row.output["outcome"] if isinstance(row.output, dict) else None
    changed = {"waiting": row.updated_at, "running": row.dequeued_at}.get(state, row.completed_at)
    return WorkItem(
        id=attempt.work_id,
        job=attempt.job,
        clinic=attempt.clinic,
        ids=attempt.ids,
        state=state,
        attempts=begun,
        last_at=_instant(changed or row.created_at or 0),
        code=code,
        outcome=outcome,
        result=result,
        next_at=_instant(row.delay_until_epoch_ms) if row.status == "DELAYED" and row.delay_until_epoch_ms else None,
    )


def latest(items: Iterable[tuple[int, WorkItem]]) -> list[WorkItem]:
    """Give for each piece of work the one with the highest number: two are seen if a process died between them."""
    found: dict[str, tuple[int, WorkItem]] = {}
    for number, item in items:
        if item.id not in found or found[item.id][0] < number:
            found[item.id] = (number, item)
    return [item for _, item in found.values()]


def _refusal(row: WorkflowStatus) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    if row.status != "ERROR":
        return "crashed", ()  # put aside, since processes died of it
    error = row.error
    if isinstance(error, PortableWorkflowError) and error.name == Refused.__name__:
        data: Any = error.data or {}
        return str(error.code), tuple(data.get("outcome") or ())
    return "internal", ()


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

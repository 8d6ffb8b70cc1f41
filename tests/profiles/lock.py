"""The lock of profiles/: canonical url -> version and hash of the content, so that no published version changes.

Run it after a change whose version went up; ``--unreleased`` accepts changed content under the same version, which is
right only as long as nobody has been given that version.

    python tests/profiles/lock.py [--unreleased]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "profiles"
EXAMPLES = PROFILES / "examples"
LOCK = ROOT / "tests" / "data" / "profile_versions.json"

Resource = dict[str, Any]
Lock = dict[str, dict[str, str]]


def read(folder: Path = PROFILES) -> dict[str, Resource]:
    """Give the resources of a folder by file name."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def current() -> Lock:
    """Give what the lock must say of the files as they are."""
    return {
        resource["url"]: {"version": resource["version"], "sha256": _hash(resource)} for resource in read().values()
    }


def changed_in_silence(locked: Lock, now: Lock) -> list[str]:
    """Give the canonicals whose content differs from the lock although their version is not higher."""
    return sorted(
        url
        for url, entry in now.items()
        if url in locked
        and entry["sha256"] != locked[url]["sha256"]
        and _ordered(entry["version"]) <= _ordered(locked[url]["version"])
    )


def _hash(resource: Resource) -> str:
    content = {name: value for name, value in resource.items() if name != "version"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def main(arguments: list[str]) -> int:
    """Rewrite the lock; refuse a silent change."""
    now = current()
    silent = changed_in_silence(json.loads(LOCK.read_text()), now) if LOCK.exists() else []
    if silent and "--unreleased" not in arguments:
        print("Changed, and the version did not go up:", *silent, sep="\n  ")
        return 1
    LOCK.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

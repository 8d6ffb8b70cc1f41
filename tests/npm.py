"""npm packages that tests run with: of the versions and hashes in a package-lock.json, installed once, kept in .cache/.

folder = installed(ROOT / "openapi" / "bruno", "The Bruno collection")
folder / "node_modules" / ".bin" / "bru"
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from servers import ServerFailed

ROOT = Path(__file__).resolve().parents[1]
INSTALL_SECONDS = 600.0


def installed(source: Path, what: str) -> Path:
    """Give the folder in which the packages of ``source`` are installed; ``what`` needs them, for the error's text.

    Raises ``ServerFailed`` without Node.js and npm.
    """
    missing = [tool for tool in ("node", "npm") if not shutil.which(tool)]
    if missing:
        raise ServerFailed(f"{what} needs Node.js and npm; not found: {', '.join(missing)}. Run: make test-deps")
    locked = (source / "package-lock.json").read_bytes()
    folder = ROOT / ".cache" / source.name / hashlib.sha256(locked).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, folder)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_SECONDS, capture_output=True)
            (folder / "installed").touch()
    return folder

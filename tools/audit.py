"""Asks advisory databases about the pinned versions; exit code 1 if one of them is vulnerable.

Where no database can be reached, a line says so, and the exit code is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = Path(__file__).parents[1] / "constraints.txt"


def audited(service: str) -> list[dict[str, Any]]:
    """What a database says of each package that it knows; nothing if it cannot be reached."""
    options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", *options, f"--vulnerability-service={service}"]
    ended = subprocess.run([*command, f"--requirement={PINNED}"], capture_output=True, text=True, check=False)
    try:
        told = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):  # pip-audit fails where it finds no server
        return []
    return [package for package in told if "skip_reason" not in package]  # a mirror may know no advisories


def main() -> int:
    """Print the advisories, or that there are none, or that nobody can be asked."""
    number = sum("==" in line for line in PINNED.read_text().splitlines())
    packages = audited("pypi") or audited("osv")
    if not packages:
        print(f"audit: no advisory database can be reached; none of {number} versions was checked")
        return 0
    known = [(package, advisory) for package in packages for advisory in package["vulns"]]
    for package, advisory in known:
        fixed = ", ".join(advisory["fix_versions"]) or "no version"
        print(f"audit: {package['name']}=={package['version']}: {advisory['id']}, fixed in {fixed}")
    print(f"audit: {len(packages)} of {number} versions checked, {len(known)} advisories")
    return int(bool(known))


if __name__ == "__main__":
    sys.exit(main())

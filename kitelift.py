"""The command `kitelift`: first of all it makes sure that it finds its own packages.

`pipeline` and `transforms` are names that others have too. What comes first on the path wins, and
what would then fail, somewhere, is hard to understand.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("pipeline", "transforms")


def clash() -> str:
    """Says which package is somebody else's; "" if both are ours."""
    home = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None:
            return f"the package {name} is missing: {home}/{name}. Install kitelift again."
        [*places] = spec.submodule_search_locations or [spec.origin or ""]
        if Path(places[0]).resolve() != home / name:
            return (
                f"{places[0]} is found as {name}, and not Kitelift's own package of that name, "
                f"{home / name}. Start in another folder, or take that one off PYTHONPATH, or "
                "install kitelift where nothing else is: pipx install kitelift."
            )
    return ""


def main() -> int:
    """Runs one command and returns its exit code."""
    if problem := clash():
        print(f"kitelift: {problem}", file=sys.stderr)
        return 2
    from pipeline import cli

    return cli.main()

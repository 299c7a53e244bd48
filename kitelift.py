"""What users import, and the command `kitelift`.

    from kitelift import ReadFromMilvus, WriteToMilvus

Both first check that Python imports Kitelift's own packages. Other projects also have packages
named `pipeline` and `transforms`. Python imports the first one on its path. A wrong one would fail
later, with an error that is hard to understand.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.read import ReadFromMilvus
    from transforms.write import WriteToMilvus

__all__ = ["ReadFromMilvus", "WriteToMilvus", "main"]

PACKAGES = ("pipeline", "transforms")

_TRANSFORMS = {"ReadFromMilvus": "transforms.read", "WriteToMilvus": "transforms.write"}


def __getattr__(name: str) -> Any:
    """Imports a public transform when it is first used, because the command does not need Beam.

    Raises:
        ImportError: another project's package has the name of one of ours.
    """
    if name not in _TRANSFORMS:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    if problem := clash():
        raise ImportError(problem)
    return getattr(import_module(_TRANSFORMS[name]), name)


def clash() -> str:
    """Returns which package is missing or belongs to another project; "" if both are right."""
    home = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None:
            return f"the package {name} is missing: {home}/{name}. Reinstall kitelift."
        [*places] = spec.submodule_search_locations or [spec.origin or ""]
        if Path(places[0]).resolve() != home / name:
            return (
                f"Python imports {places[0]} as {name}, instead of Kitelift's own package "
                f"{home / name}. Start in another folder, or remove that folder from PYTHONPATH, "
                "or install kitelift in its own environment: `pipx install kitelift`."
            )
    return ""


def main() -> int:
    """Runs one command and returns its exit code."""
    if problem := clash():
        print(f"kitelift: {problem}", file=sys.stderr)
        return 2
    from pipeline import cli

    return cli.main()

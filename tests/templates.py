"""templates/main.py as a module: it is no part of a package."""

from __future__ import annotations

import importlib.util

from tests.docs import ROOT

PATH = ROOT / "templates" / "main.py"

_spec = importlib.util.spec_from_file_location("kitelift_template", PATH)
assert _spec
assert _spec.loader
shim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shim)

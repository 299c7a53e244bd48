"""Converts a job file of SeaTunnel or VTS, in HOCON or JSON."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.jobfile import config, hocon, seatunnel
from pipeline.jobfile.conversion import BLOCKS, Conversion
from pipeline.jobfile.draft import PLUGIN, Draft
from pipeline.jobfile.seatunnel import DIFFERENT, EARLIEST, RATES
from pipeline.jobfile.variables import NEVER_SET, Kept, is_marked
from pipeline.jobfile.wiring import CONNECTING, check_wiring
from transforms.errors import ConfigError

TOOL = "SeaTunnel or VTS"

_LIMITS = {f"{side}.{PLUGIN}.rate_limit": what for side, what in RATES.items()}
"""The rate limits, and what they mean in Kitelift."""

_WIRED = "plugins run in the order of the file"


def convert(text: str, base: Path) -> Conversion:
    """Converts the text of a job file; includes are relative to the folder `base`.

    Raises:
        ConfigError: the text is not a job file from Milvus to Milvus.
    """
    defined = _Defined(hocon.evaluate(text, base, Draft(), rewrite=str))
    job = _convert(text, base, Kept(defined))
    if any(written.startswith("${?") for written in job.variables.written):
        limits = [path for path in _LIMITS if path in job.keys]
        plain = _convert(text, base, Kept(defined, optional=False), limits).keys
        for path in [path for path in job.keys if path in plain]:
            _keep_fallback(job, path, plain[path])
    return job


def _keep_fallback(job: Conversion, path: str, fallback: Any) -> None:
    """Keeps the value of a key that applies if its optional variables are not set."""
    value, variables = job.keys[path], job.variables
    if not is_marked(value) or NEVER_SET in str(fallback):
        return
    if variables.split(value) in (["", written, ""] for written in variables.written):
        job.fallbacks |= {} if fallback == value else {path: fallback}
    elif variables.without_optional(value) != fallback:
        job.keys[path] = fallback
        job.comment(path, "in the original, a variable can override a part of this value")


class _Defined:
    """The variables that a file defines, as the names of its keys: `a`, or `a.b` in a block."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._tree = tree

    def __contains__(self, name: object) -> bool:
        value: Any = self._tree.get(str(name))
        if value is None:
            value = self._tree
            for part in str(name).split("."):
                value = value.get(part) if isinstance(value, dict) else None
        return value is not None and value != hocon.placeholder(str(name))


def _convert(text: str, base: Path, variables: Kept, limits: Collection[str] = ()) -> Conversion:
    """Converts the text; `limits` are the rate limits that keep SeaTunnel's key and unit."""
    draft = Draft(variables=variables)
    config.read_keys(text, base, draft)
    if draft.problems:
        raise ConfigError(draft.lines())
    job = Conversion(TOOL, variables, draft.keys, draft.transforms)
    _convert_earliest(job)
    kept = _convert_rates(job, draft, limits)
    _unify_spellings(job, draft)
    job.keys |= kept
    for path in list(job.keys):
        if why := seatunnel.without_effect(path):
            job.leave_out(path, f"no effect; {why}")
    _convert_collection(job, draft)
    _disconnect(job, draft)
    for path in job.keys:
        if path in DIFFERENT:
            job.comment(path, DIFFERENT[path].replace("`", ""))
    return job


def _convert_earliest(job: Conversion) -> None:
    """Converts the keys of SeaTunnel's first sink."""
    for side in ("source", "sink"):
        under = f"{side}.{PLUGIN}"
        found = {
            key: job.keys[f"{under}.{key}"] for key in EARLIEST if f"{under}.{key}" in job.keys
        }
        if host := found.get("milvus_host"):
            job.keys[f"{under}.url"] = f"http://{host}:{found.get('milvus_port', 19530)}"
            job.comment(f"{under}.url", "was milvus_host and milvus_port")
        if user := found.get("username"):
            job.keys[f"{under}.token"] = f"{user}:{found.get('password', '')}"
            job.comment(f"{under}.token", "was username and password")
        for key in found:
            if key in ("milvus_host", "milvus_port", "username", "password"):
                del job.keys[f"{under}.{key}"]
            else:
                job.leave_out(f"{under}.{key}", EARLIEST[key].removesuffix("; remove the key"))


def _convert_rates(job: Conversion, draft: Draft, limits: Collection[str]) -> dict[str, Any]:
    """Converts rate limits to Kitelift's units; returns those that keep their key and unit.

    A variable keeps them: it may be -1, or not set, and Kitelift reads the unit of SeaTunnel too.
    """
    kept = {}
    for path, what in _LIMITS.items():
        if str(job.keys.get(path)).strip() == "-1":
            job.leave_out(path, "-1 is no limit, which is the default")
        elif path in job.keys and (path in limits or is_marked(job.keys[path])):
            kept[path] = job.keys.pop(path)
            job.comment(path, what)
    seatunnel.reread_limits(draft)
    for path, what in _LIMITS.items():
        if path in draft.notes:
            job.comment(seatunnel.SPELLINGS[path], what)
    return kept


def _unify_spellings(job: Conversion, draft: Draft) -> None:
    seatunnel.unify_spellings(draft)
    for path, why in draft.problems.items():
        job.leave_out(path, why.partition(";")[0])
    draft.problems.clear()
    for path, spelling in draft.shown.items():
        if path in job.keys and path.rpartition(".")[2] not in CONNECTING:
            same_block = path.rpartition(".")[0] == spelling.rpartition(".")[0]
            was = spelling.rpartition(".")[2] if same_block else spelling
            job.comments.setdefault(path, []).insert(0, f"was {was}")


def _convert_collection(job: Conversion, draft: Draft) -> None:
    """Converts `sink.Milvus.collection` to a rename, unless a name is a variable.

    A variable cannot be the name of a key. If the rename is unclear, the key stays.
    """
    path, wanted = f"sink.{PLUGIN}.collection", job.keys.get(f"sink.{PLUGIN}.collection")
    sources = job.keys.get(f"source.{PLUGIN}.collections") or ()
    if wanted is None or any(map(is_marked, [wanted, *sources])):
        return
    seatunnel.rename(draft)
    if draft.problems.pop(path, ""):
        job.keys[path] = wanted
    elif f"sink.{PLUGIN}.collection_rename" in job.keys:
        was = draft.shown.get(path, path).rpartition(".")[2]
        job.comments[f"sink.{PLUGIN}.collection_rename"] = [f"was {was}"]
    else:
        job.leave_out(path, "the name is that of the source's collection")


def _disconnect(job: Conversion, draft: Draft) -> None:
    """Removes the names that connect plugins, and the names of plugins in the JSON form."""
    connected = [path for path in job.keys if path.rpartition(".")[2] in CONNECTING]
    check_wiring(draft)
    if draft.problems:
        raise ConfigError(draft.lines())
    for path in connected:
        block = next((name for name in BLOCKS if path.startswith(f"{name}.")), "")
        if block.startswith(("source", "sink")):
            job.leave_out(path, _WIRED)

"""The architecture, read from the code: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MODULE_LINES = 400
FUNCTION_LINES = 40

# From the ground up; a module belongs to the first room that it matches, and imports only from its
# own room and those below.
ROOMS = (
    ("transforms.ranges", "transforms.errors", "transforms.finding", "transforms.malloc"),
    ("transforms.ledger.store",),
    ("transforms.milvus",),
    ("transforms.reshape",),
    ("transforms.plan", "transforms.fingerprint"),
    ("transforms.ledger",),
    ("transforms",),
    ("pipeline.console",),
    ("pipeline.jobfile",),
    ("pipeline.planning",),
    ("pipeline.display",),
    ("pipeline.engines",),
    ("pipeline.preflight",),
    ("pipeline.reports",),
    ("pipeline.target",),
    ("pipeline.graph",),
    ("pipeline.commands",),
    ("pipeline",),
)

# Who may import what is not ours; a name stands for all that is below it.
BEAM = (
    *(
        "split",
        "read",
        "convert",
        "write",
        "record_receipts",
        "finish",
        "verify",
        "verify_in_turn",
        "batch",
        "counters",
    ),
    *("pipeline.graph", "pipeline.engines.engine_choice", "pipeline.engines"),
)
ONLY_IN = {
    "apache_beam": tuple(n if "." in n else f"transforms.{n}" for n in BEAM),
    # The proof of a pair of servers judges our client by another one, which shares no code with it.
    "pymilvus": ("transforms.milvus", "pipeline.commands.pair_proof"),
    # Milvus is spoken to in one place; the others speak to Beam.
    "grpc": ("transforms.milvus.channel", "transforms.milvus.connection", "pipeline.engines"),
    "tenacity": ("transforms.milvus.channel",),
    "cryptography": ("transforms.milvus.certificate",),
    "pyhocon": ("pipeline.jobfile.hocon",),
    "yaml": ("pipeline.jobfile.from_milvus_migration",),
    "pyparsing": ("pipeline.jobfile.hocon",),
    "rich": ("pipeline",),
    "jinja2": ("pipeline.reports.page",),
    "prometheus_client": ("pipeline.display.metrics",),
    "xxhash": ("transforms.fingerprint",),
}

# Modules that may be longer, with the reason. One that no longer needs it must go from here.
LONG = {}


@cache
def modules() -> tuple[str, ...]:
    found = [path for name in ("pipeline", "transforms") for path in (ROOT / name).rglob("*.py")]
    return tuple(sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found))


def source(module: str) -> str:
    return (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(source(module))


def imports(module: str, *, with_types: bool = False) -> Iterator[str]:
    """The modules that a module imports, in functions too; those for types alone only if asked."""
    for node in _nodes(tree(module), with_types=with_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules() else str(node.module)


def _nodes(node: ast.AST, *, with_types: bool) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not with_types:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child, with_types=with_types)


def below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def floor(module: str) -> int:
    """The floor of a module's room, from 0, the ground: it may import what is not higher."""
    return next(number for number, prefixes in enumerate(ROOMS) if below(module, prefixes))


def functions(module: str) -> Iterator[tuple[str, int]]:
    """The functions of a module, with their lines from the first to the last."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{module}.{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("module", modules())
def test_dependencies_point_one_way(module: str) -> None:
    ours = [name for name in imports(module, with_types=True) if name in modules()]
    assert [name for name in ours if floor(name) > floor(module)] == []


def test_no_two_modules_import_each_other() -> None:
    left = {
        module: {other for other in imports(module) if other in modules()} for module in modules()
    }
    while free := {each for each, needed in left.items() if not needed & left.keys()}:
        left = {each: needed for each, needed in left.items() if each not in free}
    assert left == {}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_in_one_place(library: str) -> None:
    users = {module for module in modules() for name in imports(module) if below(name, (library,))}
    outside = {user for user in users if not below(user, ONLY_IN[library])}
    assert outside == set()
    assert users, f"nobody uses {library} any more"


@pytest.mark.parametrize("module", [name for name in modules() if name.endswith("__init__")])
def test_init_files_import_nothing(module: str) -> None:
    assert list(imports(module)) == []


def test_the_launcher_hands_over_in_a_few_lines() -> None:
    assert len(source("pipeline.__main__").splitlines()) < 10


@pytest.mark.parametrize("module", modules())
def test_a_module_is_not_too_long(module: str) -> None:
    lines = len(source(module).splitlines())
    assert (lines > MODULE_LINES) == (module in LONG), f"{lines} lines"


@pytest.mark.parametrize("module", modules())
def test_functions_are_not_too_long(module: str) -> None:
    assert {name: lines for name, lines in functions(module) if lines > FUNCTION_LINES} == {}


def test_most_functions_are_short() -> None:
    lines = sorted(count for module in modules() for _, count in functions(module))
    assert lines[len(lines) // 2] <= 9
    assert lines[len(lines) * 9 // 10] <= 25

"""Who may import whom, and what an import costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("rag", "ingest", "eval")

# A third-party package has one door; what comes through it is translated there, once.
DOORS = {
    "psycopg": {"rag.store"},
    "psycopg_pool": {"rag.store"},
    "pgvector": {"rag.store"},
    "procrastinate": {"rag.store", "ingest.worker"},
    "redis": {"rag.cache"},
    "litestar": {"rag.api", "rag.app"},
    "granian": {"ingest.cli"},
    "unstructured": {"ingest.partition"},
    "onnx": {"rag.embedding"},
    "onnxruntime": {"rag.embedding"},
    "tokenizers": {"rag.embedding"},
    "sentence_transformers": {"rag.embedding"},
    "tiktoken": {"rag.tokens"},
    "jwt": {"rag.jwt"},
    "prometheus_client": {"rag.telemetry"},
    "rich_click": {"ingest.cli", "eval.cli", "eval.isolation"},
    "httpx": {"eval.isolation"},
}
HEAVY = {"litestar", "psycopg", "onnxruntime", "unstructured", "procrastinate", "numpy", "redis", "granian"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def under(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_the_contracts_are_kept():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("package", DOORS)
def test_a_third_party_package_has_one_door(package):
    users = {module for module, path in modules() if any(under(name, package) for name in imported(path))}
    assert users, "nobody uses it any more: drop it from the list"
    assert {user for user in users if not any(under(user, door) for door in DOORS[package])} == set()


def test_imports_are_absolute():
    relative = [
        module
        for module, path in modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_nothing_imports_its_tests():
    assert [module for module, path in modules() if any(under(name, "tests") for name in imported(path))] == []


def loaded(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has in memory after running this."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_command_line_loads_nothing_heavy():
    assert loaded("import ingest.cli") & HEAVY == set()


def test_its_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom ingest.cli import cli\nsys.argv = ['cloister', '--help']\n"
        "try:\n    cli(prog_name='cloister')\nexcept SystemExit:\n    pass"
    )
    assert loaded(code) & HEAVY == set()


@pytest.mark.parametrize("module", ["rag.domain", "rag.settings", "rag.tenancy", "rag.keys", "rag.embedding.base"])
def test_the_kernel_loads_no_driver_and_no_runtime(module):
    assert loaded(f"import {module}") & (HEAVY - {"numpy"}) == set()

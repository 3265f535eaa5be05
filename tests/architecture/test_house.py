"""The habits of the house that a program can watch over."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("rag", "ingest", "eval")
MOST_LINES = 500
COPIED = {"migrations/0002_pre_jobs.sql"}  # procrastinate's own schema, as it prints it

# Tests of what no one file does: the rest mirror the sources, file for file.
ACROSS_FILES = {
    "tests/ingest/test_demo_content.py",
    "tests/rag/store/test_bm25.py",
    "tests/rag/store/test_control_statements.py",
    "tests/rag/store/test_model.py",
    "tests/rag/store/test_plans.py",
    "tests/rag/store/test_row_level_security.py",
    "tests/rag/store/test_two_tenants.py",
}
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base_component"}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
WRITTEN = sorted(
    path
    for folder in (*PACKAGES, "migrations", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sql"}
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def mirrored(test: Path) -> list[Path]:
    """The sources that a test may be of: the file of that name, or the package."""
    folder = ROOT / test.relative_to(ROOT / "tests").parent
    name = test.stem.removeprefix("test_")
    return [folder / f"{name}.py", folder / name / "__init__.py", *([folder / "__init__.py"] * (folder.name == name))]


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_sources(package):
    tests = sorted((ROOT / "tests" / package).rglob("test_*.py"))
    assert tests
    strays = {name_of(test) for test in tests if not any(path.is_file() for path in mirrored(test))}
    assert strays <= ACROSS_FILES


def test_no_exception_outlives_its_file():
    assert {name for name in ACROSS_FILES | COPIED if not (ROOT / name).is_file()} == set()


def test_tests_are_no_packages():
    assert list((ROOT / "tests").rglob("__init__.py")) == [], "one would shadow the package that it is named for"


def test_no_file_is_too_long_to_read():
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in WRITTEN}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES and name not in COPIED} == {}


def test_no_module_is_named_for_nothing():
    assert {name_of(path) for path in SOURCES if path.stem in NO_NAMES or path.parent.name in NO_NAMES} == set()


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_the_service_and_the_pipeline_do_not_print():
    quiet = [path for path in SOURCES if "cli" not in path.relative_to(ROOT).parts and path.parts[-2] != "eval"]
    assert len(quiet) > 50
    assert {name_of(path) for path in quiet if "print" in calls(path)} == set()


def test_nothing_is_evaluated_from_text():
    assert {name_of(path) for path in SOURCES if calls(path) & {"eval", "exec", "compile"}} == set()


def test_every_module_begins_with_what_it_is():
    silent = {name_of(path) for path in SOURCES if ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None}
    assert silent == set()


def test_sql_stands_in_its_files_alone():
    """Outside of the store nobody writes a statement, and in it none is put together from text."""
    statement = re.compile(r"\b(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b", re.DOTALL)
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                if statement.search(text):
                    found.add(name_of(path))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.search(node.value):
                found.add(name_of(path))
    # The two that work before, or as, the schema is made.
    assert found <= {"rag/store/migrate.py", "rag/store/preflight.py"}

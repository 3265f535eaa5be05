"""What the pages say, held against the code."""

import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import rich_click as click
from packaging.requirements import Requirement

from ingest.cli import cli
from ingest.sniff import READABLE
from rag.api.catalogue import catalogue
from rag.domain import JobState
from rag.settings import ENVIRONMENT, Settings
from rag.telemetry import REGISTRY

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
OURS = ("rag/", "ingest/", "eval/", "migrations/", "tests/", "docs/", "deploy/", "benchmarks/")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_QUOTED = re.compile(r"`([^`\n]+)`")


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def prose(text: str) -> str:
    """A page without its examples."""
    return _FENCE.sub("", text)


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without the row that names the columns."""
    section = text.split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    assert rows is not None, heading
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in rows[0].splitlines()[2:]]


def quoted(cell: str) -> list[str]:
    return _QUOTED.findall(cell)


def anchors(path: Path) -> set[str]:
    """The anchors that a Markdown renderer gives a page's headings."""
    headings = _HEADING.findall(prose(path.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def read_pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


# --- links and paths


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(prose(path.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    named = {word for word in quoted(prose(path.read_text("utf-8"))) if word.startswith(OURS)}
    missing = {word for word in named if re.fullmatch(r"[\w./-]+", word) and not (ROOT / word).exists()}
    assert not missing


def test_the_flows_name_modules_that_exist() -> None:
    flows = [body for language, body in _FENCE.findall(page("architecture.md")) if not language]
    named = set(re.findall(r"\b(?:rag|ingest)/[\w/]+\.(?:py|sql)", "\n".join(flows)))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_a_newcomer_finds_what_to_open() -> None:
    rows = table(page("architecture.md"), "## To change X, open Y")
    assert len(rows) >= 20
    for change, first, _ in rows:
        files = quoted(first)
        assert files, change
        assert all((ROOT / file).exists() for file in files), change


def test_the_layers_are_those_that_are_checked() -> None:
    said = page("architecture.md").split("\nrag:    ")[1].split("```")[0]
    rag_said, ingest_said = re.split(r"\ningest: ", said)
    contracts = read_pyproject()["tool"]["importlinter"]["contracts"]
    kept = {found["containers"][0]: found["layers"] for found in contracts if "containers" in found}
    for text, layers in ((rag_said, kept["rag"]), (ingest_said, kept["ingest"])):
        told = [set(re.split(r"\s*\|\s*", layer.strip())) for layer in text.split("->")]
        assert told == [set(re.split(r"\s*\|\s*", layer)) for layer in layers]


# --- examples


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_and_json_examples_are_whole(path: Path) -> None:
    for language, body in _FENCE.findall(path.read_text("utf-8")):
        if language == "python":
            compile(body, str(path), "exec")
        elif language == "json":
            msgspec.json.decode(body)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command there is, by the words that call it."""
    waiting: list[tuple[str, click.Command]] = [("cloister", cli)]
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                waiting.append((f"{name} {child}", found))
        else:
            yield name, command


def examples(*pages: Path) -> Iterator[list[str]]:
    """The `cloister` command lines in the examples, also where something runs them in a container."""
    for path in pages:
        for language, body in _FENCE.findall(path.read_text("utf-8")):
            for line in body.replace("\\\n", " ").splitlines() if language in {"sh", "bash"} else []:
                command = re.match(r"(?:docker compose exec api |\.venv/bin/)?cloister ", line)
                if command:
                    yield shlex.split(line[command.end() :], comments=True)


@pytest.mark.parametrize("words", list(examples(*PAGES)), ids=" ".join)
def test_command_lines_are_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in words:
        if word.startswith(("./", "runs/")):
            (tmp_path / word).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path)
    command: click.Command = cli
    context = click.Context(command, info_name="cloister")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
        context = click.Context(command, parent=context, info_name=name)
    command.parse_args(context, list(words))  # raises a UsageError for what it does not know


def test_every_command_has_an_example() -> None:
    shown = {" ".join(["cloister", *words]) for words in examples(DOCS / "command-line.md")}
    assert {name for name, _ in commands() if not any(f"{line} ".startswith(f"{name} ") for line in shown)} == set()


# --- settings, metrics, codes, packages, words


def test_every_setting_is_described_with_its_default() -> None:
    rows = {quoted(row[0])[0]: row[1] for row in table(page("configuration.md"), "## Settings")}
    assert set(rows) == set(ENVIRONMENT.values())
    for field in msgspec.structs.fields(Settings):
        told = rows[ENVIRONMENT[field.name]]
        if field.default is None:
            assert told.startswith("none"), field.name
        elif field.default is not msgspec.NODEFAULT:
            assert quoted(told) == [str(field.default)], field.name


def test_every_metric_is_described() -> None:
    rows = [quoted(row[0])[0] for row in table(page("operations.md"), "## Metrics")]
    kept = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in REGISTRY.collect()
        if metric.name.startswith("cloister")
    }
    assert sorted(rows) == sorted(kept)


def test_every_log_event_is_described() -> None:
    rows = {quoted(row[0])[0] for row in table(page("operations.md"), "## Logs")}
    logged = re.compile(r"\blog\.(?:debug|info|warning|error|exception)\(\s*\"(\w+)\"")
    sources = [file.read_text("utf-8") for folder in ("rag", "ingest") for file in (ROOT / folder).rglob("*.py")]
    assert rows == {event for source in sources for event in logged.findall(source)}


def test_every_code_of_a_dead_letter_is_described() -> None:
    rows = {code for row in table(page("ingestion.md"), "## Errors") for code in quoted(row[0])}
    raised = re.compile(r"(?:code=|JobError\(\s*|_Failed\()\"(\w+)\"")
    files = [*(ROOT / "ingest").rglob("*.py"), ROOT / "rag" / "store" / "ingestion.py"]
    codes = {code for file in files for code in raised.findall(file.read_text("utf-8"))}
    codes.discard("lease_lost")  # ends an attempt that is not the document's any more, and is recorded nowhere
    assert codes <= rows
    assert rows - codes <= set(catalogue())


def test_every_state_of_a_job_is_described() -> None:
    assert {quoted(row[0])[0] for row in table(page("ingestion.md"), "## Jobs")} == set(get_args(JobState))


def test_every_direct_dependency_has_its_reason() -> None:
    rows = table(page("dependencies.md"), "## Direct")
    wanted = [Requirement(line).name for line in read_pyproject()["project"]["dependencies"]]
    assert sorted(row[0] for row in rows) == sorted(wanted)
    assert all(row[1] for row in rows)


def test_every_package_that_is_left_out_has_its_reason() -> None:
    rows = table(page("dependencies.md"), "## Left out of the lock")
    assert sorted(row[0] for row in rows) == sorted(read_pyproject()["tool"]["uv"]["exclude-dependencies"])
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert [row[0] for row in rows if re.search(rf"^{row[0]}==", lock, re.MULTILINE)] == []


def test_the_glossary_has_each_term_once_and_in_order() -> None:
    terms = [row[0] for row in table("\n" + page("glossary.md"), "# Glossary")]
    assert len(terms) > 30
    assert [term for term, count in Counter(terms).items() if count > 1] == []
    assert terms == sorted(terms, key=str.casefold)


def test_decisions_are_numbered_and_say_what_they_cost() -> None:
    records = sorted((DOCS / "decisions").glob("*.md"))
    assert records
    for record in records:
        text = record.read_text("utf-8")
        assert text.startswith(f"# {record.name[:4]}. "), record.name
        assert {"Context", "Choice", "Cost"} <= set(_HEADING.findall(text)), record.name
    assert len({record.name[:4] for record in records}) == len(records)


def test_the_documented_filters_compile() -> None:
    from rag.retrieval.filters import compile_filter

    section = page("retrieval.md").split("\n## Filters\n")[1].split("\n## ")[0]
    shown = [*(body for language, body in _FENCE.findall(section) if language == "json")]
    shown += [code for row in table(page("retrieval.md"), "## Filters") for code in quoted(row[0]) if code[0] == "{"]
    whole = [code for code in shown if "…" not in code]
    assert len(whole) > 5
    for code in whole:
        assert compile_filter(msgspec.json.decode(code))


def test_the_formats_are_those_that_are_read() -> None:
    rows = {row[0].lower() for row in table(page("ingestion.md"), "## Formats")}
    read = {"markdown": "text/markdown", "html": "text/html", "text": "text/plain"}
    assert rows == set(read)
    assert sorted(read.values()) == sorted(READABLE)

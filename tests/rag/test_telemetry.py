import json
import subprocess
import sys

import pytest

from rag import telemetry
from rag.telemetry import REGISTRY, exposition, stage


def logged(code: str, form: str = "json", level: str = "info") -> list[str]:
    """What a process of its own writes to stderr: logging is the whole process's."""
    program = (
        "import logging\n"
        "from structlog.contextvars import bind_contextvars\n"
        "from rag.telemetry import configure_logging, log\n"
        f"configure_logging({form!r}, {level!r})\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


# ---------------------------------------------------------------- logs


def test_a_line_is_one_event_with_its_fields():
    (line,) = logged("bind_contextvars(request_id='r', tenant='acme'); log.info('request', status=200)")
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "request", "level": "info", "request_id": "r", "tenant": "acme", "status": 200}


def test_a_line_stays_one_line():
    (line,) = logged("log.warning('x', text='a\\nb\\u2028c')")
    assert json.loads(line)["text"] == "a\nb\u2028c"


def test_an_exception_is_in_its_line():
    (line,) = logged("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    log.error('failed', exc_info=e)")
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_what_is_below_the_level_is_not_written():
    code = "log.debug('a'); log.info('b'); log.warning('c'); log.error('d')"
    assert [json.loads(line)["event"] for line in logged(code, level="warning")] == ["c", "d"]
    assert [json.loads(line)["event"] for line in logged(code, level="DEBUG")] == ["a", "b", "c", "d"]


def test_where_stderr_is_no_terminal_the_lines_are_json():
    (line,) = logged("log.info('x')", form="auto")
    assert json.loads(line)["event"] == "x"
    (line,) = logged("log.info('x', a=1)", form="console")
    assert "x" in line
    assert not line.startswith("{")


def test_a_library_speaks_in_our_lines_and_quotes_no_document():
    code = (
        "try:\n    raise ValueError('the document')\nexcept ValueError:\n"
        "    logging.getLogger('lib').warning('odd %s', 'x' * 600, exc_info=True)\n"
        "logging.getLogger('lib').info('chatter')"
    )
    (line,) = logged(code)
    event = json.loads(line)
    assert (event["event"], event["library"], event["level"]) == ("library", "lib", "warning")
    assert event["says"].startswith("odd x")
    assert len(event["says"]) == 500
    assert "the document" not in line


# ---------------------------------------------------------------- metrics


def test_every_metric_is_ours_and_says_what_it_is():
    families = list(REGISTRY.collect())
    assert len(families) >= 8
    for family in families:
        assert family.name.startswith("cloister_")
        assert family.documentation.endswith(".")


def test_no_metric_has_a_series_for_each_tenant_or_document():
    metrics = [value for value in vars(telemetry).values() if hasattr(value, "_labelnames")]
    labels = {label for metric in metrics for label in metric._labelnames}
    assert labels <= {
        "method",
        "route",
        "status",
        "stage",
        "outcome",
        "state",
        "kind",
        "kept",
        "store",
        "reason",
        "plan",
    }


def test_the_exposition_is_the_prometheus_text():
    text = exposition().decode()
    assert "# TYPE cloister_leaks_caught_total counter" in text
    assert "# HELP cloister_request_seconds " in text


def count(name: str) -> float:
    return REGISTRY.get_sample_value("cloister_stage_seconds_count", {"stage": name}) or 0.0


def test_a_stage_is_timed():
    times: dict[str, float] = {}
    before = count("test_stage")
    with stage("test_stage", times), stage("test_inner"):
        pass
    assert count("test_stage") == before + 1
    assert times.keys() == {"test_stage"}
    assert times["test_stage"] >= 0


def test_a_stage_that_fails_is_timed_too():
    times: dict[str, float] = {}
    with pytest.raises(LookupError), stage("test_failing", times):
        raise LookupError
    assert "test_failing" in times
    assert count("test_failing") == 1

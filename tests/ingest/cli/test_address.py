import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.cli.address import find_service, published, url_of
from rag.errors import SetupError
from rag.settings import Settings


class _Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/live" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which something is alive."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Alive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, port=1)


def test_what_serve_left_is_found(settings, port):
    with published(settings.data_dir, "0.0.0.0", port):  # noqa: S104 - that is the case
        assert find_service(settings) == f"http://127.0.0.1:{port}"
    assert list(settings.data_dir.iterdir()) == []


def test_without_it_the_configured_address_is_taken(settings, port):
    assert find_service(msgspec.structs.replace(settings, port=port)) == f"http://127.0.0.1:{port}"


def test_an_address_that_nobody_answers_at_any_more_is_passed_over(settings, port):
    (settings.data_dir / "address").write_text("http://127.0.0.1:2\n")
    assert find_service(msgspec.structs.replace(settings, port=port)) == f"http://127.0.0.1:{port}"
    with pytest.raises(SetupError, match=r"http://127\.0\.0\.1:2 or http://127\.0\.0\.1:1: start it, or give"):
        find_service(settings)


def test_a_second_server_keeps_its_address_when_the_first_ends(settings, port):
    with published(settings.data_dir, "127.0.0.1", 3):
        inner = published(settings.data_dir, "127.0.0.1", port)
        inner.__enter__()
    assert find_service(settings) == f"http://127.0.0.1:{port}"


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with published(tmp_path / "file" / "below", "127.0.0.1", 3):
        pass


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - told apart, not bound
        ("::", "http://[::1]:8000"),
        ("cloister.internal", "http://cloister.internal:8000"),
    ],
)
def test_a_listening_address_becomes_one_to_call(host, url):
    assert url_of(host, 8000) == url

"""Where the API of this installation answers: `serve` leaves its address in the data folder for commands beside it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from rag.errors import SetupError
from rag.settings import Settings, load_settings

_FILE: Final = "address"
_LOOK_S: Final = 5.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - told apart, not bound


@contextmanager
def published(data_dir: Path, host: str, port: int) -> Iterator[None]:
    """Leave the address in the data folder for as long as this lasts; one that is only read is left as it is."""
    path = data_dir / _FILE
    url = url_of(host, port)
    with suppress(OSError):
        data_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(url + "\n", "utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text("utf-8").strip() == url:
                path.unlink()


def find_service(settings: Settings | None = None) -> str:
    """The address at which the API answers: the one left in the data folder, else the one that is configured.

    Raises `SetupError` when it answers at neither.
    """
    found = settings or load_settings()
    tried = list(dict.fromkeys([*_left(found.data_dir), url_of(found.host, found.port)]))
    for url in tried:
        if _answers(url):
            return url
    raise SetupError(f"no service answers at {' or '.join(tried)}: start it, or give its address with --url")


def url_of(host: str, port: int) -> str:
    """The URL under which a process on this machine reaches what listens there."""
    name = _EVERYWHERE.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _left(data_dir: Path) -> list[str]:
    try:
        return [(data_dir / _FILE).read_text("utf-8").strip()]
    except OSError:
        return []


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health/live", timeout=_LOOK_S) as response:  # noqa: S310 - an address of our own
            return bool(response.status == 200)  # noqa: PLR2004
    except (URLError, OSError, ValueError):
        return False

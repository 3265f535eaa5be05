"""PostgreSQL: make its cluster, start it, wait for it, and give it the roles and extensions."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rag.embedded.account import Account
from rag.embedded.endpoints import POSTGRES_SOCKET, postgres_url
from rag.embedded.process import ServerProcess, clean_environment, command_of
from rag.errors import SetupError

STOP_TIMEOUT_S = 60.0
_READY_TIMEOUT_S = 300.0  # recovery after a crash replays up to a checkpoint's worth of log
_PREDECESSOR_TIMEOUT_S = 60.0
_BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")


class Postgres:
    """One cluster and the programs of one PostgreSQL release, run as one account."""

    def __init__(self, *, cluster: Path, sockets: Path, program: Path, account: Account) -> None:
        self._cluster = cluster
        self._sockets = sockets
        self._program = program
        self._account = account

    def prepare(self, *, durable: bool) -> None:
        """Make the cluster if there is none; `SetupError` if the one there is not for these programs."""
        if (self._cluster / "PG_VERSION").exists():
            self._require_same_major()
            wait_for_predecessor(self._cluster)
            disown_stale_pid_file(self._cluster)
            (self._sockets / f"{POSTGRES_SOCKET}.lock").unlink(missing_ok=True)  # names the same stale number
        else:
            self._initialise(durable=durable)

    def start(self, settings: dict[str, str], *, log: Path) -> ServerProcess:
        """Start the server, not yet ready, listening on its Unix socket and nowhere else."""
        fixed = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "port": "5432",  # names the socket
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_error_verbosity": "terse",  # the detail of a failed row or COPY is a document's text
        }
        options = [word for name, value in (fixed | settings).items() for word in ("-c", f"{name}={value}")]
        return ServerProcess(
            [str(self._program), "-D", str(self._cluster), *options],
            account=self._account,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: ends the sessions, not the data
            log=log,
        )

    def wait_until_ready(self, server: ServerProcess) -> None:
        """Return when the server takes connections; `SetupError` if it ends first or takes five minutes."""
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not is_ready(self._program, self._sockets):
            server.require_running()
            if time.monotonic() > deadline:
                raise SetupError(f"PostgreSQL is not ready in {_READY_TIMEOUT_S:.0f} s:\n{server.log_tail()}")
            time.sleep(0.02)

    def bootstrap(self) -> None:
        """Create the roles, the database and the extensions that are not there yet."""
        statements = _BOOTSTRAP.read_text("utf-8")
        url = postgres_url(self._sockets, "postgres", "postgres")
        self._run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, standard_input=statements)

    def _require_same_major(self) -> None:
        found = (self._cluster / "PG_VERSION").read_text().strip()
        ours = self._run("postgres", "--version").split()[-1].partition(".")[0]
        if found != ours:
            url = postgres_url(self._sockets, "postgres", "cloister")
            raise SetupError(
                f"{self._cluster} was written by PostgreSQL {found} and this is PostgreSQL {ours}. Start "
                f"the installation that wrote it and run `pg_dump -Fc -f cloister.dump '{url}'`; stop it and move "
                f"{self._cluster} away; start this one and run `pg_restore --clean --if-exists -d '{url}' "
                "cloister.dump`"
            )

    def _initialise(self, *, durable: bool) -> None:
        if self._cluster.exists() and any(self._cluster.iterdir()):
            raise SetupError(f"{self._cluster} is neither empty nor a PostgreSQL cluster; move it away")
        # Made aside and renamed when whole: a start that is killed halfway leaves nothing like data behind.
        unfinished = self._cluster.with_name("postgres-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._account.take(unfinished)
        # Order and case folding are PostgreSQL's own, so an upgrade of the system cannot corrupt an index.
        # The text parser alone asks the C library what is a letter; there `C` would take “ and — for letters.
        character_type = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
        self._run(
            "initdb",
            f"--pgdata={unfinished}",
            "--username=postgres",
            "--auth=trust",  # the sockets' folder is closed to all but this account
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            f"--lc-ctype={character_type}",
            *([] if durable else ["--no-sync"]),
        )
        unfinished.rename(self._cluster)

    def _run(self, tool: str, *arguments: str, standard_input: str = "") -> str:
        command = [str(self._program.with_name(tool)), *arguments]
        try:
            done = _run(command, account=self._account, standard_input=standard_input)
        except (OSError, subprocess.SubprocessError) as error:
            raise SetupError(f"cannot run {command[0]} as `{self._account.name}`: {error}") from error
        if done.returncode != 0:
            raise SetupError(f"{tool} failed with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def is_ready(program: Path, sockets: Path) -> bool:
    """Whether a server takes connections on its socket in this folder; `program` is any of its release."""
    url = postgres_url(sockets, "postgres", "postgres")
    asked = [str(program.with_name("pg_isready")), "-q", "-t", "3", "-d", url]
    return _run(asked, account=None).returncode == 0


def wait_for_predecessor(cluster: Path, timeout: float = _PREDECESSOR_TIMEOUT_S) -> None:
    """Return when no PostgreSQL runs on the cluster any more; `SetupError` after `timeout` seconds.

    After a crash of the process that ran it, a server takes a moment to shut down. It is not ours, so it
    gets no signal from us.
    """
    deadline = time.monotonic() + timeout
    while (pid := _recorded_pid(cluster)) is not None and _serves(pid, cluster):
        if time.monotonic() > deadline:
            raise SetupError(f"PostgreSQL runs on {cluster} by itself; stop it: kill -INT {pid}")
        time.sleep(0.05)


def disown_stale_pid_file(cluster: Path) -> None:
    """Let PostgreSQL start though the number in a stale `postmaster.pid` is some other process by now.

    PostgreSQL takes its own parent's and grandparent's number for stale and goes on to look whether a
    backend still holds the old shared memory. Removing the file would skip that look, so we sign it.
    """
    file = cluster / "postmaster.pid"
    if _recorded_pid(cluster) is None:
        file.unlink(missing_ok=True)  # empty or torn: PostgreSQL would refuse to start
        return
    _, *rest = file.read_text().splitlines(keepends=True)
    # Opened as root in a folder that is not root's: follow nothing, make nothing.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as signed:
        signed.writelines([f"{os.getpid()}\n", *rest])


def _recorded_pid(cluster: Path) -> int | None:
    try:
        return abs(int((cluster / "postmaster.pid").read_text().split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def _serves(pid: int, cluster: Path) -> bool:
    command = command_of(pid)
    if not command or "postgres" not in Path(command[0]).name:
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(cluster)
    except OSError:
        return str(cluster) in command


def _run(
    command: Sequence[str], *, account: Account | None, standard_input: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command,
        input=standard_input,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=clean_environment(),
        **(account.spawn_options() if account else {}),
    )

"""Run one server so that it dies with the process that started it.

Run as a program by `rag.embedded.process`, never imported there, with nothing but the standard library:

    python -I -S leash.py {kernel|pipe} PARENT SIGNAL UID GID COMMAND...

It takes on the account and then, by mode,

kernel  (Linux) asks the kernel for SIGNAL at the parent's death and becomes the server. The kernel counts
        the death of the *thread* that started us, so the parent chooses this from its main thread only.
pipe    starts the server as a child and sends it SIGNAL when standard input ends, which the parent's
        death does; and passes on, as SIGNAL, what it is sent itself.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> int:
    """Hold a server; returns its exit status in mode `pipe` and never in mode `kernel`."""
    mode, parent, death_signal, uid, gid, *command = arguments
    _become(int(uid), int(gid))
    if mode == "kernel":
        _be_held_by_kernel(int(parent), int(death_signal))
        os.execv(command[0], command)  # noqa: S606
    return _hold_by_pipe(command, int(death_signal))


def _become(uid: int, gid: int) -> None:
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)


def _be_held_by_kernel(parent: int, death_signal: int) -> None:
    # After setuid, which would clear it.
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent died first")


def _hold_by_pipe(command: Sequence[str], death_signal: int) -> int:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603

    def end_server(*_: object) -> None:
        server.send_signal(death_signal)

    def end_with_parent() -> None:
        os.read(0, 1)  # nothing is ever written: this returns when the last writer is gone
        end_server()

    signal.signal(signal.SIGINT, end_server)
    signal.signal(signal.SIGTERM, end_server)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

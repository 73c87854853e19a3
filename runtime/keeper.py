"""A process between us and a server we start: it kills the server when we are gone, however we went.

`python keeper.py COMMAND...` starts the command and waits. When standard input ends, which it does even when whoever
holds its other end is killed with SIGKILL, the command is killed; its exit code is handed on, 128 + n after signal n.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def keep(command: list[str]) -> int:
    """Run the command until it ends or standard input does; its exit code."""
    child = subprocess.Popen(  # noqa: S603 - our own parent wrote the command
        command,
        stdin=subprocess.DEVNULL,
        close_fds=False,  # the lock of the data directory is handed down, held for as long as the server lives
        preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: child.kill())
    threading.Thread(target=_kill_at_end_of_input, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _kill_at_end_of_input(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    # SIGKILL: the server's own way down takes seconds, and its database is made to survive this.
    child.kill()


def _die_with_parent() -> Callable[[], None]:
    # Linux only: the command dies even when this very process is killed with SIGKILL.
    prctl = ctypes.CDLL(None).prctl
    keeper = os.getpid()

    def between_fork_and_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it was killed before the line above
            os._exit(1)

    return between_fork_and_exec


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))

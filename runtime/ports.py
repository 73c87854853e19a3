"""Ports to listen on: free ones when none is asked for, and a clear word when one is taken."""

import errno
import socket


class PortInUse(Exception):
    """Something else listens on a port that was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use")
        self.port = port


class NoSuchHost(Exception):
    """This machine cannot listen there."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on the host; port 0 takes a free one.

    Raises:
        PortInUse: something else listens there.
        NoSuchHost: the host is none of this machine's addresses, or the port is reserved.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)  # two may bind with SO_REUSEADDR on some systems, only one may listen
    except OSError as problem:
        listener.close()
        if port and problem.errno == errno.EADDRINUSE:
            raise PortInUse(port) from None
        raise NoSuchHost(f"nothing can listen on {host}:{port}: {problem.strerror or problem}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def chosen(host: str, *wanted: int) -> list[int]:
    """The ports that were asked for, with a free one in place of each 0; all are free at this moment.

    Raises:
        PortInUse, NoSuchHost: as `listening`.
    """
    # All are held until all are known, so that no two are the same.
    held: list[socket.socket] = []
    try:
        for port in wanted:
            held.append(listening(host, port))  # noqa: PERF401 - those held so far are closed when one fails
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()

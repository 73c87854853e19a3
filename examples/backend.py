"""A backend to try Interlock with: prints every request it gets, checks its signature, answers with JSON.

`python3 examples/backend.py [port]` listens on 127.0.0.1, port 9000 by default, and needs nothing but Python. With
CLIENT_SECRET in its environment it answers 401 to whatever was not signed with that secret in the last five minutes.
"""

# ruff: noqa: T201 - it is there to be watched

import base64
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("CLIENT_SECRET", "")
TOLERANCE = 5 * 60


def signed(secret: str, body: bytes, timestamp: str, signature: str) -> bool:
    """Whether Interlock sent this body, and sent it recently."""
    mac = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256")
    expected = "v1," + base64.b64encode(mac).decode()
    return hmac.compare_digest(expected.encode(), signature.encode()) and abs(time.time() - int(timestamp)) <= TOLERANCE


class Backend(BaseHTTPRequestHandler):
    """Greets at `/hello`, takes a second to roll back at `/rollback`, says yes to everything else."""

    def do_POST(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        timestamp, signature = self.headers.get("X-Port-Timestamp", ""), self.headers.get("X-Port-Signature", "")
        genuine = signed(SECRET, body, timestamp, signature) if SECRET else None
        word = {None: "not checked", True: "right", False: "wrong"}[genuine]
        print(f"{self.command} {self.path}, signature {word}, Idempotency-Key {self.headers.get('Idempotency-Key')}")
        print(f"  {body.decode(errors='replace')}", flush=True)
        if genuine is False:
            self._answer(401, {"error": "this was not signed with the secret I know"})
        else:
            self._answer(200, self._done(body))

    do_PUT = do_PATCH = do_DELETE = do_GET = do_POST  # noqa: N815 - the names the standard library calls

    def _done(self, body: bytes) -> dict[str, object]:
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {}
        if self.path == "/hello":
            return {"greeting": f"Hello, {asked.get('name')}!"}
        if self.path == "/rollback":
            time.sleep(1)
            return {"service": asked.get("service"), "runs": asked.get("version")}
        return {"done": True}

    def _answer(self, status: int, document: dict[str, object]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: each request is printed above, with what is in it."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    with ThreadingHTTPServer(("127.0.0.1", port), Backend) as server:
        print(f"Listens on http://127.0.0.1:{server.server_port}; Ctrl-C stops it.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()

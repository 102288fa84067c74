"""The page of a watcher and what it asks for, over HTTP. Nothing is written, and nothing else is served."""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import re
import secrets
import socket
import sys
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs

from edgedst import report
from edgedst.errors import ConfigError
from edgedst.watch.watcher import Watcher

LOCAL = "127.0.0.1"
IDLE_SECONDS = 60  # of a connection, before it is closed


class Server(ThreadingHTTPServer):
    """Serves the page of a watcher: to this machine alone, or else to whoever has the token of its address.

    Args:
        watcher: what is shown.
        host: address to listen on.
        port: 0: any that is free.

    Raises:
        ConfigError: nothing can listen there.
    """

    daemon_threads = True

    def __init__(self, watcher: Watcher, host: str, port: int) -> None:
        self.watcher = watcher
        self.token = "" if host == LOCAL else secrets.token_urlsafe(16)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.address_family = found[0]
            super().__init__((str(found[4][0]), port), Handler)
        except (OSError, UnicodeError) as error:  # UnicodeError: no machine's name can be so
            raise _cannot_listen(error, host, port) from error

    def server_bind(self) -> None:
        """As HTTPServer does, but for asking a name server for this machine's name: without one that takes long."""
        TCPServer.server_bind(self)

    @property
    def address(self) -> str:
        """To type into a browser, with the token."""
        host, port = map(str, self.server_address[:2])
        if host in ("0.0.0.0", "::"):
            host = _own_address(self.address_family)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{port}/{self.token + '/' if self.token else ''}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version, sys_version = "edgedst", ""

    def parse_request(self) -> bool:
        """Refuse whatever comes without the token; without one, what was sent to another name.

        A page of another site may have its own name lead here, and would read what is meant for this machine.
        """
        if not super().parse_request():
            return False
        if token := self.server.token:
            first, _, self.path = self.path.removeprefix("/").partition("/")
            allowed = hmac.compare_digest(first.encode(), token.encode())
        else:
            self.path = self.path.removeprefix("/")
            allowed = self.headers.get("Host", "").rpartition(":")[0] in (LOCAL, "localhost")
        if not allowed:
            self.close_connection = True
            self._answer(403, "text/plain", b"Open the address that `edgedst watch` printed.\n")
        return allowed

    def do_GET(self) -> None:
        """The page, what has changed of all runs, or rows of one."""
        what, _, query = self.path.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if what == "":
            self._answer(200, "text/html; charset=utf-8", _page()[0])
            return
        told: dict[str, Any] | None = None
        if what == "runs":
            seen = asked.get("count", "")
            told = self.server.watcher.changes(asked.get("began", ""), int(seen) if seen.isdecimal() else -1)
        elif what == "run":
            told = self.server.watcher.details(asked.get("id", ""), asked.get("have", ""))
        if told is None:
            self._answer(404, "text/plain", b"There is no such run any more.\n")
        else:
            self._answer(200, "application/json", json.dumps(told, separators=(",", ":")).encode())

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": _page()[1],
            **{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"},
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """A line a request is nothing that anybody reads."""


@cache
def _page() -> tuple[bytes, str]:
    """The page, and the policy under which a browser runs no script and applies no style but the page's own."""
    templates = Path(report.__file__).with_name("templates")
    page = (templates / "watch.html").read_text(encoding="utf-8")
    page = page.replace("/* page.css */", (templates / "page.css").read_text(encoding="utf-8"))

    def own(tag: str) -> str:
        parts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(p.encode()).digest()).decode()}'" for p in parts)

    policy = f"default-src 'none'; script-src {own('script')}; style-src {own('style')}; connect-src 'self'; "
    return page.encode(), policy + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _own_address(family: int) -> str:
    """By which others reach this machine; its name where it has no network."""
    somewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # of documentation: nothing is sent there
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((somewhere, 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _cannot_listen(error: Exception, host: str, port: int) -> ConfigError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return ConfigError(
            f"Port {port} is in use, maybe by another `edgedst watch`. `--port 0` takes one that is free."
        )
    if number == errno.EACCES:
        return ConfigError(
            f"Port {port} may not be used. Choose one of 1024 or more, or `--port 0` for one that is free."
        )
    why = getattr(error, "strerror", None) or error
    return ConfigError(
        f"`--host {host}` is no address that this machine can listen on ({why}). `--host 0.0.0.0` is every address of "
        "it; without `--host` it is reached from this machine alone."
    )

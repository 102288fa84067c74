"""The page of a watcher and what it asks for, over HTTP. Nothing is written, and nothing else is served."""

from __future__ import annotations

import errno
import hmac
import json
import re
import secrets
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qsl

from edgedst import report
from edgedst.errors import ConfigError
from edgedst.watch.watcher import Watcher

LOCAL = "127.0.0.1"
IDLE_SECONDS = 60  # of a connection, before it is closed
PAGE = {"watch.html": "text/html", "watch.js": "text/javascript", "watch.css": "text/css", "page.css": "text/css"}
HEADERS = {
    # A browser runs no script, applies no style and asks for nothing but the page's own.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    **{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"},
}


class Server(ThreadingHTTPServer):
    """Serves the page of a watcher: to this machine alone, or else to whoever has the token of its address.

    Args:
        watcher: what is shown.
        host: address to listen on.
        port: 0: any that is free.

    Raises:
        ConfigError: nothing can listen there.
    """

    def __init__(self, watcher: Watcher, host: str, port: int) -> None:
        self.watcher = watcher
        self.token = "" if host == LOCAL else secrets.token_urlsafe(16)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.address_family = found[0]
            super().__init__((str(found[4][0]), port), Handler)
        except (OSError, UnicodeError) as error:  # UnicodeError: no machine's name can be so
            number, why = getattr(error, "errno", None), getattr(error, "strerror", None) or error
            raise ConfigError(
                f"Port {port} cannot be used ({why}). `--port 0` takes one that is free."
                if number in (errno.EADDRINUSE, errno.EACCES)
                else f"`--host {host}` is no address that this machine can listen on ({why}). `--host 0.0.0.0` is "
                "every address of it; without `--host` it is reached from this machine alone."
            ) from error

    def server_bind(self) -> None:
        """As HTTPServer does, but for asking a name server for this machine's name: without one that takes long."""
        TCPServer.server_bind(self)

    @property
    def address(self) -> str:
        """To type into a browser, with the token."""
        host, port = map(str, self.server_address[:2])
        if host in ("0.0.0.0", "::"):  # by which others reach this machine
            somewhere = "2001:db8::1" if host == "::" else "192.0.2.1"  # of documentation: nothing is sent there
            with socket.socket(self.address_family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect((somewhere, 9))
                    host = str(probe.getsockname()[0])
                except OSError:  # there is no network
                    host = socket.gethostname()
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
        self.path = self.path.removeprefix("/")
        if token := self.server.token:
            first, slash, self.path = self.path.partition("/")
            # Without the slash the page's own files would be asked for beside the token.
            allowed = hmac.compare_digest(first.encode() + slash.encode(), f"{token}/".encode())
        else:
            allowed = self.headers.get("Host", "").partition(":")[0] in (LOCAL, "localhost")
        if not allowed:
            self.close_connection = True
            self._answer(403, "text/plain", b"Open the address that `edgedst watch` printed.\n")
        return allowed

    def do_GET(self) -> None:
        """What is new, or a file of the page."""
        what, _, query = self.path.partition("?")
        file = what or "watch.html"
        if what == "news":
            asked = dict(parse_qsl(query, errors="replace"))
            known = {key: int(told) for key, told in asked.items() if re.fullmatch(r"[0-9]{1,18}", told)}
            seen, began, at = (known.get(key, 0) for key in ("seen", "began", "at"))
            news = self.server.watcher.news(seen, asked.get("name", ""), began, at)
            self._answer(200, "application/json", json.dumps(news, separators=(",", ":")).encode())
        elif file in PAGE:
            content = Path(report.__file__).with_name("templates") / file
            self._answer(200, f"{PAGE[file]}; charset=utf-8", content.read_bytes())
        else:
            self._answer(404, "text/plain", b"Nothing is here.\n")

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """A line a request is nothing that anybody reads."""

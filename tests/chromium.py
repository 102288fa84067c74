"""A real browser for tests: Chromium without a window, driven over two pipes by its DevTools protocol.

Whatever the browser complains of while it shows a page is kept: what the console says, faults of markup and scripts,
and each address that a page fetches besides its own.
"""

import base64
import json
import os
import select
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
SILENCE_SECONDS = 300  # a browser that says nothing for so long has died; a loaded board may take one or two minutes


class Browser:
    """One Chromium with one tab.

    Args:
        program: its path.
        folder: a folder of its own.
    """

    def __init__(self, program, folder):
        commands, ours_out = os.pipe()
        ours_in, answers = os.pipe()
        # No sandbox: root may not have one, and the only pages are the tests' own.
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        arguments = [
            program,
            *options,
            f"--user-data-dir={folder / 'profile'}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        self._said = (folder / "said.txt").open("w+b")
        # Chromium reads commands from descriptor 3 and answers on 4.
        redirect = f'exec "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", redirect, "chromium", *arguments],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )
        os.close(commands)
        os.close(answers)
        self._out, self._in = ours_out, ours_in
        self._rest = b""
        self._count = 0
        self._session = None
        self.complaints = []
        self.requests = []
        self._loaded = False
        target = self.call("Target.getTargets")["targetInfos"]
        page = next(found["targetId"] for found in target if found["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        """End the browser and wait for it."""
        os.close(self._out)  # it ends when nobody can command it any more
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._said.close()

    def show(self, path, *, width=1280, height=900, dark=False, media="screen"):
        """Open a file, or an address, at that size and return what the browser complained of."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.complaints, self.requests, self._loaded = [], [], False
        self._address = path if isinstance(path, str) else path.resolve().as_uri()
        self.call("Page.navigate", url=self._address)
        while not self._loaded:
            self._take(self._message())
        # Drawn at least once: faults of what is drawn come with drawing.
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        return list(self.complaints)

    def run(self, script):
        """The value of a JavaScript expression in the page; a promise's once it is kept."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def picture(self, path):
        """Save the whole page as PNG: for people who work on it."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method, **parameters):
        """Send a command and wait for its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._take(answer)

    def _take(self, event):
        """Note an event."""
        method, told = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{told['type']}: {[arg.get('value') for arg in told['args']]}")
        elif method == "Network.requestWillBeSent":
            address, own = told["request"]["url"], self._address
            self.requests.append(address)
            # What a server gives may ask that server for more.
            if address != own and not (own.startswith("http") and address.startswith(own)):
                self.complaints.append(f"fetches {address}")

    def _message(self):
        deadline = time.monotonic() + SILENCE_SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            more = os.read(self._in, 1 << 16) if ready else b""
            if not more:
                self._said.seek(0)
                raise AssertionError("Chromium went away: " + self._said.read()[-2000:].decode(errors="replace"))
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

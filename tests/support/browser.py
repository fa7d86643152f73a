"""Debian's Chromium without a window, driven over a pipe: no package, no port, no network.

Messages of the DevTools protocol are JSON, ended by NUL, on the descriptors 3 and 4 of the browser
(``--remote-debugging-pipe``).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
REQUIRED: Final = "RECEIPTS_REQUIRE_BROWSER"
"""Environment variable: where it is set, a missing browser is a failure, and no reason to skip."""
TIMEOUT: Final = 60.0
"""Seconds that any answer may take: a machine may be busy."""

_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--mute-audio",
    "--no-first-run",
    "--no-default-browser-check",
    "about:blank",
)


class BrowserError(Exception):
    """The browser refused a command, did not answer, or is gone."""


def find_browser() -> Path | None:
    """Return the browser's program, or None where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


class Browser:
    """One browser with a profile of its own.

    Args:
        program: What :func:`find_browser` returned.
    """

    def __init__(self, program: Path) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        self._in, self._out = read_here, write_here
        # Out of the way of 3 and 4, which they become in the browser.
        there = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (read_there, write_there)]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._pid = os.posix_spawn(
                program,
                [str(program), f"--user-data-dir={self._profile.name}", *_FLAGS],
                os.environ,
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)),
                    *((os.POSIX_SPAWN_DUP2, fd, to) for fd, to in zip(there, (3, 4), strict=True)),
                ],
                setpgroup=0,
            )
        finally:
            for fd in (*there, null, read_there, write_there):
                os.close(fd)
        self._number = 0
        self._buffer = bytearray()
        self.sessions: dict[str, Page] = {}

    def close(self) -> None:
        """End the browser and all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come before it are kept.

        Raises:
            BrowserError: It failed, or no answer came in time.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        rest = memoryview(json.dumps(message).encode() + b"\0")
        while rest:
            rest = rest[os.write(self._out, rest) :]
        end = time.monotonic() + TIMEOUT
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, end: float) -> dict[str, Any]:
        """Return the next message; an event is also given to its page."""
        while (stop := self._buffer.find(0)) < 0:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BrowserError("the browser does not answer")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise BrowserError("the browser is gone")
            self._buffer += data
        message: dict[str, Any] = json.loads(self._buffer[:stop])
        del self._buffer[: stop + 1]
        page = self.sessions.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.take(message["method"], message["params"])
        return message

    def page(self) -> Page:
        """Return a new page with storage of its own."""
        return Page(self)


class Page:
    """One page, and what it asked for and complained about.

    Args:
        browser: Where it is opened.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._context = browser.command("Target.createBrowserContext")["browserContextId"]
        self._target = browser.command(
            "Target.createTarget", url="about:blank", browserContextId=self._context
        )["targetId"]
        attached = browser.command("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        browser.sessions[self._session] = self
        self.requests: list[str] = []
        """Addresses that were asked for, the page's own first."""
        self.complaints: list[str] = []
        """Violations of the content security policy, errors of scripts and of the console."""
        self.is_loaded = False
        for domain in ("Page", "Runtime", "Network", "Log", "Audits", "DOM"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this page, as :meth:`Browser.command`."""
        return self._browser.command(method, self._session, **parameters)

    def take(self, method: str, event: dict[str, Any]) -> None:
        """Keep what an event says."""
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(event["url"])
        elif method == "Page.loadEventFired":
            self.is_loaded = True
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.complaints.append(details.get("exception", details).get("description", "error"))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.complaints.append(event["entry"]["text"])
        elif method == "Audits.issueAdded":
            issue = event["issue"]
            if issue["code"] == "ContentSecurityPolicyIssue":
                self.complaints.append(json.dumps(issue["details"]))

    def open(self, file: Path) -> Page:
        """Open a file and wait until it is loaded."""
        self.requests.clear()
        self.is_loaded = False
        self.command("Page.navigate", url=file.as_uri())
        end = time.monotonic() + TIMEOUT
        while not self.is_loaded:
            if time.monotonic() > end:
                raise BrowserError(f"{file}: is not loaded in time")
            self.command("Runtime.evaluate", expression="0")
        return self

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, awaited where it is a promise.

        Raises:
            BrowserError: It throws.
        """
        answer = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", details).get("description", "error"))
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true.

        Raises:
            BrowserError: It is not in time.
        """
        end = time.monotonic() + TIMEOUT
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > end:
                state = self.evaluate("JSON.stringify(document.documentElement.dataset)")
                raise BrowserError(f"never true: {expression}; the page: {state}")
            time.sleep(0.01)

    def set_files(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in a field for files, as a reader does, and wait until the page was told."""
        self.evaluate(
            f"document.querySelector({json.dumps(selector)}).addEventListener('change',"
            " () => { document.documentElement.dataset.chosen = ''; }, { once: true })"
        )
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(f) for f in files])
        self.wait_for("'chosen' in document.documentElement.dataset")
        self.evaluate("delete document.documentElement.dataset.chosen")

    def drop(self, file: Path) -> None:
        """Drop a file from outside onto the page.

        The browser forgets a drop that comes before the page has answered that it takes files, and
        does not say so: it is dropped again until the page was told.
        """
        self.evaluate(
            "delete document.documentElement.dataset.dropped;"
            "document.addEventListener('drop',"
            " () => { document.documentElement.dataset.dropped = ''; }, { once: true })"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        end = time.monotonic() + TIMEOUT
        while not self.evaluate("'dropped' in document.documentElement.dataset"):
            if time.monotonic() > end:
                raise BrowserError("the page takes no files")
            for kind in ("dragEnter", "dragOver", "drop"):
                self.command("Input.dispatchDragEvent", type=kind, x=20, y=20, data=data)
                time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        """Give the page a window of this size, in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def emulate(self, *, scheme: str = "light", medium: str = "screen") -> None:
        """Show the page to a reader of a light or dark scheme, on screen or in print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=medium, features=features)

    def disable_scripts(self) -> None:
        """Run no script of pages that are opened from now on."""
        self.command("Emulation.setScriptExecutionDisabled", value=True)

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """Write a picture (PNG) of what is seen, or of the whole page."""
        picture = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """Close the page and forget its storage."""
        self._browser.sessions.pop(self._session, None)
        self._browser.command("Target.disposeBrowserContext", browserContextId=self._context)

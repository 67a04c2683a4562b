"""Drive a headless Chromium over its debugging pipe, without another package."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


class Browser:
    """Tab of a browser."""

    def __init__(self, send: int, receive: int):
        self._send, self._receive = send, os.fdopen(receive, "rb")
        self._count, self._buffer, self._session = 0, b"", ""
        self.problems: list[str] = []  # errors and warnings of the console, and requests for other files
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, file: Path, ready: str = "window.live.ready") -> None:
        """Open a page and wait until a promise of it is kept."""
        self.call("Page.navigate", url=file.absolute().as_uri())
        while not self.evaluate("document.readyState === 'complete' && location.href !== 'about:blank'"):
            pass
        assert not self.problems, self.problems
        self.evaluate(ready)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; that of a promise when it is kept."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text)

    def touch(self, selector: str, *places: tuple[float, float]) -> None:
        """Draw a finger over an element from place to place, or tap on one, each a share of its width and height."""
        # The finger needs a frame that shows where the page was scrolled to.
        left, top, width, height = self.evaluate(
            f"""(async () => {{
                const one = document.querySelector(`{selector}`);
                one.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}});
                for (const _ of [1, 2]) await new Promise(resume => requestAnimationFrame(() => setTimeout(resume)));
                const box = one.getBoundingClientRect();
                return [box.left, box.top, box.width, box.height];
            }})()"""
        )
        points = [{"x": left + x * width, "y": top + y * height} for x, y in places]
        for number, point in enumerate(points):
            kind = "touchMove" if number else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[point])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.evaluate("new Promise(resume => setTimeout(resume, 100))")  # for the click that follows

    def resize(self, width: int, height: int, theme: str = "light") -> None:
        """Choose the size of the window in pixels, and `light` or `dark`."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def screenshot(self, file: Path, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        content = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(content))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._receive.fileno(), 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        if method == "Log.entryAdded" or (
            method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning")
        ):
            self.problems.append(str(params))
        if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(
            ("file:", "blob:", "data:")
        ):
            self.problems.append(params["request"]["url"])
        return message


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with a new profile, and end it."""
    assert CHROMIUM
    (commands, send), (receive, answers) = os.pipe(), os.pipe()
    # The browser reads from 3 and writes to 4; the numbers that the pipes have here may be in the way.
    program = 'exec 5<&"$1" 6>&"$2" 3<&5 4>&6; shift 2; exec "$@"'
    arguments = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        ["bash", "-c", program, "bash", str(commands), str(answers), *arguments],
        pass_fds=(commands, answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for end in (commands, answers):
        os.close(end)
    try:
        yield Browser(send, receive)
    finally:
        os.close(send)  # the browser ends when its pipe is closed
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()

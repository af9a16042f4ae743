"""A headless Chromium, steered and watched over its DevTools protocol."""

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import threading
from base64 import b64decode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harness import CHROMIUM, PATIENCE, wait_until

# Seconds that a browser may take to start, and a page to load.
START = 60.0


class Browser:
    """One browser with one page. What its console complains of is kept in `faults`."""

    def __init__(self, folder, width, height, scheme, *flags):
        self.faults = []
        self.numbers, self.answers = itertools.count(1), {}
        self.ending = contextlib.ExitStack()
        folder.mkdir()
        self.process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--no-proxy-server",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                *flags,
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._attach(folder / "DevToolsActivePort")
            self._set_up(width, height, scheme)
        except BaseException:
            self.end()
            raise

    def _attach(self, told):
        """Dials the browser at the port that it writes into its folder."""
        wait_until(lambda: told.exists() and len(told.read_text().split()) == 2, "starts", START)
        port, path = told.read_text().split()
        url = f"ws://127.0.0.1:{port}{path}"
        dialled = connect(url, max_size=None, proxy=None, compression=None)
        self.socket = self.ending.enter_context(dialled)
        self.session = None
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]

    def _set_up(self, width, height, scheme):
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.do("Emulation.setEmulatedMedia", features=[feature])

    def _listen(self):
        with contextlib.suppress(ConnectionClosed):
            for text in self.socket:
                self._take(json.loads(text))

    def _take(self, told):
        if "id" in told:
            self.answers[told["id"]].put(told)
            return
        event, about = told["method"], told["params"]
        if event == "Runtime.exceptionThrown":
            self.faults.append(about["exceptionDetails"])
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.faults.append(about["args"])
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.faults.append(about["entry"])

    def do(self, method, **params):
        number = next(self.numbers)
        answer = self.answers[number] = queue.Queue()
        session = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        told = answer.get(timeout=START)
        assert "error" not in told, f"{method}: {told}"
        return told["result"]

    def open(self, url):
        assert not self.do("Page.navigate", url=url).get("errorText"), url

    def look(self, expression):
        """What an expression is worth in the page."""
        told = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait_for(self, expression, within=PATIENCE):
        wait_until(lambda: self.look(expression), expression, within)

    def picture(self):
        """The page as it is seen, as PNG."""
        return b64decode(self.do("Page.captureScreenshot", format="png")["data"])

    def end(self):
        self.ending.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

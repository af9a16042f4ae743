"""A real browser: its text, its binary, and the origins it is told to respect."""

import json
import os
import queue
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import CHROMIUM

PAGE = """<!doctype html>
<script>
  const tell = (event, data) =>
    fetch('/tell', {method: 'POST', body: JSON.stringify({event, data})});
  const socket = new WebSocket('RELAY');
  const got = [];
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => {
    socket.send('page says 🎉');
    socket.send(new Uint8Array([0, 255, 128]));
  };
  socket.onmessage = ({data}) => {
    got.push(typeof data === 'string' ? data : Array.from(new Uint8Array(data)));
    if (got.length === 4) tell('messages', got);
  };
  socket.onclose = ({code, reason}) => tell('closed', code);
</script>
"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "VEYLOR_NEEDS_CHROMIUM" not in os.environ, reason="NO CHROMIUM: not proved"
)


@pytest.fixture
def site():
    """A small HTTP server: a page, and what the page tells."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(self.server.page.encode())

        def do_POST(self):
            told = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.told.put(json.loads(told))
            self.answer(b"")

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.told, server.port = queue.Queue(), server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def browse(tmp_path):
    """Opens a page in a headless browser, which is ended with all its processes."""
    browsers = []

    def visit(url, *flags):
        browsers.append(
            subprocess.Popen(
                [
                    CHROMIUM,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--no-proxy-server",
                    "--no-first-run",
                    "--disable-background-networking",
                    f"--user-data-dir={tmp_path / str(len(browsers))}",
                    *flags,
                    url,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    yield visit
    for browser in browsers:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


def test_page_of_an_allowed_origin_talks_both_ways(world, site, browse):
    source = world.source("python ws", echo=True)
    origin = f"http://127.0.0.1:{site.port}"
    relay = world.relay(source.url, {"allowed_origins": [origin]})
    source.expect_open()
    site.page = PAGE.replace("RELAY", relay.ws_url)
    browse(f"{origin}/")
    assert source.expect("message", within=60)["type"] == "text"
    assert source.receive() == ("binary", b"\x00\xff\x80")
    source.send("text", "feed says 🎉".encode())
    source.send("binary", b"\x01\x02\x03")
    told = site.told.get(timeout=30)
    assert told["event"] == "messages"
    assert told["data"][:2] == ["page says 🎉", [0, 255, 128]]
    assert told["data"][2:] == ["feed says 🎉", [1, 2, 3]]
    assert relay.stop() == 0
    assert site.told.get(timeout=30) == {"event": "closed", "data": 1001}


def test_page_of_another_origin_is_refused(world, site, browse):
    source = world.source("python ws")
    relay = world.relay(source.url, {"allowed_origins": [f"http://127.0.0.1:{site.port}"]})
    source.expect_open()
    site.page = PAGE.replace("RELAY", relay.ws_url)
    # The same server by another name is another origin.
    browse(f"http://localhost:{site.port}/")
    assert site.told.get(timeout=60) == {"event": "closed", "data": 1006}
    assert source.events.empty()


def test_page_shows_its_token_in_a_subprotocol(world, site, browse):
    source = world.source("python ws", echo=True)
    origin = f"http://127.0.0.1:{site.port}"
    settings = {"allowed_origins": [origin], "auth": {"tokens": ["for-pages"]}}
    relay = world.relay(source.url, settings)
    source.expect_open()
    site.page = PAGE.replace("'RELAY'", f"'{relay.ws_url}', ['bearer.for-pages']")
    browse(f"{origin}/")
    assert source.expect("message", within=60)["type"] == "text"
    assert source.receive() == ("binary", b"\x00\xff\x80")


def test_page_without_its_token_is_refused(world, site, browse):
    source = world.source("python ws")
    origin = f"http://127.0.0.1:{site.port}"
    settings = {"allowed_origins": [origin], "auth": {"tokens": ["for-pages"]}}
    relay = world.relay(source.url, settings)
    source.expect_open()
    site.page = PAGE.replace("RELAY", f"{relay.ws_url}?token=wrong")
    browse(f"{origin}/")
    assert site.told.get(timeout=60) == {"event": "closed", "data": 1006}


def test_page_talks_in_tls(world, tls, site, browse):
    source = world.source("python ws", echo=True)
    origin = f"http://127.0.0.1:{site.port}"
    relay = world.relay(source.url, {"allowed_origins": [origin], "tls": tls.files})
    source.expect_open()
    site.page = PAGE.replace("RELAY", relay.ws_url.replace("ws://", "wss://"))
    browse(f"{origin}/", "--ignore-certificate-errors")
    assert source.expect("message", within=60)["type"] == "text"
    assert source.receive() == ("binary", b"\x00\xff\x80")

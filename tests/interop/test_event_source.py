"""Chromium's EventSource: its origins, its numbers, and how it comes back."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devtools import Browser
from forms import BINARY
from harness import CHROMIUM, tcp_port_listens, wait_until

# A stream that has ended is asked for again after 2 s.
RETURN = 30.0

FOLLOW = """(() => {
  window.got = [];
  window.feed = new EventSource('URL');
  for (const type of ['message', 'binary', 'gap'])
    feed.addEventListener(type, ({data, lastEventId}) => got.push([type, data, lastEventId]));
  feed.onopen = () => got.push(['open']);
  feed.onerror = () => got.push(['error', feed.readyState]);
})()"""
RETRIES, GIVES_UP = ["error", 0], ["error", 2]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "VEYLOR_NEEDS_CHROMIUM" not in os.environ, reason="NO CHROMIUM: not proved"
)


class Page:
    """The page of a browser, which follows a channel by an EventSource."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, url):
        self.browser.open(url)
        self.browser.wait_for("document.readyState === 'complete'", RETURN)

    def follow(self, url):
        self.browser.look(FOLLOW.replace("URL", url))

    def take(self, count):
        """What has come, when there is so much."""
        wait_until(lambda: len(self.got) >= count, f"{count} of {self.got}", RETURN)
        return self.got

    @property
    def got(self):
        return self.browser.look("got")

    def status(self, url):
        """How a plain request is answered; a stream's answer is read no further."""
        ask = f"fetch('{url}').then(r => {{ window.answered = r.status; r.body.cancel(); }})"
        self.browser.look(f"window.answered = 0, {ask}, 0")
        self.browser.wait_for("answered !== 0", RETURN)
        return self.browser.look("answered")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "profile"
    rule = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    browser = Browser(folder, 800, 600, "light", rule)
    yield browser
    browser.end()


@pytest.fixture
def page(browser):
    page = Page(browser)
    yield page
    browser.open("about:blank")


@pytest.fixture
def site():
    """The port of a site with an empty page, of another origin than the relay's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_page_of_the_same_port_gets_events(forms, page):
    here = forms()
    # The list of channels is a page of that origin.
    page.open(f"http://127.0.0.1:{here.shared}/")
    page.follow("/feed/sse")
    page.take(1)
    here.send("one", "two\nlines\r\nor three", BINARY, "é 🎉")
    opened, one, two, binary, last = page.take(5)
    assert opened == ["open"]
    assert one[:2] == ["message", "one"]
    assert two == ["message", "two\nlines\nor three", str(int(one[2]) + 1)]
    assert binary[:2] == ["binary", "AP+A"]
    assert last == ["message", "é 🎉", str(int(one[2]) + 3)]


def test_page_of_an_allowed_origin_gets_events(forms, page, site):
    here = forms({"allowed_origins": [f"http://127.0.0.1:{site}"], "replay": 1})
    here.send("kept")
    page.open(f"http://127.0.0.1:{site}/")
    page.follow(f"http://127.0.0.1:{here.shared}/feed/sse?match=kept")
    assert page.take(2)[1][:2] == ["message", "kept"]
    page.follow(f"http://127.0.0.1:{here.own}/sse")
    assert page.take(2)[1][:2] == ["message", "kept"]


def test_page_of_another_origin_gets_nothing(forms, page, site):
    here = forms({"allowed_origins": [f"http://127.0.0.1:{site}"], "replay": 1})
    here.send("kept")
    # The same server by another name is another origin.
    page.open(f"http://localhost:{site}/")
    page.follow(f"http://127.0.0.1:{here.shared}/feed/sse")
    assert page.take(1) == [GIVES_UP]
    here.logs("not opened (refused with 403", f'"http://localhost:{site}"')


def test_page_whose_name_was_made_to_point_here_gets_nothing(forms, page):
    here = forms({"replay": 1})
    here.send("kept")
    page.open(f"http://evil.example:{here.shared}/")
    page.follow("/feed/sse")
    assert page.take(1) == [GIVES_UP]
    here.logs("not opened (refused with 403", "by this name")
    assert page.status("/feed/ndjson") == 403
    page.open(f"http://localhost:{here.shared}/")
    assert page.status("/feed/ndjson") == 200


def test_page_by_name_gets_events_where_its_origin_is_allowed(forms, page):
    here = forms({"replay": 1, "allowed_origins": ["http://evil.example"]})
    here.send("kept")
    page.open(f"http://evil.example:{here.shared}/")
    # A port is a part of an origin.
    assert page.status("/feed/ndjson") == 403
    with here.relay.edit() as config:
        config["sources"][0]["allowed_origins"] = [f"http://evil.example:{here.shared}"]
    here.reload()
    page.follow("/feed/sse")
    assert page.take(2)[1][:2] == ["message", "kept"]


def test_page_by_name_gets_events_where_it_knows_the_token(forms, page):
    here = forms({"replay": 1, "auth": {"tokens": ["sesame-opens"]}})
    here.send("kept")
    page.open(f"http://evil.example:{here.shared}/")
    assert page.status("/feed/sse") == 401
    page.follow("/feed/sse?token=sesame-opens")
    assert page.take(2)[1][:2] == ["message", "kept"]


def test_stream_that_was_cut_goes_on_where_it_was(forms, page):
    here = forms({"history": 10})
    page.open(f"http://127.0.0.1:{here.shared}/")
    page.follow("/feed/sse")
    page.take(1)
    here.send("one")
    one = page.take(2)[1]
    here.disconnect()
    page.take(3)
    here.send("two", "three")
    assert [event[:2] for event in page.take(6)[2:]] == [
        RETRIES,
        ["open"],
        ["message", "two"],
        ["message", "three"],
    ]
    here.send("four")
    assert page.take(7)[6] == ["message", "four", str(int(one[2]) + 3)]


def test_stream_of_a_relay_that_was_restarted_tells_of_the_gap(world, forms, page):
    here = forms({"history": 10})
    page.open(f"http://127.0.0.1:{here.shared}/")
    page.follow("/feed/sse")
    page.take(1)
    here.send("one")
    one = page.take(2)[1]
    assert here.relay.stop() == 0
    relay = world.run("-c", here.relay.file, "-v", ws_port=here.own, file=here.relay.file)
    here.source.expect("close")
    here.source.expect_open()
    here.relay = relay
    wait_until(lambda: tcp_port_listens(here.shared), "it listens for all")
    here.send("two")
    wait_until(lambda: len([e for e in page.got if e[0] != "error"]) >= 5, "it is back", RETURN)
    opened, gap, two = [event for event in page.got if event[0] != "error"][2:]
    assert opened == ["open"]
    assert gap[0] == "gap" and f'"since":{one[2]}' in gap[1]
    assert two[:2] == ["message", "two"] and int(two[2]) > int(one[2])

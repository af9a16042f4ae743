"""The status page in a real browser: it loads, it lives, and it says when it does not."""

import json
import os

import pytest

from devtools import START, Browser
from harness import CHROMIUM

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "VEYLOR_NEEDS_CHROMIUM" not in os.environ, reason="NO CHROMIUM: not proved"
)

LINK = "document.querySelector('#link-text')?.textContent"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture
def browser(tmp_path):
    """Opens browsers of a size and a colour scheme."""
    opened = []

    def start(size="desktop", scheme="light"):
        folder = tmp_path / str(len(opened))
        opened.append(Browser(folder, *SIZES[size], scheme))
        return opened[-1]

    yield start
    for browser in opened:
        browser.end()


def text_of(selector):
    return f"(document.querySelector({selector!r})?.innerText ?? '')"


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES)
def test_page_shows_what_goes_on_without_complaints(world, admin, browser, size, scheme):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    page = browser(size, scheme)
    page.open(f"{admin.url}/")
    page.wait_for(f"{LINK} === 'Live'", START)
    page.wait_for(f"{text_of('#sources')}.includes('open')")
    assert "feed" in page.look(text_of("#channels"))
    assert "No clients" in page.look(text_of("#clients"))

    world.client("python ws", relay, source)
    source.send("text", b"news")
    page.wait_for("document.querySelectorAll('#clients tbody tr').length === 1")
    page.wait_for(f"/Messages in[^]*\\b1 in all/.test({text_of('#totals li')})")
    page.wait_for(f"{text_of('#verdict')}.startsWith('All is well: 1 source up, 1 client')")
    ground = page.look("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(ground) < 64) == (scheme == "dark")
    assert page.look("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert page.faults == []


def test_page_shows_names_and_addresses_as_text_only(world, admin, browser):
    source = world.source()
    name = "<img src=x onerror=alert(1)>"
    admin.relay(source.url, {"name": name})
    source.expect_open()
    page = browser()
    page.open(f"{admin.url}/")
    page.wait_for(f"{text_of('#sources h3')} === {name!r}", START)
    assert page.look("document.images.length") == 0
    assert page.faults == []


def test_page_shows_the_log_as_it_comes(world, admin, browser):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    if not tells_the_log(admin, lambda: world.client("python ws", relay, source)):
        pytest.skip("NO LOG LINES in this program's events: not proved")
    page = browser()
    page.open(f"{admin.url}/")
    page.wait_for(f"{LINK} === 'Live'", START)
    page.wait_for("document.querySelector('main[data-ready]') !== null")
    world.client("python ws", relay, source)
    page.wait_for(f"/INFO[^]*connected/.test({text_of('#log')})")
    page.look("const l = document.querySelector('#level'); l.value = '0'; 0")
    page.look("document.querySelector('#level').dispatchEvent(new Event('change'))")
    assert page.look(text_of("#log")) == ""
    assert page.faults == []


def tells_the_log(admin, act):
    """Whether one of the events of the next snapshots is a line of the log."""
    with admin.open("/api/events") as stream:
        kinds = [json.loads(stream.readline())["event"]]
        act()
        while kinds.count("snapshot") < 4:
            kinds.append(json.loads(stream.readline())["event"])
    return "log" in kinds


def test_page_says_that_a_source_is_down(world, admin, browser):
    source = world.source()
    admin.relay(source.url)
    source.expect_open()
    page = browser()
    page.open(f"{admin.url}/")
    page.wait_for(f"{text_of('#verdict')}.startsWith('All is well')", START)
    source.end()
    page.wait_for(f"{text_of('#verdict')}.startsWith('1 of 1 source down: feed')")
    page.wait_for(f"{text_of('#sources')}.includes('Last error: ')")
    assert page.look("document.title") == "1 source down – Veylor"
    assert page.faults == []


def test_page_comes_back_by_itself(world, admin, browser):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    page = browser()
    page.open(f"{admin.url}/")
    page.wait_for(f"{text_of('#verdict')}.startsWith('All is well')", START)
    assert relay.stop() == 0
    page.wait_for(f"{text_of('#verdict')}.startsWith('No news from Veylor')")
    assert page.look(LINK) != "Live"
    world.run(*relay.argv[1:])
    page.wait_for(f"{LINK} === 'Live'", START)
    page.wait_for(f"{text_of('#verdict')}.startsWith('All is well')")


def test_page_turns_dark_and_light_and_remembers(world, admin, browser):
    admin.relay(world.source().url)
    page = browser(scheme="dark")
    page.open(f"{admin.url}/")
    scheme = "document.documentElement && getComputedStyle(document.documentElement).colorScheme"
    page.wait_for(f"{LINK} === 'Live'", START)
    assert page.look(text_of("#theme")) == "Light"
    page.look("document.querySelector('#theme').click()")
    assert page.look(scheme) == "light"
    assert page.look(text_of("#theme")) == "Dark"
    page.open(f"{admin.url}/")
    page.wait_for(f"{LINK} === 'Live'", START)
    assert page.look(scheme) == "light"
    assert page.faults == []


def test_clients_are_sorted_and_filtered(world, admin, browser):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    for _ in range(2):
        world.client("python ws", relay, source)
    world.client("python unix", relay, source)
    page = browser()
    page.open(f"{admin.url}/")
    ids = "[...document.querySelectorAll('#clients tbody tr')].map(row => +row.cells[0].innerText)"
    page.wait_for(f"{ids}.length === 3", START)
    page.look("document.querySelector('#clients th button').click()")
    found = page.look(ids)
    assert found == sorted(found)
    page.look("document.querySelector('#clients th button').click()")
    assert page.look(ids) == sorted(found, reverse=True)
    page.look("const f = document.querySelector('#filter'); f.value = 'prefixed'; 0")
    page.look("document.querySelector('#filter').dispatchEvent(new Event('input'))")
    assert page.look(f"{ids}.length") == 1
    assert page.faults == []

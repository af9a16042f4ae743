"""The terminal UI in a real terminal: beside the relay in one process, and attached to another."""

import os
import re
import signal
import socket

import pytest

from harness import VEYLOR, wait_until
from terminal import TMUX, Terminal

pytestmark = pytest.mark.skipif(
    TMUX is None and "VEYLOR_NEEDS_TMUX" not in os.environ, reason="NO TMUX: not proved"
)

NARROW, WIDE, TINY = (80, 24), (200, 50), (20, 5)
at_both_sizes = pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "200x50"])
FRAMES = "─│╭╮╰╯"
# Titles of what stands side by side at 80x24, from above.
RULES = [["Sources"], ["Clients", "In", "Out", "Trouble"], ["Clients"], ["Log"]]
# At 200x50: the sources, seven cards, the clients, the log.
BOXES = 10


class Scene:
    """Two sources, one of them lost, behind a relay whose terminal UI can be opened."""

    def __init__(self, world, view):
        self.world, self.view = world, view
        self.source = world.source()
        self.url = f"ws://127.0.0.1:{self.source.port}/stream"
        self.ws_port, self.unix_path = world.free_port(), world.folder / "trades.sock"
        self.ws_url = f"ws://127.0.0.1:{self.ws_port}"
        self.door = str(world.folder / "admin.sock")
        trades = {
            "name": "trades",
            "url": self.url.replace("//", "//scott:tiger@") + "?token=tok3n",
            "websocket_host": "127.0.0.1",
            "websocket_port": self.ws_port,
            "unix_socket_path": str(self.unix_path),
        }
        quotes = {
            "name": "quotes",
            "url": f"ws://127.0.0.1:{world.free_port()}",
            "unix_socket_path": str(world.folder / "quotes.sock"),
        }
        self.config = world.config(
            {
                "sources": [trades, quotes],
                "performance": {
                    "reconnect_delay": 60,
                    "reconnect_max_delay": 60,
                    "max_queue_bytes": "8MiB",
                },
                "admin": {"unix_socket_path": self.door},
            }
        )

    def start(self, size=NARROW):
        """Starts the relay; its source is open."""
        self.size, relay = size, ["-c", self.config, "-v"]
        if self.view == "top":
            self.relay = self.world.run(*relay, ws_port=self.ws_port, unix_path=self.unix_path)
            self.relay.wait_listening()
        else:
            self.terminal = self.show(*relay, "--tui")
        self.source.expect_open()

    def open(self):
        """The terminal with the UI. One that is attached shows at once what there is."""
        if self.view == "top":
            self.terminal = self.show("top", "--socket", self.door)
        return self.terminal

    def show(self, *args):
        terminal = self.world.adopt(Terminal(self.world.folder, [VEYLOR, *args], self.size))
        terminal.wait_to_show("Veylor", "Sources", "Log")
        terminal.wait_taken()
        return terminal

    def client(self, kind="python ws"):
        return self.world.client(kind, self, self.source)


@pytest.fixture(params=["--tui", "top"])
def scene(request, world):
    return Scene(world, request.param)


@pytest.fixture
def attached(world):
    return Scene(world, "top")


@pytest.fixture
def beside(world):
    return Scene(world, "--tui")


def outline(screen):
    """The frames alone."""
    return [re.sub(f"[^{FRAMES}]", " ", row) for row in screen.rows]


def titles(row):
    return re.findall(r"(?<= )[A-Z]\w+(?= )", row)


def is_whole(screen, size):
    """Whether the picture fills the screen, and each frame in it is whole."""
    rows = screen.rows
    if screen.size() != size or not rows[0].startswith(" Veylor "):
        return False
    if size == TINY:
        return not set(FRAMES) & set(screen.text)
    if not (rows[0].endswith("● live ") and rows[-1].rstrip().endswith("? help")):
        return False
    framed = rows[1:-1]
    if size == NARROW:
        ruled = [row for row in framed if "──" in row]
        return [titles(row) for row in ruled] == RULES
    sides = {"╭": "╮", "│": "│", "╰": "╯"}
    corners = {screen.text.count(corner) for corner in "╭╮╰╯"}
    return all(sides.get(row[0]) == row[-1] for row in framed) and corners == {BOXES}


@at_both_sizes
def test_screen_shows_sources_figures_clients_and_the_log(scene, size):
    scene.start(size)
    clients = [scene.client(kind) for kind in ("python ws", "python unix")]
    scene.source.send("text", b"twelve bytes")
    for client in clients:
        assert client.receive()[1] == b"twelve bytes"
    figures = ["2 here", "1 msg 12 B", "2 msg ", "0 drops", "1 error"]
    screen = scene.open().wait_to_show("1 of 2 open", *figures, " uid ")

    up, down = screen.row("● trades"), screen.row("○ quotes")
    assert scene.url[:20] in up and re.search(r" up \d+ s ", up)
    assert re.search(r" redial (\d+ s|1m 0s) .*cannot connect", down)
    assert screen.ink("● trades") != screen.ink("○ quotes")
    more = ["Lag", "Forwarded", "Process"] if size == WIDE else []
    assert titles(screen.row(" Trouble ")) == [*RULES[1], *more]

    assert re.search(r"id +channel +kind +address +agent +lag +bytes +age +sent", screen.text)
    even = r" +– +– +– +1 "
    assert re.search(r"\d trades +ws +127\.0\.0\.1:\d+ +Python/.*" + even, screen.text)
    assert re.search(r"\d trades +unix +pid \d+ uid \d+" + even, screen.text)
    assert re.search(r"\d\d:\d\d:\d\d info  client trades#\d+ pid \d+ uid \d+: connected", screen.text)


@at_both_sizes
def test_secrets_of_a_url_are_not_shown(scene, size):
    scene.start(size)
    shown = f"{scene.url}?…" if size == WIDE else scene.url[:20]
    screen = scene.open().wait_to_show(shown, "source trades: ")
    assert not re.search("scott|tiger|tok3n", screen.text)


@at_both_sizes
def test_picture_fills_the_screen_whatever_clients_say(scene, raw, size):
    scene.start(size)
    raw(scene.ws_port).upgrade(User_Agent="a very long name " * 20)
    raw(scene.ws_port).upgrade(User_Agent="価格 ✓ " * 30)
    terminal = scene.open()
    terminal.wait_to_show("1 of 2 open", "2 by channel")
    terminal.wait_for("a whole picture", lambda screen: is_whole(screen, size))
    for name in (r" a very[a-z ]*… ", r" 価[^–]*… "):
        terminal.wait_for("the clients' names", lambda screen, name=name: re.search(name, screen.text))


def test_picture_follows_the_size_of_the_window(scene):
    scene.start()
    scene.client(), scene.client("python unix")
    terminal = scene.open()

    def when_whole(size):
        terminal.resize(size)
        return terminal.wait_for(f"all of {size}", lambda screen: is_whole(screen, size))

    def quiet_part(screen):
        """The clients and the log, in which nothing moves while nothing happens."""
        return screen.rows[screen.rows.index(screen.row("by channel")) :]

    terminal.wait_to_show("2 here", " uid ")
    first, wide = when_whole(NARROW), when_whole(WIDE)
    assert all(part in when_whole(TINY).text for part in ("○ quotes", "2 clients", "127.0.0.1"))
    assert outline(when_whole(WIDE)) == outline(wide)
    when_whole(TINY)
    assert quiet_part(when_whole(NARROW)) == quiet_part(first)


def test_question_mark_opens_the_help_and_closes_it(scene):
    scene.start()
    terminal = scene.open()
    terminal.press("?")
    terminal.wait_to_show(" Help ", "clear the log", "lag: what a client has not got yet")
    terminal.press("?")
    terminal.wait_for("no help", lambda screen: is_whole(screen, NARROW))


def test_d_changes_between_dark_and_light(scene):
    scene.start()
    terminal = scene.open()
    dark = terminal.wait_for("one ground", lambda screen: len(screen.grounds()) == 1)
    terminal.press("d")
    light = terminal.wait_for(
        "another ground",
        lambda screen: len(screen.grounds()) == 1 and screen.grounds() != dark.grounds(),
    )
    assert light.ink("Veylor") != dark.ink("Veylor")
    terminal.press("d")
    terminal.wait_for("the first ground", lambda screen: screen.grounds() == dark.grounds())


def test_slash_filters_the_clients_and_escape_shows_all(scene):
    scene.start()
    scene.client(), scene.client("python unix")
    terminal = scene.open()
    terminal.wait_to_show("Python/", " unix pid ", "2 by channel")
    terminal.press("/", *"uni")
    filtered = terminal.wait_to_show("/uni▏", "1 of 2 by channel", " unix pid ")
    assert "Python/" not in filtered.text
    terminal.press("Enter")
    terminal.wait_to_show("/uni  1 of 2 by channel", "q quit")
    terminal.press("Escape")
    terminal.wait_to_show("Python/", " unix pid ", " 2 by channel")


def test_arrows_move_the_selection_and_tab_the_focus(scene):
    scene.start()
    scene.client(), scene.client("python unix")
    terminal = scene.open()

    def wait_for_selection(*expected):
        def is_there(screen):
            ground = screen.ground("Veylor")
            rows = ["● trades", "○ quotes", *re.findall(r"trades +(?:ws|unix) ", screen.text)]
            found = [row.split()[-1] for row in rows if screen.ground(row) != ground]
            return len(rows) == 4 and found == list(expected)

        terminal.wait_for(f"selected is {expected}", is_there)

    wait_for_selection()
    for keys, expected in [
        (["Down"], ["ws"]),
        (["Down"], ["unix"]),
        (["Up"], ["ws"]),
        (["BTab", "Down"], ["quotes", "ws"]),
        (["Tab", "Down"], ["unix"]),
    ]:
        terminal.press(*keys)
        wait_for_selection(*expected)
    terminal.press("Tab", "Up", "Up")
    terminal.wait_to_show(" 2 below ")
    terminal.press("Tab")
    wait_for_selection("quotes", "unix")


def test_c_clears_the_log(scene):
    scene.start()
    terminal = scene.open()
    terminal.wait_to_show("source trades: connected")
    terminal.press("c")
    terminal.wait_to_show("nothing has happened")
    scene.client()
    screen = terminal.wait_to_show(": connected")
    assert "source trades:" not in screen.text


def test_x_asks_first_and_no_leaves_the_client(scene):
    scene.start()
    client = scene.client()
    terminal = scene.open()
    terminal.wait_to_show("Python/")
    terminal.press("Down")
    for no in ["n", "Escape"]:
        terminal.press("x")
        terminal.wait_to_show("Disconnect client", " of trades", "y disconnect   n leave")
        terminal.press(no)
        terminal.wait_for("no question", lambda screen: is_whole(screen, NARROW))
        terminal.press("y", "?")
        terminal.wait_to_show(" Help ")
        terminal.press("?")
        scene.source.send("text", b"still there")
        assert client.receive() == ("text", b"still there")


def test_x_disconnects_the_selected_client_after_a_yes(scene):
    scene.start()
    chosen, other = scene.client(), scene.client("python unix")
    terminal = scene.open()
    terminal.wait_to_show("Python/", " unix pid ")
    terminal.press("Down", "x")
    terminal.wait_to_show("Disconnect client")
    terminal.press("y")
    assert chosen.expect("close")["code"] == 1000
    scene.source.send("text", b"still there")
    assert other.receive()[1] == b"still there"
    screen = terminal.wait_to_show("gone (the operator asked", " 1 by channel")
    assert "Python/" not in screen.text and " unix pid " in screen.text


def test_slow_client_shows_its_lag_in_another_colour(scene, raw):
    scene.start()
    stalled, healthy = raw(scene.ws_port).upgrade(), scene.client()
    slow = "{}:{} ".format(*stalled.socket.getsockname())
    for _ in range(60):
        scene.source.send("text", b"x" * 65536)
    for _ in range(60):
        healthy.receive()
    lag = re.compile(rf"{slow} +([1-9]\d* +[\d.]+ MiB +[\d.]+ m?s) ")
    screen = scene.open().wait_for(
        "a slow client", lambda screen: " 1 slow " in screen.text and lag.search(screen.text)
    )
    even = re.search(r"127\.0\.0\.1:\d+ +Python/\S+ +(– +– +–) +60 ", screen.text)
    slow_inks = {screen.ink(part) for part in (slow, lag.search(screen.text)[1], "1 slow")}
    assert len(slow_inks) == 1
    assert not slow_inks & {screen.ink(even[0]), screen.ink(even[1])}


ENDINGS = {
    "q": lambda terminal: terminal.press("q"),
    "Ctrl-C": lambda terminal: terminal.press("C-c"),
    "SIGTERM": lambda terminal: terminal.signal(signal.SIGTERM),
    "SIGINT": lambda terminal: terminal.signal(signal.SIGINT),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_relay_beside_the_ui_says_goodbye_and_the_terminal_is_given_back(beside, ending):
    beside.start()
    client, terminal = beside.client(), beside.open()
    ENDINGS[ending](terminal)
    assert client.expect("close")["code"] == 1001
    terminal.wait_given_back()
    assert not beside.unix_path.exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_relay_elsewhere_goes_on_and_the_terminal_is_given_back(attached, ending):
    attached.start()
    client, terminal = attached.client(), attached.open()
    ENDINGS[ending](terminal)
    terminal.wait_given_back()
    attached.source.send("text", b"still there")
    assert client.receive() == ("text", b"still there")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_top_ends_with_its_relay_and_the_terminal_is_given_back(attached, number):
    attached.start()
    terminal = attached.open()
    attached.relay.signal(number)
    said = f"veylor: the relay at {attached.door} has ended"
    terminal.wait_given_back(said, code=1)


def test_program_ends_with_its_terminal(scene):
    scene.start()
    terminal = scene.open()
    terminal.vanish()
    wait_until(lambda: terminal.exit_code() is not None, "the program has ended")
    assert terminal.exit_code() in (0, 1)


def test_top_without_a_relay_says_so_in_one_line(world):
    nobody, left = world.folder / "nobody.sock", world.folder / "left.sock"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(left))
    for path in (nobody, left):
        top = world.run("top", "--socket", str(path))
        assert top.wait() == 1
        assert top.out == []
        (line,) = top.err
        assert line.startswith(f"veylor: no relay answers at {path}; "), line


def test_terminal_is_left_alone_where_no_relay_answers(world):
    argv = [VEYLOR, "top", "--socket", str(world.folder / "nobody.sock")]
    terminal = world.adopt(Terminal(world.folder, argv, WIDE))
    said = terminal.wait_to_show("no relay answers").rows[0].rstrip()
    terminal.wait_given_back(said, code=1)


def test_ui_without_a_terminal_says_so_and_exits_1(beside):
    relay = beside.world.run("-c", beside.config, "--tui")
    assert relay.wait() == 1
    assert "the terminal cannot be used" in relay.output

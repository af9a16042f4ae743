"""A channel's other forms, with others' programs: curl, websockets, socat, bare sockets, as a user has them."""

import json
import shutil
import socket
import ssl
import struct
import sys
from base64 import b64encode
from contextlib import closing

import pytest

from forms import BINARY
from harness import PATIENCE, ROOT, Child, tcp_port_listens, wait_until

PRETTY = b'{\n  "symbol": "BTC",\n  "price": 1\n}'


class Events:
    """A curl that reads server-sent events."""

    def __init__(self, curl):
        self.curl = curl
        wait_until(lambda: "retry: 2000" in self.lines, f"the stream begins: {curl.out}")

    @property
    def lines(self):
        return [line.rstrip("\r") for line in self.curl.out]

    def all(self):
        """The events that came whole, each as its fields."""
        _, _, stream = "\n".join(self.lines + [""]).partition("retry: 2000\n\n")
        blocks = stream.split("\n\n")[:-1]
        return [fields(block) for block in blocks if not block.startswith(":")]

    def take(self, count):
        wait_until(lambda: len(self.all()) >= count, f"{count} events: {self.curl.out}")
        return self.all()

    def data(self, count):
        return [event["data"] for event in self.take(count)]


def fields(block):
    found = {}
    for line in block.split("\n"):
        key, _, value = line.partition(": ")
        found[key] = f"{found[key]}\n{value}" if key in found else value
    return found


class Lines:
    """A curl that reads lines of JSON, as soon as it is let in."""

    def __init__(self, here, path, port=None):
        # A curl shows no head before there is a body.
        before = self.let_in(here)
        self.curl = here.curl(path, port=port)
        wait_until(lambda: self.let_in(here) > before, f"{path} begins: {self.curl.out}")

    @staticmethod
    def let_in(here):
        return sum("connected (ndjson)" in line for line in list(here.relay.err))

    def take(self, count):
        """The lines that came, when there are so many."""

        def got():
            _, _, body = "\n".join(self.curl.out).partition("\r\n\r\n")
            return body.split("\n") if body else []

        wait_until(lambda: len(got()) >= count, f"{count} lines: {self.curl.output}")
        return got()


def bare(port, tls=None):
    """A socket whose lines can be read."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    if tls:
        context = ssl.create_default_context(cafile=tls.ca)
        connection = context.wrap_socket(connection, server_hostname="localhost")
    return closing(connection)


def number_of(message):
    return json.loads(message[1])["seq"]


# --- curl


def test_curl_gets_events_with_numbers_at_both_ports(forms):
    here = forms()
    events = [
        Events(here.curl("/feed/sse")),
        Events(here.curl("/sse", port=here.own)),
        Events(here.curl("/feed", "-H", "Accept: text/event-stream")),
    ]
    here.send("plain", PRETTY, BINARY, "")
    for got in events:
        assert got.data(4) == ["plain", PRETTY.decode(), b64encode(BINARY).decode(), ""]
        plain, pretty, binary, empty = got.all()
        numbers = [int(event["id"]) for event in (plain, pretty, binary, empty)]
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert binary["event"] == "binary" and "event" not in pretty
        head = "\n".join(got.lines).lower()
        assert "\ncontent-type: text/event-stream\n" in head
        assert "\ncache-control: no-store\n" in head
    assert len({json.dumps(got.all()) for got in events}) == 1


def test_curl_gets_a_line_of_json_for_each_message(forms):
    here = forms()
    streams = [Lines(here, "/feed/ndjson"), Lines(here, "/ndjson", port=here.own)]
    here.send("plain", PRETTY, BINARY, "7")
    for lines in streams:
        got = [json.loads(line) for line in lines.take(4)]
        assert got == ["plain", json.loads(PRETTY), {"base64": b64encode(BINARY).decode()}, 7]
        assert "application/x-ndjson" in lines.curl.output


def test_list_names_every_channel(forms):
    here = forms()
    status, head, text = here.ask("/")
    assert (status, head["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "/feed" in text.splitlines()
    status, head, text = here.ask("/", "-H", "Accept: application/json")
    assert (status, head["content-type"]) == (200, "application/json")
    (channel,) = json.loads(text)["channels"]
    assert channel == {
        "name": "feed",
        "websocket": "/feed",
        "sse": "/feed/sse",
        "ndjson": "/feed/ndjson",
    }
    assert here.ask("/", "--http1.0")[0] == 200


@pytest.mark.parametrize(
    ("path", "args", "status", "word"),
    [
        ("/nope/sse", [], 404, '"nope"'),
        ("/feed", [], 426, "/sse"),
        ("/feed/ndjson?since=5", [], 410, "not kept any more"),
        ("/feed/sse?since=yesterday", [], 400, "since"),
        ("/feed/sse?match=/symbol", [], 400, "match"),
        ("/feed/ndjson?seq=1", [], 400, "seq"),
        ("/feed/sse", ["-H", "Last-Event-ID: x"], 400, "Last-Event-ID"),
        ("/feed/sse", ["-X", "POST", "-d", "x"], 405, "GET"),
        ("/feed/sse", ["-X", "DELETE"], 405, "GET"),
        ("/feed/sse", [part for n in range(120) for part in ("-H", f"X-{n}: y")], 431, "headers"),
        ("/feed/sse", ["-H", "Host:"], 400, "Host"),
        ("/feed/sse", ["-H", "Origin: https://other.example"], 403, "allowed_origins"),
    ],
)
def test_curl_is_told_what_is_wrong(forms, path, args, status, word):
    here = forms()
    found, head, body = here.ask(path, *args)
    assert found == status
    assert body.startswith(f"{status} ") and word in body
    assert head["connection"].endswith("close")


def test_head_has_no_body(forms):
    here = forms()
    curl = here.world.adopt(
        Child(["curl", "-sI", "--noproxy", "*", f"http://127.0.0.1:{here.shared}/feed/sse"])
    )
    assert curl.wait() == 0
    assert curl.out[0].startswith("HTTP/1.1 405 ")


def test_stream_is_had_over_old_http_too(forms):
    here = forms()
    events = Events(here.curl("/feed/sse", "--http1.0"))
    here.send("one")
    assert events.data(1) == ["one"]


def test_stream_wants_the_token_of_its_source(forms):
    here = forms({"auth": {"tokens": ["sesame-opens"]}})
    for path in ("/feed/sse", "/feed/ndjson", "/feed/sse?token=wrong"):
        status, head, _ = here.ask(path)
        assert (status, head["www-authenticate"]) == (401, 'bearer realm="veylor"')
    shown = [
        here.curl("/feed/sse?token=sesame-opens"),
        here.curl("/feed/sse", "-H", "Authorization: Bearer sesame-opens"),
        here.curl("/sse", "-H", "Cookie: veylor_token=sesame-opens", port=here.own),
    ]
    events = [Events(curl) for curl in shown]
    here.send("for friends")
    assert [got.data(1) for got in events] == [["for friends"]] * 3
    assert "sesame" not in here.relay.output


def test_stream_comes_in_tls(forms, tls):
    here = forms({"tls": tls.files})
    url = f"https://localhost:{here.own}/sse"
    curl = here.world.adopt(
        Child(["curl", "-isN", "--noproxy", "*", "--http1.1", "--cacert", tls.ca, url])
    )
    events = Events(curl)
    here.send("in secret")
    assert events.data(1) == ["in secret"]


# --- numbers, and coming back


def test_envelope_says_the_number_of_each_kind_of_message(forms):
    here = forms()
    client = here.follower("?seq=1")
    here.send(PRETTY, "plain", "[1, 2]", BINARY, '"quoted"', "{no json")
    kind, text = client.receive()
    assert kind == "text" and b"\n" not in text
    first = json.loads(text)["seq"]
    assert json.loads(text)["data"] == json.loads(PRETTY)
    assert json.loads(client.receive()[1]) == {"seq": first + 1, "data": "plain"}
    assert json.loads(client.receive()[1]) == {"seq": first + 2, "data": [1, 2]}
    kind, payload = client.receive()
    assert (kind, payload) == ("binary", struct.pack(">Q", first + 3) + BINARY)
    assert json.loads(client.receive()[1]) == {"seq": first + 4, "data": "quoted"}
    assert json.loads(client.receive()[1]) == {"seq": first + 5, "data": "{no json"}


def test_client_comes_back_exactly_where_it_left(forms):
    here = forms({"history": 10})
    client = here.follower("?seq=1")
    here.send("one", "two")
    client.receive()
    last = number_of(client.receive())
    client.end()
    here.send("three", "four")
    back = here.follower(f"?seq=1&since={last}")
    plain = here.follower(f"?since={last}")
    events = Events(here.curl("/feed/sse", "-H", f"Last-Event-ID: {last}"))
    lines = Lines(here, f"/feed/ndjson?since={last}")
    here.send("five")
    assert [json.loads(back.receive()[1]) for _ in range(3)] == [
        {"seq": last + n, "data": text} for n, text in enumerate(["three", "four", "five"], 1)
    ]
    assert [plain.receive()[1] for _ in range(3)] == [b"three", b"four", b"five"]
    assert events.data(3) == ["three", "four", "five"]
    assert lines.take(3) == ['"three"', '"four"', '"five"']


def test_client_of_the_manual_goes_on_where_it_was(world, folder, forms):
    here = forms({"history": 10})
    manual = (ROOT / "README.md").read_text().split("async def follow(url):")
    program = "import asyncio, json, websockets\n\nasync def follow(url):" + manual[1].split("```")[0]
    path = folder / "follow.py"
    path.write_text(program.replace("ws://127.0.0.1:8700/trades", f"ws://127.0.0.1:{here.shared}/feed"))
    reader = world.adopt(Child([sys.executable, "-u", str(path)]))
    here.logs("connected (numbered)")
    here.send("one", "two")
    wait_until(lambda: reader.out == ["one", "two"], f"both are there: {reader.out}")
    here.disconnect()
    here.send("three")
    wait_until(lambda: reader.out[2:] == ["three"], f"it goes on: {reader.output}")
    here.disconnect()
    here.send(*map(str, range(20)))
    wait_until(lambda: len(reader.out) == 14, f"it was told: {reader.output}")
    assert reader.out[3].startswith("some are lost: {'notice': 'gap'")
    assert reader.out[4:] == [str(number) for number in range(10, 20)]


def test_who_has_everything_gets_what_is_new_also_without_a_history(forms):
    here = forms()
    client = here.follower("?seq=1")
    here.send("one")
    last = number_of(client.receive())
    client.end()
    back = here.follower(f"?since={last}")
    here.send("two")
    assert back.receive() == ("text", b"two")


def test_gap_is_told_each_in_its_way(forms):
    here = forms({"history": 2})
    client = here.follower("?seq=1")
    here.send("one")
    last = number_of(client.receive())
    here.send("two", "three", "four")
    lost = here.follower(f"?since={last}")
    closed = lost.expect("close")
    assert closed["code"] == 4410 and closed["reason"].startswith("gap: ")
    notice = {"notice": "gap", "since": last, "first": last + 2}
    asks = here.follower(f"?since={last}&notices=1")
    assert json.loads(asks.receive()[1]) == notice
    assert [asks.receive()[1] for _ in range(2)] == [b"three", b"four"]
    numbered = here.follower(f"?since={last}&notices=1&seq=1")
    assert json.loads(numbered.receive()[1]) == notice
    assert number_of(numbered.receive()) == last + 2
    events = Events(here.curl(f"/feed/sse?since={last}"))
    gap, three, four = events.take(3)
    assert gap["event"] == "gap" and json.loads(gap["data"]) == notice and "id" not in gap
    assert [three["data"], four["data"]] == ["three", "four"]
    assert here.ask(f"/feed/ndjson?since={last}")[0] == 410
    told = Lines(here, f"/feed/ndjson?since={last}&notices=1").take(3)
    assert [json.loads(line) for line in told] == [notice, "three", "four"]


def test_numbers_go_on_when_the_service_comes_back(world, forms):
    here = forms({"history": 10})
    client = here.follower("?seq=1")
    here.send("one")
    last = number_of(client.receive())
    here.source = world.source_again(here.source)
    here.source.expect_open()
    here.send("two")
    assert json.loads(client.receive()[1]) == {"seq": last + 1, "data": "two"}
    back = here.follower(f"?since={last}")
    assert back.receive() == ("text", b"two")


def test_number_from_before_a_restart_is_an_honest_gap(world, forms):
    here = forms({"history": 10})
    client = here.follower("?seq=1")
    here.send("one")
    last = number_of(client.receive())
    assert here.relay.stop() == 0
    relay = world.run("-c", here.relay.file, "-v", ws_port=here.own, file=here.relay.file)
    relay.wait_listening()
    wait_until(lambda: tcp_port_listens(here.shared), "it listens for all")
    here.source.expect("close")
    here.source.expect_open()
    lost = here.follower(f"?since={last}")
    assert lost.expect("close")["code"] == 4410
    client = here.follower("?seq=1")
    here.send("two")
    assert number_of(client.receive()) > last + 1_000


# --- what is there for new clients


def test_new_client_gets_the_last_messages_first(forms):
    here = forms({"replay": 2})
    here.send("one", "two", "three")
    client, events = here.follower(), Events(here.curl("/feed/sse"))
    with bare(here.bare) as stream:
        reader = stream.makefile("rb")
        assert [reader.readline() for _ in range(2)] == [b"two\n", b"three\n"]
        here.send("four")
        assert reader.readline() == b"four\n"
    assert [client.receive()[1] for _ in range(3)] == [b"two", b"three", b"four"]
    assert events.data(3) == ["two", "three", "four"]


def test_beginning_values_and_replay_come_in_order_and_once(forms):
    values = {"key": "/s", "max_keys": 10}
    here = forms({"prologue": {"messages": 2}, "last_value": values, "replay": 2})
    said = [
        '{"hello":1}',
        '{"s":"BTC","p":1}',
        '{"s":"ETH","p":2}',
        '{"s":"BTC","p":3}',
        '{"s":"SOL","p":4}',
        '{"s":"BTC","p":5}',
    ]
    here.send(*said)
    client, events = here.follower("?seq=1"), Events(here.curl("/feed/sse"))
    lines = Lines(here, "/feed/ndjson")
    here.send("live")
    # The beginning, the latest of who is not in the replay, the replay, and what is live.
    expected = [said[0], said[1], said[2], said[4], said[5], "live"]
    got = [json.loads(client.receive()[1]) for _ in expected]
    numbers = [message["seq"] - got[0]["seq"] for message in got]
    assert numbers == [0, 1, 2, 4, 5, 6]
    assert events.data(6) == expected
    assert [json.loads(line) for line in lines.take(6)][1:3] == [json.loads(text) for text in said[1:3]]


def test_beginning_is_that_of_the_connection_that_is(world, forms):
    here = forms({"prologue": {"until": {"contains": "ready"}}})
    here.send("old hello", "old ready", "old news")
    here.source = world.source_again(here.source)
    here.source.expect_open()
    here.send("hello", "ready", "news")
    client = here.follower()
    here.send("live")
    assert [client.receive()[1] for _ in range(3)] == [b"hello", b"ready", b"live"]


# --- parts


def test_client_gets_the_part_that_it_asks_for(forms):
    here = forms()
    said = ['{"s":"BTC","v":1}', '{"s":"ETH","v":1}', '{"s":"SOL","v":2}', "about BTC", '{"s":7}']
    wanted = {
        "?match=BTC": [said[0], said[3]],
        "?match=/s=BTC,SOL": [said[0], said[2]],
        "?match=/s=BTC,ETH&match=/v=1": [said[0], said[1]],
        "?match=/s=7": [said[4]],
        "?match=contains:about": [said[3]],
    }
    clients = {query: here.follower(query) for query in wanted}
    events = Events(here.curl("/feed/sse?match=/s=ETH,SOL"))
    here.send(*said, "the end, also of BTC: about")
    for query, expected in wanted.items():
        got = [clients[query].receive()[1].decode() for _ in expected]
        assert got == expected, query
    got = events.take(2)
    assert [event["data"] for event in got] == [said[1], said[2]]
    assert int(got[1]["id"]) == int(got[0]["id"]) + 1


def test_part_is_resumed_by_the_numbers_of_the_whole(forms):
    here = forms({"history": 10})
    client = here.follower("?seq=1&match=/s=BTC")
    here.send('{"s":"BTC","n":1}', '{"s":"ETH","n":2}')
    last = number_of(client.receive())
    client.end()
    here.send('{"s":"BTC","n":3}', '{"s":"ETH","n":4}', '{"s":"BTC","n":5}')
    back = here.follower(f"?since={last}&match=/s=BTC&seq=1")
    got = [json.loads(back.receive()[1]) for _ in range(2)]
    assert [message["data"]["n"] for message in got] == [3, 5]
    assert [message["seq"] - last for message in got] == [2, 4]


def test_filters_have_a_limit_and_the_same_one_is_shared(forms):
    here = forms({"max_filters": 1})
    first, same = here.follower("?match=BTC"), here.follower("?match=BTC")
    assert here.ws("?match=ETH").expect("refused")["status"] == 503
    status, head, body = here.ask("/feed/sse?match=ETH")
    assert status == 503 and "max_filters" in body and "retry-after" in head
    here.logs("not opened (refused with 503", "max_filters")
    here.send("BTC up")
    assert first.receive() == same.receive() == ("text", b"BTC up")
    first.end()
    same.end()
    here.logs("gone")
    wait_until(lambda: sum("gone" in line for line in list(here.relay.err)) == 2, "both have gone")
    assert here.ws("?match=ETH").expect("open")


# --- bare TCP


def test_lines_go_both_ways(forms):
    here = forms()
    with bare(here.bare) as stream:
        stream.sendall(b"from a bare socket\r\n\r\n\nand more\n")
        assert here.source.receive() == ("text", b"from a bare socket")
        assert here.source.receive() == ("text", b"and more")
        here.send(PRETTY, BINARY, "plain\r\n", "é")
        reader = stream.makefile("rb")
        assert json.loads(reader.readline()) == json.loads(PRETTY)
        assert reader.readline() == b64encode(BINARY) + b"\n"
        assert reader.readline() == b"plain\n"
        assert reader.readline() == "é\n".encode()


@pytest.mark.parametrize(
    "command", [["socat", "-", "TCP:127.0.0.1:{}"], ["nc", "127.0.0.1", "{}"]], ids=["socat", "nc"]
)
def test_lines_go_both_ways_by_a_netcat(forms, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    here = forms()
    netcat = here.world.adopt(Child([part.format(here.bare) for part in command]))
    netcat.write_line("hello from outside")
    assert here.source.receive() == ("text", b"hello from outside")
    here.send("hello to it")
    wait_until(lambda: netcat.out == ["hello to it"], "it has its line")
    assert here.relay.stop() == 0


def test_lengths_frame_messages_over_tcp(forms):
    here = forms({"tcp_framing": "length"})
    with bare(here.bare) as stream:
        stream.sendall(struct.pack(">I", 5) + b"hello")
        assert here.source.receive() == ("text", b"hello")
        here.send(PRETTY, BINARY)
        reader = stream.makefile("rb")
        for payload in (PRETTY, BINARY):
            (length,) = struct.unpack(">I", reader.read(4))
            assert reader.read(length) == payload


def test_lines_come_in_tls(forms, tls):
    # A source's `tls` is that of both of its ports.
    here = forms({"tls": tls.files})
    with bare(here.bare, tls) as stream:
        stream.sendall(b"in secret\n")
        assert here.source.receive() == ("text", b"in secret")
        here.send("and back")
        assert stream.makefile("rb").readline() == b"and back\n"


def test_line_that_is_no_text_ends_its_client_alone(forms):
    here = forms()
    with bare(here.bare) as bad, bare(here.bare) as good:
        good.sendall(b"here\n")
        assert here.source.receive() == ("text", b"here")
        bad.sendall(b"\xff\xfe\n")
        assert bad.recv(1) == b""
        here.send("still")
        assert good.makefile("rb").readline() == b"still\n"


# --- who costs what


@pytest.mark.parametrize("form", ["sse", "ndjson", "tcp"])
def test_stalled_stream_costs_only_itself(forms, raw, form):
    performance = {"max_queue_size": 50, "max_pause": "2s"}
    here = forms(performance={**performance, "reconnect_delay": 0.05})
    stalled = raw(here.bare if form == "tcp" else here.shared)
    if form == "tcp":
        stalled.send(b"here\n")
        assert here.source.receive() == ("text", b"here")
    else:
        stalled.send(f"GET /feed/{form} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert stalled.response()[0] == 200
    client, events = here.follower(), Events(here.curl("/feed/sse"))
    payload = b'"' + b"x" * 60_000 + b'"'
    for _ in range(250):
        here.source.send("text", payload)
    for _ in range(250):
        assert client.receive() == ("text", payload)
    assert {len(data) for data in events.data(250)} == {len(payload)}
    here.logs("client feed#", "gone (too slow)")


def test_end_of_the_relay_ends_every_stream(forms):
    here = forms()
    events, lines = Events(here.curl("/feed/sse")), Lines(here, "/feed/ndjson")
    client = here.follower()
    with bare(here.bare) as stream:
        stream.sendall(b"here\n")
        assert here.source.receive() == ("text", b"here")
        here.send("last words")
        assert here.relay.stop() == 0
        assert stream.makefile("rb").read() == b"last words\n"
    assert client.receive() == ("text", b"last words")
    assert client.expect("close")["code"] == 1001
    # 0: the answer ended as an answer without a length does, with nothing cut off.
    assert events.curl.wait() == 0 and lines.curl.wait() == 0
    assert events.data(1) == ["last words"] and lines.take(1) == ['"last words"']


# --- changes while it runs


def test_reload_opens_and_closes_the_port_of_all(forms):
    here = forms({"history": 5})
    own = Events(here.curl("/sse", port=here.own))
    with here.relay.edit() as config:
        listen = config.pop("listen")
        config["sources"][0]["history"] = 1
    here.reload()
    wait_until(lambda: not tcp_port_listens(here.shared), "the port is closed")
    here.logs("reload: channel feed: history has changed")
    here.send("one", "two")
    assert own.data(2) == ["one", "two"]
    last = int(own.all()[0]["id"])
    with here.relay.edit() as config:
        config["listen"] = listen
    here.reload()
    here.logs("opened for all channels")
    again = here.follower(f"?since={last}")
    assert again.receive() == ("text", b"two")
    assert here.follower(f"?since={last - 1}").expect("close")["code"] == 4410


# --- what operators see


def test_operators_see_forms_and_parts(forms):
    here = forms()
    here.follower("?seq=1")
    Events(here.curl("/feed/sse?match=/s=BTC"))
    Lines(here, "/feed/ndjson")
    with bare(here.bare) as stream:
        stream.sendall(b"here\n")
        here.source.receive()
        clients = here.table("clients")
        for word in ("numbered", "sse", "ndjson", "lines", "/s=BTC"):
            assert word in clients, clients
        status = here.table("status")
        assert f"ws://127.0.0.1:{here.shared}/feed" in status, status
        assert f"tcp://127.0.0.1:{here.bare}" in status, status
    here.logs("all channels: listening at", str(here.shared))
    here.logs("connected", "(sse)", "wants /s=BTC")

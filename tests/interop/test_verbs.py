"""What an operator says to a running relay on the command line, and what it prints."""

import json
import re
import socket
import subprocess
import sys
from unittest.mock import ANY

import pytest

from harness import PATIENCE, VEYLOR

VERBS = [
    ["status"],
    ["status", "--json"],
    ["clients"],
    ["clients", "--json"],
    ["disconnect", "1"],
    ["send", "feed", "hello"],
    ["reload"],
]


@pytest.fixture
def veylor(admin):
    """Says something to the relay. The exit code, and what is printed as result and as error."""

    def say(*args, stdin=b""):
        argv = [VEYLOR, *args, "--socket", str(admin.unix_path)]
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=PATIENCE)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return say


@pytest.fixture
def source(world):
    return world.source()


@pytest.fixture
def relay(admin, source):
    """A relay whose source is up."""
    relay = admin.relay(source.url)
    source.expect_open()
    return relay


def good(said):
    """What is printed when all is well."""
    code, out, err = said
    assert (code, err) == (0, "")
    return out


def table(text):
    """The rows by their columns, which begin below their headers."""
    header, *rows = text.splitlines()
    starts = [name.start() for name in re.finditer(r"\S+( \S+)*", header)]
    slices = [slice(*ends) for ends in zip(starts, [*starts[1:], None], strict=True)]
    names, *rows = [[line[cell].strip() for cell in slices] for line in (header, *rows)]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_status_shows_sources_and_channels(world, relay, source, veylor):
    clients = [world.client(kind, relay, source) for kind in ("python ws", "node unix")]
    for _ in range(3):
        source.send("text", b"twelve bytes")
    for client in clients:
        assert [client.receive()[1] for _ in range(3)] == [b"twelve bytes"] * 3
    sources, channels = good(veylor("status")).split("\n\n")
    assert table(sources) == [
        {
            "SOURCE": "feed",
            "STATE": "open",
            "FOR": ANY,
            "IN": "3",
            "BYTES IN": "36",
            "OUT": "1",
            "DROPPED": "0",
            "CONNECTS": "1",
            "REDIAL": "",
            "SUBPROTOCOL": "",
            "URL": source.url,
            "LAST ERROR": "",
        }
    ]
    assert re.fullmatch(r"\d\.\ds|\d\ds", table(sources)[0]["FOR"])
    assert table(channels) == [
        {
            "CHANNEL": "feed",
            "CLIENTS": "2",
            "SENT": "6",
            "BYTES SENT": ANY,
            "DROPPED": "0",
            "LAG": "0",
            "PAUSED": "no",
            "AT": f"{relay.ws_url} unix:{relay.unix_path}",
        }
    ]


def test_status_shows_that_a_source_is_down(world, admin, veylor):
    patience = {"reconnect_delay": 60, "reconnect_max_delay": 60}
    admin.relay(f"ws://127.0.0.1:{world.free_port()}/stream?token=s3cret", performance=patience)
    out = good(veylor("status"))
    assert table(out.split("\n\n")[0])[0]["STATE"] in ("dialing", "waiting")
    assert "/stream?…" in out
    assert "s3cret" not in out


def test_status_as_json_is_all_that_is_known(world, relay, source, veylor):
    world.client("node ws", relay, source)
    out = good(veylor("status", "--json"))
    assert out.count("\n") == 1
    status = json.loads(out)
    assert [(found["name"], found["state"]) for found in status["sources"]] == [("feed", "open")]
    assert [(found["name"], found["clients"]) for found in status["channels"]] == [("feed", 1)]
    assert [found["channel"] for found in status["clients"]] == ["feed"]
    assert status["process"]["resident_bytes"] > 1e6


def test_clients_shows_a_line_for_each(world, relay, source, veylor):
    clients = [world.client(kind, relay, source) for kind in ("python ws", "node unix")]
    source.send("text", b"news")
    for client in clients:
        client.receive()
    clients[0].send("text", b"answer")
    source.receive()
    rows = sorted(table(good(veylor("clients"))), key=lambda row: int(row["ID"]))
    assert rows == [
        {
            "ID": ANY,
            "CHANNEL": "feed",
            "WIRE": wire,
            "WANTS": "",
            "PEER": ANY,
            "NAME": "",
            "FOR": ANY,
            "LAG": "0",
            "LAG BYTES": "0",
            "LAG AGE": "0.0s",
            "SENT": "1",
            "RECEIVED": "1",
            "DROPPED": "0",
            "AGENT": ANY,
        }
        for wire in ("websocket", "prefixed")
    ]
    assert rows[0]["PEER"].startswith("127.0.0.1:")
    assert rows[0]["AGENT"].startswith(f"Python/{sys.version_info.major}.")
    assert rows[1]["AGENT"] == ""


def test_clients_without_any_is_a_header_alone(relay, veylor):
    assert good(veylor("clients")).split()[:2] == ["ID", "CHANNEL"]
    assert table(good(veylor("clients"))) == []
    assert good(veylor("clients", "--json")) == "[]\n"


def test_clients_as_json_is_a_list(world, relay, source, veylor):
    world.client("python ws", relay, source)
    out = good(veylor("clients", "--json"))
    assert out.count("\n") == 1
    (client,) = json.loads(out)
    assert (client["channel"], client["wire"]) == ("feed", "websocket")
    assert client["user_agent"].startswith("Python/")


@pytest.mark.parametrize("kind", ["python ws", "node ws", "node unix"])
def test_disconnect_sees_a_client_off(world, relay, source, veylor, kind):
    client = world.client(kind, relay, source)
    number = table(good(veylor("clients")))[0]["ID"]
    assert good(veylor("disconnect", number)) == f"client {number} is disconnected\n"
    reason = "the operator asked for it" if client.wire == "ws" else ""
    assert client.expect("close")["reason"] == reason
    assert table(good(veylor("clients"))) == []


def test_disconnect_of_nobody_is_an_error(admin, relay, veylor):
    said = f"veylor: the relay at {admin.unix_path} says 404: there is no client 4711\n"
    assert veylor("disconnect", "4711") == (1, "", said)
    assert veylor("disconnect", "me")[0] == 2


@pytest.mark.parametrize("text", ["hello", "", "grüße, 世界", "two\nlines"])
def test_send_takes_a_text(relay, source, veylor, text):
    assert good(veylor("send", "feed", text)) == "on its way to feed\n"
    assert source.receive() == ("text", text.encode())


def test_send_takes_lines_as_they_come(world, admin, relay, source):
    send = world.run("send", "feed", "--socket", str(admin.unix_path))
    for line in ("first", "", "thïrd"):
        send.write_line(line)
        assert source.receive() == ("text", line.encode())
    send.process.stdin.close()
    assert send.wait() == 0
    assert send.output == ""


def test_send_ends_at_the_first_line_that_fails(admin, relay, source, veylor):
    said = f"veylor: the relay at {admin.unix_path} says 404: there is no source fed\n"
    assert veylor("send", "fed", stdin=b"one\ntwo\n") == (1, "", said)
    said = "veylor: cannot read stdin: stream did not contain valid UTF-8\n"
    assert veylor("send", "feed", stdin=b"good\n\xff\nlost\n") == (1, "", said)
    assert source.receive() == ("text", b"good")
    # Nothing of what was not sent comes before this.
    good(veylor("send", "feed", "last"))
    assert source.receive() == ("text", b"last")


def test_send_takes_a_long_line(relay, source, veylor):
    line = b"a" * 100_000
    good(veylor("send", "feed", stdin=line))
    assert source.receive() == ("text", line)


def test_send_to_a_source_that_is_down_is_an_error(world, admin, veylor):
    admin.relay(f"ws://127.0.0.1:{world.free_port()}")
    why = "says 409: source feed is down, or takes no more at the moment"
    said = (1, "", f"veylor: the relay at {admin.unix_path} {why}\n")
    assert veylor("send", "feed", "hello") == said
    assert veylor("send", "feed", stdin=b"hello\n") == said


def test_reload_prints_what_has_changed(relay, veylor):
    with relay.edit() as config:
        config["performance"] |= {"max_queue_size": 7, "reconnect_delay": 0.06}
    assert good(veylor("reload")) == (
        "source feed: reconnect_delay has changed\nchannel feed: max_queue_size has changed\n"
    )
    assert good(veylor("reload")) == "nothing has changed\n"


def test_reload_of_a_wrong_file_prints_its_problems(world, relay, veylor):
    with relay.edit() as config:
        config["sources"][0] |= {"slow_client": "explode", "websocket_port": 99999}
    check = world.run("check", "-c", relay.file)
    assert check.wait() == 2
    code, out, err = veylor("reload")
    assert (code, out) == (1, "")
    assert len(check.err) == 2
    assert all(problem in err for problem in check.err)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_without_a_relay_each_says_what_to_look_at(admin, veylor, verb):
    advice = f"veylor: no relay answers at {admin.unix_path}; is it running"
    code, out, err = veylor(*verb)
    assert (code, out) == (1, "")
    assert err.startswith(advice)
    assert "--socket" in err
    assert err.endswith(": No such file or directory (os error 2)\n")

    # As after the end of one that could not clean up.
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(admin.unix_path))
        code, out, err = veylor(*verb)
    assert (code, out) == (1, "")
    assert err.startswith(advice)
    assert err.endswith(": Connection refused (os error 111)\n")

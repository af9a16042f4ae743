"""The operator's doors as curl finds them: what is asked, and what is answered, word for word.

In a transcript, lines with `>` are the request's and lines with `<` the answer's; bodies stand
between them as they are. Headers that it does not name do not count.
"""

import json
import os
import re
import stat
import subprocess
import textwrap
from socket import SO_RCVBUF, SOL_SOCKET

import pytest

from harness import PATIENCE, Admin, Child, World, short_folder, wait_until

MIB = 1024 * 1024
DOORS = ["tcp", "unix"]
READABLE = ["/", "/healthz", "/readyz", "/metrics", "/api/status"]
ACTING = [
    "/api/reload",
    "/api/clients/1/disconnect",
    "/api/sources/feed/send",
    "/api/sources/feed/redial",
]


class Answer:
    """What curl wrote: a head and a body."""

    def __init__(self, written):
        head, _, self.body = written.partition(b"\r\n\r\n")
        self.status_line, *fields = head.decode().split("\r\n")
        self.headers = dict(field.split(": ", 1) for field in fields)

    def transcript(self, names):
        fields = [f"{name}: {value}" for name, value in self.headers.items() if name in names]
        head = "\n".join(f"< {line}" for line in [self.status_line, *fields])
        return f"{head}\n\n{self.body.decode()}".rstrip("\n")


class Door:
    """One of the doors, asked by curl."""

    def __init__(self, admin, name):
        self.url = admin.url
        self.way = ["--unix-socket", str(admin.unix_path)] if name == "unix" else []

    def command(self, *paths, options=()):
        """The command line that asks for these paths."""
        usual = ["curl", "-q", "-isS", "--noproxy", "*", "--max-time", str(PATIENCE)]
        return [*usual, *self.way, *options, *(self.url + path for path in paths)]

    def curl(self, *paths, options=(), body=b""):
        """What curl writes, heads and bodies."""
        command = self.command(*paths, options=options)
        done = subprocess.run(command, input=body, capture_output=True, timeout=2 * PATIENCE)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def ask(self, method, path, *headers, body=b""):
        options = [] if method == "GET" else ["-X", method]
        if method == "HEAD":
            # A body, if there were one, would be written.
            options += ["--ignore-content-length", "-H", "Connection: close"]
        if body:
            options += ["--data-binary", "@-"]
        for header in headers:
            options += ["-H", header]
        return Answer(self.curl(path, options=options, body=body))

    def status(self):
        """What the status tells, the clients in the order of their arrival."""
        status = json.loads(self.ask("GET", "/api/status").body)
        status["clients"].sort(key=lambda client: client["id"])
        return status

    def holds(self, transcript, body=None):
        """Asks what the transcript asks, with that body or its own, and gets what it tells."""
        lines = textwrap.dedent(transcript).strip("\n")
        asked, _, answered = lines.partition("\n\n< ")
        head, _, text = asked.partition("\n\n")
        request, *headers = [line.removeprefix("> ") for line in head.split("\n")]
        answer = self.ask(*request.split(" "), *headers, body=body or text.encode())
        named = answered.partition("\n\n")[0].split("\n< ")[1:]
        assert answer.transcript([field.split(":")[0] for field in named]) == f"< {answered}"


@pytest.fixture(scope="module")
def lobby(needs_admin_door):
    """The doors of a relay whose source is up, for all who leave it as it is."""
    with short_folder() as folder, World(folder, tls=None) as world:
        source, admin = world.source(), Admin(world)
        admin.relay(source.url)
        source.expect_open()
        yield admin


@pytest.fixture(params=DOORS)
def door(lobby, request):
    return Door(lobby, request.param)


@pytest.fixture
def acting_door(lobby):
    return Door(lobby, "unix")


def chosen(found, **expected):
    """That of what was found which is expected of it."""
    return {name: found[name] for name in expected}


# What is read.


def test_page_is_html_that_may_load_nothing_from_elsewhere(door):
    answer = door.ask("GET", "/")
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert {"connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} < set(policy)
    assert answer.body.startswith(b"<!doctype html>")
    assert answer.body.endswith(b"</html>\n")


def test_health_is_told_while_the_loop_turns(door):
    door.holds("""
        > GET /healthz

        < HTTP/1.1 200 OK
        < Content-Type: text/plain; charset=utf-8
        < Cache-Control: no-store
        < X-Content-Type-Options: nosniff
        < Content-Length: 3

        ok
    """)


def test_query_of_a_path_does_not_count(door):
    door.holds("""
        > GET /healthz?from=balancer

        < HTTP/1.1 200 OK

        ok
    """)


def test_relay_is_ready_when_its_sources_are_up(door):
    door.holds("""
        > GET /readyz

        < HTTP/1.1 200 OK
        < Content-Type: text/plain; charset=utf-8

        every source is up
    """)


def test_relay_is_not_ready_while_a_source_is_down_and_names_it(world, admin):
    source = world.source()
    urls = {"trades": source.url, "quotes": f"ws://127.0.0.1:{world.free_port()}"}
    config = {
        "sources": [
            {"name": name, "url": url, "unix_socket_path": str(world.folder / f"{name}.sock")}
            for name, url in urls.items()
        ],
        "performance": {"reconnect_delay": 60, "reconnect_max_delay": 60},
        "admin": admin.settings,
    }
    relay = world.run("-c", world.config(config))
    source.expect_open()
    wait_until(lambda: "source quotes: cannot connect" in relay.output, "it is known to be down")
    for name in DOORS:
        Door(admin, name).holds("""
            > GET /readyz

            < HTTP/1.1 503 Service Unavailable
            < Content-Type: text/plain; charset=utf-8

            quotes: waiting
        """)


def test_metrics_are_the_text_that_prometheus_reads(door):
    answer = door.ask("GET", "/metrics")
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'\nveylor_source_up{source="feed"} 1\n' in answer.body


def test_status_is_json(door):
    answer = door.ask("GET", "/api/status")
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body)["sources"][0]["name"] == "feed"


def test_status_tells_sources_channels_and_clients(world, admin, raw):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    neighbour = world.client("python unix", relay, source)
    desk = raw(relay.ws_port)
    desk.request(headers=[("User-Agent", "desk/1.0")])
    assert desk.response()[0] == 101
    for _ in range(3):
        source.send("text", b"twelve bytes")
        assert desk.read_frame()[1] == neighbour.receive()[1] == b"twelve bytes"

    expected_source = {
        "name": "feed",
        "url": source.url,
        "state": "open",
        "peer": f"127.0.0.1:{source.port}",
        "connects": 1,
        "received_messages": 3,
        "received_bytes": 36,
        "largest_bytes": 12,
        "forwarded_messages": 1,
        "dropped_messages": 0,
    }
    expected_channel = {
        "name": "feed",
        "sources": ["feed"],
        "endpoints": [relay.ws_url, f"unix:{relay.unix_path}"],
        "clients": 2,
        "clients_ever": 2,
        "sent_messages": 6,
        "received_messages": 1,
        "max_lag_messages": 0,
    }
    expected_clients = [
        {"wire": "prefixed", "user_agent": None, "received_messages": 1},
        {
            "wire": "websocket",
            "user_agent": "desk/1.0",
            "peer": "127.0.0.1:{}".format(desk.socket.getsockname()[1]),
            "received_messages": 0,
        },
    ]
    for name in DOORS:
        status = Door(admin, name).status()
        (found,) = status["sources"]
        assert chosen(found, **expected_source) == expected_source
        (found,) = status["channels"]
        assert chosen(found, **expected_channel) == expected_channel
        for client, expected in zip(status["clients"], expected_clients, strict=True):
            expected |= {"channel": "feed", "sent_messages": 3, "lag_messages": 0, "lag_bytes": 0}
            assert chosen(client, **expected) == expected


def test_status_tells_how_far_behind_a_client_is(world, admin, raw):
    source = world.source()
    room = {"max_queue_bytes": 16 * MIB, "max_pause": 60}
    relay = admin.relay(source.url, performance=room)
    source.expect_open()
    stalled = raw(relay.ws_port)
    stalled.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
    stalled.upgrade()
    reading = world.client("python ws", relay, source)
    for _ in range(12):
        source.send("binary", bytes(MIB))
    for _ in range(12):
        reading.receive()
    for name in DOORS:
        slow, fast = Door(admin, name).status()["clients"]
        assert 0 < slow["lag_messages"] <= 12
        assert MIB < slow["lag_bytes"] < 13 * MIB
        assert slow["lag_seconds"] > 0
        assert slow["is_blocked"]
        assert (fast["lag_messages"], fast["lag_bytes"]) == (0, 0)


def test_secrets_of_an_url_are_told_nowhere(world, admin):
    url = f"ws://alice:s3cret@127.0.0.1:{world.free_port()}/stream?token=s3cret"
    admin.relay(url)
    for name in DOORS:
        door = Door(admin, name)
        (source,) = door.status()["sources"]
        assert source["url"] == url.replace("alice:s3cret@", "").replace("token=s3cret", "…")
        for path in READABLE:
            assert b"s3cret" not in door.ask("GET", path).body


@pytest.mark.parametrize("name", DOORS)
def test_events_are_a_snapshot_and_then_the_log_as_it_comes(world, admin, name):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    curl = world.adopt(Child(Door(admin, name).command("/api/events", options=["-N"])))
    wait_until(lambda: "\r" in curl.out[:-1], "the head and the first event are there")
    head = curl.out[: curl.out.index("\r")]
    assert head[0] == "HTTP/1.1 200 OK\r"
    assert "Content-Type: application/x-ndjson\r" in head

    def events():
        return [json.loads(line) for line in list(curl.out)[len(head) + 1 :]]

    first = events()[0]
    assert first["event"] == "snapshot"
    assert [source["name"] for source in first["sources"]] == ["feed"]
    assert first["clients"] == []

    world.client("python ws", relay, source)
    arrived = re.compile(r"client feed#\d+ 127\.0\.0\.1:\d+: connected")

    def arrivals():
        return [event for event in events() if arrived.fullmatch(event.get("text", ""))]

    wait_until(arrivals, "the client's arrival is told")
    (line,) = arrivals()
    assert (line["event"], line["level"]) == ("log", "info")
    assert relay.stop() == 0
    assert curl.wait() == 0


# How it is read.


@pytest.mark.parametrize("path", READABLE)
def test_head_is_answered_as_get_but_without_the_body(door, path):
    whole, head = door.ask("GET", path), door.ask("HEAD", path)
    assert head.status_line == whole.status_line == "HTTP/1.1 200 OK"
    assert head.headers.pop("Connection") == "close"
    assert head.body == b""
    # Figures grow from one answer to the next.
    growth = 100 if path in ("/metrics", "/api/status") else 0
    assert abs(int(head.headers.pop("Content-Length")) - len(whole.body)) <= growth
    assert int(whole.headers.pop("Content-Length")) == len(whole.body)
    assert head.headers == whole.headers


def test_connection_serves_one_request_after_the_other(door):
    def connects(*options):
        """The status of two answers, and how many connections each took."""
        to_nowhere = ["-o", os.devnull] * 2
        options = [*to_nowhere, "-w", "%{http_code} %{num_connects}\n", *options]
        return door.curl("/healthz", "/nowhere", options=options).decode().splitlines()

    assert connects() == ["200 1", "404 0"]
    assert connects("-H", "Connection: close") == ["200 1", "404 1"]
    assert connects("--http1.0") == ["200 1", "404 1"]


def test_unix_door_is_open_to_its_owner_alone(lobby):
    mode = lobby.unix_path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


# What is done.


def test_reload_tells_each_change_when_it_is_done(world, admin):
    relay = admin.relay(world.source().url)
    door = Door(admin, "unix")
    with relay.edit() as config:
        config["performance"] |= {"max_queue_size": 7, "reconnect_delay": 0.06}
    door.holds("""
        > POST /api/reload

        < HTTP/1.1 200 OK
        < Content-Type: text/plain; charset=utf-8

        source feed: reconnect_delay has changed
        channel feed: max_queue_size has changed
    """)
    (channel,) = door.status()["channels"]
    assert [backlog["max_messages"] for backlog in channel["backlogs"]] == [7, 7]
    door.holds("""
        > POST /api/reload

        < HTTP/1.1 200 OK
        < Content-Type: text/plain; charset=utf-8

        nothing has changed
    """)


def test_reload_of_a_wrong_file_tells_its_problems_and_changes_nothing(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    client = world.client("python ws", relay, source)
    with relay.edit() as config:
        config["sources"][0] |= {"slow_client": "explode", "websocket_port": 99999}
    check = world.run("check", "-c", relay.file)
    assert check.wait() == 2

    answer = Door(admin, "unix").ask("POST", "/api/reload")
    assert answer.status_line == "HTTP/1.1 422 Unprocessable Content"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    problems = answer.body.decode().splitlines()
    assert problems == ["nothing is changed", *check.err]
    assert len(problems) == 3
    source.send("text", b"unharmed")
    assert client.receive() == ("text", b"unharmed")


def test_disconnected_client_gets_its_close_and_others_stay(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    door = Door(admin, "unix")
    kinds = ["python ws", "node ws", "python unix", "node unix"]
    clients = [world.client(kind, relay, source) for kind in kinds]
    ids = [client["id"] for client in door.status()["clients"]]
    leaving = dict(zip(ids, clients, strict=True))
    staying = leaving.pop(ids[-1])
    for id, client in leaving.items():
        door.holds(f"""
            > POST /api/clients/{id}/disconnect

            < HTTP/1.1 200 OK
            < Content-Type: text/plain; charset=utf-8

            client {id} is disconnected
        """)
        close = client.expect("close")
        if client.wire == "ws":
            assert (close["code"], close["reason"]) == (1000, "the operator asked for it")
    source.send("text", b"still here")
    assert staying.receive() == ("bytes", b"still here")
    door.holds(f"""
        > POST /api/clients/{ids[0]}/disconnect

        < HTTP/1.1 404 Not Found

        there is no client {ids[0]}
    """)


@pytest.mark.parametrize("id", ["4711", "-1", "me"])
def test_client_that_is_not_there_cannot_be_disconnected(acting_door, id):
    acting_door.holds(f"""
        > POST /api/clients/{id}/disconnect

        < HTTP/1.1 404 Not Found
        < Content-Type: text/plain; charset=utf-8

        there is no client {id}
    """)


def test_messages_reach_the_source_as_what_they_are(world, admin):
    source = world.source()
    admin.relay(source.url)
    source.expect_open()
    door = Door(admin, "unix")
    door.holds("""
        > POST /api/sources/feed/send
        > Content-Type: text/plain

        grüße
        und mehr

        < HTTP/1.1 202 Accepted
        < Content-Type: text/plain; charset=utf-8

        on its way to feed
    """)
    assert source.receive() == ("text", "grüße\nund mehr".encode())
    # As `curl -d` sends it, which names a type that has nothing to say here.
    door.holds("""
        > POST /api/sources/feed/send

        {"op": "subscribe"}

        < HTTP/1.1 202 Accepted

        on its way to feed
    """)
    assert source.receive() == ("text", b'{"op": "subscribe"}')
    door.holds("""
        > POST /api/sources/feed/send
        > Content-Type: application/octet-stream

        bytes

        < HTTP/1.1 202 Accepted

        on its way to feed
    """)
    assert source.receive() == ("binary", b"bytes")
    # What is not UTF-8 cannot be text.
    accepted = """
        > POST /api/sources/feed/send

        < HTTP/1.1 202 Accepted

        on its way to feed
    """
    door.holds(accepted, body=b"\xff\x00\n")
    assert source.receive() == ("binary", b"\xff\x00\n")
    door.holds(accepted)
    assert source.receive() == ("text", b"")


def test_type_may_have_parameters(world, admin):
    source = world.source()
    admin.relay(source.url)
    source.expect_open()
    Door(admin, "unix").holds("""
        > POST /api/sources/feed/send
        > Content-Type: application/octet-stream; charset=binary

        bytes

        < HTTP/1.1 202 Accepted

        on its way to feed
    """)
    assert source.receive() == ("binary", b"bytes")


def test_message_may_have_1_mib(world, admin):
    source = world.source()
    admin.relay(source.url)
    source.expect_open()
    message = b"a" * MIB
    accepted = """
        > POST /api/sources/feed/send

        < HTTP/1.1 202 Accepted

        on its way to feed
    """
    Door(admin, "unix").holds(accepted, body=message)
    assert source.receive() == ("text", message)


def test_source_that_is_unknown_is_sent_nothing(acting_door):
    acting_door.holds("""
        > POST /api/sources/fed/send

        hello

        < HTTP/1.1 404 Not Found
        < Content-Type: text/plain; charset=utf-8

        there is no source fed
    """)


def test_source_that_is_down_is_sent_nothing(world, admin):
    admin.relay(f"ws://127.0.0.1:{world.free_port()}")
    Door(admin, "unix").holds("""
        > POST /api/sources/feed/send

        hello

        < HTTP/1.1 409 Conflict
        < Content-Type: text/plain; charset=utf-8

        source feed is down, or takes no more at the moment
    """)


def test_redialled_source_gets_a_goodbye_and_a_new_connection(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    client = world.client("python ws", relay, source)
    door = Door(admin, "unix")
    door.holds("""
        > POST /api/sources/feed/redial

        < HTTP/1.1 202 Accepted
        < Content-Type: text/plain; charset=utf-8

        source feed is dialled again
    """)
    assert source.expect("close")["code"] == 1000
    source.expect_open()
    source.send("text", b"and on")
    assert client.receive() == ("text", b"and on")
    (found,) = door.status()["sources"]
    assert (found["state"], found["connects"]) == ("open", 2)


def test_source_that_is_waited_for_is_dialled_at_once(world, admin):
    port = world.free_port()
    patience = {"reconnect_delay": 60, "reconnect_max_delay": 60}
    relay = admin.relay(f"ws://127.0.0.1:{port}", performance=patience)
    wait_until(lambda: "source feed: cannot connect" in relay.output, "it is waited for")
    source = world.source("python ws", "--port", str(port))
    Door(admin, "unix").ask("POST", "/api/sources/feed/redial")
    source.expect_open()


def test_source_that_is_unknown_is_not_redialled(acting_door):
    acting_door.holds("""
        > POST /api/sources/fed/redial

        < HTTP/1.1 404 Not Found

        there is no source fed
    """)


@pytest.mark.parametrize("path", ACTING)
def test_door_over_tcp_only_reads(lobby, path):
    Door(lobby, "tcp").holds(f"""
        > POST {path}

        < HTTP/1.1 403 Forbidden
        < Content-Type: text/plain; charset=utf-8

        this door only reads; acting takes the Unix socket
    """)


# What is refused.


@pytest.mark.parametrize("path", ["/nowhere", "/healthz/", "//", "/api", "/api/clients/1"])
def test_what_is_not_there_is_told_with_where_to_look(door, path):
    door.holds(f"""
        > GET {path}

        < HTTP/1.1 404 Not Found
        < Content-Type: text/plain; charset=utf-8

        there is nothing here; try / or /api/status
    """)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_what_is_read_takes_no_post(door, path):
    door.holds(f"""
        > POST {path}

        < HTTP/1.1 405 Method Not Allowed
        < Allow: GET, HEAD

        only GET here
    """)


def test_status_takes_no_delete(door):
    door.holds("""
        > DELETE /api/status

        < HTTP/1.1 405 Method Not Allowed
        < Allow: GET, HEAD

        only GET here
    """)


def test_events_have_no_head_alone(door):
    door.holds("""
        > HEAD /api/events

        < HTTP/1.1 405 Method Not Allowed
        < Allow: GET
    """)


@pytest.mark.parametrize("path", ACTING)
def test_what_acts_takes_no_get(door, path):
    door.holds(f"""
        > GET {path}

        < HTTP/1.1 405 Method Not Allowed
        < Allow: POST

        only POST here
    """)


def test_door_may_ask_for_a_password(world, admin):
    source = world.source()
    people = {"tokens": ["for-machines"], "basic": [{"user": "ann", "password": "secret"}]}
    world.relay(source.url, admin={**admin.settings, "auth": people})
    door = Door(admin, "tcp")
    answer = door.ask("GET", "/api/status")
    assert answer.status_line == "HTTP/1.1 401 Unauthorized"
    assert b"this endpoint wants a token or a password" in answer.body
    for options in (
        ["-u", "ann:secret"],
        ["-H", "Authorization: Bearer for-machines"],
        ["-b", "veylor_token=for-machines"],
    ):
        assert Answer(door.curl("/healthz", options=options)).body == b"ok\n"
    wrong = Answer(door.curl("/healthz", options=["-u", "ann:wrong"]))
    assert wrong.status_line == "HTTP/1.1 401 Unauthorized"
    assert Door(admin, "unix").ask("GET", "/healthz").body == b"ok\n"


def test_page_of_another_name_that_points_here_reads_nothing(admin, world):
    admin.relay(world.source().url)
    answer = Door(admin, "tcp").ask("GET", "/api/status", "Host: evil.example")
    assert answer.status_line == "HTTP/1.1 421 Misdirected Request"
    assert Door(admin, "tcp").ask("GET", "/healthz", "Host: LOCALHOST:1").body == b"ok\n"
    # Nothing of a browser's comes here.
    assert Door(admin, "unix").ask("GET", "/healthz", "Host: relay").body == b"ok\n"


def test_what_acts_takes_no_put(acting_door):
    acting_door.holds("""
        > PUT /api/reload

        < HTTP/1.1 405 Method Not Allowed
        < Allow: POST

        only POST here
    """)


def test_body_above_1_mib_is_too_large(door):
    transcript = """
        > POST /api/sources/feed/send

        < HTTP/1.1 413 Content Too Large
        < Content-Type: text/plain; charset=utf-8
        < Connection: close

        the body is above 1 MiB
    """
    door.holds(transcript, body=b"a" * (MIB + 1))


def test_head_above_16_kib_is_too_large(door):
    door.holds(f"""
        > GET /healthz
        > Cookie: {"a" * 16 * 1024}

        < HTTP/1.1 431 Request Header Fields Too Large
        < Content-Type: text/plain; charset=utf-8
        < Connection: close

        the request's head is above 16 KiB
    """)


def test_body_in_chunks_needs_a_length(door):
    door.holds("""
        > POST /api/sources/feed/send
        > Transfer-Encoding: chunked

        hello

        < HTTP/1.1 411 Length Required
        < Content-Type: text/plain; charset=utf-8
        < Connection: close

        a body needs a Content-Length here
    """)


def test_length_that_is_no_number_is_refused(door):
    door.holds("""
        > GET /healthz
        > Content-Length: many

        < HTTP/1.1 400 Bad Request
        < Content-Type: text/plain; charset=utf-8
        < Connection: close

        Content-Length is not a number
    """)


def test_what_is_no_http_is_refused(door):
    door.holds("""
        > GET /healthz
        > A Header: with a space in its name

        < HTTP/1.1 400 Bad Request
        < Content-Type: text/plain; charset=utf-8
        < Connection: close

        not an HTTP request
    """)


def test_who_asks_whether_the_body_may_come_is_told(acting_door):
    # It would send it unasked after a minute, and gives up before.
    asking = ["-H", "Expect: 100-continue", "--expect100-timeout", "60", "--max-time", "1"]
    acting_door.curl("/api/sources/feed/send", options=[*asking, "-d", "hello"])

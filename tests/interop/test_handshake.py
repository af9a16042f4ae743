"""What is agreed before the first message: headers, subprotocols, origins, plain HTTP."""

import subprocess

import pytest

from harness import Tls, wait_until

CLIENTS = ["python ws", "node ws"]
LANGUAGES = ["python", "node"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_headers_and_path_reach_the_source(world, language):
    token = world.folder / "token"
    token.write_text("first-s3cret\n")
    source = world.source(f"{language} ws")
    headers = {"Authorization": f"Bearer ${{file:{token}}}", "X-Desk": "${env:DESK}"}
    url = f"{source.url}/stream?pair=a%20b"
    relay = world.relay(url, {"headers": headers}, env={"DESK": "seven"})
    opened = source.expect_open()
    assert opened["path"] == "/stream?pair=a%20b"
    assert opened["headers"]["authorization"] == "Bearer first-s3cret"
    assert opened["headers"]["x-desk"] == "seven"
    assert opened["headers"]["host"] == f"127.0.0.1:{source.port}"

    # A rotated token is read at the next dial.
    token.write_text("second-s3cret\n")
    source.do("close", code=1012)
    source.expect("close")
    assert source.expect_open()["headers"]["authorization"] == "Bearer second-s3cret"
    assert relay.stop() == 0
    assert "s3cret" not in relay.output


@pytest.mark.parametrize("language", LANGUAGES)
def test_user_and_password_of_the_url_become_basic_authorization(world, language):
    source = world.source(f"{language} ws")
    relay = world.relay(source.url.replace("ws://", "ws://alice:s%40cret@"))
    assert source.expect_open()["headers"]["authorization"] == "Basic YWxpY2U6c0BjcmV0"
    assert relay.stop() == 0
    assert "cret" not in relay.output


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_subprotocol_is_agreed_on_both_sides(world, language, kind):
    source = world.source(f"{language} ws", "--subprotocol", "v1.json")
    relay = world.relay(source.url, {"subprotocols": ["v2.json", "v1.json"]})
    opened = source.expect_open()
    assert opened["headers"]["sec-websocket-protocol"].replace(" ", "") == "v2.json,v1.json"
    assert opened["subprotocol"] == "v1.json"
    client = world.dial(kind, relay, "--subprotocol", "v1.json")
    assert client.expect("open")["subprotocol"] == "v1.json"


@pytest.mark.parametrize("kind", CLIENTS)
def test_client_without_a_subprotocol_is_let_in(world, kind):
    source = world.source("python ws", "--subprotocol", "v1.json")
    relay = world.relay(source.url, {"subprotocols": ["v1.json"]})
    source.expect_open()
    assert world.dial(kind, relay).expect("open")["subprotocol"] is None


@pytest.mark.parametrize("kind", CLIENTS)
def test_compression_offered_by_clients_is_declined(world, kind):
    source = world.source()
    relay = world.relay(source.url)
    assert source.expect_open()["extensions"] == []
    client = world.dial(kind, relay)
    assert client.expect("open")["extensions"] == []
    source.send("text", b"a" * 5000)
    assert client.receive() == ("text", b"a" * 5000)


def test_offer_of_an_extension_is_not_answered(world, raw):
    relay = world.relay(world.source().url)
    connection = raw(relay.ws_port)
    offer = "permessage-deflate; client_max_window_bits"
    connection.request(headers=[("Sec-WebSocket-Extensions", offer)])
    status, head = connection.response()
    assert status == 101
    assert "sec-websocket-extensions" not in head.lower()
    assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head


@pytest.mark.parametrize("kind", CLIENTS)
def test_page_of_a_foreign_origin_is_refused(world, kind):
    source = world.source()
    relay = world.relay(source.url, {"allowed_origins": ["https://desk.example"]})
    foreign = world.dial(kind, relay, "--origin", "https://evil.example")
    assert foreign.expect("refused")["status"] == 403
    world.dial(kind, relay, "--origin", "https://desk.example").expect("open")
    world.dial(kind, relay).expect("open")


def test_origins_without_a_list(world, raw):
    relay = world.relay(world.source().url)
    host = f"127.0.0.1:{relay.ws_port}"

    def status(**changed):
        connection = raw(relay.ws_port)
        connection.request(Host=host, **changed)
        return connection.response()[0]

    assert status() == 101
    assert status(Origin=f"http://{host}") == 101
    assert status(Origin="http://127.0.0.1:1") == 403
    assert status(Origin="https://evil.example") == 403
    assert status(Origin="null") == 403


def test_any_origin_may_be_allowed(world, raw):
    relay = world.relay(world.source().url, {"allowed_origins": ["*"]})
    raw(relay.ws_port).upgrade(Origin="https://anyone.example")


def test_plain_get_is_told_what_this_is(world):
    relay = world.relay(world.source().url)
    curl = ["curl", "-sS", "-i", "--noproxy", "*", "--max-time", "10"]
    url = f"http://127.0.0.1:{relay.ws_port}/"
    done = subprocess.run([*curl, url], capture_output=True, timeout=15)
    assert done.returncode == 0, done.stderr
    head, _, page = done.stdout.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 426")
    assert "upgrade: websocket" in head.lower()
    assert "veylor" in page.lower()
    assert "websocket" in page.lower()


@pytest.mark.parametrize(
    "changed",
    [
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "dGhlIHNhbXBsZQ=="},
        {"Connection": "keep-alive"},
        {"Upgrade": "h2c"},
        {"method": "POST"},
        {"Host": None},
    ],
    ids=str,
)
def test_malformed_handshake_is_refused(world, raw, changed):
    relay = world.relay(world.source().url)
    connection = raw(relay.ws_port)
    connection.request(**changed)
    status, head = connection.response()
    assert 400 <= status < 500, head
    if "Sec_WebSocket_Version" in changed:
        assert "sec-websocket-version: 13" in head.lower()
    assert connection.ends()


def test_garbage_instead_of_a_handshake_is_refused(world, raw):
    source = world.source()
    relay = world.relay(source.url)
    source.expect_open()
    bystander = world.client("python ws", relay, source)
    tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for garbage in (tls_hello, b"\r\n\r\n\r\n", b"A" * 100_000, b"\x00" * 64):
        connection = raw(relay.ws_port)
        # Empty lines may come in front of a request (RFC 9112, section 2.2), which has 10 s.
        connection.socket.settimeout(15)
        try:
            connection.send(garbage + b"\r\n\r\n")
        except ConnectionError:
            continue
        assert connection.ends()
    source.send("text", b"unharmed")
    assert bystander.receive() == ("text", b"unharmed")


def test_half_a_head_and_then_silence_is_cut(world, raw):
    relay = world.relay(world.source().url)
    connection = raw(relay.ws_port)
    connection.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    connection.socket.settimeout(15)
    assert connection.ends()


def test_source_of_another_authority_is_not_trusted(world, tmp_path):
    stranger = Tls(tmp_path / "stranger")
    source = world.source("python wss")
    relay = world.relay(source.url, {"ca_file": stranger.ca})
    wait_until(lambda: "certificate" in relay.output.lower(), "the certificate is told")
    assert source.events.empty()

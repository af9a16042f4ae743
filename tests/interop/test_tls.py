"""TLS with other people's: OpenSSL, curl, Python websockets and node ws, as clients and as sources."""

import re
import resource
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from harness import PATIENCE, RawHttp, Tls, wait_until

VERSIONS = ["1.2", "1.3"]
LANGUAGES = ["python", "node"]
LARGE = b"\x07\xff" * 400_000
IDLE_CLIENTS = 1000
# What the memory plan reckons a quiet client in TLS with.
PLANNED_KIB = 9.5

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture
def secured(world, tls):
    """A source, and a relay whose endpoint has TLS."""
    source = world.source()
    relay = world.relay(source.url, {"tls": tls.files})
    source.expect_open()
    return source, relay


def check_both_ways(source, client):
    for kind, payload in [("text", "naïve 🎉".encode()), ("binary", LARGE)]:
        source.send(kind, payload)
        assert client.receive() == (kind, payload)
        client.send(kind, payload)
        assert source.receive() == (kind, payload)


def run(*argv, stdin=b""):
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=PATIENCE)


def s_client(relay, *args, stdin=b"Q\n"):
    """What `openssl s_client` says of the endpoint."""
    target = f"localhost:{relay.ws_port}"
    done = run("openssl", "s_client", "-connect", target, *args, stdin=stdin)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_client_in_tls_and_source_hear_one_another(world, tls, secured, language, version):
    source, relay = secured
    options = ["--ca", tls.ca, "--tls", version]
    client = world.client(f"{language} ws", relay, source, *options)
    check_both_ways(source, client)
    source.do("count", count=1000)
    for number in range(1000):
        assert client.receive() == ("text", str(number).encode())
    client.do("close", code=1000)
    assert client.expect("close")["code"] == 1000


def test_client_in_tls_needs_a_certificate_where_they_are_asked_for(
    world, tls, tmp_path, language, version
):
    source = world.source()
    relay = world.relay(source.url, {"tls": {**tls.files, "client_ca_file": tls.ca}})
    source.expect_open()
    options = ["--ca", tls.ca, "--tls", version]
    known = world.client(
        f"{language} ws", relay, source, *options, "--cert", tls.cert, "--key", tls.key
    )
    world.dial(f"{language} ws", relay, *options)
    wait_until(lambda: "showed no certificate, and client_ca_file" in relay.output, "it is told")
    stranger = Tls(tmp_path / "stranger")
    world.dial(
        f"{language} ws", relay, *options, "--cert", stranger.cert, "--key", stranger.key
    )
    wait_until(lambda: "not from an authority of client_ca_file" in relay.output, "it is told")
    check_both_ways(source, known)


def test_keys_of_rsa_serve_as_well(world, tmp_path, version):
    rsa = Tls(tmp_path / "rsa", kind=["rsa:2048"])
    source = world.source()
    relay = world.relay(source.url, {"tls": rsa.files})
    source.expect_open()
    client = world.client("python ws", relay, source, "--ca", rsa.ca, "--tls", version)
    check_both_ways(source, client)


def test_source_in_either_version_and_the_clients_hear_one_another(world, language, version):
    source = world.source(f"{language} wss", "--tls", version)
    relay = world.relay(source.url)
    source.expect_open()
    check_both_ways(source, world.client("python ws", relay, source))


def test_source_that_asks_for_a_certificate_gets_it(world, tls, language, version):
    source = world.source(f"{language} wss", "--tls", version, "--ca", tls.ca)
    without = world.relay(source.url)
    wait_until(lambda: "it asks for a certificate of ours" in without.output, "it is told")
    assert without.stop() == 0
    relay = world.relay(source.url, tls.files)
    source.expect_open()
    check_both_ways(source, world.client("python ws", relay, source))


def test_source_with_the_pinned_certificate_is_trusted(world, tls, language):
    told = run("openssl", "x509", "-in", tls.cert, "-noout", "-fingerprint", "-sha256")
    pin = told.stdout.decode().strip().partition("=")[2]
    assert re.fullmatch(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", pin)
    source = world.source(f"{language} wss")
    # Its authority is not named, and it is not for the name that is asked for.
    trust = {"fingerprint": pin.lower(), "ca_file": None, "server_name": "else.example"}
    relay = world.relay(source.url, trust)
    source.expect_open()
    check_both_ways(source, world.client("python ws", relay, source))


def test_source_that_signed_its_own_certificate_is_trusted_by_the_fingerprint_of_the_log(
    world, tls, tmp_path
):
    own = Tls(tmp_path / "device")
    # The authority's certificate is self-signed; a device shows such a one as its own.
    own.cert, own.key = own.ca, str(Path(own.ca).with_name("ca.key"))
    world.tls = own
    source = world.source("python wss")
    world.tls = tls
    relay = world.relay(source.url)
    pattern = re.compile(r'is self-signed; if that is your device, pin it: (fingerprint: "[^"]+")')
    wait_until(lambda: pattern.search(relay.output), "the fingerprint is told")
    pin = pattern.search(relay.output)[1].split('"')[1]
    assert relay.stop() == 0
    relay = world.relay(source.url, {"fingerprint": pin, "ca_file": None})
    source.expect_open()
    check_both_ways(source, world.client("python ws", relay, source))


def test_openssl_verifies_the_endpoint(secured, tls, version):
    _, relay = secured
    name = f"-tls{version.replace('.', '_')}"
    told = s_client(relay, name, "-CAfile", tls.ca, "-verify_hostname", "localhost")
    assert "Verify return code: 0 (ok)" in told, told
    assert f"TLSv{version}" in told, told
    assert "No ALPN negotiated" in told, told
    told = s_client(relay, name, "-CAfile", tls.ca, "-alpn", "h2,http/1.1")
    assert "ALPN protocol: http/1.1" in told, told


@pytest.mark.parametrize("old", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(secured, tls, old):
    _, relay = secured
    told = s_client(relay, old, "-cipher", "ALL:@SECLEVEL=0", "-CAfile", tls.ca)
    assert "Verify return code: 0 (ok)" not in told or "Cipher is (NONE)" in told, told
    wait_until(lambda: "not opened (" in relay.output, "the refusal is told")


def test_renegotiation_is_refused(secured, tls):
    _, relay = secured
    told = s_client(relay, "-tls1_2", "-CAfile", tls.ca, stdin=b"R\n")
    assert "RENEGOTIATING" in told
    assert "no renegotiation" in told or "alert" in told or "error" in told, told


def test_session_is_resumed(secured, tls, version):
    """A client that comes again needs no second proof."""
    _, relay = secured
    context = ssl.create_default_context(cafile=tls.ca)
    limit = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = limit

    def upgrade(session):
        raw = socket.create_connection(("127.0.0.1", relay.ws_port), PATIENCE)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as stream:
            stream.sendall(UPGRADE)
            # The ticket of TLS 1.3 comes with what is read.
            assert stream.recv(4096).startswith(b"HTTP/1.1 101 ")
            return stream.session, stream.session_reused

    session, is_reused = upgrade(None)
    assert not is_reused
    assert upgrade(session)[1]


def test_curl_gets_the_friendly_page_over_https(secured, tls, version):
    _, relay = secured
    url = f"https://localhost:{relay.ws_port}/"
    limits = [f"--tlsv{version}", "--tls-max", version, "--noproxy", "*", "--max-time", "10"]
    done = run("curl", "-sS", "-i", *limits, "--cacert", tls.ca, url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"HTTP/1.1 426 ")
    assert b"wss://" in done.stdout
    done = run("curl", "-sS", *limits, url)
    assert done.returncode == 60, "curl does not know the authority"
    wait_until(lambda: "does not trust our certificate" in relay.output, "it is told")


def test_plain_curl_at_a_tls_port_is_told_so(secured):
    _, relay = secured
    done = run(
        "curl", "-sS", "--noproxy", "*", "--max-time", "10", f"http://localhost:{relay.ws_port}/"
    )
    assert done.stdout == b"this port speaks TLS: use wss:// or https://\n"


def test_tls_at_a_plain_port_is_told_in_the_log(world):
    relay = world.relay(world.source().url)
    s_client(relay)
    wait_until(lambda: "a TLS hello: this port speaks plain ws://" in relay.output, "it is told")


def test_rubbish_in_tls_costs_only_itself(world, secured, tls):
    source, relay = secured
    bystander = world.client("python ws", relay, source, "--ca", tls.ca)
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
    records = b"\x16\x03\x03\x40\x00" + b"\0" * 0x4000
    for rubbish in [b"\x16", hello, records * 20, b"\x15\x03\x03\x00\x02\x02\x28", b"\x17" * 100]:
        connection = RawHttp.dial(relay.ws_port)
        try:
            connection.send(rubbish)
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.ends()
        except ConnectionError:
            pass
        connection.close()
    check_both_ways(source, bystander)


def test_idle_clients_in_tls_cost_what_the_plan_says(secured, tls, version):
    _, relay = secured
    relay_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CLIENTS, relay_limit // 2)
    context = ssl.create_default_context(cafile=tls.ca)
    limit = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = limit

    def resident_kib():
        status = Path(f"/proc/{relay.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    before, streams = resident_kib(), []
    for _ in range(count):
        raw = socket.create_connection(("127.0.0.1", relay.ws_port), PATIENCE)
        streams.append(context.wrap_socket(raw, server_hostname="localhost"))
        streams[-1].sendall(UPGRADE)
        assert streams[-1].recv(4096).startswith(b"HTTP/1.1 101 ")
    each = (resident_kib() - before) / count
    for stream in streams:
        stream.close()
    print(f"TLS {version}: {each:.1f} KiB for each of {count} clients")
    assert each <= PLANNED_KIB

"""Sources behind other people's proxies: tinyproxy (CONNECT) and microsocks (SOCKS 5)."""

import shutil
import socket

import pytest

from harness import Child, tcp_port_listens, wait_until

PROXIES = ["tinyproxy", "microsocks"]
SCHEMES = {"tinyproxy": "http", "microsocks": "socks5h"}
LOGIN = ("ann", "s3cret")


class Proxy:
    """One that runs, and asks for a login if it is given one."""

    def __init__(self, world, kind, login=None, more=""):
        if not shutil.which(kind):
            pytest.skip(f"NO {kind.upper()}: not proved")
        self.kind, self.port = kind, unused_port()
        argv = getattr(self, f"_{kind}")(world, login, more)
        self.child = world.adopt(Child(argv))
        wait_until(lambda: tcp_port_listens(self.port), f"{kind} listens")

    def _tinyproxy(self, world, login, more):
        lines = [f"Port {self.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20", more]
        lines += [f"BasicAuth {login[0]} {login[1]}"] if login else []
        path = world.folder / "tinyproxy.conf"
        path.write_text("\n".join(lines) + "\n")
        return ["tinyproxy", "-d", "-c", str(path)]

    def _microsocks(self, _world, login, _more):
        account = ["-u", login[0], "-P", login[1]] if login else []
        return ["microsocks", "-i", "127.0.0.1", "-p", str(self.port), *account]

    def url(self, login=None):
        account = f"{login[0]}:{login[1]}@" if login else ""
        return f"{SCHEMES[self.kind]}://{account}127.0.0.1:{self.port}"


def unused_port():
    """These proxies bind without SO_REUSEADDR being of use: the port must be wholly free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def expect(relay, words):
    wait_until(lambda: words in relay.output, words)


def check_both_ways(world, relay, source):
    client = world.client("python ws", relay, source)
    source.send("text", b"to the client")
    assert client.receive()[1] == b"to the client"
    client.send("text", b"to the source")
    assert source.receive() == ("text", b"to the source")


@pytest.mark.parametrize("login", [None, LOGIN], ids=["open", "login"])
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_source_behind_a_proxy_is_reached(world, kind, login, scheme):
    proxy = Proxy(world, kind, login)
    source = world.source(f"node {scheme}")
    relay = world.relay(source.url, {"proxy": proxy.url(login)})
    source.expect_open()
    check_both_ways(world, relay, source)
    assert f"through proxy 127.0.0.1:{proxy.port}" in relay.output
    assert LOGIN[1] not in relay.output


@pytest.mark.parametrize("kind", PROXIES)
def test_name_is_resolved_by_the_proxy(world, kind):
    proxy = Proxy(world, kind)
    source = world.source()
    url = source.url.replace("127.0.0.1", "localhost")
    relay = world.relay(url, {"proxy": proxy.url()})
    source.expect_open()
    check_both_ways(world, relay, source)


@pytest.mark.parametrize("kind", PROXIES)
def test_missing_and_wrong_logins_are_told_with_the_remedy(world, kind):
    proxy = Proxy(world, kind, LOGIN)
    source = world.source()
    said = f"cannot connect (proxy 127.0.0.1:{proxy.port} "
    remedies = {
        "tinyproxy": ("answered 407", "answered 40"),
        "microsocks": ("wants a login: give user and password in its url", "refused the user or"),
    }
    missing, wrong = remedies[kind]
    expect(world.relay(source.url, {"proxy": proxy.url()}), said + missing)
    relay = world.relay(source.url, {"proxy": proxy.url(("ann", "wr0ng"))})
    expect(relay, said + wrong)
    assert "wr0ng" not in relay.output


@pytest.mark.parametrize("kind", PROXIES)
def test_target_that_refuses_is_told_in_the_words_of_the_proxy(world, kind):
    proxy = Proxy(world, kind)
    relay = world.relay(f"ws://127.0.0.1:{world.free_port()}", {"proxy": proxy.url()})
    answers = {"tinyproxy": "answered 50", "microsocks": "answered 5: connection refused"}
    expect(relay, f"cannot connect (proxy 127.0.0.1:{proxy.port} {answers[kind]}")


def test_port_that_the_proxy_does_not_allow_is_told(world):
    proxy = Proxy(world, "tinyproxy", more="ConnectPort 443")
    source = world.source()
    relay = world.relay(source.url, {"proxy": proxy.url()})
    expect(relay, f"cannot connect (proxy 127.0.0.1:{proxy.port} answered 403")


@pytest.mark.parametrize("kind", PROXIES)
def test_source_is_dialled_again_when_the_proxy_goes_and_returns(world, kind):
    proxy = Proxy(world, kind)
    source = world.source()
    relay = world.relay(source.url, {"proxy": proxy.url()})
    source.expect_open()
    argv = proxy.child.argv
    proxy.child.end()
    expect(relay, "source feed: lost")
    expect(relay, f"proxy 127.0.0.1:{proxy.port}: connection refused")
    source.expect("close")
    world.adopt(Child(argv))
    source.expect_open()
    check_both_ways(world, relay, source)

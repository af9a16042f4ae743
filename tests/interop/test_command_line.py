"""What is said on the command line, and what is answered."""

import re
import signal

import pytest

from harness import wait_until

BAD = """\
sources:
  - name: trades
    url: http://127.0.0.1:1/stream
    websocket_port: 8765
    slow_client: explode
  - url: ws://127.0.0.1:1/
  - url: ws://127.0.0.1:1/other
    websocket_port: 99999
performance:
  max_queue_bytes: 12 parsecs
"""


def test_check_prints_all_problems(world):
    check = world.run("check", "-c", world.config(BAD))
    assert check.wait() == 2
    for problem in (
        "sources[0].url",
        "slow_client",
        "sources[1]",
        "websocket_port",
        "max_queue_bytes",
    ):
        assert problem in check.output


def test_unknown_key_is_named_with_its_line_and_the_nearest_one(world):
    config = "sources:\n  - url: ws://127.0.0.1:1/\n    websocket_prot: 8765\n"
    check = world.run("check", "-c", world.config(config))
    assert check.wait() == 2
    assert "websocket_prot" in check.output
    assert "websocket_port" in check.output
    assert re.search(r"\b3\b", check.output), check.output


def test_check_tells_the_plan_of_a_good_file(world):
    config = {"sources": [{"name": "trades", "url": "ws://127.0.0.1:1/", "websocket_port": 18765}]}
    check = world.run("check", "-c", world.config(config))
    assert check.wait() == 0
    assert "trades" in check.output
    assert "18765" in check.output


@pytest.mark.parametrize("text", [BAD, "sources: [", "", "sources: []\n", "- 1\n"])
def test_bad_configuration_exits_2(world, text):
    assert world.run("-c", world.config(text)).wait() == 2


def test_bad_usage_exits_2(world):
    assert world.run("--no-such-flag").wait() == 2
    assert world.run("relay").wait() == 2
    assert world.run("relay", "http://127.0.0.1:1/", "--ws", "127.0.0.1:1").wait() == 2
    assert world.run("-c", str(world.folder / "missing.yaml")).wait() == 2


def test_without_a_file_it_tells_how_to_make_one(world):
    lost = world.run(cwd=world.folder)
    assert lost.wait() == 2
    assert "config.yaml" in lost.output


def test_relay_runs_without_a_file(world):
    source = world.source("python ws", echo=True)
    port, path = world.free_port(), world.folder / "relay.sock"
    relay = world.run(
        "relay",
        source.url,
        "--ws",
        f"127.0.0.1:{port}",
        "--unix",
        str(path),
        ws_port=port,
        unix_path=path,
    )
    relay.wait_listening()
    source.expect_open()
    ws_client = world.client("node ws", relay, source)
    unix_client = world.client("python unix", relay, source)
    ws_client.receive()  # the echo of the greeting
    ws_client.send("text", b"hello")
    assert source.receive() == ws_client.receive() == ("text", b"hello")
    assert unix_client.receive() == ("bytes", b"hello")
    assert relay.stop() == 0
    assert not path.exists()


def test_demo_prints_what_to_try_and_it_works(world):
    demo = world.run("demo", cwd=world.folder)
    found = {}

    def are_both_told():
        assert demo.process.poll() is None, demo.output
        for name, pattern in [("ws", r"ws://[\w.\[\]:]+:(\d+)"), ("unix", r"(/[\w./-]+\.sock)")]:
            if match := re.search(pattern, demo.output):
                found[name] = match.group(1)
        return len(found) == 2

    wait_until(are_both_told, "demo prints a WebSocket URL and a Unix socket")
    demo.ws_port, demo.unix_path = int(found["ws"]), found["unix"]
    demo.wait_listening()
    for kind in ("python ws", "node unix"):
        client = world.dial(kind, demo)
        client.expect("open")
        assert client.receive()[1]
    demo.signal(signal.SIGINT)
    assert demo.wait() == 0

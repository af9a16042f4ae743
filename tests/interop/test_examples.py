"""The programs in `examples/`, as a newcomer would run them: feed, relay, clients."""

import subprocess
import sys

import pytest

from harness import ROOT, Child, wait_until

BUILT = ROOT / "target/debug/examples"
PROGRAMS = [
    (language, name)
    for language in ("rust", "python")
    for name in ("ws_client", "ws_two_way", "unix_client", "unix_two_way")
]


def command(language, name, target):
    if language == "rust":
        return [str(BUILT / name), target]
    return [sys.executable, str(ROOT / "examples/python" / f"{name}.py"), target]


@pytest.fixture
def relay(world):
    """The example feed and a relay of it."""
    port = world.free_port()
    feed = world.adopt(Child([str(BUILT / "feed"), "--addr", f"127.0.0.1:{port}", "--rate", "50"]))
    wait_until(lambda: feed.out, "the feed tells its address")
    relay = world.relay(f"ws://127.0.0.1:{port}")
    wait_until(lambda: any("connected" in line for line in feed.out), "the relay dials the feed")
    return relay


def target(relay, name):
    return relay.ws_url if name.startswith("ws") else str(relay.unix_path)


@pytest.mark.parametrize("language, name", PROGRAMS)
def test_example_prints_ticks_and_ends_with_the_relay(world, relay, language, name):
    client = world.adopt(Child(command(language, name, target(relay, name))))
    wait_until(lambda: any('{"tick":' in line for line in client.out), "a tick is printed")
    if name.endswith("two_way"):
        client.write_line("hello 🎉")
        wait_until(lambda: "hello 🎉" in client.out, "the echo is printed")
    assert relay.stop() == 0
    assert client.wait() == 0, client.output
    assert ("1001" if name.startswith("ws") else "closed") in client.output


@pytest.mark.parametrize(
    "language, name", [program for program in PROGRAMS if "two_way" in program[1]]
)
def test_two_way_example_ends_with_its_input(world, relay, language, name):
    client = world.adopt(Child(command(language, name, target(relay, name))))
    wait_until(lambda: client.out, "a tick is printed")
    client.process.stdin.close()
    assert client.wait() == 0, client.output


@pytest.mark.parametrize("language, name", PROGRAMS)
def test_example_ends_when_nobody_reads_it(relay, language, name):
    client = subprocess.Popen(
        command(language, name, target(relay, name)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        client.stdout.readline()
        client.stdout.close()
        assert client.wait(10) == 0, client.stderr.read()
        assert b"Traceback" not in client.stderr.read()
    finally:
        client.kill()
        client.wait()
        client.stdin.close()
        client.stderr.close()


@pytest.mark.parametrize("language, name", PROGRAMS)
def test_example_tells_what_it_cannot_reach(world, language, name):
    nowhere = (
        f"ws://127.0.0.1:{world.free_port()}"
        if name.startswith("ws")
        else str(world.folder / "none.sock")
    )
    client = world.adopt(Child(command(language, name, nowhere)))
    assert client.wait() == 1
    assert nowhere in client.output
    assert "Traceback" not in client.output and "panicked" not in client.output

"""Recordings: what others' programs send is recorded, read by the manual alone, and played to them."""

import signal
import struct

import pytest

from harness import ROOT, VEYLOR, Child, Client, wait_until

MESSAGES = [
    ("text", "héllo 🎉".encode()),
    ("binary", b"\xff\x00"),
    ("text", b""),
    ("binary", b""),
    ("text", b"x" * 70_000),
    *(("text", f"message {number}".encode()) for number in range(50)),
]
KINDS = {b"t": "text", b"b": "binary"}


def records(path):
    """The records of a file, as docs/recording.md tells its form."""
    found = []
    with path.open("rb") as file:
        assert file.read(8) == b"VEYLREC\x01"
        while head := file.read(13):
            time, kind, length = struct.unpack(">QcI", head)
            payload = file.read(length)
            assert len(payload) == length
            found.append((time, kind, payload))
    return found


@pytest.fixture
def recording(world, folder):
    """What a Python service has sent, recorded by the program."""
    source = world.source()
    path = folder / "feed.vrec"
    recorder = world.adopt(Child([VEYLOR, "record", source.url, str(path)]))
    source.expect_open()
    for kind, payload in MESSAGES:
        source.send(kind, payload)
    source.ping()
    recorder.signal(signal.SIGINT)
    assert recorder.wait() == 0
    assert f"{len(MESSAGES)} messages recorded in " in recorder.output
    return path


def test_file_has_the_form_that_the_manual_tells(recording):
    (_, opened, nothing), *messages = records(recording)
    assert (opened, nothing) == (b"o", b"")
    assert [(KINDS[kind], payload) for _, kind, payload in messages] == MESSAGES
    times = [time for time, _, _ in messages]
    assert times == sorted(times) and times[0] > 1_700_000_000_000_000


def test_reader_of_the_manual_reads_it(world, recording, folder):
    manual = (ROOT / "docs/recording.md").read_text()
    program = folder / "reader.py"
    program.write_text(manual.split("```python\n")[1].split("```")[0])
    reader = world.adopt(Child(["python3", str(program), str(recording)]))
    assert reader.wait() == 0, reader.output
    assert len(reader.out) == len(MESSAGES)
    assert reader.out[0].endswith(repr("héllo 🎉".encode()))


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize("speed", ["1", "max"])
def test_client_gets_all_that_was_recorded(world, recording, language, speed):
    port = world.free_port()
    argv = ["replay", str(recording), "--speed", speed, "--ws", str(port)]
    player = world.adopt(Child([VEYLOR, *argv]))
    wait_until(lambda: "waits for a client" in player.output, "the recording waits")
    client = world.adopt(Client(language, "ws", f"ws://127.0.0.1:{port}"))
    client.expect("open")
    assert [client.receive() for _ in MESSAGES] == MESSAGES
    assert player.wait() == 0

"""What Prometheus reads, judged by its own tool."""

import os
import re
import shutil
import subprocess

import pytest

from harness import PATIENCE, wait_until

PROMTOOL = shutil.which("promtool")


def samples(text):
    """Each series of the text, as it is written, and its value."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_tell_what_has_passed(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    clients = [world.client(kind, relay, source) for kind in ("python ws", "python unix")]
    for _ in range(3):
        source.send("text", b"twelve bytes")
    for client in clients:
        assert [client.receive()[1] for _ in range(3)] == [b"twelve bytes"] * 3
    response = admin.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(response.text)
    expected = {
        'veylor_source_up{source="feed"}': 1,
        'veylor_source_connects_total{source="feed"}': 1,
        'veylor_source_received_messages_total{source="feed"}': 3,
        'veylor_source_received_bytes_total{source="feed"}': 36,
        'veylor_source_forwarded_messages_total{source="feed"}': 1,
        'veylor_channel_clients{channel="feed"}': 2,
        'veylor_channel_sent_messages_total{channel="feed"}': 6,
        'veylor_channel_dropped_messages_total{channel="feed"}': 0,
        'veylor_backlog_limit_messages{channel="feed",wire="websocket"}': 1000,
    }
    assert {series: found.get(series) for series in expected} == expected
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_open_fds"] > 3


def test_metrics_tell_that_a_source_is_down_and_a_client_has_gone(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    client = world.client("python ws", relay, source)
    client.do("close")
    source.end()
    gone = 'veylor_channel_disconnects_total{channel="feed",reason="closed"}'

    def is_told():
        found = samples(admin.get("/metrics").text)
        return found['veylor_source_up{source="feed"}'] == 0 and found[gone] == 1

    wait_until(is_told, "the metrics tell it")


def test_metrics_have_no_label_without_bounds(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    world.client("python ws", relay, source)
    labels = set(re.findall(r'[{,](\w+)="', admin.get("/metrics").text))
    assert labels == {"version", "source", "channel", "wire", "reason", "le"}


@pytest.mark.skipif(
    PROMTOOL is None and "VEYLOR_NEEDS_PROMTOOL" not in os.environ, reason="NO PROMTOOL: not proved"
)
def test_promtool_finds_nothing_to_complain_of(world, admin):
    source = world.source()
    relay = admin.relay(source.url)
    source.expect_open()
    world.client("python ws", relay, source)
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=admin.get("/metrics").text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

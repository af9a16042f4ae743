"""What the tests are made of: children, peers, relays, raw connections. Every wait is bounded."""

import base64
import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VEYLOR = str((ROOT / os.environ.get("VEYLOR", "target/debug/veylor")).resolve())
# Seconds that anything may take which ought to happen at once.
PATIENCE = 10.0
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def wait_until(condition, what, within=PATIENCE):
    """Looks again and again, for the few things that cannot be waited for."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.005)


@contextlib.contextmanager
def short_folder():
    """A folder with a short path: that of a Unix socket may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="vl-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Child:
    """A process whose output is read line by line by a thread for each stream."""

    def __init__(self, argv, **popen):
        self.argv = argv
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen
        )
        self.out, self.err = [], []
        self.readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._take_out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err.append)),
        ]
        for reader in self.readers:
            reader.daemon = True
            reader.start()

    @staticmethod
    def _read(stream, take):
        for line in stream:
            take(line.decode(errors="replace").rstrip("\n"))

    def _take_out(self, line):
        self.out.append(line)

    @property
    def output(self):
        return "\n".join([*self.out, *self.err])

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, within=PATIENCE):
        """The exit code; its output is complete then."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {within} s: {self.argv}") from None
        for reader in self.readers:
            reader.join(PATIENCE)
        return code

    def write_line(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()


class Peer(Child):
    """A child that is steered by commands and tells events, in Python or in node."""

    def __init__(self, language, *args):
        self.events = queue.Queue()
        self.name = " ".join([language, *args])
        program = [sys.executable, "peer.py"] if language == "python" else ["node", "peer.js"]
        super().__init__([*program, *args], cwd=HERE)

    def _take_out(self, line):
        self.events.put(json.loads(line))

    def do(self, what, **fields):
        self.write_line(json.dumps({"do": what, **fields}))

    def send(self, kind, payload, fragments=1):
        data = base64.b64encode(payload).decode()
        self.do("send", type=kind, data=data, fragments=fragments)

    def expect(self, event, within=PATIENCE):
        """The next event, which must be this one. Pings may come at any time and do not count."""
        deadline = time.monotonic() + within
        while True:
            try:
                found = self.events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"{self.name}: no {event!r} within {within} s; stderr: {self.err}"
                ) from None
            if found["event"] == event:
                return found
            shown = {name: str(value)[:200] for name, value in found.items()}
            assert found["event"] == "ping", f"{self.name}: {shown} and not {event!r}"

    def receive(self):
        """The next message, as its kind and its payload."""
        message = self.expect("message", within=3 * PATIENCE)
        return message["type"], base64.b64decode(message["data"])

    def ping(self):
        self.do("ping")
        self.expect("pong")


class Source(Peer):
    """A service for the relay to dial."""

    def __init__(self, language, *args, tls=None, echo=False):
        keys = ["--cert", tls.cert, "--key", tls.key] if tls else []
        super().__init__(language, "source", *(["--echo"] if echo else []), *keys, *args)
        self.language, self.tls, self.echo, self.args = language, tls, echo, args
        self.port = self.expect("listening")["port"]

    @property
    def url(self):
        return f"wss://localhost:{self.port}" if self.tls else f"ws://127.0.0.1:{self.port}"

    def expect_open(self):
        """Waits for the relay, and until the relay knows that it is connected."""
        opened = self.expect("open")
        self.ping()
        return opened


class Client(Peer):
    """A program that dials the relay, over WebSocket or the Unix socket."""

    def __init__(self, language, wire, target, *args):
        super().__init__(language, wire, target, *args)
        self.wire = wire


class Tls:
    """A private authority and a certificate of its for this machine."""

    def __init__(self, folder, kind=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
        folder.mkdir()
        self.ca, self.cert, self.key = (
            str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")
        )
        ca_key, request, names = (str(folder / name) for name in ("ca.key", "cert.csr", "names"))
        Path(names).write_text(
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        new_key = ["-newkey", *kind, "-nodes"]
        self._openssl(
            "req",
            "-x509",
            *new_key,
            "-keyout",
            ca_key,
            "-out",
            self.ca,
            "-days",
            "2",
            "-subj",
            f"/CN=Veylor test authority {folder.name}",
        )
        self._openssl(
            "req", *new_key, "-keyout", self.key, "-out", request, "-subj", "/CN=localhost"
        )
        self._openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.ca,
            "-CAkey",
            ca_key,
            "-CAcreateserial",
            "-out",
            self.cert,
            "-days",
            "2",
            "-extfile",
            names,
        )

    @property
    def files(self):
        """What an endpoint shows, as its configuration names it."""
        return {"cert_file": self.cert, "key_file": self.key}

    @staticmethod
    def _openssl(*args):
        done = subprocess.run(["openssl", *args], capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr.decode()


class Relay(Child):
    """The real program."""

    # Whether its WebSocket port speaks TLS.
    is_secured = False

    def __init__(self, *args, ws_port=None, unix_path=None, file=None, env=None, cwd=None):
        self.ws_port, self.unix_path, self.file = ws_port, unix_path, file
        super().__init__([VEYLOR, *args], env={**os.environ, **(env or {})}, cwd=cwd)

    @property
    def ws_url(self):
        if self.is_secured:
            return f"wss://localhost:{self.ws_port}"
        return f"ws://127.0.0.1:{self.ws_port}"

    def wait_listening(self):
        """Waits for the endpoints without dialling them."""

        def is_up():
            assert self.process.poll() is None, f"exit code {self.wait()}: {self.output}"
            return (self.ws_port is None or tcp_port_listens(self.ws_port)) and (
                self.unix_path is None or unix_path_listens(self.unix_path)
            )

        wait_until(is_up, f"{self.argv} listens")

    @contextlib.contextmanager
    def edit(self):
        """Its configuration, to be changed; the file has it afterwards, and the relay not yet."""
        path = Path(self.file)
        config = json.loads(path.read_text())
        yield config
        path.write_text(json.dumps(config, indent=1))

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait()


def tcp_port_listens(port):
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if local.endswith(wanted) and state == "0A":
                return True
    return False


def unix_path_listens(path):
    accepts = 0x10000
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return any(row[-1] == str(path) and int(row[3], 16) & accepts for row in rows)


class World:
    """The processes and folders of one test; all of them end with it."""

    def __init__(self, folder, tls):
        self.folder, self.tls = folder, tls
        self.ending = contextlib.ExitStack()
        self.numbers = itertools.count()
        self.relays = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending.close()
        for relay in self.relays:
            print(f"--- {relay.argv}", relay.output, sep="\n")

    def adopt(self, child):
        self.ending.callback(child.end)
        return child

    def free_port(self):
        """A port that is ours: it stays bound, without listening, until the test is over."""
        holder = socket.socket()
        self.ending.callback(holder.close)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]

    def source(self, kind="python ws", *args, echo=False):
        language, scheme = kind.split()
        return self.adopt(
            Source(language, *args, echo=echo, tls=self.tls if scheme == "wss" else None)
        )

    def source_again(self, source):
        """The same source, started anew at the same port, after its end."""
        source.end()
        args = ("--port", str(source.port), *source.args)
        return self.adopt(Source(source.language, *args, tls=source.tls, echo=source.echo))

    def run(self, *args, **options):
        """The program with any arguments."""
        relay = self.adopt(Relay(*args, **options))
        self.relays.append(relay)
        return relay

    def config(self, config):
        """A file with this configuration; JSON is YAML."""
        path = self.folder / f"config{next(self.numbers)}.yaml"
        path.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
        return str(path)

    def relay(self, source_url, source=None, performance=None, env=None, **top):
        """A relay of one source with both kinds of endpoint, as soon as it listens."""
        port, path = self.free_port(), self.folder / f"{next(self.numbers)}.sock"
        entry = {
            "name": "feed",
            "url": source_url,
            "websocket_host": "127.0.0.1",
            "websocket_port": port,
            "unix_socket_path": str(path),
            **(source or {}),
        }
        if source_url.startswith("wss:"):
            entry.setdefault("ca_file", self.tls.ca)
        patience = {"reconnect_delay": 0.05, "reconnect_max_delay": 0.2, **(performance or {})}
        config = {"sources": [entry], "performance": patience, **top}
        file = self.config(config)
        relay = self.run("-c", file, "-v", ws_port=port, unix_path=path, file=file, env=env)
        relay.is_secured = "tls" in entry
        relay.wait_listening()
        return relay

    def dial(self, kind, relay, *args):
        language, wire = kind.split()
        target = relay.ws_url if wire == "ws" else str(relay.unix_path)
        return self.adopt(Client(language, wire, target, *args))

    def client(self, kind, relay, source, *args):
        """A client that the relay has let in: what the source sends from now on will reach it.

        A WebSocket client knows by its handshake. A Unix client sends a greeting through the relay.
        """
        client = self.dial(kind, relay, *args)
        client.expect("open")
        if client.wire == "unix":
            greeting = f"greeting {next(self.numbers)}".encode()
            client.send("text", greeting)
            assert source.receive() == ("text", greeting)
            if source.echo:
                assert client.receive() == ("bytes", greeting)
        return client


class Admin:
    """The admin doors of the relay that it starts: over TCP, and over a Unix socket."""

    def __init__(self, world):
        self.world, self.port = world, world.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.unix_path = world.folder / "admin.sock"

    def exists(self):
        """Whether the program has such doors."""
        port = self.world.free_port()
        sources = [{"url": "ws://127.0.0.1:1", "websocket_host": "127.0.0.1", "websocket_port": port}]
        path = self.world.config({"sources": sources, "admin": self.settings})
        relay = self.world.run("-c", path, ws_port=port)
        wait_until(lambda: relay.process.poll() is not None or tcp_port_listens(port), "it runs")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.is_open, "the admin doors are open", within=1)
        return self.is_open

    @property
    def settings(self):
        return {"listen": f"127.0.0.1:{self.port}", "unix_socket_path": str(self.unix_path)}

    @property
    def is_open(self):
        return tcp_port_listens(self.port) and unix_path_listens(self.unix_path)

    def relay(self, source_url, source=None, **top):
        relay = self.world.relay(source_url, source, admin=self.settings, **top)
        wait_until(lambda: self.is_open, "the admin doors are open")
        return relay

    def open(self, path):
        """The answer, which must be a good one, as it comes."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return direct.open(self.url + path, timeout=PATIENCE)

    def get(self, path):
        """The whole answer; its body is `text`."""
        with self.open(path) as response:
            response.text = response.read().decode()
            return response


class RawHttp:
    """A TCP connection for bytes that no library would send."""

    def __init__(self, stream):
        self.socket, self.input = stream, b""
        self.socket.settimeout(PATIENCE)

    @classmethod
    def dial(cls, port):
        return cls(socket.create_connection(("127.0.0.1", port), PATIENCE))

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, headers=(), method="GET", version="HTTP/1.1", **changed):
        """Sends an upgrade request; a keyword changes a header, None leaves it out."""
        usual = {
            "Host": "127.0.0.1",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        usual.update({name.replace("_", "-"): value for name, value in changed.items()})
        lines = [
            f"{name}: {value}" for name, value in [*usual.items(), *headers] if value is not None
        ]
        self.send("\r\n".join([f"{method} / {version}", *lines, "", ""]).encode())

    def response(self):
        """The status and the head of the answer."""
        while b"\r\n\r\n" not in self.input:
            data = self.socket.recv(65536)
            assert data, f"closed within the head: {self.input!r}"
            self.input += data
        head, _, self.input = self.input.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode()

    def upgrade(self, **changed):
        self.request(**changed)
        status, head = self.response()
        assert status == 101, head
        return self

    def frame(self, opcode, payload=b"", fin=True, rsv=0, mask=True, length=None):
        """Sends a frame, right or wrong."""
        self.send(encoded_frame(opcode, payload, fin, rsv, mask, length))

    def exactly(self, size):
        while len(self.input) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.input += data
        data, self.input = self.input[:size], self.input[size:]
        return data

    def read_frame(self):
        """The opcode and the payload of the next frame; EOFError at the end of the stream."""
        first, second = self.exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.exactly(8))
        key = self.exactly(4) if second & 0x80 else b""
        payload = self.exactly(length)
        return first & 0x0F, masked(payload, key) if key else payload

    def close_code(self):
        """The code of the next close frame, `None` if the stream ends without one."""
        try:
            while True:
                opcode, payload = self.read_frame()
                if opcode == CLOSE:
                    return struct.unpack(">H", payload[:2])[0] if payload else 1005
        except (EOFError, ConnectionError):
            return None

    def ends(self):
        """Whether the other side hangs up, whatever it sends before."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True


def encoded_frame(opcode, payload=b"", fin=True, rsv=0, mask=True, length=None):
    length = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    key = b"\x12\x34\x56\x78"
    return head + (key + masked(payload, key) if mask else payload)


def masked(payload, key):
    keys = itertools.cycle(key)
    return bytes(byte ^ next(keys) for byte in payload)

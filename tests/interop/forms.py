"""A relay whose channel can be had in every form."""

from harness import PATIENCE, VEYLOR, Child, Client, tcp_port_listens, wait_until

# A message that is no text.
BINARY = b"\x00\xff\x80"


class Forms:
    """A relay whose channel can be had in all ways: at its ports, and at one for all channels."""

    def __init__(self, world, source, settings=None, **top):
        self.world, self.source = world, source
        self.shared, self.bare = world.free_port(), world.free_port()
        self.admin_path = world.folder / f"admin{self.shared}.sock"
        top.setdefault("listen", f"127.0.0.1:{self.shared}")
        top.setdefault("admin", {"unix_socket_path": str(self.admin_path)})
        self.relay = world.relay(source.url, {"tcp_port": self.bare, **(settings or {})}, **top)
        self.own = self.relay.ws_port
        ports = [self.bare, *([self.shared] if top["listen"] else [])]
        wait_until(lambda: all(map(tcp_port_listens, ports)), "all ports listen")
        source.expect_open()

    def ws(self, query="", path="/feed"):
        """A client of the Python package, as soon as it is let in, or was refused."""
        url = f"ws://127.0.0.1:{self.shared}{path}{query}"
        client = self.world.adopt(Client("python", "ws", url))
        return client

    def follower(self, query=""):
        client = self.ws(query)
        client.expect("open")
        return client

    def curl(self, path, *args, port=None):
        """A curl that goes on until it is ended; its lines are those of the answer, head first."""
        url = f"http://127.0.0.1:{port or self.shared}{path}"
        return self.world.adopt(Child(["curl", "-isN", "--noproxy", "*", *args, url]))

    def ask(self, path, *args, port=None):
        """The status, the head and the body of an answer that ends."""
        curl = self.curl(path, "--max-time", str(PATIENCE), *args, port=port)
        assert curl.wait() == 0, curl.output
        lines = [line.rstrip("\r") for line in curl.out]
        end = lines.index("")
        head = dict(line.lower().split(": ", 1) for line in lines[1:end])
        return int(lines[0].split()[1]), head, "\n".join(lines[end + 1 :])

    def send(self, *texts):
        """What the service says; returns when the relay has it."""
        for text in texts:
            kind = "binary" if text == BINARY else "text"
            self.source.send(kind, text if isinstance(text, bytes) else text.encode())
        self.source.ping()

    def logs(self, *parts):
        """Waits until a line of the log has all these parts."""

        def has_line():
            return any(all(part in line for part in parts) for line in list(self.relay.err))

        wait_until(has_line, f"the log says {parts}")

    def reload(self):
        """Has the configuration read again; returns when that is done."""
        argv = [VEYLOR, "reload", "--socket", str(self.admin_path)]
        asked = self.world.adopt(Child(argv))
        assert asked.wait() == 0, asked.output

    def disconnect(self):
        """Sees the one client off that there is."""
        (client,) = [line.split()[0] for line in self.table("clients").splitlines()[1:]]
        argv = [VEYLOR, "disconnect", client, "--socket", str(self.admin_path)]
        assert self.world.adopt(Child(argv)).wait() == 0

    def table(self, command):
        """The rows of a table of the program, by the words of its first line."""
        asked = self.world.adopt(Child([VEYLOR, command, "--socket", str(self.admin_path)]))
        assert asked.wait() == 0, asked.output
        return asked.output

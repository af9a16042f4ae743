"""A service that is asked over plain HTTP, too."""

import http.server
import json
import threading

from .service import Service


class RestService(Service):
    """A subclass says in `answer` what it answers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.counter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._clerk())
        self.counter.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.counter.serve_forever, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *exception):
        self.counter.shutdown()
        self.counter.server_close()
        super().__exit__(*exception)

    @property
    def rest(self):
        """Where it is asked."""
        return f"http://127.0.0.1:{self.counter.server_port}"

    def answer(self, method, path, headers, body):
        """The status, and what becomes JSON."""
        raise NotImplementedError

    def _clerk(self):
        service = self

        class Clerk(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                status, answer = service.answer(self.command, self.path, self.headers, asked)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        return Clerk

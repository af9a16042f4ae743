"""OKX: public and private channels, version 5.

From "Overview: WebSocket" (Connect, Login, Subscribe, Notification) and "Error Code: WebSocket" of the OKX API
guide (okx.com/docs-v5/en), read on 2026-11-20:

- 3 connections a second from an address; 480 requests an hour (login, subscribe) on a connection.
- Public channels are at `/ws/v5/public`, private ones at `/ws/v5/private`, after a login: the signature is the
  base64 of an HMAC-SHA256 of timestamp, `GET` and `/users/self/verify`; the timestamp is in seconds, and 30 s
  later it has expired. Answers: event `login` with code "0", or event `error` with 60005 (key), 60006
  (expired), 60007 (signature), 60009 (login failed), 60011 (please log in), 60024 (passphrase).
- Who has not subscribed within 30 s, or has got no data for 30 s, is disconnected. The text `ping`, which is no
  JSON, is answered by `pong` and keeps the connection.
- Before an upgrade of the service it sends a notice with code 64008; who then connects anew misses nothing.

Left open there, and decided here: the connection ends after an error of the login, and the idle one without a
close frame.
"""

import base64
import hashlib
import hmac
import json
import time

from .service import Breach, Service

PUBLIC, PRIVATE = "/ws/v5/public", "/ws/v5/private"
CHANNELS = {PUBLIC: {"tickers", "trades"}, PRIVATE: {"account", "orders"}}
MAX_REQUESTS = 480


class Okx(Service):
    paths = (PUBLIC, PRIVATE)
    dial_limit = (3, 1)

    def __init__(self, account=None, is_quiet=False, **options):
        super().__init__(**options)
        # The key, its secret and its passphrase.
        self.account, self.is_quiet = account, is_quiet

    def gate(self, visit, request):
        visit.is_known, visit.requests = False, 0
        visit.subscribed, visit.lively = [], time.monotonic()

    def rules(self, visit):
        return [self.end_idle(visit)]

    async def end_idle(self, visit):
        """Pushed data, an answer or a `pong` count as life, as the advice in the documents supposes."""
        while time.monotonic() - visit.lively < 30 * self.pace:
            await self.wait(1)
        raise Breach("a connection is subscribed, and never silent for 30 s")

    async def talk(self, visit):
        await self.together(self.listen(visit), self.push(visit))

    async def listen(self, visit):
        while True:
            message = await visit.recv()
            self.note("heard", message)
            if message == "ping":
                self.note("ping")
                await self.say(visit, "pong")
                continue
            await self.obey(visit, json.loads(message))

    async def say(self, visit, message):
        visit.lively = time.monotonic()
        await visit.tell(message)

    async def obey(self, visit, request):
        visit.requests += 1
        if visit.requests > MAX_REQUESTS:
            await self.fail(visit, "60014", "Requests too frequent")
        if request.get("op") == "login":
            await self.log_in(visit, request)
        elif request.get("op") == "subscribe":
            await self.subscribe(visit, request)
        else:
            await self.fail(visit, "60012", f"Invalid request: {request}")

    async def log_in(self, visit, request):
        if visit.path != PRIVATE:
            await self.fail(visit, "60028", "The URL does not support login")
        code = self.login_error(request["args"][0])
        if code:
            await self.fail(visit, code, "Login failed")
        visit.is_known = True
        self.note("logged in")
        await self.say(visit, {"event": "login", "code": "0", "msg": "", "connId": "a4d3ae55"})

    def login_error(self, login):
        key, secret, passphrase = self.account
        stamp = str(login.get("timestamp"))
        message = f"{stamp}GET/users/self/verify".encode()
        sign = base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()
        if not stamp.isdigit():
            return "60004"
        if login.get("apiKey") != key:
            return "60005"
        if abs(time.time() - int(stamp)) > 30:
            return "60006"
        if login.get("passphrase") != passphrase:
            return "60024"
        return None if login.get("sign") == sign else "60007"

    async def subscribe(self, visit, request):
        for arg in request["args"]:
            if visit.path == PRIVATE and not visit.is_known:
                await self.fail(visit, "60011", "Please log in")
            if arg.get("channel") not in CHANNELS[visit.path]:
                await self.fail(visit, "60018", f"Wrong URL or {arg} doesn't exist")
            visit.subscribed.append(arg)
            self.note("subscribed", arg["channel"])
            await self.say(visit, {"event": "subscribe", "arg": arg, "connId": "a4d3ae55"})

    async def fail(self, visit, code, message):
        await visit.tell({"event": "error", "code": code, "msg": message, "connId": "a4d3ae55"})
        raise Breach(f"{code}: {message}")

    async def push(self, visit):
        async for tick in self.market(visit):
            for arg in visit.subscribed if not self.is_quiet else []:
                await self.say(visit, {"arg": arg, "data": [{"seqId": tick, "last": "20000.1"}]})

    def announce_upgrade(self):
        """Says to everyone that the connection will soon be closed."""
        notice = {"event": "notice", "code": "64008", "msg": "The connection will soon be closed"}

        async def tell_all():
            for visit in list(self.visits):
                await visit.tell({**notice, "connId": "a4d3ae55"})

        self.do(tell_all())

"""Home Assistant: its event bus.

From "WebSocket API" (developers.home-assistant.io/docs/api/websocket) and, for what happens to wrong clients,
the component `websocket_api` of home-assistant/core (http.py, connection.py, auth.py), read on 2026-11-20:

- `/api/websocket`. The service says `auth_required`; the first message of the client is `auth` with an access
  token, within 10 s; the answer is `auth_ok`, or `auth_invalid` and the end.
- Then every command has an `id`, greater than those before it on this connection; an old one is answered by
  `id_reuse`. `subscribe_events` is answered by a `result`; events carry its id.
- `ping` is answered `pong` with its id. The service itself sends ping frames, every 55 s.
- Anything that is not text or not JSON ends the connection.
"""

import itertools

from .service import Breach, End, Service, is_pong

VERSION = "2026.11.1"


class HomeAssistant(Service):
    paths = ("/api/websocket",)

    def __init__(self, token, **options):
        super().__init__(**options)
        self.token = token
        # Nobody switches anything.
        self.is_quiet = False

    def gate(self, visit, request):
        visit.subscriptions, visit.last_id, visit.pongs = {}, 0, 0

    def on_frame(self, visit, frame):
        visit.pongs += is_pong(frame)

    def rules(self, visit):
        return [self.ping(visit)]

    async def ping(self, visit):
        for count in itertools.count():
            await self.wait(55)
            if visit.pongs < count:
                raise Breach("ping frames are answered")
            await visit.ping()

    async def talk(self, visit):
        await visit.tell({"type": "auth_required", "ha_version": VERSION})
        login = await self.within(10, "auth", visit.hear())
        if login.get("type") != "auth":
            await visit.tell({"type": "auth_invalid", "message": "Auth message incorrectly formatted"})
            raise Breach(f"the first message is auth, not {login}", 1000)
        if login.get("access_token") != self.token:
            await visit.tell({"type": "auth_invalid", "message": "Invalid access token or password"})
            self.note("turned away")
            raise End(1000)
        await visit.tell({"type": "auth_ok", "ha_version": VERSION})
        self.note("logged in")
        await self.together(self.listen(visit), self.report(visit))

    async def listen(self, visit):
        while True:
            await self.obey(visit, await visit.hear())

    async def obey(self, visit, command):
        number = command.get("id")
        if not isinstance(number, int):
            await self.fail(visit, number, "invalid_format", "Message incorrectly formatted.")
        elif number <= visit.last_id:
            await self.fail(visit, number, "id_reuse", "Identifier values have to increase.")
        elif command.get("type") == "ping":
            await visit.tell({"id": number, "type": "pong"})
        elif command.get("type") == "subscribe_events":
            visit.subscriptions[number] = command.get("event_type")
            await visit.tell({"id": number, "type": "result", "success": True, "result": None})
            self.note("subscribed", command.get("event_type"))
        else:
            await self.fail(visit, number, "unknown_command", "Unknown command.")
        visit.last_id = max(visit.last_id, number or 0)

    async def fail(self, visit, number, code, message):
        error = {"code": code, "message": message}
        self.break_rule(f"{code}: {message}")
        await visit.tell({"id": number, "type": "result", "success": False, "error": error})

    async def report(self, visit):
        async for tick in self.market(visit):
            for number in [] if self.is_quiet else visit.subscriptions:
                await visit.tell(changed(number, tick))


def changed(number, tick):
    """One of three lamps is switched."""
    entity = f"light.lamp_{tick % 3}"
    state = {"entity_id": entity, "state": "on" if tick % 2 else "off", "attributes": {"tick": tick}}
    event = {
        "event_type": "state_changed",
        "data": {"entity_id": entity, "new_state": state, "old_state": None},
        "origin": "LOCAL",
    }
    return {"id": number, "type": "event", "event": event}

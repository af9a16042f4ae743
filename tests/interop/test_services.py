"""The configurations in `examples/configs/`, each against a strict stand-in of its service (`services/`).

A shipped file is used as it is, but for addresses, files and times: a minute of the documents lasts 3 s here. A
scenario spends its time waiting, so all that are selected run at once, and each test waits for its own.
"""

import contextlib
import json
import re
import shutil
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harness import PATIENCE, ROOT, Tls, World, short_folder, wait_until
from services import (
    AisStream,
    Binance,
    Bybit,
    Coinbase,
    Deribit,
    HomeAssistant,
    Kraken,
    KuCoin,
    Obs,
    Okx,
    Restream,
)

CONFIGS = ROOT / "examples/configs"
# Seconds of the test that a second of the documents lasts.
PACE = 1 / 20
# The least `max_age` that there is, in seconds.
MIN_AGE = 10
# Scenarios at a time: they wait more than they compute.
WORKERS = 12
QUICK = "\nperformance: {reconnect_delay: 50ms, reconnect_max_delay: 200ms}\n"
DURATION = re.compile(r"\b(every|idle_timeout): (\d+)(s|m)\b")
UNITS = {"s": 1, "m": 60, "h": 3600}
SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


@pytest.fixture(scope="module")
def outcomes(request):
    """What comes of the scenarios that are selected."""
    selected = {
        item.callspec.params["scenario"]
        for item in request.session.items
        if hasattr(item, "callspec") and "scenario" in item.callspec.params
    }
    with ThreadPoolExecutor(WORKERS) as pool:
        chosen = [one for one in SCENARIOS if one in selected]
        yield {one: pool.submit(on_stage, one) for one in chosen}


def on_stage(play):
    """Runs a scenario. What fails says what the relay and the services have seen."""
    with short_folder() as folder, World(folder, tls=None) as world:
        with contextlib.ExitStack() as ending:
            stage = Stage(world, ending)
            try:
                play(stage)
                stage.check()
            except (Exception, AssertionError) as error:
                raise AssertionError(f"{error}\n{stage.story()}") from error


class Stage:
    """The services, relays and clients of one scenario."""

    def __init__(self, world, ending):
        self.world, self.ending = world, ending
        self.services, self.relays = [], []

    def open(self, service):
        """A service, until the scenario is over."""
        self.services.append(self.ending.enter_context(service))
        return service

    def relay(self, text, env=None):
        """The relay of a configuration, as soon as it listens."""
        file = self.world.folder / "config.yaml"
        file.write_text(text)
        ports = [int(port) for port in re.findall(r"websocket_port: (\d+)", text)]
        options = {"ws_port": ports[0], "file": str(file), "env": env, "cwd": self.world.folder}
        relay = self.world.run("-c", str(file), "-v", **options)
        self.relays.append(relay)
        relay.ports = ports
        relay.wait_listening()
        return relay

    def shipped(self, name, service, changes=(), max_age=None, env=None):
        """The relay of a configuration that is shipped, for this service."""
        text = (CONFIGS / f"{name}.yaml").read_text()
        for old, new in dict(changes).items():
            assert old in text, f"{name}.yaml has no {old!r}"
            text = text.replace(old, new)
        text = re.sub(r"wss?://(?!localhost)[^/\s?]+", service.origin, text)
        text = text.replace("/etc/veylor/", f"{CONFIGS}/")
        text = DURATION.sub(paced, text)
        text = with_age(text, max_age)
        text = re.sub(r"(?<=websocket_port: )\d+", lambda _: str(self.world.free_port()), text)
        return self.relay(text + QUICK, env)

    def client(self, relay, port=None):
        return self.ending.enter_context(Listener(port or relay.ws_port))

    def check(self):
        """No rule was broken."""
        broken = {str(service): service.broken for service in self.services if service.broken}
        assert not broken, f"broken: {broken}"

    def story(self):
        parts = [f"--- {relay.argv}\n{relay.output}" for relay in self.relays]
        for service in self.services:
            lines = [f"{at:.3f} {what} {detail or ''}" for at, what, detail in service.diary[-60:]]
            parts.append("\n".join([f"--- {service}, broken: {service.broken}", *lines]))
        return "\n".join(parts)


class Listener:
    """A client of the relay."""

    def __init__(self, port):
        self.connecting = connect(f"ws://127.0.0.1:{port}", compression=None, open_timeout=PATIENCE)

    def __enter__(self):
        self.socket = self.connecting.__enter__()
        return self

    def __exit__(self, *exception):
        self.connecting.__exit__(*exception)

    def receive(self):
        return self.socket.recv(timeout=PATIENCE)

    def next(self, is_meant=lambda message: True):
        """The next message of JSON that is meant."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(ValueError):
                message = json.loads(self.receive())
                if isinstance(message, dict) and is_meant(message):
                    return message
        raise AssertionError("nothing of the kind comes")

    def collect(self, seconds):
        """All messages of so many seconds."""
        deadline, messages = time.monotonic() + seconds, []
        with contextlib.suppress(TimeoutError):
            while (left := deadline - time.monotonic()) > 0:
                messages.append(self.socket.recv(timeout=left))
        return messages

    def send(self, message):
        self.socket.send(message if isinstance(message, str) else json.dumps(message))


def paced(match):
    """A duration of a shipped file in the time of the test."""
    key, number, unit = match.groups()
    return f"{key}: {int(int(number) * UNITS[unit] * PACE * 1000)}ms"


def with_age(text, max_age):
    """The shipped `max_age`, which must be less than a day, as another one, or none."""
    found = re.search(r"\n *max_age: (\d+)h(\d+)m", text)
    if found is None:
        return text
    assert int(found[1]) * 60 + int(found[2]) < 24 * 60
    age = f"\n    max_age: {int(max_age * 1000)}ms" if max_age else ""
    return text.replace(found[0], age)


def is_trade(message):
    return message.get("e") == "trade"


# --- Binance ---


@scenario
def binance_is_subscribed_and_its_pings_are_answered(stage):
    service = stage.open(Binance(PACE))
    client = stage.client(stage.shipped("binance", service))
    assert client.next(is_trade)["s"] == "BTCUSDT"
    service.expect("pong", 2)
    assert len(service.noted("open")) == 1


@scenario
def binance_is_left_before_its_day_is_over(stage):
    service = stage.open(Binance(PACE, life=14))
    client = stage.client(stage.shipped("binance", service, max_age=MIN_AGE))
    service.expect("subscribed", 2)
    assert client.next(is_trade)
    service.expect("closed")
    assert not service.noted("old")


@scenario
def binance_trades_go_on_without_a_gap_when_a_connection_is_left(stage):
    service = stage.open(Binance(PACE, latency=0.3, life=14))
    client = stage.client(stage.shipped("binance", service, max_age=MIN_AGE))
    first = client.next(is_trade)["t"]
    numbers = [first]
    while not service.noted("closed"):
        numbers.append(client.next(is_trade)["t"])
    numbers += [client.next(is_trade)["t"] for _ in range(50)]
    assert numbers == list(range(first, first + len(numbers)))


@scenario
def binance_that_hangs_up_after_a_day_is_dialled_again(stage):
    service = stage.open(Binance(PACE, life=1))
    client = stage.client(stage.shipped("binance", service))
    service.expect("old", 2)
    service.expect("subscribed", 3)
    assert client.next(is_trade)


@scenario
def binance_that_restarts_is_dialled_again(stage):
    service = stage.open(Binance(PACE))
    client = stage.client(stage.shipped("binance", service))
    client.next(is_trade)
    service.restart()
    client.next(lambda message: message.get("e") == "serverShutdown")
    service.expect("subscribed", 2)
    client.next(is_trade)


@scenario
def binance_is_not_dialled_more_often_than_it_allows(stage):
    # Every connection ends at once. What the relay counts as it goes, the service counts as it comes:
    # one may fall into the next minute.
    service = stage.open(Binance(PACE, life=0.05, dial_limit=(4, 60)))
    minute = int(60 * PACE * 1000)
    budget = {"dial_budget: 300 per 5m": f"dial_budget: 3 per {minute}ms"}
    stage.shipped("binance", service, budget)
    service.expect("old", 3)
    time.sleep(60 * PACE)
    assert 4 <= len(service.noted("dialled")) <= 9


@scenario
def binance_that_refuses_a_subscription_is_no_connection(stage):
    service = stage.open(Binance(PACE))
    wanted = 'wait_for: {json: {/id: 1, /result: null}}'
    changes = {"btcusdt@trade": "BTCUSDT@trade", wanted: f"{wanted}\n        timeout: 300ms"}
    stage.shipped("binance", service, changes)
    wait_until(lambda: len(service.noted("open")) >= 2, "it is dialled again")
    assert not service.noted("subscribed")
    assert "lower case" in service.broken.pop(0)
    service.broken.clear()


@scenario
def binance_of_two_addresses_loses_and_doubles_nothing(stage):
    service = stage.open(Binance(PACE))
    other = {"wss://data-stream.binance.vision": service.origin.replace("127.0.0.1", "localhost")}
    client = stage.client(stage.shipped("binance-race", service, other))
    service.expect("open", 2)
    numbers = [client.next()["data"]["t"] for _ in range(20)]
    for _ in range(2):
        opened = len(service.noted("open"))
        service.drop_oldest()
        service.expect("open", opened + 1)
        numbers += [client.next()["data"]["t"] for _ in range(50)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# --- Coinbase ---


@scenario
def coinbase_is_subscribed_channel_by_channel(stage):
    service = stage.open(Coinbase(pace=PACE))
    client = stage.client(stage.shipped("coinbase", service))
    client.next(lambda message: message["channel"] == "market_trades")
    client.next(lambda message: message["channel"] == "heartbeats")
    assert service.noted("subscribed") == ["heartbeats", "market_trades"]


@scenario
def coinbase_without_heartbeats_is_closed_when_it_is_quiet(stage):
    service = stage.open(Coinbase(pace=PACE))
    first = "      - send: {type: subscribe, channel: heartbeats}\n"
    first += "        wait_for: {json: {/channel: subscriptions}}\n"
    stage.shipped("coinbase", service, {first: "", "idle_timeout: 15s": "idle_timeout: 5m"})
    wait_until(lambda: service.broken, "it is closed")
    assert "heartbeats" in service.broken.pop()


@scenario
def coinbase_user_gets_a_fresh_token_at_each_dial(stage):
    key = stage.world.folder / "key.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    public = openssl("ec", "-in", str(key), "-pubout")
    name = "organizations/1/apiKeys/2"
    service = stage.open(Coinbase(name, public, pace=PACE))
    env = {"COINBASE_KEY_NAME": name, "COINBASE_KEY_FILE": str(key)}
    client = stage.client(stage.shipped("coinbase-user", service, env=env))
    client.next(lambda message: message["channel"] == "user")
    service.end_all(1012, "restart")
    service.expect("subscribed", 4)
    said = [json.loads(message) for message in service.noted("heard")]
    tokens = [message["jwt"] for message in said if "jwt" in message]
    assert len(tokens) == len(set(tokens)) == 2
    assert not any(token in relay.output for token in tokens for relay in stage.relays)


def openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- Kraken ---


def is_ticker(message):
    return message.get("channel") == "ticker"


@scenario
def kraken_is_subscribed(stage):
    service = stage.open(Kraken(pace=PACE))
    client = stage.client(stage.shipped("kraken", service))
    assert client.next(is_ticker)["data"][0]["symbol"] in ("BTC/USD", "ETH/USD")
    assert service.noted("subscribed") == ["BTC/USD", "ETH/USD"]


@scenario
def kraken_gives_late_clients_the_last_values(stage):
    service = stage.open(Kraken(pace=PACE))
    relay = stage.shipped("kraken", service)
    stage.client(relay).next(is_ticker)
    service.is_quiet = True
    late = stage.client(relay)
    first = [json.loads(late.receive()) for _ in range(2)]
    assert {message["data"][0]["symbol"] for message in first} == {"BTC/USD", "ETH/USD"}


@scenario
def kraken_that_is_quiet_is_kept_and_that_is_dead_is_left(stage):
    service = stage.open(Kraken(is_quiet=True, pace=PACE))
    client = stage.client(stage.shipped("kraken", service))
    assert len(client.collect(30 * PACE)) > 10
    assert len(service.noted("open")) == 1
    service.is_dead = True
    service.expect("open", 2)


@scenario
def kraken_that_is_asked_too_often_says_when_to_come_again(stage):
    service = stage.open(Kraken(pace=PACE))
    service.refuse(429, Retry_After="2")
    stage.shipped("kraken", service)
    service.expect("refused")
    service.welcome()
    service.expect("subscribed", 2)
    refused, opened = service.times("refused"), service.times("open")
    assert len(refused) == 1 and 1.9 < opened[0] - refused[0] < 5


# --- OKX ---


ACCOUNT = {"OKX_API_KEY": "key-1", "OKX_SECRET_KEY": "secret-2", "OKX_PASSPHRASE": "phrase-3"}


@scenario
def okx_that_is_quiet_is_kept_by_texts(stage):
    service = stage.open(Okx(is_quiet=True, pace=PACE))
    client = stage.client(stage.shipped("okx", service))
    service.expect("ping", 3)
    assert "pong" in client.collect(25 * PACE)
    assert service.noted("subscribed") == ["tickers", "tickers"]
    assert len(service.noted("open")) == 1


@scenario
def okx_tickers_come_before_and_after_an_upgrade(stage):
    service = stage.open(Okx(pace=PACE))
    client = stage.client(stage.shipped("okx", service))
    client.next(lambda message: "data" in message)
    service.announce_upgrade()
    client.next(lambda message: message.get("code") == "64008")
    service.end_all(1012, "upgrade")
    service.expect("subscribed", 4)
    client.next(lambda message: "data" in message)


@scenario
def okx_private_is_logged_in_before_it_is_subscribed(stage):
    service = stage.open(Okx(tuple(ACCOUNT.values()), pace=PACE))
    relay = stage.shipped("okx-private", service, env=ACCOUNT)
    stage.client(relay).next(lambda message: message.get("arg", {}).get("channel") == "account")
    service.end_all(1012, "upgrade")
    service.expect("subscribed", 4)
    words = [what for _, what, _ in service.diary if what in ("logged in", "subscribed")]
    assert words == ["logged in", "subscribed", "subscribed"] * 2
    assert not any(secret in relay.output for secret in ACCOUNT.values())


@scenario
def okx_private_that_turns_a_login_away_is_not_subscribed(stage):
    service = stage.open(Okx(tuple(ACCOUNT.values()), pace=PACE))
    stage.shipped("okx-private", service, env={**ACCOUNT, "OKX_PASSPHRASE": "wrong"})
    wait_until(lambda: len(service.broken) >= 2, "it is tried again")
    assert not service.noted("subscribed")
    assert {rule[:5] for rule in service.broken} == {"60024"}
    service.broken.clear()


# --- Bybit ---


@scenario
def bybit_is_pinged_in_json(stage):
    service = stage.open(Bybit(pace=PACE))
    client = stage.client(stage.shipped("bybit", service))
    client.next(lambda message: message.get("topic") == "publicTrade.BTCUSDT")
    service.expect("ping", 2)
    assert len(service.noted("open")) == 1


@scenario
def bybit_private_is_signed_anew_at_each_dial_and_kept_when_quiet(stage):
    service = stage.open(Bybit(("key-1", "secret-2"), is_quiet=True, pace=PACE))
    env = {"BYBIT_API_KEY": "key-1", "BYBIT_SECRET": "secret-2"}
    stage.shipped("bybit-private", service, env=env)
    service.expect("ping", 4)
    assert len(service.noted("open")) == 1
    service.end_all(None)
    service.expect("subscribed", 2)
    signed = [json.loads(message)["args"] for message in service.noted("heard") if '"auth"' in message]
    assert len(signed) == 2 and signed[0] != signed[1]


# --- KuCoin ---


def kucoin(stage, service, **options):
    return stage.shipped("kucoin", service, {"https://api.kucoin.com": service.rest}, **options)


@scenario
def kucoin_is_welcomed_with_a_token_and_pinged(stage):
    service = stage.open(KuCoin(pace=PACE))
    client = stage.client(kucoin(stage, service))
    client.next(lambda message: message.get("topic") == "/market/ticker:ETH-USDT")
    service.expect("ping", 3)
    assert len(service.noted("token")) == len(service.noted("open")) == 1


@scenario
def kucoin_is_left_for_a_new_token_before_its_day_is_over(stage):
    service = stage.open(KuCoin(pace=PACE, life=14))
    client = stage.client(kucoin(stage, service, max_age=MIN_AGE))
    service.expect("subscribed", 2)
    client.next(lambda message: message.get("type") == "message")
    assert not service.noted("old")
    assert len(set(service.noted("token"))) == 2


@scenario
def kucoin_that_ends_after_a_day_is_dialled_with_a_new_token(stage):
    service = stage.open(KuCoin(pace=PACE, life=1))
    client = stage.client(kucoin(stage, service))
    service.expect("subscribed", 3)
    client.next(lambda message: message.get("type") == "message")
    assert len(set(service.noted("token"))) >= 3


# --- AISStream ---


@scenario
def aisstream_is_told_the_key_in_time(stage):
    service = stage.open(AisStream("key-of-ours", pace=PACE))
    relay = stage.shipped("aisstream", service, env={"AISSTREAM_API_KEY": "key-of-ours"})
    client = stage.client(relay)
    report = client.receive()
    assert isinstance(report, bytes) and json.loads(report)["MessageType"] == "PositionReport"
    assert service.noted("subscribed") == [[[[53.3, 6.5], [55.1, 9.2]]]]
    assert "key-of-ours" not in relay.output


@scenario
def aisstream_gives_late_clients_a_replay(stage):
    service = stage.open(AisStream("key-of-ours", pace=PACE))
    relay = stage.shipped("aisstream", service, env={"AISSTREAM_API_KEY": "key-of-ours"})
    stage.client(relay).collect(1)
    ticks = service.ticks
    late = stage.client(relay)
    oldest = json.loads(late.receive())["Message"]["PositionReport"]["Sog"]
    assert oldest < ticks - 20, "reports of the past come first"


@scenario
def aisstream_is_told_the_key_over_tls(stage):
    tls = Tls(stage.world.folder / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert, tls.key)
    service = stage.open(AisStream("key-of-ours", pace=PACE, tls=context))
    trust = {"idle_timeout:": f"ca_file: {tls.ca}\n    idle_timeout:"}
    relay = stage.shipped("aisstream", service, trust, env={"AISSTREAM_API_KEY": "key-of-ours"})
    assert isinstance(stage.client(relay).receive(), bytes)


@scenario
def aisstream_that_does_not_know_the_key_is_not_stormed(stage):
    service = stage.open(AisStream("key-of-ours", pace=PACE))
    budget = {"dial_budget: 10 per 5m": "dial_budget: 2 per 3s"}
    stage.shipped("aisstream", service, budget, env={"AISSTREAM_API_KEY": "wrong"})
    wait_until(lambda: len(service.broken) >= 2, "it is tried again")
    time.sleep(1.5)
    assert set(service.broken) == {"Api Key Is Not Valid"} and len(service.broken) <= 4
    service.broken.clear()


# --- Home Assistant ---


HOME = {"HOME_ASSISTANT_TOKEN": "token-of-ours"}


@scenario
def home_assistant_is_logged_in_and_subscribed(stage):
    service = stage.open(HomeAssistant("token-of-ours", pace=PACE))
    client = stage.client(stage.shipped("home-assistant", service, env=HOME))
    client.next(lambda message: message.get("type") == "event")
    assert service.noted("subscribed") == ["state_changed"]


@scenario
def home_assistant_gives_late_clients_the_last_states(stage):
    service = stage.open(HomeAssistant("token-of-ours", pace=PACE))
    relay = stage.shipped("home-assistant", service, env=HOME)
    client = stage.client(relay)
    for _ in range(3):
        client.next(lambda message: message.get("type") == "event")
    service.is_quiet = True
    late = stage.client(relay)
    first = [json.loads(late.receive()) for _ in range(3)]
    lamps = {message["event"]["data"]["entity_id"] for message in first}
    assert lamps == {"light.lamp_0", "light.lamp_1", "light.lamp_2"}


@scenario
def home_assistant_hears_no_ids_of_clients(stage):
    service = stage.open(HomeAssistant("token-of-ours", pace=PACE))
    client = stage.client(stage.shipped("home-assistant", service, env=HOME))
    client.next(lambda message: message.get("type") == "event")
    heard = len(service.noted("heard"))
    client.send({"id": 1, "type": "subscribe_events"})
    client.collect(0.5)
    assert len(service.noted("heard")) == heard == 2


@scenario
def home_assistant_that_does_not_know_the_token_gets_no_commands(stage):
    service = stage.open(HomeAssistant("another", pace=PACE))
    relay = stage.shipped("home-assistant", service, env=HOME)
    service.expect("turned away", 2)
    assert all('"auth"' in message for message in service.noted("heard"))
    assert "token-of-ours" not in relay.output


# --- OBS ---


@scenario
def obs_is_shown_the_password_and_answers_requests_of_clients(stage):
    service = stage.open(Obs("täst \"w'rd", pace=PACE))
    relay = stage.shipped("obs", service, env={"OBS_PASSWORD": "täst \"w'rd"})
    client = stage.client(relay)
    client.next(lambda message: message.get("op") == 5)
    client.send({"op": 6, "d": {"requestType": "GetVersion", "requestId": "mine"}})
    answer = client.next(lambda message: message.get("op") == 7)
    assert answer["d"]["requestId"] == "mine"
    service.end_all(1001, "OBS ends")
    service.expect("identified", 2)
    assert set(service.noted("identified")) == {"obswebsocket.json"}


@scenario
def obs_gives_late_clients_the_last_events(stage):
    service = stage.open(Obs("password", pace=PACE))
    relay = stage.shipped("obs", service, env={"OBS_PASSWORD": "password"})
    stage.client(relay).next(lambda message: message.get("op") == 5)
    service.is_quiet = True
    late = stage.client(relay)
    assert json.loads(late.receive())["d"]["eventType"] == "CurrentProgramSceneChanged"


@scenario
def obs_with_another_password_is_told_nothing_else(stage):
    service = stage.open(Obs("right", pace=PACE))
    stage.shipped("obs", service, env={"OBS_PASSWORD": "wrong"})
    service.expect("turned away", 2)
    assert not service.noted("identified")


# --- Restream ---


def restream(stage, service, kept="refresh-0\n"):
    """The script, too, has to ask the stand-in, and keeps its file in the folder of the scenario."""
    script, state = stage.world.folder / "restream-token.sh", stage.world.folder / "state"
    text = (CONFIGS / "restream-token.sh").read_text()
    assert "https://api.restream.io" in text
    script.write_text(text.replace("https://api.restream.io", service.rest))
    shutil.copymode(CONFIGS / "restream-token.sh", script)
    state.write_text(kept)
    client_id, secret = service.client
    env = {"RESTREAM_CLIENT_ID": client_id, "RESTREAM_CLIENT_SECRET": secret, "RESTREAM_STATE": str(state)}
    return stage.shipped("restream", service, {"/etc/veylor/restream-token.sh": str(script)}, env=env)


@scenario
def restream_is_asked_once_for_a_token(stage):
    service = stage.open(Restream(pace=PACE))
    client = stage.client(restream(stage, service))
    client.next(lambda message: message["action"] == "event")
    service.expect("open", 2)
    assert len(service.noted("token")) == 1


@scenario
def restream_gives_late_clients_the_connections(stage):
    service = stage.open(Restream(pace=PACE))
    relay = restream(stage, service)
    stage.client(relay).next(lambda message: message["action"] == "event")
    service.expect("open", 2)
    late = stage.client(relay)
    first = [late.next() for _ in range(2)]
    assert {message["payload"].get("connectionUuid") for message in first} == {"uuid-2-twitch", "uuid-5-youtube"}
    late = stage.client(relay, relay.ports[1])
    assert late.next()["action"] == "connection_info"


@scenario
def restream_without_heartbeats_is_dialled_again(stage):
    service = stage.open(Restream(pace=PACE))
    restream(stage, service)
    service.expect("heartbeat", 4)
    assert len(service.noted("open")) == 2
    service.is_dead = True
    service.expect("open", 3)
    assert service.times("open")[2] - service.times("heartbeat")[-1] > 55 * PACE


@scenario
def restream_that_refuses_a_token_is_not_stormed(stage):
    service = stage.open(Restream(pace=PACE))
    relay = restream(stage, service, kept=f"refresh-0\nrevoked\n{int(time.time()) + 3600}\n")
    service.expect("turned away", 2)
    time.sleep(1.5)
    assert service.noted("turned away") == ["revoked", "revoked"]
    assert "refused" in relay.output and "revoked" not in relay.output


# --- Deribit ---


@scenario
def deribit_is_answered_and_clients_do_not_see_it(stage):
    service = stage.open(Deribit(pace=PACE))
    client = stage.client(stage.shipped("deribit", service))
    assert client.next(lambda message: message.get("method") == "subscription")
    service.expect("answered", 1)
    messages = client.collect(60 * PACE)
    service.expect("answered", 2)
    assert any('"type": "heartbeat"' in message for message in messages)
    assert not any("test_request" in message for message in messages)
    assert len(service.noted("open")) == 1




# --- That the stand-ins would notice ---


PLAIN = """
sources:
  - name: plain
    url: {url}
    websocket_host: 127.0.0.1
    websocket_port: {port}
"""


def unprepared(kind, path, rule, *args):
    """A relay that does nothing but dial breaks a rule of this service."""

    def play(stage):
        service = stage.open(kind(*args, pace=PACE))
        url = service.origin + path
        stage.relay(PLAIN.format(url=url, port=stage.world.free_port()) + QUICK)
        wait_until(lambda: service.broken, "a rule is broken")
        assert rule in service.broken[0]
        service.broken.clear()

    play.__name__ = f"{kind.__name__.lower()}_notices_who_is_not_prepared"
    scenario(play)


unprepared(Coinbase, "", "a subscription within 5 s")
unprepared(Kraken, "/v2", "sends nothing for a minute")
unprepared(Okx, "/ws/v5/public", "never silent for 30 s")
unprepared(Bybit, "/v5/private?max_active_time=30s", "not silent for 30 s")
unprepared(KuCoin, "/?token=none&connectId=1", "a token was given out")
unprepared(AisStream, "/v0/stream", "a subscription within 3 s", "key")
unprepared(HomeAssistant, "/api/websocket", "auth within 10 s", "token")
unprepared(Binance, "/wrong", "clients connect at")


def wrong(name, service, path, messages, rule):
    """A client that says this breaks a rule."""

    def play(stage):
        stage.open(service)
        with connect(service.origin + path, compression=None) as client, contextlib.suppress(ConnectionClosed):
            for message in messages:
                client.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
            wait_until(lambda: service.broken, "a rule is broken")
        assert rule in service.broken[0]
        service.broken.clear()

    play.__name__ = name
    scenario(play)


SUBSCRIBE = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}
ORDERS = {"op": "subscribe", "args": [{"channel": "orders"}]}
LOGIN = {"apiKey": "key", "passphrase": "phrase", "timestamp": "1", "sign": ""}
IDENTIFY = {"op": 1, "d": {"rpcVersion": 1}}
AUTH = {"type": "auth", "access_token": "token"}

wrong("binance_notices_floods", Binance(), "/ws", [SUBSCRIBE] * 9, "5 messages in a second")
wrong("binance_notices_capitals", Binance(), "/ws", [{**SUBSCRIBE, "params": ["BTC@trade"]}], "lower case")
wrong(
    "coinbase_notices_several_channels",
    Coinbase(),
    "/",
    [{"type": "subscribe", "channels": ["ticker", "user"]}],
    "names one channel",
)
wrong(
    "coinbase_notices_who_has_no_token",
    Coinbase(),
    "/",
    [{"type": "subscribe", "channel": "user", "jwt": "a.b.c"}],
    "authentication failure",
)
wrong(
    "kraken_notices_unknown_symbols",
    Kraken(),
    "/v2",
    [{"method": "subscribe", "params": {"channel": "ticker", "symbol": ["XBT/USD"]}}],
    "a ticker of",
)
wrong("okx_notices_who_is_not_logged_in", Okx(), "/ws/v5/private", [ORDERS], "60011")
wrong("okx_notices_private_channels_at_public_ones", Okx(), "/ws/v5/public", [ORDERS], "60018")
wrong(
    "okx_notices_old_logins",
    Okx(("key", "secret", "phrase")),
    "/ws/v5/private",
    [{"op": "login", "args": [LOGIN]}],
    "60006",
)
wrong(
    "bybit_notices_who_is_not_logged_in",
    Bybit(),
    "/v5/private",
    [{"op": "subscribe", "args": ["order"]}],
    "want auth",
)
wrong(
    "bybit_notices_wrong_signatures",
    Bybit(("key", "secret")),
    "/v5/private",
    [{"op": "auth", "args": ["key", 9999999999999, "00"]}],
    "signature",
)
wrong("aisstream_notices_wrong_keys", AisStream("key"), "/v0/stream", [{"APIKey": "none"}], "Not Valid")
wrong(
    "aisstream_notices_wrong_boxes",
    AisStream("key"),
    "/v0/stream",
    [{"APIKey": "key", "BoundingBoxes": [[[190, 0], [0, 0]]]}],
    "BoundingBoxes",
)
wrong(
    "home_assistant_notices_old_ids",
    HomeAssistant("token"),
    "/api/websocket",
    [AUTH, {"id": 2, "type": "ping"}, {"id": 2, "type": "ping"}],
    "id_reuse",
)
wrong(
    "home_assistant_notices_hasty_commands",
    HomeAssistant("token"),
    "/api/websocket",
    [{"id": 1, "type": "subscribe_events"}],
    "the first message is auth",
)
wrong("obs_notices_hasty_requests", Obs("password"), "/", [{"op": 6, "d": {}}], "Identify")
wrong("obs_notices_binary_frames", Obs("password"), "/", [b"{}"], "messages are text")
wrong(
    "deribit_notices_who_does_not_answer",
    Deribit(pace=PACE),
    "/ws/api/v2",
    [{"jsonrpc": "2.0", "id": 1, "method": "public/set_heartbeat", "params": {"interval": 10}}],
    "an answer to a test_request",
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
def test_service(scenario, outcomes):
    outcomes[scenario].result()

"""What the scenarios share: how to connect and push, what happened so far, and waits that have a deadline."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import ssl
import sys
import time

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler

from push_api import PushApi

# Seconds that anything may take on a slow and busy machine.
PATIENCE = 20

# Where clients connect, where the public API is, and the encoding: `json` or `protobuf`.
clients, api, encoding = sys.argv[1:4]
is_binary = encoding == "protobuf"


class Record:
    """All that a handler was told under one name since the record began."""

    def __init__(self, handler, name):
        self.items = []
        self._name = name
        self._grew = asyncio.Event()
        setattr(handler, name, self._take)

    async def _take(self, context):
        self.items.append(context)
        self._grew.set()

    async def count(self, count):
        """Waits until `count` have happened, and returns the last of them."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(self.items) < count:
                    self._grew.clear()
                    await self._grew.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain: {count} times {self._name}, got {self.items}") from None
        return self.items[count - 1]


class Recorded:
    """A client that is about to connect, with records of what happens to it."""

    def __init__(self, **options):
        events = ClientEventHandler()
        self.connecting = Record(events, "on_connecting")
        self.connected = Record(events, "on_connected")
        self.disconnected = Record(events, "on_disconnected")
        self.subscribed = Record(events, "on_subscribed")
        self.publication = Record(events, "on_publication")
        quick = {"max_reconnect_delay": 0.5, "timeout": PATIENCE}
        # Over TLS if there is an authority to trust.
        authority = os.environ.get("FANFARE_AUTHORITY")
        if authority:
            options["ssl_context"] = ssl.create_default_context(cafile=authority)
        url = f"{'wss' if authority else 'ws'}://{clients}/connection/websocket"
        self.client = Client(url, events=events, use_protobuf=is_binary, proxy=None, **quick, **options)

    @property
    def id(self):
        return self.connected.items[-1].client

    async def subscribe(self, channel, **options):
        """A live subscription, with records of its own."""
        subscription = self.client.new_subscription(channel, events=SubscriptionEventHandler(), **options)
        subscription.subscribed = Record(subscription.events, "on_subscribed")
        subscription.unsubscribed = Record(subscription.events, "on_unsubscribed")
        subscription.publications = Record(subscription.events, "on_publication")
        subscription.joins = Record(subscription.events, "on_join")
        await subscription.subscribe()
        return subscription

    async def round_trip(self):
        """After this, the server has taken all that was sent before, and the client all that was sent to it."""
        await refused(108, self.client.rpc("nothing", encode(None)))


async def connect(**options):
    """A client that is connected."""
    recorded = Recorded(**options)
    await recorded.client.connect()
    await recorded.connected.count(1)
    return recorded


async def refused(code, request):
    """Waits for a request that is answered with an error."""
    try:
        answer = await request
    except ReplyError as error:
        assert error.code == code, f"expected {code}: {error}"
    else:
        raise AssertionError(f"expected error {code}: {answer}")


def encode(value):
    """A value as the SDK wants it for this encoding."""
    return json.dumps(value).encode() if is_binary else value


def decode(data):
    """A value as the SDK gives it."""
    return json.loads(data) if is_binary else data


def values(record):
    """What was published, in the order of arrival."""
    return [decode(context.pub.data) for context in record.items]


def token(claims, secret="fanfare-dev"):
    """A token with these claims, signed with the secret of `serve --dev` unless another is given."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    header = {"alg": "HS256", "typ": "JWT"}
    signed = b".".join(part(json.dumps(claim).encode()) for claim in (header, claims))
    return (signed + b"." + part(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


def in_seconds(seconds):
    """Now, as tokens count it, and some seconds."""
    return int(time.time()) + seconds


def run(scenario):
    """Runs a scenario with a way to push."""

    async def whole():
        async with PushApi(api) as push_api:
            await scenario(push_api)

    asyncio.run(whole())

"""What tokens grant: subscriptions that the server makes, and channels that need a token of their own, which is renewed."""

import asyncio

from lib import PATIENCE, connect, decode, encode, in_seconds, run, token


async def scenario(api):
    # The server subscribes the client, and tells it so with what the token says of each channel.
    subs = {"room": {"info": {"role": "host"}, "data": {"topic": "jazz"}}}
    claims = {"sub": "42", "exp": in_seconds(3600), "channels": ["news"], "subs": subs}
    ann = await connect(token=token(claims))
    await ann.subscribed.count(3)
    made = {context.channel: context.data for context in ann.subscribed.items}
    assert sorted(made) == ["#42", "news", "room"], made
    assert decode(made["room"]) == {"topic": "jazz"}
    assert (await api.push({"channel": "news"}, "hello"))["written"] == 1
    publication = await ann.publication.count(1)
    assert (publication.channel, decode(publication.pub.data)) == ("news", "hello")

    # Others see what the token says of it in this channel.
    bob = await connect(token=token({"sub": "43"}))
    room = await bob.subscribe("room")
    await room.subscribed.count(1)
    await ann.client.publish("room", encode("hi"))
    assert decode((await room.publications.count(1)).pub.info.chan_info) == {"role": "host"}

    # A channel that needs a token cannot be had without one.
    refused = await bob.subscribe("$jam")
    assert (await refused.unsubscribed.count(1)).code == 103

    await expired_tokens_are_replaced(api, ann)
    assert (len(ann.connected.items), ann.disconnected.items) == (1, [])
    for recorded in (ann, bob):
        await recorded.client.disconnect()


async def expired_tokens_are_replaced(api, ann):
    """The first token has expired, so the SDK asks for another; that one ends soon and is replaced by the third."""
    asked = []
    asked_again = asyncio.Event()

    async def get_token(channel):
        asked.append(channel)
        if len(asked) == 3:
            asked_again.set()
        exp = in_seconds([-10, 2, 3600][len(asked) - 1])
        return token({"sub": "42", "channel": channel, "exp": exp, "info": {"seat": 7}})

    jam = await ann.subscribe("$jam", get_token=get_token)
    await jam.subscribed.count(1)
    await asyncio.wait_for(asked_again.wait(), PATIENCE)
    for _ in range(2):  # during the first the SDK sends the token
        await ann.round_trip()
    assert asked == ["$jam", "$jam", "$jam"]
    assert (await api.push({"channel": "$jam"}, "still here"))["written"] == 1
    assert decode((await jam.publications.count(1)).pub.data) == "still here"
    assert len(jam.subscribed.items) == 1

    # Others see what the subscription's token says of its bearer.
    await ann.client.publish("$jam", encode("solo"))
    info = (await jam.publications.count(2)).pub.info
    assert (info.user, decode(info.chan_info)) == ("42", {"seat": 7})


run(scenario)

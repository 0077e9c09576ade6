"""Tokens: a user's connections receive what is pushed to the user, and bad tokens get the answer they deserve."""

import asyncio

from centrifuge import ClientState

from lib import PATIENCE, Recorded, connect, decode, encode, in_seconds, run, token


async def scenario(api):
    # The personal channel is there from the start, and holds what is pushed to the user.
    claims = {"sub": "42", "exp": in_seconds(3600), "info": {"name": "Ann"}}
    ann = await connect(token=token(claims))
    assert (await ann.subscribed.count(1)).channel == "#42"
    other, nobody = await connect(token=token({"sub": "43"})), await connect()
    receipt = await api.push({"user": "42"}, {"mail": 1})
    assert (receipt["written"], receipt["user_offline"]) == (1, False), receipt
    publication = await ann.publication.count(1)
    assert (publication.channel, decode(publication.pub.data)) == ("#42", {"mail": 1})
    for stranger in (other, nobody):
        await stranger.round_trip()
        assert not stranger.publication.items
    receipt = await api.push({"user": "nobody"}, 1)
    assert (receipt["written"], receipt["user_offline"]) == (0, True), receipt

    # Others see who published, with what the token says of the user.
    news = await other.subscribe("news")
    await news.subscribed.count(1)
    await ann.client.publish("news", encode("hello"))
    info = (await news.publications.count(1)).pub.info
    assert (info.user, info.client, decode(info.conn_info)) == ("42", ann.id, {"name": "Ann"})

    late = await expired_tokens_are_replaced(api)
    await invalid_tokens_end_the_connection()
    for recorded in (ann, other, nobody, late):
        await recorded.client.disconnect()


async def expired_tokens_are_replaced(api):
    """The first answer makes the SDK get another token; the second token is replaced while connected."""
    asked = []
    asked_again = asyncio.Event()

    async def get_token():
        asked.append(True)
        if len(asked) == 2:
            asked_again.set()
        return token({"sub": "44", "exp": in_seconds(2 if len(asked) == 1 else 3600)})

    late = await connect(token=token({"sub": "44", "exp": in_seconds(-10)}), get_token=get_token)
    assert len(asked) == 1
    await asyncio.wait_for(asked_again.wait(), PATIENCE)
    for _ in range(2):  # during the first the SDK sends the token
        await late.round_trip()
    assert (await api.push({"user": "44"}, "still here"))["written"] == 1
    assert decode((await late.publication.count(1)).pub.data) == "still here"
    assert (len(late.connected.items), late.disconnected.items) == (1, [])
    return late


async def invalid_tokens_end_the_connection():
    for invalid in (token({"sub": "42"}, "another secret"), "not.a.token", token({"sub": "42", "channels": ["#43"]})):
        refused = Recorded(token=invalid)
        await refused.client.connect()
        assert (await refused.disconnected.count(1)).code == 3500
        assert refused.client.state == ClientState.DISCONNECTED
        assert (len(refused.connecting.items), refused.connected.items) == (1, [])


run(scenario)

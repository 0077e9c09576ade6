"""Server-side subscriptions: those of a token and the user's own channel recover by themselves."""

from lib import connect, run, token, values


async def scenario(api):
    async def get_token():
        return token({"sub": "ann", "channels": ["news"]})

    recorded = await connect(get_token=get_token)
    await recorded.subscribed.count(2)
    assert {context.channel for context in recorded.subscribed.items} == {"#ann", "news"}
    await api.push({"user": "ann"}, "first")
    await recorded.publication.count(1)

    recorded.client._conn.transport.abort()
    await recorded.connecting.count(2)
    await api.push({"user": "ann"}, "while away")
    await recorded.connected.count(2)
    await recorded.publication.count(2)
    assert values(recorded.publication) == ["first", "while away"]
    assert [context.pub.offset for context in recorded.publication.items] == [1, 2]
    await recorded.client.disconnect()


run(scenario)

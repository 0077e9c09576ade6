"""Recovery: what was published while a client was away comes in order, or the client is told that it cannot."""

from centrifuge import StreamPosition

from lib import connect, refused, run, values


async def scenario(api):
    recorded = await connect()
    client = recorded.client

    async def publish(channel, *items):
        for item in items:
            await api.push({"channel": channel}, item)

    async def while_away(act):
        before = len(recorded.connected.items)
        await client.disconnect()
        await act
        await client.connect()
        await recorded.connected.count(before + 1)

    news = await recorded.subscribe("news")
    first = await news.subscribed.count(1)
    assert (first.was_recovering, first.recovered, first.recoverable) == (False, False, True), first
    await publish("news", "first")
    await news.publications.count(1)

    # The connection is cut under the client.
    client._conn.transport.abort()
    await recorded.connecting.count(2)
    await publish("news", *range(10))
    await news.publications.count(11)
    back = await news.subscribed.count(2)
    assert (back.was_recovering, back.recovered) == (True, True), back
    assert values(news.publications) == ["first", *range(10)], values(news.publications)
    assert [context.pub.offset for context in news.publications.items] == list(range(1, 12))

    await news.unsubscribe()
    await publish("news", "while unsubscribed")
    await news.subscribe()
    await news.publications.count(12)
    await while_away(publish("news", "while away"))
    await news.publications.count(13)

    short = await recorded.subscribe("short:1")
    await publish("short:1", 0)
    await short.publications.count(1)
    await while_away(publish("short:1", 1, 2, 3, 4))
    lost = await short.subscribed.count(2)
    assert (lost.was_recovering, lost.recovered) == (True, False), lost
    await publish("short:1", 5)
    await short.publications.count(2)
    assert values(short.publications) == [0, 5]

    await publish("cache:1", "old", "new")
    cache = await recorded.subscribe("cache:1")
    await cache.publications.count(1)
    await while_away(publish("cache:1", "newer", "newest"))
    await cache.publications.count(2)
    assert values(cache.publications) == ["new", "newest"]

    result = await news.history(limit=2, reverse=True)
    assert result.offset == 13 and [pub.offset for pub in result.publications] == [13, 12], result
    since = StreamPosition(offset=3, epoch=first.stream_position.epoch)
    result = await news.history(limit=2, since=since)
    assert [pub.offset for pub in result.publications] == [4, 5], result
    await refused(112, news.history(limit=1, since=StreamPosition(offset=1, epoch="gone")))
    await client.disconnect()


run(scenario)

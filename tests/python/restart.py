"""Restart: the client is told that the server goes, comes back by itself and has its subscription again."""

from lib import connect, run, values


async def scenario(_api):
    recorded = await connect()
    news = await recorded.subscribe("news")
    await news.publications.count(1)
    assert values(news.publications) == ["before"]

    context = await recorded.connecting.count(2)
    assert (context.code, context.reason) == (3001, "shutdown"), context
    await recorded.connected.count(2)
    # Memory is gone with the server, so nobody knows what the client has missed: it is told.
    context = await news.subscribed.count(2)
    assert (context.was_recovering, context.recovered) == (True, False), context
    await news.publications.count(2)
    assert values(news.publications) == ["before", "after"]
    await recorded.client.disconnect()


run(scenario)

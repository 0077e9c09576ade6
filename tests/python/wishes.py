"""Wishes: a subscription that asks for recovery, positions and joins works in a channel that has none of them."""

from centrifuge import DeltaType

from lib import connect, run, values


async def scenario(api):
    recorded = await connect()
    wishes = {"recoverable": True, "positioned": True, "join_leave": True, "delta": DeltaType.FOSSIL}
    news = await recorded.subscribe("news", **wishes)
    granted = await news.subscribed.count(1)
    assert (granted.recoverable, granted.positioned) == (False, False), granted
    assert (granted.was_recovering, granted.recovered) == (False, False), granted
    await api.push({"channel": "news"}, {"step": 1})
    await news.publications.count(1)
    assert values(news.publications) == [{"step": 1}]
    assert not news.joins.items
    assert (len(recorded.connecting.items), len(recorded.connected.items)) == (1, 1)
    await recorded.client.disconnect()


run(scenario)

"""Targets: a push to one connection reaches it alone, and one to a channel spares whom it excludes."""

from lib import connect, run, values


async def scenario(api):
    alice, bob = await connect(), await connect()
    news, same_news = await alice.subscribe("news"), await bob.subscribe("news")
    for subscription in (news, same_news):
        await subscription.subscribed.count(1)

    # This SDK has no event for a message to one connection: it has to go on as if nothing had come.
    receipt = await api.push({"connection": alice.id}, {"only": "you"})
    assert (receipt["nodes_asked"], receipt["written"], receipt["complete"]) == (1, 1, True), receipt

    receipt = await api.push({"channel": "news"}, "from alice", exclude_connections=[alice.id])
    assert receipt["written"] == 1, receipt
    assert (await api.push({"channel": "news"}, "for all"))["written"] == 2
    await news.publications.count(1)
    await same_news.publications.count(2)
    for recorded in (alice, bob):
        await recorded.round_trip()
        assert len(recorded.connected.items) == 1
    assert values(news.publications) == ["for all"]
    assert values(same_news.publications) == ["from alice", "for all"]
    for recorded in (alice, bob):
        await recorded.client.disconnect()


run(scenario)

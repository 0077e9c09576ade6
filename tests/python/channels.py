"""Channels: who receives what, in which order, and what is refused."""

from centrifuge import DuplicateSubscriptionError, SubscriptionState

from lib import connect, decode, encode, is_binary, refused, run, values

MANY = 100
NEWS = {"channel": "news"}


async def scenario(api):
    alice, bob = await connect(), await connect()
    news = await alice.subscribe("news")
    await news.subscribed.count(1)

    # A push arrives with its tags, and with nothing that only clients' publications have.
    receipt = await api.push(NEWS, {"hello": "wörld"}, tags={"lang": "en"})
    assert (receipt["written"], receipt["complete"]) == (1, True), receipt
    publication = (await news.publications.count(1)).pub
    assert decode(publication.data) == {"hello": "wörld"}
    assert (publication.tags, publication.info) == ({"lang": "en"}, None)

    # Pushes keep their order.
    for number in range(MANY):
        await api.push(NEWS, number, wait_for="WAIT_FOR_ACCEPTED")
    await news.publications.count(1 + MANY)
    assert values(news.publications)[1:] == list(range(MANY))

    # What a client publishes reaches itself and others, and says who published it.
    same_news = await bob.subscribe("news")
    await same_news.subscribed.count(1)
    await alice.client.publish("news", encode({"from": "alice"}))
    for publications, before in [(news.publications, 1 + MANY), (same_news.publications, 0)]:
        publication = (await publications.count(before + 1)).pub
        assert decode(publication.data) == {"from": "alice"}
        assert (publication.info.client, publication.info.user) == (alice.id, "")
    await same_news.publish(encode([1, 2, 3]))
    assert (await news.publications.count(1 + MANY + 2)).pub.info.client == bob.id

    await one_after_another(api, alice, news)
    await refusals(alice)
    await alice.round_trip()
    assert len(alice.connected.items) == 1
    for recorded in (alice, bob):
        await recorded.client.disconnect()


async def one_after_another(api, alice, news):
    """The SDK holds one subscription per channel, and a new one can take its place."""
    try:
        alice.client.new_subscription("news")
    except DuplicateSubscriptionError:
        pass
    else:
        raise AssertionError("two subscriptions to one channel")
    await news.unsubscribe()
    await alice.round_trip()
    received = len(news.publications.items)
    assert (await api.push(NEWS, "for bob alone"))["written"] == 1
    await alice.round_trip()
    assert len(news.publications.items) == received, "nothing arrives after unsubscribe"
    alice.client.remove_subscription(news)
    again = await alice.subscribe("news")
    await again.subscribed.count(1)
    assert (await api.push(NEWS, "for both"))["written"] == 2
    assert decode((await again.publications.count(1)).pub.data) == "for both"
    for request in (again.presence(), again.presence_stats(), again.history(limit=10)):
        await refused(108, request)


async def refusals(alice):
    """What is not to be had is answered with the code that says so, and the connection goes on."""
    await refused(108, alice.client.rpc("method", encode({})))
    await refused(103, alice.client.publish("#42", encode(1)))
    if is_binary:
        await refused(107, alice.client.publish("news", b""))
        await refused(107, alice.client.publish("news", b"not JSON"))
    for channel, code in [("$private", 103), ("#42", 103), ("x" * 256, 107)]:
        subscription = await alice.subscribe(channel)
        assert (await subscription.unsubscribed.count(1)).code == code, channel
        assert subscription.state == SubscriptionState.UNSUBSCRIBED


run(scenario)

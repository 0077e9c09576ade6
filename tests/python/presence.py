"""Presence: who is in a channel, and who comes and goes, oneself included."""

from centrifuge import SubscriptionEventHandler

from lib import Record, connect, refused, run, token


def user(name):
    async def get_token():
        return token({"sub": name})

    return connect(get_token=get_token)


async def member(recorded, channel, **options):
    """A subscription with records of joins and leaves that begin before it is live."""
    events = SubscriptionEventHandler()
    subscription = recorded.client.new_subscription(channel, events=events, **options)
    subscription.joins = Record(events, "on_join")
    subscription.leaves = Record(events, "on_leave")
    await subscription.subscribe()
    return subscription


async def scenario(_api):
    ann = await user("ann")
    room = await member(ann, "room")
    own = await room.joins.count(1)
    assert (own.info.user, own.info.client) == ("ann", ann.id), own

    bob = await user("bob")
    bobs = await member(bob, "room")
    assert (await room.joins.count(2)).info.user == "bob"

    present = await room.presence()
    assert set(present.clients) == {ann.id, bob.id}, present
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2), stats

    await bobs.unsubscribe()
    assert (await room.leaves.count(1)).info.client == bob.id
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (1, 1), stats

    asked = await member(ann, "asked:1", join_leave=True)
    await asked.joins.count(1)
    unasked = await member(bob, "asked:1")
    assert (await asked.joins.count(2)).info.user == "bob"
    assert unasked.joins.items == []

    off = await member(ann, "off:1")
    await refused(108, off.presence())
    await bob.client.disconnect()
    await ann.client.disconnect()


run(scenario)

"""Pings: a client that answers them stays, until it is told that enough of them were answered."""

from centrifuge import ClientState

from lib import connect, run


async def scenario(_api):
    recorded = await connect()
    enough = await recorded.subscribe("enough")
    await enough.publications.count(1)
    assert recorded.client.state == ClientState.CONNECTED
    assert (len(recorded.connecting.items), len(recorded.connected.items)) == (1, 1)
    await recorded.client.disconnect()


run(scenario)

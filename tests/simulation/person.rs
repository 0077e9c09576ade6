//! A client as an SDK is one: it subscribes, remembers how far it is, and comes back with that.

use std::collections::BTreeMap;

use fanfare_cluster::channel::{Epoch, StreamPosition};
use fanfare_data_plane::simulation::{Client, Received};
use fanfare_proto::client::{
    Command, FilterNode, Push, Reply, SubscribeRequest, SubscribeResult, UnsubscribeRequest,
};

use crate::channels::Channel;
use crate::subscription::{Ask, Road, Subscription};
use crate::truth::{Truth, number};

/// Asks for an error if what was missed cannot be had.
const REJECT_UNRECOVERED: i64 = 2;
/// What a client is told that has lost its continuity.
const INSUFFICIENT_STATE: u32 = 2500;

/// A client, connected or away.
#[derive(Debug, Default)]
pub(crate) struct Person {
    pub(crate) seat: Option<Seat>,
    pub(crate) subscriptions: BTreeMap<Channel, State>,
    /// How far it was in each channel.
    pub(crate) kept: BTreeMap<Channel, StreamPosition>,
    last_id: u32,
    /// How often it was told that it has lost something.
    pub(crate) told: usize,
    /// The pushes that it has got, recovered ones as well.
    pub(crate) got: Vec<usize>,
}

/// Where a client is connected.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) node: usize,
    pub(crate) client: Client,
    pub(crate) connection: String,
}

/// How far a subscription is.
#[derive(Debug)]
pub(crate) enum State {
    Asked { id: u32, ask: Ask },
    Live(Box<Subscription>),
}

impl Person {
    /// The command that subscribes, and remembers it.
    pub(crate) fn subscribe(&mut self, channel: Channel, ask: Ask) -> Command {
        self.last_id += 1;
        let id = self.last_id + 1;
        let since = ask.since.unwrap_or_default();
        let subscribe = SubscribeRequest {
            channel: channel.to_owned(),
            positioned: ask.positioned,
            recoverable: ask.positioned,
            recover: ask.since.is_some(),
            epoch: since.epoch.to_string(),
            offset: since.offset,
            flag: if ask.all_or_nothing { REJECT_UNRECOVERED } else { 0 },
            tf: ask.tag.map(|tag| FilterNode {
                key: "k".to_owned(),
                cmp: "eq".to_owned(),
                val: tag.to_string(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.subscriptions.insert(channel, State::Asked { id, ask });
        Command { id, subscribe: Some(subscribe), ..Default::default() }
    }

    pub(crate) fn unsubscribe(&mut self, channel: Channel) -> Command {
        self.last_id += 1;
        self.subscriptions.remove(channel);
        let unsubscribe = Some(UnsubscribeRequest { channel: channel.to_owned() });
        Command { id: self.last_id + 1, unsubscribe, ..Default::default() }
    }

    pub(crate) fn leave(&mut self) -> Option<Seat> {
        self.subscriptions.clear();
        self.seat.take()
    }

    /// Something has come to it on this road.
    pub(crate) fn receive(&mut self, received: Received, road: Road, truth: &Truth) -> Result<(), String> {
        match received {
            Received::Closed(code) => Err(format!("it was closed with {code}")),
            Received::Reply(reply) => match *reply {
                Reply { push: Some(push), .. } => self.push(push, truth),
                Reply { id, subscribe, error, .. } => {
                    self.reply(id, subscribe, error.map(|error| error.code), (road, truth))
                }
            },
        }
    }

    fn reply(
        &mut self,
        id: u32,
        result: Option<SubscribeResult>,
        error: Option<u32>,
        (road, truth): (Road, &Truth),
    ) -> Result<(), String> {
        let asked = |state: &State| matches!(state, State::Asked { id: asked, .. } if *asked == id);
        let channel = self.subscriptions.iter().find(|(_, state)| asked(state)).map(|(channel, _)| *channel);
        let Some(channel) = channel else { return Ok(()) };
        let Some(State::Asked { ask, .. }) = self.subscriptions.remove(channel) else { return Ok(()) };
        if error.is_some() {
            return Ok(());
        }
        let result = result.ok_or("a subscribe has a reply that is none")?;
        let connection = self.seat.as_ref().map(|seat| seat.connection.clone()).unwrap_or_default();
        let mut subscription = Subscription::begin(channel, ask, connection, road, truth);
        subscription.told(&result, truth)?;
        if result.positioned {
            let epoch: Epoch = result.epoch.parse().map_err(|_| "an epoch that is none".to_owned())?;
            let last = result.publications.last().map_or(result.offset, |last| last.offset);
            self.kept.insert(channel, StreamPosition { epoch, offset: last });
        }
        self.got.extend(result.publications.iter().filter_map(|one| number(&one.data)));
        self.subscriptions.insert(channel, State::Live(Box::new(subscription)));
        Ok(())
    }

    fn push(&mut self, push: Push, truth: &Truth) -> Result<(), String> {
        let state = self.subscriptions.iter_mut().find(|(channel, _)| **channel == push.channel);
        let Some((channel, State::Live(subscription))) = state else {
            return Err(format!("it got something of {:?}, to which it is not subscribed", push.channel));
        };
        let channel = *channel;
        if let Some(publication) = push.r#pub {
            self.got.extend(number(&publication.data));
            if let Some(kept) = self.kept.get_mut(channel).filter(|_| publication.offset > 0) {
                kept.offset = publication.offset;
            }
            return subscription.publication(&publication, truth);
        }
        match push.unsubscribe {
            Some(unsubscribe) if unsubscribe.code == INSUFFICIENT_STATE => {
                self.told += 1;
                subscription.lost(truth)?;
                self.subscriptions.remove(channel);
                Ok(())
            }
            _ => Err(format!("it got a push that nobody has caused: {push:?}")),
        }
    }
}

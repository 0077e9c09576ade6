//! The connections of a shard, and how bytes reach their sockets: at once if they can, else through a bounded queue.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use fanfare_cluster::connection_id::ConnectionId;
use slab::Slab;
use smallvec::SmallVec;

use super::SlotKey;
use super::allowance::Allowance;
use super::book::Book;
use super::delivery::{Sockets, Written};
use super::grants::Grants;
use super::profile::Profile;
use crate::connection::outbound::Outbound;
use crate::connection::socket::Socket;
use crate::encoding::{Encoding, Manner};
use crate::frame::Framed;
use crate::metrics::Metrics;
use crate::session::Session;

/// The place of a subscription that is not live yet.
pub(crate) const NOT_LIVE: u32 = u32::MAX;

/// A connection's subscription. Where there is one, its list of them costs nothing beyond the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The channel's number in the hub.
    pub(crate) channel: u32,
    /// Its place among the channel's subscribers there.
    pub(crate) position: u32,
    /// Since when it is a member of a channel with presence, in Unix seconds.
    pub(crate) since: u32,
    /// The client has not asked for it.
    pub(crate) server_side: bool,
    /// A backend has asked for it.
    pub(crate) by_backend: bool,
    /// The channel's owner was told of it.
    pub(crate) member: bool,
}

/// Everything a shard keeps for a connection. Every byte here counts a million times.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    socket: Socket,
    /// Exists only while something waits.
    outbound: Option<Box<Outbound>>,
    pub(crate) session: Session,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    /// What tokens have granted for single subscriptions.
    pub(crate) grants: Grants,
    pub(crate) profile: Profile,
    pub(crate) allowance: Allowance,
    pub(crate) timers: Timers,
    serial: u32,
    pub(crate) manner: Manner,
    /// A close frame is on its way; nothing else is written any more.
    pub(crate) closing: bool,
}

/// When a connection wants to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    /// The tick of the wheel's entry that counts: others of it are forgotten.
    pub(crate) armed: u32,
    /// The same for the wheel of what expires.
    pub(crate) expiry_armed: u32,
    /// What is due next is the answer to a ping.
    pub(crate) pong_due: bool,
}

/// All connections of a shard.
#[derive(Debug)]
pub(crate) struct Connections {
    slots: Slab<Connection>,
    last_serial: u32,
    queue_limit: usize,
    /// The ping of each encoding, and the ping frame.
    pings: [Framed; 3],
    /// Connections whose socket has stopped taking bytes: each needs somebody to wait for it.
    pub(crate) blocked: Vec<SlotKey>,
    /// Connections for which too much waits.
    pub(crate) overflowed: Vec<SlotKey>,
    metrics: Metrics,
}

impl Connections {
    pub(crate) fn new(queue_limit: usize, metrics: Metrics) -> Self {
        let ping = |encoding: Encoding| Framed::message(encoding.is_text(), encoding.empty_message());
        Self {
            pings: [ping(Encoding::Json), ping(Encoding::Protobuf), Framed::ping()],
            slots: Slab::new(),
            last_serial: 0,
            queue_limit,
            blocked: Vec::new(),
            overflowed: Vec::new(),
            metrics,
        }
    }

    /// Adds a connection whose handshake is done. `id` makes its id from its slot.
    pub(crate) fn insert(
        &mut self,
        socket: Socket,
        (manner, session): (Manner, Session),
        id: impl FnOnce(usize) -> ConnectionId,
    ) -> SlotKey {
        self.last_serial = self.last_serial.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let key = SlotKey { slot: entry.key() as u32, serial: self.last_serial };
        entry.insert(Connection {
            id: id(key.slot as usize),
            socket,
            outbound: None,
            session,
            subscriptions: SmallVec::new(),
            grants: Grants::default(),
            profile: Profile::default(),
            allowance: Allowance::default(),
            timers: Timers::default(),
            serial: key.serial,
            manner,
            closing: false,
        });
        key
    }

    /// The connection, unless it is gone and its slot perhaps another's.
    pub(crate) fn get(&mut self, key: SlotKey) -> Option<&mut Connection> {
        self.slots.get_mut(key.slot as usize).filter(|connection| connection.serial == key.serial)
    }

    /// The connection in a slot.
    pub(crate) fn key_of(&self, slot: u32) -> Option<SlotKey> {
        let connection = self.slots.get(slot as usize)?;
        Some(SlotKey { slot, serial: connection.serial })
    }

    /// Slots that may hold connections: all are below.
    pub(crate) fn slot_count(&self) -> u32 {
        u32::try_from(self.slots.capacity()).unwrap_or(u32::MAX)
    }

    /// The connection with this id.
    pub(crate) fn by_id(&self, id: ConnectionId) -> Option<SlotKey> {
        let connection = self.slots.get(id.slot()).filter(|connection| connection.id == id)?;
        Some(SlotKey { slot: id.slot() as u32, serial: connection.serial })
    }

    /// Takes a connection out. What waited for it will never go out.
    pub(crate) fn remove(&mut self, key: SlotKey, book: &mut Book) -> Option<Connection> {
        self.get(key)?;
        self.drop_queue(key, book);
        let gone = self.slots.try_remove(key.slot as usize)?;
        let rest = gone.outbound.as_ref().map_or(0, |outbound| outbound.bytes());
        self.metrics.deliveries.queue_bytes.dec_by(rest as i64);
        Some(gone)
    }

    pub(crate) fn keys(&self) -> Vec<SlotKey> {
        let key = |(slot, connection): (usize, &Connection)| SlotKey {
            slot: slot as u32,
            serial: connection.serial,
        };
        self.slots.iter().map(key).collect()
    }

    /// Drops what waits for a connection, but for a frame that has begun to go out.
    pub(crate) fn drop_queue(&mut self, key: SlotKey, book: &mut Book) {
        let Some(connection) = self.slots.get_mut(key.slot as usize) else { return };
        if let Some(outbound) = &mut connection.outbound {
            let before = outbound.bytes();
            outbound.cut(connection.socket.has_begun(), |receipt| book.cut(receipt, 1));
            self.metrics.deliveries.queue_bytes.dec_by((before - outbound.bytes()) as i64);
        }
    }

    /// Writes a close frame, after which nothing is written any more.
    pub(crate) fn write_last(&mut self, key: SlotKey, frame: &Bytes) {
        // Whether it waits or not makes no difference: the connection has its time to close.
        self.write_any(key.slot, frame, &[]);
        let Some(connection) = self.get(key) else { return };
        connection.closing = true;
        // What was held back until the answer to connect has nobody yet who waits for the socket.
        if connection.session.is_connecting() && connection.outbound.is_some() {
            self.blocked.push(key);
        }
    }

    /// Pings a connection in its manner.
    pub(crate) fn ping(&mut self, key: SlotKey) {
        let Some(connection) = self.get(key) else { return };
        let manner = connection.manner;
        let ping = if manner.frame_pings { 2 } else { manner.encoding as usize };
        let ping = self.pings[ping].bytes().clone();
        self.write(key.slot, &ping, &[]);
    }

    /// Keeps everything for a connection back until [`release`](Self::release): nothing shall reach a client
    /// before the answer to its connect.
    pub(crate) fn hold_back(&mut self, key: SlotKey) {
        if let Some(connection) = self.get(key)
            && connection.outbound.is_none()
        {
            connection.outbound = Some(Box::default());
        }
    }

    /// Writes `first`, and behind it what was held back.
    pub(crate) fn release(&mut self, key: SlotKey, first: &Bytes) {
        let Some(connection) = self.get(key) else { return };
        let held = connection.outbound.take();
        self.write_any(key.slot, first, &[]);
        let Some(connection) = self.get(key) else { return };
        let Some(mut held) = held.filter(|held| held.bytes() > 0) else { return };
        if let Some(first) = connection.outbound.take() {
            held.put_in_front(*first);
        } else {
            self.blocked.push(key);
        }
        if let Some(connection) = self.get(key) {
            connection.outbound = Some(held);
        }
    }

    fn write_any(&mut self, slot: u32, frames: &Bytes, receipts: &[u64]) -> Written {
        let Some(connection) = self.slots.get_mut(slot as usize) else { return Written::Cut };
        let key = SlotKey { slot, serial: connection.serial };
        let queued = match &mut connection.outbound {
            Some(outbound) => {
                outbound.push(frames.clone());
                frames.len()
            }
            None => {
                let gone = match connection.socket.try_write(frames) {
                    Ok(written) if written == frames.len() => return Written::Whole,
                    Ok(written) => written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    // The reading side sees the end, and ends the connection.
                    Err(_) => {
                        connection.socket.shut_down(Shutdown::Both);
                        return Written::Cut;
                    }
                };
                let rest = frames.slice(gone..);
                let begun = gone > 0 || connection.socket.has_begun();
                connection.outbound = Some(Box::new(Outbound::begin(rest, begun)));
                self.blocked.push(key);
                frames.len() - gone
            }
        };
        self.metrics.deliveries.queue_bytes.inc_by(queued as i64);
        if let Some(outbound) = &mut connection.outbound {
            receipts.iter().for_each(|receipt| outbound.mark(*receipt));
            if outbound.bytes() > self.queue_limit {
                self.overflowed.push(key);
            }
        }
        Written::Queued
    }

    /// Writes what waits for a connection, as a poll. Ready when nothing waits any more, or when the
    /// connection is gone.
    pub(crate) fn poll_flush(&mut self, key: SlotKey, cx: &mut Context<'_>, book: &mut Book) -> Poll<()> {
        loop {
            let connection = self.slots.get_mut(key.slot as usize);
            let Some(connection) = connection.filter(|connection| connection.serial == key.serial) else {
                return Poll::Ready(());
            };
            let Some(outbound) = &mut connection.outbound else { return Poll::Ready(()) };
            if outbound.head().is_none() {
                connection.outbound = None;
                return Poll::Ready(());
            }
            outbound.flushed_by(cx.waker());
            if std::task::ready!(connection.socket.poll_write_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            let Some(head) = outbound.head() else { continue };
            match connection.socket.try_write(head.chunk()) {
                Ok(written) => {
                    outbound.advance(written, |receipt| book.written(receipt, 1));
                    self.metrics.deliveries.queue_bytes.dec_by(written as i64);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    connection.socket.shut_down(Shutdown::Both);
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl Connection {
    /// Its socket.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether something waits to go out.
    pub(crate) fn is_blocked(&self) -> bool {
        self.outbound.is_some()
    }

    /// How many bytes wait to go out.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbound.as_ref().map_or(0, |outbound| outbound.bytes())
    }

    /// Its subscription to a channel.
    pub(crate) fn subscription(&mut self, channel: u32) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.channel == channel)
    }
}

impl Sockets for Connections {
    fn encoding(&self, slot: u32) -> Encoding {
        self.slots.get(slot as usize).map_or(Encoding::Json, |connection| connection.manner.encoding)
    }

    fn id(&self, slot: u32) -> ConnectionId {
        self.slots[slot as usize].id
    }

    fn write(&mut self, slot: u32, frames: &Bytes, receipts: &[u64]) -> Written {
        match self.slots.get(slot as usize) {
            Some(connection) if !connection.closing => self.write_any(slot, frames, receipts),
            _ => Written::Cut,
        }
    }

    fn moved(&mut self, slot: u32, channel: u32, position: u32) {
        let connection = self.slots.get_mut(slot as usize);
        if let Some(subscription) = connection.and_then(|connection| connection.subscription(channel)) {
            subscription.position = position;
        }
    }
}

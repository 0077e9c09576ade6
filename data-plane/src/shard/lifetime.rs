//! How connections of a shard live and end: pings, time-outs, closing, and the clean-up behind them.

use std::net::Shutdown;
use std::time::{Duration, SystemTime};

use super::SlotKey;
use super::clock::ticks;
use super::delivery::Sockets as _;
use super::replies::failed;
use super::state::State;
use crate::codes::{Code, disconnect, error};
use crate::frame::Framed;
use crate::links::FromShard;
use crate::metrics::CloseLabels;

/// How long a client may take to close its side, and a blocked socket to take the close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long after its token's end a connection is closed, so that a refresh can come late.
const EXPIRED_CLOSE_DELAY: u64 = 25;

impl State {
    /// Closes a connection: its subscriptions end now, its socket when the client has closed its side, or
    /// after [`CLOSE_TIME`].
    pub(crate) fn close(&mut self, key: SlotKey, code: Code) {
        if self.connections.get(key).is_none_or(|connection| connection.closing) {
            return;
        }
        self.end_session(key);
        if code == disconnect::SLOW {
            self.metrics.clients.cuts.inc();
            self.connections.drop_queue(key, &mut self.book);
        }
        self.metrics.clients.closes.get_or_create(&CloseLabels { code: code.code }).inc();
        self.connections.write_last(key, Framed::close(code).bytes());
        self.set_due(key, CLOSE_TIME);
    }

    /// Closes a connection whose peer broke the rules of WebSockets: what else it sends cannot be understood,
    /// so it is shown the end at once.
    pub(crate) fn refuse(&mut self, key: SlotKey, code: Code) {
        self.close(key, code);
        if let Some(connection) = self.connections.get(key).filter(|connection| !connection.is_blocked()) {
            connection.shut_down(Shutdown::Write);
        }
    }

    /// The client has closed its side. Returns whether both sides are closed now and nothing waits.
    pub(crate) fn closed_by_peer(&mut self, key: SlotKey, code: Code) -> bool {
        let Some(connection) = self.connections.get(key) else { return true };
        if connection.closing {
            return !connection.is_blocked();
        }
        self.end_session(key);
        self.connections.write_last(key, Framed::close(code).bytes());
        self.set_due(key, CLOSE_TIME);
        self.connections.get(key).is_none_or(|connection| !connection.is_blocked())
    }

    /// The socket is gone.
    pub(crate) fn gone(&mut self, key: SlotKey) {
        if self.connections.get(key).is_some_and(|connection| !connection.closing) {
            self.end_session(key);
        }
        self.connections.remove(key, &mut self.book);
    }

    fn end_session(&mut self, key: SlotKey) {
        self.held.remove(&key);
        let Some(connection) = self.connections.get(key) else { return };
        if connection.session.is_connected() {
            self.metrics.clients.connections.dec();
        }
        self.end_subscriptions(key);
    }

    fn end_subscriptions(&mut self, key: SlotKey) {
        let Some(connection) = self.connections.get(key) else { return };
        for subscription in std::mem::take(&mut connection.subscriptions) {
            self.end_subscription(key, subscription);
        }
    }

    /// The node ends: so do all its connections, and those that come.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        for key in self.connections.keys() {
            self.close(key, disconnect::SHUTDOWN);
        }
    }

    /// Sees to what a change has left behind: cuts those for whom too much waits, hands up receipts, and
    /// returns the connections whose sockets have stopped taking bytes.
    pub(crate) fn settle(&mut self) -> Vec<SlotKey> {
        for key in std::mem::take(&mut self.connections.overflowed) {
            self.close(key, disconnect::SLOW);
        }
        let answers = self.book.answers().map(|(receipt, counts)| FromShard::Receipt { receipt, counts });
        answers.for_each(|answer| self.up.push(answer));
        std::mem::take(&mut self.connections.blocked)
    }

    /// Connect could not be completed: the client is told to try again.
    pub(super) fn connect_failed(&mut self, key: SlotKey, id: u32) {
        self.held.remove(&key);
        if let Some(connection) = self.connections.get(key) {
            connection.session.failed();
        }
        self.reply(key, &failed(id, error::INTERNAL));
        self.set_due(key, self.rules.client.stale_close_delay.0);
    }

    /// Asks for a look at the connection after a while.
    pub(super) fn set_due(&mut self, key: SlotKey, after: Duration) {
        // The present tick has partly passed already, and nothing may come too early.
        let due = self.wheel.now() + ticks(after) + 1;
        if let Some(connection) = self.connections.get(key) {
            connection.armed = due;
            self.wheel.add(key, due);
        }
    }

    /// Time has moved on by one tick.
    pub(crate) fn tick(&mut self) {
        for (key, at) in self.wheel.turn() {
            // An entry that is not the connection's newest means nothing any more.
            if self.connections.get(key).is_some_and(|connection| connection.armed == at) {
                self.look_at(key);
            }
        }
        self.book.expire(self.wheel.now());
    }

    fn look_at(&mut self, key: SlotKey) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.closing {
            return connection.shut_down(Shutdown::Both);
        }
        if connection.session.is_connecting() {
            let id = self.held.get(&key).map_or(0, |held| held.connect);
            self.end_subscriptions(key);
            return self.connect_failed(key, id);
        }
        if !connection.session.is_connected() {
            return self.close(key, disconnect::STALE);
        }
        let (interval, timeout) = (self.rules.client.ping_interval.0, self.rules.client.pong_timeout.0);
        if connection.pong_due {
            if connection.session.is_awaiting_pong() {
                return self.close(key, disconnect::NO_PONG);
            }
            connection.pong_due = false;
            return self.set_due(key, interval.saturating_sub(timeout));
        }
        if connection.session.identity().is_some_and(|identity| is_over(identity.expires_at)) {
            return self.close(key, disconnect::EXPIRED);
        }
        connection.session.ping_sent();
        connection.pong_due = true;
        let ping = if connection.manner.frame_pings { 2 } else { connection.manner.encoding as usize };
        let ping = self.pings[ping].bytes().clone();
        self.connections.write(key.slot, &ping, &[]);
        self.set_due(key, timeout);
    }
}

fn is_over(expires_at: Option<u64>) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    expires_at.is_some_and(|at| at.saturating_add(EXPIRED_CLOSE_DELAY) <= now)
}

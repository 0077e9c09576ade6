//! How connections of a shard live and end: pings, time-outs, closing, and the clean-up behind them.

use std::net::Shutdown;
use std::time::Duration;

use super::SlotKey;
use super::clock::ticks;
use super::state::State;
use crate::codes::{Code, disconnect};
use crate::frame::Framed;
use crate::links::FromShard;
use crate::metrics::CloseLabels;

/// How long a client may take to close its side, and a blocked socket to take the close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Close codes that applications choose for themselves count as one.
const CUSTOM: u16 = 4000;

impl State {
    /// Closes a connection: its subscriptions end now, its socket when the client has closed its side, or
    /// after [`CLOSE_TIME`].
    pub(crate) fn close(&mut self, key: SlotKey, code: Code) {
        self.close_with(key, code.code, code.reason);
    }

    /// The same with a reason that somebody else has chosen.
    pub(crate) fn close_with(&mut self, key: SlotKey, code: u16, reason: &str) {
        if self.connections.get(key).is_none_or(|connection| connection.closing) {
            return;
        }
        self.end_session(key);
        if code == disconnect::SLOW.code {
            self.metrics.clients.cuts.inc();
            self.connections.drop_queue(key, &mut self.book);
        }
        self.metrics.clients.closes.get_or_create(&CloseLabels { code: code.min(CUSTOM) }).inc();
        self.connections.write_last(key, Framed::close_with(code, reason).bytes());
        self.set_due(key, CLOSE_TIME);
    }

    /// Closes a connection whose peer broke the rules of WebSockets: what else it sends cannot be understood,
    /// so it is shown the end at once.
    pub(crate) fn refuse(&mut self, key: SlotKey, code: Code) {
        self.close(key, code);
        if let Some(connection) = self.connections.get(key).filter(|connection| !connection.is_blocked()) {
            connection.socket().shut_down(Shutdown::Write);
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
        if connection.session.is_connecting() {
            // What was held back until the answer to connect is for nobody: there is no answer.
            self.connections.drop_queue(key, &mut self.book);
        }
        self.end_subscriptions(key);
        self.leave_user(key);
    }

    /// The connection does not count among its user's any more.
    pub(super) fn leave_user(&mut self, key: SlotKey) {
        let Some(connection) = self.connections.get(key) else { return };
        let held = std::mem::take(&mut connection.profile.holds_place);
        if let Some(identity) = connection.session.identity().filter(|_| held) {
            self.rules.admission.leave_user(&identity.user);
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
        self.ask_owners();
        let answers = self.book.answers().map(|(receipt, counts)| FromShard::Receipt { receipt, counts });
        answers.for_each(|answer| self.up.push(answer));
        std::mem::take(&mut self.connections.blocked)
    }

    /// Asks for a look at the connection after a while.
    pub(super) fn set_due(&mut self, key: SlotKey, after: Duration) {
        // The present tick has partly passed already, and nothing may come too early.
        let due = self.wheel.now() + ticks(after) + 1;
        if let Some(connection) = self.connections.get(key) {
            connection.timers.armed = due;
            self.wheel.add(key, due);
        }
    }

    /// Time has moved on by one tick.
    pub(crate) fn tick(&mut self) {
        for (key, at) in self.wheel.turn() {
            // An entry that is not the connection's newest means nothing any more.
            if self.connections.get(key).is_some_and(|connection| connection.timers.armed == at) {
                self.look_at(key);
            }
        }
        for (key, at) in self.expiries.turn() {
            if self.connections.get(key).is_some_and(|connection| connection.timers.expiry_armed == at) {
                self.look_at_expiry(key);
            }
        }
        self.tell_lost();
        self.book.expire(self.wheel.now());
    }

    fn look_at(&mut self, key: SlotKey) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.closing {
            return connection.socket().shut_down(Shutdown::Both);
        }
        if connection.session.is_connecting() {
            return self.connect_is_late(key);
        }
        if !connection.session.is_connected() {
            return self.close(key, disconnect::STALE);
        }
        let (interval, timeout) = (self.rules.client.ping_interval.0, self.rules.client.pong_timeout.0);
        if connection.timers.pong_due {
            if connection.session.is_awaiting_pong() {
                return self.close(key, disconnect::NO_PONG);
            }
            connection.timers.pong_due = false;
            return self.set_due(key, interval.saturating_sub(timeout));
        }
        connection.session.ping_sent();
        connection.timers.pong_due = true;
        self.connections.ping(key);
        self.set_due(key, timeout);
    }
}

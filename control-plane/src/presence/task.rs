//! One presence task: carries out what the [`Members`] decide.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::{Membership, MembershipWatch};
use fanfare_proto::link::{self, open_response};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Bell, Mail, PresenceSetup, wire};
use crate::links::Link;
use crate::members::{Action, Counts, MANY, Members, Moment, Tenure, WatchId};
use crate::metrics::Metrics;
use crate::owner::SessionId;

/// What a presence task takes out of its mailbox at once.
const BATCH: usize = 256;
/// Leaves that are told at once, and how long it then waits while some link has too much to do.
const LEAVES: usize = 256;
const PRESSED: Duration = Duration::from_millis(5);
/// How often it waits so for links that stay full. Their nodes are cut off when more comes, and the others shall know.
const MAX_WAITS: u32 = 200;
/// What a client is told of a channel's members at once, in bytes.
const MAX_READ: usize = 512 << 10;
/// The client protocol's error codes: "limit exceeded", "not available", and "too many requests".
const LIMIT_EXCEEDED: u32 = 106;
const NOT_AVAILABLE: u32 = 108;
const TOO_MANY_REQUESTS: u32 = 111;

/// The task's state.
pub(super) struct Task {
    me: MemberId,
    channels: Arc<Namespaces>,
    members: Members,
    links: HashMap<SessionId, Link>,
    bells: HashMap<WatchId, Arc<Bell>>,
    membership: MembershipWatch,
    seen: Arc<Membership>,
    /// Leaves are not told before.
    hold_until: Option<Instant>,
    waits: u32,
    counted: i64,
    metrics: Metrics,
}

impl Task {
    pub(super) fn new(setup: &PresenceSetup) -> Self {
        let seen: Arc<Membership> = Arc::default();
        let tenure = Tenure { incarnation: setup.incarnation, placement: seen.placement.number() };
        let grace = setup.config.user_offline_grace.0;
        Self {
            me: setup.me.clone(),
            channels: setup.channels.clone(),
            members: Members::new(setup.channels.clone(), tenure, grace),
            links: HashMap::new(),
            bells: HashMap::new(),
            membership: setup.membership.clone(),
            seen,
            hold_until: None,
            waits: 0,
            counted: 0,
            metrics: setup.metrics.clone(),
        }
    }

    pub(super) async fn run(mut self, mut mailbox: mpsc::Receiver<Mail>, stopping: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut has_registry = true;
        self.look_at_the_registry();
        loop {
            let due = self.members.next_due().map(Instant::from_std);
            let due = due.map(|due| self.hold_until.map_or(due, |until| due.max(until)));
            let tick = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = self.membership.changed(), if has_registry => has_registry = changed,
                () = tick => self.tick(),
                received = mailbox.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
            }
            self.look_at_the_registry();
            for mail in batch.drain(..) {
                self.take(mail);
                self.carry_out();
            }
            self.carry_out();
            self.count();
        }
    }

    fn take(&mut self, mail: Mail) {
        let now = now();
        match mail {
            Mail::SessionUp(link) => {
                self.members.session_up(link.session(), link.node(), link.incarnation(), now);
                self.links.insert(link.session(), link);
            }
            Mail::SessionDown(session) => {
                self.members.session_down(session, now);
                self.links.remove(&session);
            }
            Mail::CaughtUp(session) => self.members.caught_up(session, now),
            Mail::Enter(session, channel, entering) => self.members.enter(session, &channel, *entering, now),
            Mail::Exit(session, channel, id) => self.members.exit(session, &channel, id, now),
            Mail::Read(session, channel, read) => self.read(session, &channel, &read),
            Mail::Ask(question) => question(&mut self.members, now),
            Mail::Watch(id, channels, cursor, bell) => {
                self.bells.insert(id, bell);
                self.members.watch(id, channels, cursor);
            }
            Mail::Unwatch(id) => self.unwatch(id),
        }
    }

    fn unwatch(&mut self, id: WatchId) {
        self.bells.remove(&id);
        self.members.unwatch(id, now());
    }

    fn tick(&mut self) {
        self.members.tick(now(), LEAVES);
        let is_pressed = self.links.values().any(Link::is_pressed);
        self.waits = if is_pressed && self.waits < MAX_WAITS { self.waits + 1 } else { 0 };
        self.hold_until = (self.waits > 0).then(|| Instant::now() + PRESSED);
    }

    /// Who is registered, and what is whose.
    fn look_at_the_registry(&mut self) {
        let membership = self.membership.peek();
        if Arc::ptr_eq(&membership, &self.seen) {
            return;
        }
        let before = std::mem::replace(&mut self.seen, membership);
        if before.placement.number() != self.seen.placement.number() {
            let placement = &self.seen.placement;
            let is_ours = |channel: &ChannelName| placement.owner(channel) == Some(&self.me);
            self.members.take_over(placement.number(), is_ours);
        }
        let nodes = self.seen.nodes.iter().map(|(id, record)| (id.clone(), record.incarnation)).collect();
        self.members.nodes_are(nodes, now());
    }

    fn carry_out(&mut self) {
        for action in self.members.actions() {
            match action {
                Action::Tell { sessions, channel, id, member, joined } => {
                    let (channel, member) = (channel.as_str().to_owned(), Some(wire::member(id, &member)));
                    let message = match joined {
                        true => open_response::Message::Joined(link::Joined { channel, member }),
                        false => open_response::Message::Left(link::Left { channel, member }),
                    };
                    for link in sessions.iter().filter_map(|session| self.links.get(session)) {
                        link.send(message.clone());
                    }
                }
                Action::Subscribe { session, id, channel } => {
                    let subscribe = link::Subscribe { channel: channel.as_str().to_owned() };
                    let act = link::Act {
                        target: Some(link::act::Target::Connection(id.to_bytes())),
                        action: Some(link::act::Action::Subscribe(subscribe)),
                        ..Default::default()
                    };
                    self.send(session, open_response::Message::Act(act));
                }
                Action::Wake(id) => match self.bells.get(&id) {
                    Some(bell) if Arc::strong_count(bell) > 1 => bell.ring(),
                    _ => self.unwatch(id),
                },
            }
        }
    }

    /// Answers a client.
    fn read(&self, session: SessionId, channel: &ChannelName, read: &link::ReadPresence) {
        let Counts { connections, users } = self.members.counts(channel);
        let mut answer = link::PresenceRead {
            ticket: read.ticket,
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
            users: u32::try_from(users).unwrap_or(u32::MAX),
            ..Default::default()
        };
        let has_presence = self.channels.of(channel).is_ok_and(|rules| rules.options.presence);
        let is_pressed = self.links.get(&session).is_some_and(Link::is_pressed);
        let error = match read.counts_only {
            _ if !has_presence => NOT_AVAILABLE,
            true => 0,
            false if connections > MANY => LIMIT_EXCEEDED,
            // So much on a link that is full would cut it, and all that others wait for with it.
            false if is_pressed => TOO_MANY_REQUESTS,
            false => {
                let page = self.members.page(channel, None, MANY);
                answer.members = page.members.iter().map(|(id, member)| wire::member(*id, member)).collect();
                let bytes = answer.members.iter().map(link::Member::weight).sum::<usize>();
                if bytes > MAX_READ { LIMIT_EXCEEDED } else { 0 }
            }
        };
        if error != 0 {
            answer = link::PresenceRead { ticket: read.ticket, error, ..Default::default() };
        }
        self.send(session, open_response::Message::PresenceRead(answer));
    }

    fn send(&self, session: SessionId, message: open_response::Message) {
        if let Some(link) = self.links.get(&session) {
            link.send(message);
        }
    }

    /// Adds to what all tasks together have.
    fn count(&mut self) {
        let count = self.members.len() as i64;
        self.metrics.presence_members.inc_by(count - self.counted);
        self.counted = count;
    }
}

fn now() -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    Moment { instant: Instant::now().into_std(), unix_ms }
}

//! One owner task: carries out what its owner decides, and asks the history on its behalf.

mod answers;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, ChannelOptions};
use fanfare_proto::link::{self, open_response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::{Batch, Carried, Mail, OwnersSetup, Placed, Placing, Publish};
use crate::history::{Answer, Append, HistoryError, Read, Retention};
use crate::links::Link;
use crate::owner::request::{Action, Asker, Delivery, Done, Operation, Question, Queued, Reply};
use crate::owner::{Owner, Reach, SessionId};
use crate::rate::Rates;
use crate::refusal::Refusal;
use answers::{Answers, Waiting};

/// What an owner takes out of its mailbox at once.
const BATCH: usize = 256;
/// What the history may have to do for one owner task at the same time.
const UNDER_WAY: usize = 1_024;
/// How long the history may take for one thing. Less than callers wait, so that they hear of it.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(4);
/// The client protocol's "not available".
const NOT_AVAILABLE: u32 = 108;

/// What the history has done for a channel.
type Finished = (ChannelName, Result<Done, HistoryError>);

/// Runs until the tasks stop.
pub(super) async fn run(
    mut mailbox: mpsc::Receiver<Mail>,
    setup: OwnersSetup,
    stopping: tokio_util::sync::CancellationToken,
) {
    let mut driver = Driver::new(setup);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let before = driver.owner.followed();
        let tick = driver.owner.next_tick().map(Instant::from_std);
        tokio::select! {
            () = stopping.cancelled() => return,
            received = mailbox.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    return;
                }
                for mail in batch.drain(..) {
                    driver.take(mail);
                }
            }
            Some((channel, result)) = driver.under_way.next() => driver.finished(&channel, result),
            () = tokio::time::sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() => driver.tick(),
        }
        driver.count(before);
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Carries out what the [`Owner`] decides.
pub(super) struct Driver {
    owner: Owner,
    rates: Rates,
    links: HashMap<SessionId, Link>,
    answers: Answers,
    under_way: FuturesUnordered<BoxFuture<'static, Finished>>,
    /// What waits because so much is under way: one operation per channel at most.
    // queue: operations that wait for the history
    held: VecDeque<(ChannelName, Operation, Instant)>,
    setup: OwnersSetup,
}

impl Driver {
    pub(super) fn new(setup: OwnersSetup) -> Self {
        Self {
            owner: Owner::new(setup.settings.idempotency_window.0, setup.history.is_shared()),
            rates: Rates::default(),
            links: HashMap::default(),
            answers: Answers::default(),
            under_way: FuturesUnordered::new(),
            held: VecDeque::new(),
            setup,
        }
    }

    /// Takes what came to the owner, and carries out what follows from it.
    pub(super) fn take(&mut self, mail: Mail) {
        self.open(mail);
        self.carry_out();
    }

    /// Takes one answer of the history that is there; returns whether there was one.
    pub(super) fn take_answer(&mut self) -> bool {
        let Some(Some((channel, result))) = self.under_way.next().now_or_never() else { return false };
        self.finished(&channel, result);
        true
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        self.owner.tick(now());
        self.carry_out();
    }

    fn open(&mut self, mail: Mail) {
        match mail {
            Mail::SessionUp(link) => {
                self.owner.session_up(link.session(), link.node().clone());
                self.links.insert(link.session(), link);
            }
            Mail::SessionDown(session) => {
                self.owner.session_down(session, now());
                self.links.remove(&session);
            }
            Mail::CaughtUp(session) => self.owner.caught_up(session),
            Mail::Unfollow(session, channel) => self.owner.unfollow(session, &channel, now()),
            Mail::Follow(session, channel, position) => {
                let has_history = self.options(&channel).is_some_and(ChannelOptions::has_history);
                self.owner.follow(session, &channel, position, has_history, now());
            }
            Mail::Recover(session, channel, recover) => self.recover(session, &channel, recover),
            Mail::ReadHistory(session, channel, read) => self.read_history(session, &channel, &read),
            // The caller was told to try again: what it tries again must not come twice.
            Mail::Publish(carried, _) if carried.answer.is_closed() => {}
            Mail::Publish(carried, until) => {
                let Carried { content, answer, room } = *carried;
                let reply = self.answers.open(Waiting::One(answer), room);
                self.publish(content, reply, until);
            }
            Mail::Batch(carried, until) => {
                let Carried { content: Batch(publishes), answer, room } = *carried;
                let first = self.answers.open(Waiting::many(publishes.len(), answer), room);
                for (place, publish) in publishes.into_iter().enumerate() {
                    self.publish(publish, Reply { place, ..first }, until);
                    self.carry_out();
                }
            }
            Mail::List(wanted, answer) => {
                let listed = self.owner.list(wanted.after.as_ref(), &wanted.prefix, wanted.most);
                // Who asked may have given up.
                let _ = answer.send(listed);
            }
            Mail::Act(carried) if carried.answer.is_closed() => {}
            Mail::Act(carried) => {
                let Carried { content, answer, room } = *carried;
                let reply = self.answers.open(Waiting::One(answer), room);
                self.owner.act(content, reply, now());
            }
            Mail::Read(carried) => {
                let Carried { content: (channel, question), answer, room } = *carried;
                let reply = self.answers.open(Waiting::Read(answer), room);
                self.owner.read(Asker::Backend(reply), &channel, question, now());
            }
            Mail::Remove(carried) => {
                let Carried { content: channel, answer, room } = *carried;
                let reply = self.answers.open(Waiting::Remove(answer), room);
                self.owner.remove(&channel, reply, now());
            }
        }
    }

    fn publish(&mut self, publish: Publish, reply: Reply, until: Instant) {
        let now = now();
        if publish.rate_limit > 0
            && let Err(wait) = self.rates.take(&publish.channel, publish.rate_limit, now)
        {
            return self.answers.place(reply, Err(Refusal::TooFast { wait }));
        }
        let until = until.into_std();
        if now > until {
            return self.answers.place(reply, Err(Refusal::Busy));
        }
        self.owner.publish(Queued { publish, reply: Some(reply), until }, now);
    }

    fn recover(&mut self, session: SessionId, channel: &ChannelName, recover: link::Recover) {
        if self.options(channel).is_some_and(ChannelOptions::has_history) {
            return self.owner.recover(session, channel, recover, now());
        }
        let ticket = recover.ticket;
        let answer = link::Recovered { ticket, error: NOT_AVAILABLE, ..Default::default() };
        self.say(session, open_response::Message::Recovered(answer));
    }

    fn read_history(&mut self, session: SessionId, channel: &ChannelName, read: &link::ReadHistory) {
        let link::ReadHistory { ticket, since, limit, reverse, max_bytes, .. } = *read;
        if !self.options(channel).is_some_and(ChannelOptions::has_history) {
            let answer = link::HistoryRead { ticket, error: NOT_AVAILABLE, ..Default::default() };
            return self.say(session, open_response::Message::HistoryRead(answer));
        }
        let question = Question {
            since: since.map(Into::into),
            limit: (limit as usize).min(Question::MAX_LIMIT),
            reverse,
            max_bytes: (max_bytes as usize).min(Question::MAX_BYTES),
        };
        self.owner.read(Asker::Client { session, ticket }, channel, question, now());
    }

    /// Carries out all that is decided.
    fn carry_out(&mut self) {
        while let Some(action) = self.owner.next_action() {
            match action {
                Action::Ask(channel, operation) => self.ask(channel, operation),
                Action::Deliver(delivery) => self.deliver(*delivery),
                Action::Act(act, reach, reply) => {
                    let placed = self.placed(reach);
                    for link in &placed.links {
                        link.send(open_response::Message::Act(act.clone()));
                    }
                    self.answers.place(reply, Ok(placed));
                }
                Action::Settle(reply, settled) => {
                    let placed = |settled| Placed { settled: Some(settled), ..Placed::default() };
                    self.answers.place(reply, settled.map(placed));
                }
                Action::Say(session, message) => {
                    self.count_recovery(&message);
                    self.say(session, message);
                }
                Action::Read(reply, page) => self.answers.read(reply, page),
                Action::Removed(reply, top) => self.answers.removed(reply, top),
            }
        }
    }

    /// Asks the history. What it answers at once needs no task.
    fn ask(&mut self, channel: ChannelName, operation: Operation) {
        if self.under_way.len() >= UNDER_WAY {
            return self.held.push_back((channel, operation, Instant::now()));
        }
        let name = channel.clone();
        let history = self.setup.history.clone();
        let fence = self.setup.membership.peek().placement.number();
        match operation {
            Operation::Append { entries, known } => {
                let retention = self.retention(&channel);
                let answer = history.append(Append { channel, entries, retention, fence, known });
                self.wait_for(name, answer, Done::Appended);
            }
            Operation::Top { known } => {
                self.wait_for(name, history.top(channel, fence, known), Done::Top);
            }
            Operation::Read { part, limit, max_bytes } => {
                let retention = self.retention(&channel);
                let answer = history.read(Read { channel, part, limit, max_bytes, retention });
                self.wait_for(name, answer, Done::Page);
            }
            Operation::Remove => self.wait_for(name, history.remove(channel, fence), Done::Top),
        }
    }

    fn wait_for<T: Send + 'static>(
        &mut self,
        channel: ChannelName,
        mut answer: Answer<T>,
        done: fn(T) -> Done,
    ) {
        if let Some(result) = (&mut answer).now_or_never() {
            return self.take_result(&channel, result.map(done));
        }
        self.under_way.push(Box::pin(async move {
            let result = tokio::time::timeout(HISTORY_TIMEOUT, answer).await;
            let late = || Err(HistoryError::Unavailable("it does not answer".to_owned()));
            (channel, result.unwrap_or_else(|_| late()).map(done))
        }));
    }

    fn finished(&mut self, channel: &ChannelName, result: Result<Done, HistoryError>) {
        self.take_result(channel, result);
        self.carry_out();
        while self.under_way.len() < UNDER_WAY
            && let Some((channel, operation, since)) = self.held.pop_front()
        {
            if since.elapsed() > HISTORY_TIMEOUT {
                // Its caller was told to try again by now: it must not be carried out any more.
                let late = HistoryError::Unavailable("too much waits".to_owned());
                self.take_result(&channel, Err(late));
            } else {
                self.ask(channel, operation);
            }
            self.carry_out();
        }
    }

    fn take_result(&mut self, channel: &ChannelName, result: Result<Done, HistoryError>) {
        if let Err(error) = &result {
            debug!(%channel, %error, "the history did not do what it was asked to");
            self.setup.metrics.history.errors.inc();
        }
        self.owner.finished(channel, result, now());
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Delivery { publish, reply, position, reach } = delivery;
        let placed = Placed { position, ..self.placed(reach) };
        let metrics = &self.setup.metrics;
        if reply.is_some() {
            metrics.publications.inc();
            metrics.history.stored.inc_by(u64::from(position.is_some()));
        }
        if let Some((last, others)) = placed.links.split_last() {
            metrics.deliveries.inc_by(placed.links.len() as u64);
            let (receipt, receipt_within_ms) = publish.receipt.unwrap_or_default();
            let deliver = link::Deliver {
                channel: publish.channel.as_str().to_owned(),
                publication: Some(publish.publication),
                receipt,
                receipt_within_ms,
                exclude: publish.exclude,
                epoch: position.map_or(0, |position| position.epoch.0),
            };
            for link in others {
                link.send(open_response::Message::Deliver(deliver.clone()));
            }
            last.send(open_response::Message::Deliver(deliver));
        }
        if let Some(reply) = reply {
            self.answers.place(reply, Ok(placed));
        }
    }

    /// The links of all whom something reaches.
    fn placed(&self, reach: Reach) -> Placed {
        let Reach { sessions, catching_up, withheld, .. } = reach;
        if withheld > 0 {
            self.setup.metrics.link_lost.inc_by(withheld as u64);
        }
        let links = sessions.iter().filter_map(|session| self.links.get(session).cloned()).collect();
        Placed { links, catching_up, ..Placed::default() }
    }

    fn say(&self, session: SessionId, message: open_response::Message) {
        if let Some(link) = self.links.get(&session) {
            link.send(message);
        }
    }

    /// The options of the channel, if its namespace is known.
    fn options(&self, channel: &ChannelName) -> Option<&ChannelOptions> {
        self.setup.channels.of(channel).ok().map(|rules| &rules.options)
    }

    fn retention(&self, channel: &ChannelName) -> Retention {
        let (size, ttl) =
            self.options(channel).map_or_else(Default::default, |of| (of.history_size, of.history_ttl.0));
        let settings = &self.setup.settings;
        Retention { size, ttl, keys: settings.idempotency_window.0, meta: settings.meta_ttl.0 }
    }

    fn count_recovery(&self, message: &open_response::Message) {
        let history = &self.setup.metrics.history;
        match message {
            open_response::Message::Recovered(link::Recovered { error: 0, complete: true, .. }) => {
                history.complete.inc();
            }
            open_response::Message::Recovered(_) => drop(history.incomplete.inc()),
            _ => {}
        }
    }

    /// Brings the gauges up to date.
    fn count(&mut self, followed_before: usize) {
        let metrics = &self.setup.metrics;
        metrics.followed_channels.inc_by(self.owner.followed() as i64 - followed_before as i64);
        metrics.history.bytes.set(self.setup.history.bytes() as i64);
        metrics.history.saved_reads.inc_by(self.owner.take_saved_reads());
    }
}

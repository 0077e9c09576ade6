//! Random interleavings of a channel's owner, a history that fails, and nodes whose links break, with an oracle: every
//! subscription gets the stream without a gap and without a double, or is told.

use std::collections::HashMap;

use fanfare_cluster::channel::Epoch;
use fanfare_proto::link::open_response::Message;
use proptest::prelude::*;

use super::desk::news;
use super::request::{Keep, Operation, Publish};
use super::*;
use crate::history::{Appended, Outcome, Page, Part, Stored};

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish,
    /// The history does what it was asked to.
    Done,
    /// It does it, and the answer gets lost.
    Lost,
    /// It does not do it.
    Failed,
    /// Another process writes to the stream.
    Foreign,
    /// The store fails over to one that lacks the last publications.
    LoseTail(u8),
    /// The second node's link breaks, or comes back.
    Link,
    /// Its subscription's frames get lost, so that it has to recover.
    Skip,
    Time(u16),
}

/// A history as simple as can be.
#[derive(Default)]
struct Store {
    epoch: u64,
    texts: Vec<String>,
    /// It has lost publications that somebody may know of, and nobody has told it since.
    lost: bool,
}

impl Store {
    fn top(&self) -> StreamPosition {
        StreamPosition { epoch: Epoch(self.epoch), offset: self.texts.len() as u64 }
    }

    fn begin_anew_if_behind(&mut self, known: StreamPosition) {
        self.lost = false;
        if known.epoch.0 == self.epoch && known.offset > self.top().offset {
            self.epoch += 1;
            self.texts.clear();
        }
    }

    fn carry_out(&mut self, operation: Operation) -> Done {
        match operation {
            Operation::Append { entries, known } => {
                self.begin_anew_if_behind(known);
                let one = |entry: crate::history::Entry| {
                    self.texts.push(String::from_utf8(entry.publication.data.to_vec()).unwrap());
                    Outcome::Stored { offset: self.texts.len() as u64, time_ms: 1, expires_at_ms: 0 }
                };
                let outcomes = entries.into_iter().map(one).collect();
                Done::Appended(Appended { outcomes, top: self.top() })
            }
            Operation::Top { known } => {
                self.begin_anew_if_behind(known);
                Done::Top(self.top())
            }
            Operation::Remove => Done::Top(self.top()),
            Operation::Read { part, limit, .. } => {
                let (Part::After(after) | Part::Before(_, after)) = part;
                let all = self.texts.iter().zip(1..).filter(|(_, offset)| *offset > after);
                let mut stored: Vec<Stored> = all
                    .map(|(text, offset)| {
                        let data = text.clone().into();
                        let publication = Some(link::Publication { data, offset, ..Default::default() });
                        Stored { offset, publication }
                    })
                    .collect();
                if matches!(part, Part::Before(..)) {
                    stored.reverse();
                }
                stored.truncate(limit);
                Done::Page(Page { stored, top: self.top() })
            }
        }
    }
}

/// A subscription on a node of its own, which compares for itself.
#[derive(Default)]
struct Subscription {
    session: Option<SessionId>,
    place: Option<StreamPosition>,
    frozen: bool,
    /// The highest position that was seen while it was frozen.
    seen: Option<StreamPosition>,
    skips: bool,
}

struct World {
    owner: Owner,
    store: Store,
    asked: Vec<(ChannelName, Operation)>,
    subscriptions: [Subscription; 2],
    sessions: u64,
    published: u64,
    now: Instant,
    /// What every place in every stream held, whoever saw it.
    truth: HashMap<(u64, u64), String>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            owner: Owner::new(Duration::from_secs(300), true),
            store: Store { epoch: 1, ..Store::default() },
            asked: Vec::new(),
            subscriptions: Default::default(),
            sessions: 0,
            published: 0,
            now: Instant::now(),
            truth: HashMap::new(),
        };
        world.link(0);
        world.link(1);
        world
    }

    fn link(&mut self, which: usize) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.owner.session_up(session, "node".parse().unwrap());
        self.owner.caught_up(session);
        let subscription = &mut self.subscriptions[which];
        subscription.session = Some(session);
        // What was asked for on the last link is asked for again when it follows.
        (subscription.frozen, subscription.seen) = (false, None);
        self.owner.follow(session, &news(), subscription.place, true, self.now);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish => {
                self.published += 1;
                let keep = Keep { stored: true, ..Keep::default() };
                let mut publish = Publish { keep, ..Publish::to(news()) };
                publish.publication.data = format!("p{}", self.published).into();
                let until = self.now + Duration::from_secs(3600);
                self.owner.publish(Queued { publish, reply: None, until }, self.now);
            }
            // Two writers and a failover at the same time are beyond what can be promised.
            Step::Foreign if self.store.lost => {}
            Step::Foreign => {
                self.published += 1;
                self.store.texts.push(format!("p{}", self.published));
            }
            Step::LoseTail(count) => {
                // Owner and followers must know of it: what nobody knows of nobody can miss.
                if self.subscriptions[0].place.is_some() {
                    let left = self.store.texts.len().saturating_sub(count.into());
                    self.store.texts.truncate(left);
                    self.store.lost = true;
                }
            }
            Step::Link => match self.subscriptions[1].session.take() {
                Some(session) => self.owner.session_down(session, self.now),
                None => self.link(1),
            },
            Step::Skip => self.subscriptions[0].skips = true,
            Step::Time(milliseconds) => {
                self.now += Duration::from_millis(milliseconds.into());
                self.owner.tick(self.now);
            }
            Step::Done | Step::Lost | Step::Failed => {
                if self.asked.is_empty() {
                    return;
                }
                let (channel, operation) = self.asked.remove(0);
                let gone = || Err(HistoryError::Unavailable(String::new()));
                let result = match step {
                    Step::Failed => gone(),
                    Step::Lost => {
                        self.store.carry_out(operation);
                        gone()
                    }
                    _ => Ok(self.store.carry_out(operation)),
                };
                self.owner.finished(&channel, result, self.now);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(action) = self.owner.next_action() {
            match action {
                Action::Ask(channel, operation) => self.asked.push((channel, operation)),
                Action::Deliver(delivery) => {
                    let position = delivery.position.expect("all are stored");
                    let publication = delivery.publish.publication;
                    for session in delivery.reach.sessions {
                        self.hear(session, position, Some(&publication));
                    }
                }
                Action::Say(session, Message::Following(link::Following { position, .. })) => {
                    let position = StreamPosition::from(position.expect("it has history"));
                    let top = self.store.top();
                    assert!(self.store.lost || position.epoch != top.epoch || position.offset <= top.offset);
                    if let Some(one) = self.subscription(session) {
                        one.place.get_or_insert(position);
                    }
                    self.hear(session, position, None);
                }
                Action::Say(session, Message::Top(top)) => {
                    self.hear(session, top.position.unwrap().into(), None);
                }
                Action::Say(session, Message::Recovered(recovered)) => self.recovered(session, &recovered),
                _ => {}
            }
        }
    }

    fn subscription(&mut self, session: SessionId) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|one| one.session == Some(session))
    }

    /// A publication, or only how far the stream has come.
    fn hear(&mut self, session: SessionId, at: StreamPosition, publication: Option<&link::Publication>) {
        let Some(one) = self.subscription(session) else { return };
        let place = one.place.expect("nothing comes before Following");
        if one.frozen {
            one.seen = Some(at);
        } else if at.epoch == place.epoch && at.offset <= place.offset {
            // It has that.
        } else if let Some(publication) = publication
            && at.epoch == place.epoch
            && at.offset == place.offset + 1
            && !std::mem::take(&mut one.skips)
        {
            one.place = Some(at);
            let text = String::from_utf8(publication.data.to_vec()).unwrap();
            self.got(at, &text);
        } else {
            one.frozen = true;
            self.recover(session, place);
        }
    }

    fn recover(&mut self, session: SessionId, since: StreamPosition) {
        let since = Some(since.into());
        let recover = link::Recover { since, limit: 300, max_bytes: 1 << 20, ..Default::default() };
        self.owner.recover(session, &news(), recover, self.now);
    }

    fn recovered(&mut self, session: SessionId, recovered: &link::Recovered) {
        let Some(one) = self.subscription(session) else { return };
        let place = one.place.expect("it has asked");
        if recovered.error != 0 {
            return self.recover(session, place);
        }
        let position = StreamPosition::from(recovered.position.unwrap());
        // Who is told begins anew at the end of the stream.
        one.place = Some(position);
        one.frozen = false;
        let seen = one.seen.take();
        if recovered.complete {
            assert_eq!(position.epoch, place.epoch, "offsets of different streams do not follow each other");
            let offsets: Vec<u64> = recovered.publications.iter().map(|one| one.offset).collect();
            assert!(offsets.iter().copied().eq(place.offset + 1..=position.offset), "{place:?}: {offsets:?}");
        }
        for publication in &recovered.publications {
            let text = String::from_utf8(publication.data.to_vec()).unwrap();
            self.got(StreamPosition { offset: publication.offset, ..position }, &text);
        }
        if let Some(seen) = seen {
            self.hear(session, seen, None);
        }
    }

    /// No place in a stream ever holds two publications.
    fn got(&mut self, at: StreamPosition, text: &str) {
        let known = self.truth.entry((at.epoch.0, at.offset)).or_insert_with(|| text.to_owned());
        assert_eq!(known, text, "at {at:?}");
    }

    /// All is well again: who follows has all that there is.
    fn end(&mut self) {
        if self.subscriptions[1].session.is_none() {
            self.step(Step::Link);
        }
        self.subscriptions[0].skips = false;
        for round in 0..200 {
            if round == 100 {
                let live = |one: &Subscription| one.place.is_some() && !one.frozen;
                assert!(self.subscriptions.iter().all(live), "nobody waits for the next publication");
                self.step(Step::Publish);
            }
            self.step(Step::Done);
            self.step(Step::Time(100));
        }
        self.step(Step::Done);
        assert!(self.asked.is_empty());
        for subscription in &self.subscriptions {
            assert_eq!((subscription.place, subscription.frozen), (Some(self.store.top()), false));
        }
        assert_eq!(self.owner.shared.questions, 0);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Publish),
        10 => Just(Step::Done),
        1 => Just(Step::Lost),
        1 => Just(Step::Failed),
        1 => Just(Step::Foreign),
        1 => (1..4u8).prop_map(Step::LoseTail),
        2 => Just(Step::Link),
        2 => Just(Step::Skip),
        2 => (0..2_000u16).prop_map(Step::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_between_nobody_misses_or_gets_twice_without_being_told(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new();
        world.settle();
        for step in steps {
            world.step(step);
        }
        world.end();
    }
}

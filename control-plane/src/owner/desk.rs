//! An owner under test: its history is the test, which is told what the owner does and says what the history has done.

use fanfare_cluster::channel::Epoch;
use fanfare_proto::link::open_response::Message;
use smallvec::SmallVec;

use super::request::{Keep, Operation, Publish, Settled};
use super::*;
use crate::history::{Appended, Outcome, Page, Part, Stored};

pub(super) const A: SessionId = SessionId(1);
pub(super) const B: SessionId = SessionId(2);
pub(super) const GONE: HistoryError = HistoryError::Unavailable(String::new());

/// An owner, its clock, and the channels that have asked the history.
pub(super) struct Desk {
    pub(super) owner: Owner,
    pub(super) now: Instant,
    pub(super) asked: Vec<ChannelName>,
}

pub(super) fn news() -> ChannelName {
    ChannelName::parse("news").unwrap()
}

pub(super) fn at(epoch: u64, offset: u64) -> StreamPosition {
    StreamPosition { epoch: Epoch(epoch), offset }
}

pub(super) fn stored(offset: u64) -> Stored {
    let data = format!("p{offset}").into();
    Stored { offset, publication: Some(link::Publication { data, offset, ..Default::default() }) }
}

pub(super) fn page(
    offsets: impl IntoIterator<Item = u64>,
    top: StreamPosition,
) -> Result<Done, HistoryError> {
    Ok(Done::Page(Page { stored: offsets.into_iter().map(stored).collect(), top }))
}

pub(super) fn kept(offset: u64) -> Outcome {
    Outcome::Stored { offset, time_ms: 7, expires_at_ms: 0 }
}

pub(super) fn appended(outcomes: &[Outcome], top: StreamPosition) -> Result<Done, HistoryError> {
    Ok(Done::Appended(Appended { outcomes: SmallVec::from_slice(outcomes), top }))
}

pub(super) fn recover(ticket: u64, since: StreamPosition) -> link::Recover {
    let since = Some(since.into());
    link::Recover { ticket, channel: "news".into(), since, limit: 300, max_bytes: 1 << 20, latest: false }
}

fn texts(publications: &[link::Publication]) -> String {
    let text = |one: &link::Publication| String::from_utf8_lossy(&one.data).into_owned();
    publications.iter().map(text).collect::<Vec<_>>().join(",")
}

impl Desk {
    pub(super) fn new() -> Self {
        let mut owner = Owner::new(Duration::from_secs(300), true);
        for (session, node) in [(A, "a"), (B, "b")] {
            owner.session_up(session, node.parse().unwrap());
            owner.caught_up(session);
        }
        Self { owner, now: Instant::now(), asked: Vec::new() }
    }

    /// As `new`, and A follows "news", which has come so far.
    pub(super) fn followed_at(top: StreamPosition) -> Self {
        let mut desk = Self::new();
        assert_eq!(desk.follow(A, at(0, 0)), ["ask top, known 0:0"]);
        assert_eq!(desk.done(Ok(Done::Top(top))), [format!("1: following {}:{}", top.epoch.0, top.offset)]);
        desk
    }

    /// What the owner wants done by now.
    pub(super) fn wants(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(action) = self.owner.next_action() {
            all.push(self.describe(action));
        }
        all
    }

    fn describe(&mut self, action: Action) -> String {
        let place = |position: Option<StreamPosition>| match position {
            Some(position) => format!("{}:{}", position.epoch.0, position.offset),
            None => "nowhere".to_owned(),
        };
        match action {
            Action::Ask(channel, operation) => {
                self.asked.push(channel);
                match operation {
                    Operation::Append { entries, known } => {
                        let all: Vec<_> = entries.into_iter().map(|entry| entry.publication).collect();
                        format!("ask append {}, known {}", texts(&all), place(Some(known)))
                    }
                    Operation::Top { known } => format!("ask top, known {}", place(Some(known))),
                    Operation::Read { part: Part::Before(u64::MAX, after), limit, .. } => {
                        format!("ask newest {limit} after {after}")
                    }
                    Operation::Read { part, limit, .. } => format!("ask {limit} {part:?}"),
                    Operation::Remove => "ask remove".to_owned(),
                }
            }
            Action::Deliver(delivery) => {
                let to: Vec<u64> = delivery.reach.sessions.iter().map(|session| session.0).collect();
                let text = texts(std::slice::from_ref(&delivery.publish.publication));
                assert_eq!(
                    delivery.publish.publication.offset,
                    delivery.position.map_or(0, |position| position.offset)
                );
                format!("{to:?}: {text} at {}", place(delivery.position))
            }
            Action::Act(_, reach, _) => format!("act at {}", reach.sessions.len()),
            Action::Settle(reply, Ok(Settled::Repeated(first))) => {
                format!("{}: repeated {}", reply.waiting, place(first))
            }
            Action::Settle(reply, Ok(Settled::Superseded(top))) => {
                format!("{}: superseded {}", reply.waiting, place(Some(top)))
            }
            Action::Settle(reply, Err(refusal)) => format!("{}: {refusal:?}", reply.waiting),
            Action::Say(session, message) => format!("{}: {}", session.0, said(message)),
            Action::Read(_, Ok(page)) => {
                format!("read {} until {}", page.stored.len(), place(Some(page.top)))
            }
            Action::Read(_, Err(refusal)) => format!("read: {refusal:?}"),
            Action::Removed(_, top) => format!("removed {top:?}"),
        }
    }

    pub(super) fn follow(&mut self, session: SessionId, position: StreamPosition) -> Vec<String> {
        self.owner.follow(session, &news(), Some(position), true, self.now);
        self.wants()
    }

    pub(super) fn publish(&mut self, text: &'static str) -> Vec<String> {
        self.publish_keep(text, Keep { stored: true, ..Keep::default() })
    }

    pub(super) fn publish_keep(&mut self, text: &'static str, keep: Keep) -> Vec<String> {
        let waiting = text.bytes().map(|byte| u64::from(byte - b'a')).sum();
        let mut publish = Publish { keep, ..Publish::to(news()) };
        publish.publication.data = text.into();
        let reply = Some(Reply { waiting, place: 0 });
        self.owner.publish(Queued { publish, reply, until: self.now + Duration::from_secs(5) }, self.now);
        self.wants()
    }

    pub(super) fn recover(&mut self, recover: link::Recover) -> Vec<String> {
        self.owner.recover(A, &news(), recover, self.now);
        self.wants()
    }

    pub(super) fn read(&mut self, question: Question) -> Vec<String> {
        let asker = Asker::Client { session: A, ticket: 9 };
        self.owner.read(asker, &news(), question, self.now);
        self.wants()
    }

    /// What was asked for first is done.
    pub(super) fn done(&mut self, result: Result<Done, HistoryError>) -> Vec<String> {
        let channel = self.asked.remove(0);
        self.owner.finished(&channel, result, self.now);
        self.wants()
    }

    /// Time passes.
    pub(super) fn after(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.owner.tick(self.now);
        self.wants()
    }
}

fn said(message: Message) -> String {
    let place = |position: Option<link::StreamPosition>| {
        let position = position.unwrap_or_default();
        format!("{}:{}", position.epoch, position.offset)
    };
    match message {
        Message::Following(following) => format!("following {}", place(following.position)),
        Message::Top(top) => format!("top {}", place(top.position)),
        Message::NotOwner(not_owner) => format!("not owner, ticket {}", not_owner.ticket),
        Message::Recovered(link::Recovered { error, .. }) if error != 0 => format!("error {error}"),
        Message::Recovered(answer) => {
            let how = if answer.complete { "all of" } else { "no part of" };
            format!("{how} [{}] until {}", texts(&answer.publications), place(answer.position))
        }
        Message::HistoryRead(link::HistoryRead { error, position, .. }) if error != 0 => {
            format!("error {error} at {}", place(position))
        }
        Message::HistoryRead(answer) => {
            format!("history [{}] until {}", texts(&answer.publications), place(answer.position))
        }
        other => format!("{other:?}"),
    }
}

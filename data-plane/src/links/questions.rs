//! What clients ask of channels' owners, on its way there, and the answers on their way back.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_proto::link::{self, open_request};

use super::ShardIndex;
use super::follows::Now;
use super::junction::{Junction, LARGE_ANSWERS};
use crate::codes::Code;
use crate::codes::error::{INTERNAL, TOO_MANY_REQUESTS};
use crate::shard::{Reply, SlotKey, ToShard};

/// How long a client's question waits for its answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Clients' questions that may wait for an answer.
const MAX_QUESTIONS: usize = 65_536;
/// Those that may wait until they are asked.
const MAX_IN_LINE: usize = 4_096;

/// What a client asks of a channel's owner.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Question {
    /// To publish.
    Publish(link::Publication),
    /// For a part of the history.
    History(Reading),
    /// Who is present; or only how many.
    Presence { counts_only: bool },
}

/// Which part of a channel's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Where to begin, if not at an end of it.
    pub(crate) since: Option<StreamPosition>,
    /// Publications at most; 0 if only the position is wanted.
    pub(crate) limit: u32,
    /// From new to old.
    pub(crate) reverse: bool,
    /// Bytes at most, but at least one publication.
    pub(crate) max_bytes: u32,
}

/// The questions that wait for an answer.
#[derive(Default)]
pub(super) struct Questions {
    waiting: HashMap<u64, Waiting>,
    /// How many of them may have large answers.
    large: usize,
    /// Those that wait until others of these are answered.
    // queue: questions with large answers
    line: VecDeque<Asking>,
}

/// A question that is not on its way yet.
struct Asking {
    shard: ShardIndex,
    key: SlotKey,
    id: u32,
    channel: ChannelName,
    question: Question,
    since: Now,
}

/// Who waits for an answer, and from whom.
pub(super) struct Waiting {
    shard: ShardIndex,
    key: SlotKey,
    id: u32,
    pub(super) replica: MemberId,
    since: Now,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Small,
    Counts,
    /// The answer may have half a mebibyte.
    Large,
}

impl Question {
    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Publish(publication) => publication.weight(),
            Self::History(_) | Self::Presence { .. } => 0,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Presence { counts_only: true } => Kind::Counts,
            Self::Publish(_) | Self::History(Reading { limit: 0, .. }) => Kind::Small,
            Self::History(_) | Self::Presence { .. } => Kind::Large,
        }
    }

    fn into_message(self, ticket: u64, channel: &ChannelName) -> open_request::Message {
        let channel = channel.as_str().to_owned();
        match self {
            Self::Publish(publication) => {
                let publication = Some(publication);
                open_request::Message::Publish(link::Publish { ticket, channel, publication })
            }
            Self::History(Reading { since, limit, reverse, max_bytes }) => {
                let since = since.map(Into::into);
                let read = link::ReadHistory { ticket, channel, since, limit, reverse, max_bytes };
                open_request::Message::ReadHistory(read)
            }
            Self::Presence { counts_only } => {
                open_request::Message::ReadPresence(link::ReadPresence { ticket, channel, counts_only })
            }
        }
    }
}

impl Junction {
    pub(super) fn question(
        &mut self,
        shard: ShardIndex,
        (key, id): (SlotKey, u32),
        channel: &ChannelName,
        question: Question,
    ) {
        let asking = Asking { shard, key, id, channel: channel.clone(), question, since: self.now };
        if asking.question.kind() != Kind::Large || self.questions.large < LARGE_ANSWERS {
            return self.ask(asking);
        }
        if self.questions.line.len() < MAX_IN_LINE {
            return self.questions.line.push_back(asking);
        }
        self.say_failed(shard, (key, id), TOO_MANY_REQUESTS);
    }

    fn say_failed(&mut self, shard: ShardIndex, (key, id): (SlotKey, u32), code: Code) {
        let reply = Reply::Failed(code.code.into());
        self.for_shard(shard, ToShard::Answered { key, id, reply });
    }

    fn ask(&mut self, asking: Asking) {
        let Asking { shard, key, id, channel, question, since } = asking;
        let owner = self.follows.linked_owner(&channel).cloned();
        let session = owner.as_ref().and_then(|owner| self.sessions.get(owner));
        // The rest of the link's queue is left to what must not wait: follows, receipts.
        let session = session.filter(|session| session.has_room_for_clients());
        let (Some(replica), Some(session), true) =
            (owner.clone(), session, self.questions.waiting.len() < MAX_QUESTIONS)
        else {
            let code = if owner.is_some() { TOO_MANY_REQUESTS } else { INTERNAL };
            return self.say_failed(shard, (key, id), code);
        };
        self.last_ticket += 1;
        let kind = question.kind();
        self.questions.large += usize::from(kind == Kind::Large);
        session.send(question.into_message(self.last_ticket, &channel));
        let waiting = Waiting { shard, key, id, replica, since, kind };
        self.questions.waiting.insert(self.last_ticket, waiting);
    }

    /// An owner has answered.
    pub(super) fn answered(&mut self, ticket: u64, reply: Reply) {
        let Some(Waiting { shard, key, id, kind, .. }) = self.questions.waiting.remove(&ticket) else {
            return;
        };
        self.for_shard(shard, ToShard::Answered { key, id, reply });
        self.questions.large -= usize::from(kind == Kind::Large);
        while self.questions.large < LARGE_ANSWERS
            && let Some(next) = self.questions.line.pop_front()
        {
            self.ask(next);
        }
    }

    /// An owner has said who is present, or how many.
    pub(super) fn presence_answered(&mut self, read: link::PresenceRead) {
        if let Some(Waiting { kind, .. }) = self.questions.waiting.get(&read.ticket) {
            let counts_only = *kind == Kind::Counts;
            self.answered(read.ticket, Reply::presence(read, counts_only));
        }
    }

    /// Questions that will have no answer any more get a temporary error; they are never sent again.
    pub(super) fn fail_questions(&mut self, failed: impl Fn(&Waiting) -> bool) {
        let tickets: Vec<u64> =
            self.questions.waiting.iter().filter(|(_, one)| failed(one)).map(|(id, _)| *id).collect();
        for ticket in tickets {
            self.answered(ticket, Reply::Failed(INTERNAL.code.into()));
        }
    }

    /// Gives up those that have waited too long.
    pub(super) fn fail_late_questions(&mut self) {
        let now = self.now;
        while let Some(Asking { shard, key, id, .. }) =
            self.questions.line.pop_front_if(|one| one.since + PATIENCE < now)
        {
            self.say_failed(shard, (key, id), INTERNAL);
        }
        self.fail_questions(|one| one.since + PATIENCE < now);
    }
}

impl Reply {
    /// What an owner has said to a publish; 0 is no error.
    pub(super) fn to_publish(link::Published { error, .. }: link::Published) -> Self {
        if error == 0 { Self::Published } else { Self::Failed(error) }
    }

    /// What an owner has said of its history.
    pub(super) fn history(read: link::HistoryRead) -> Self {
        match read.error {
            0 => {
                let position = read.position.map(StreamPosition::from).unwrap_or_default();
                Self::History { publications: read.publications, position }
            }
            error => Self::Failed(error),
        }
    }

    /// What an owner has said of those present.
    fn presence(read: link::PresenceRead, counts_only: bool) -> Self {
        match read.error {
            0 if counts_only => Self::PresenceStats { connections: read.connections, users: read.users },
            0 => Self::Presence(read.members),
            error => Self::Failed(error),
        }
    }
}

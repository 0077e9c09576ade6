//! A channel's stream as a shard sees it: how far it has come, and who asks the owner for what was missed.

use fanfare_cluster::channel::StreamPosition;

use super::place::{Eras, Place};
use super::waiting::Waiting;

/// How often an answer that is older than what has come meanwhile is asked for again: the owner may just be changing.
const MAX_ROUNDS: u8 = 8;

/// Something for the owner: what was published after a position?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoverQuestion {
    pub(crate) ticket: u64,
    pub(crate) since: StreamPosition,
    /// Only the last publication.
    pub(crate) latest: bool,
}

/// The stream of a channel that has one.
#[derive(Debug)]
pub(super) struct Stream {
    eras: Eras,
    /// The furthest place that was heard of.
    pub(super) last: Place,
    last_ticket: u64,
    /// Bounded by the channel's subscribers and those who wait.
    recoveries: Vec<Recovery>,
    /// Questions that are not on their way yet.
    asks: Vec<RecoverQuestion>,
}

/// What was asked, and how often in vain before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    since: StreamPosition,
    latest: bool,
    pub(super) round: u8,
}

impl Round {
    /// The owner does not know of what has come from it before, and asking does not help.
    pub(super) fn is_last(self) -> bool {
        self.round >= MAX_ROUNDS
    }
}

/// All who wait for the same answer.
#[derive(Debug)]
pub(super) struct Recovery {
    asked: RecoverQuestion,
    /// Subscriptions that begin with it.
    pub(super) waiting: Vec<Waiting>,
    /// The slots of subscriptions that have a gap. Some may be gone by now, or be others'.
    pub(super) frozen: Vec<u32>,
    /// How often it was asked for in vain.
    round: u8,
}

impl Stream {
    /// `tickets` is where the numbers of its questions begin.
    pub(super) fn new(position: StreamPosition, tickets: u64) -> Self {
        let mut eras = Eras::new(position.epoch);
        let last = eras.place(position);
        Self { eras, last, last_ticket: tickets, recoveries: Vec::new(), asks: Vec::new() }
    }

    /// The stream has come as far as this, as the road from the owner says.
    pub(super) fn reach(&mut self, position: StreamPosition) -> Place {
        let place = self.eras.place(position);
        self.last = self.last.max(place);
        place
    }

    /// The owner says that the stream ends here.
    pub(super) fn ends_at(&mut self, position: StreamPosition) -> Place {
        self.eras.newest_place(position)
    }

    pub(super) fn position(&self, place: Place) -> StreamPosition {
        self.eras.position(place)
    }

    /// A new subscription waits for what was published after a position.
    pub(super) fn wait(&mut self, since: StreamPosition, latest: bool, waiting: Waiting) {
        self.recovery(since, latest, 0).waiting.push(waiting);
    }

    /// It waits again: the answer was older than what has come meanwhile.
    pub(super) fn wait_again(&mut self, former: Round, waiting: Waiting) {
        let Round { since, latest, round } = former;
        self.recovery(since, latest, round + 1).waiting.push(waiting);
    }

    /// A subscription has a gap behind its place. Returns the question that it waits for.
    pub(super) fn freeze(&mut self, slot: u32, place: Place, round: u8) -> u64 {
        let since = self.position(place);
        let recovery = self.recovery(since, false, round);
        recovery.frozen.push(slot);
        recovery.asked.ticket
    }

    /// All who are behind at the same position share one question.
    fn recovery(&mut self, since: StreamPosition, latest: bool, round: u8) -> &mut Recovery {
        let alike = |one: &Recovery| one.asked.since == since && one.asked.latest == latest;
        let at = self.recoveries.iter().position(alike).unwrap_or_else(|| {
            self.last_ticket += 1;
            let asked = RecoverQuestion { ticket: self.last_ticket, since, latest };
            self.asks.push(asked);
            self.recoveries.push(Recovery { asked, waiting: Vec::new(), frozen: Vec::new(), round });
            self.recoveries.len() - 1
        });
        let recovery = &mut self.recoveries[at];
        recovery.round = recovery.round.max(round);
        recovery
    }

    /// The question has its answer, or will have none.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Recovery> {
        let at = self.recoveries.iter().position(|one| one.asked.ticket == ticket)?;
        Some(self.recoveries.swap_remove(at))
    }

    /// Takes out a subscription that still waits.
    pub(super) fn stop_waiting(&mut self, is_meant: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        self.recoveries.iter_mut().find_map(|recovery| {
            let at = recovery.waiting.iter().position(&is_meant)?;
            Some(recovery.waiting.swap_remove(at))
        })
    }

    /// All new subscriptions that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.recoveries.iter().flat_map(|recovery| &recovery.waiting)
    }

    /// Whether something is to be asked.
    pub(super) fn has_asks(&self) -> bool {
        !self.asks.is_empty()
    }

    /// What is to be asked.
    pub(super) fn take_asks(&mut self) -> Vec<RecoverQuestion> {
        std::mem::take(&mut self.asks)
    }

    /// Everybody is where the stream is, or waits.
    pub(super) fn forget_former_eras(&mut self) {
        self.eras.forget_former();
    }
}

impl Recovery {
    pub(super) fn round(&self) -> Round {
        Round { since: self.asked.since, latest: self.asked.latest, round: self.round }
    }
}

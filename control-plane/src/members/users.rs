//! Which users are online, since when, what backends have subscribed them to, and when others were seen last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use fanfare_cluster::channel::ChannelName;

use super::Moment;

/// Users whose last connection is remembered, per presence task.
const SEEN: usize = 50_000;
/// Channels that backends may have subscribed one user to.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 512;

/// Nothing more can be kept for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySubscriptions;

/// A user with a connection, or with one that ended a moment ago.
#[derive(Debug)]
struct Online {
    since_ms: u64,
    away: Option<Away>,
    /// What backends have subscribed it to.
    subscriptions: BTreeSet<ChannelName>,
}

/// A user without a connection who may be back before anybody needs to know.
#[derive(Clone, Copy, Debug)]
struct Away {
    since_ms: u64,
    due: Instant,
}

/// What is known of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserState {
    pub(crate) online: bool,
    /// When it came, in Unix milliseconds; 0 if it is offline.
    pub(crate) since_ms: u64,
    /// When its last connection ended, in Unix milliseconds; 0 if that is not known, or it has one.
    pub(crate) last_seen_ms: u64,
}

/// All users, by their personal channels.
#[derive(Debug)]
pub(crate) struct Users {
    online: HashMap<ChannelName, Online, foldhash::fast::RandomState>,
    due: BTreeSet<(Instant, ChannelName)>,
    seen: LastSeen,
    grace: Duration,
}

impl Users {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { online: HashMap::default(), due: BTreeSet::new(), seen: LastSeen::default(), grace }
    }

    /// A connection of the user has come; returns whether the user was offline.
    pub(crate) fn entered(&mut self, channel: &ChannelName, joined_at_ms: u64) -> bool {
        if let Some(online) = self.online.get_mut(channel) {
            online.since_ms = online.since_ms.min(joined_at_ms);
            if let Some(away) = online.away.take() {
                self.due.remove(&(away.due, channel.clone()));
            }
            return false;
        }
        self.seen.forget(channel);
        let online = Online { since_ms: joined_at_ms, away: None, subscriptions: BTreeSet::new() };
        self.online.insert(channel.clone(), online);
        true
    }

    /// The user's last connection has ended.
    pub(crate) fn left(&mut self, channel: &ChannelName, now: Moment) {
        if let Some(online) = self.online.get_mut(channel) {
            let away = Away { since_ms: now.unix_ms, due: now.instant + self.grace };
            online.away = Some(away);
            self.due.insert((away.due, channel.clone()));
        }
    }

    /// The next user that is offline by now.
    pub(crate) fn next_offline(&mut self, now: Moment) -> Option<ChannelName> {
        if self.next_due().is_none_or(|due| due > now.instant) {
            return None;
        }
        let (_, channel) = self.due.pop_first()?;
        let online = self.online.remove(&channel)?;
        if let Some(away) = online.away {
            self.seen.remember(channel.clone(), away.since_ms);
        }
        Some(channel)
    }

    /// When the next user may be offline.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What is known of a user.
    pub(crate) fn state(&self, channel: &ChannelName) -> UserState {
        match self.online.get(channel) {
            None => UserState { last_seen_ms: self.seen.of(channel), ..Default::default() },
            Some(online) => UserState {
                online: true,
                since_ms: online.since_ms,
                last_seen_ms: online.away.map_or(0, |away| away.since_ms),
            },
        }
    }

    /// What backends have subscribed the user to.
    pub(crate) fn subscriptions(&self, channel: &ChannelName) -> impl Iterator<Item = &ChannelName> {
        self.online.get(channel).into_iter().flat_map(|online| &online.subscriptions)
    }

    /// Keeps a subscription for as long as the user is online. Nothing is kept for one who is not.
    pub(crate) fn subscribe(
        &mut self,
        channel: &ChannelName,
        to: ChannelName,
    ) -> Result<(), TooManySubscriptions> {
        if let Some(online) = self.online.get_mut(channel) {
            let subscriptions = &mut online.subscriptions;
            if subscriptions.len() >= MAX_SUBSCRIPTIONS && !subscriptions.contains(&to) {
                return Err(TooManySubscriptions);
            }
            subscriptions.insert(to);
        }
        Ok(())
    }

    /// Keeps a subscription no longer.
    pub(crate) fn unsubscribe(&mut self, channel: &ChannelName, from: &ChannelName) {
        if let Some(online) = self.online.get_mut(channel) {
            online.subscriptions.remove(from);
        }
    }

    /// Forgets the users whose channels are somebody else's now.
    pub(crate) fn retain(&mut self, is_ours: impl Fn(&ChannelName) -> bool) {
        self.online.retain(|channel, _| is_ours(channel));
        self.due.retain(|(_, channel)| is_ours(channel));
    }
}

/// When users were seen last, for so many of them.
#[derive(Debug, Default)]
struct LastSeen {
    next: u64,
    by_user: HashMap<ChannelName, (u64, u64)>,
    by_age: BTreeMap<u64, ChannelName>,
}

impl LastSeen {
    fn remember(&mut self, channel: ChannelName, at_ms: u64) {
        self.forget(&channel);
        self.next += 1;
        self.by_age.insert(self.next, channel.clone());
        self.by_user.insert(channel, (self.next, at_ms));
        if self.by_user.len() > SEEN
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_user.remove(&oldest);
        }
    }

    fn forget(&mut self, channel: &ChannelName) {
        if let Some((age, _)) = self.by_user.remove(channel) {
            self.by_age.remove(&age);
        }
    }

    fn of(&self, channel: &ChannelName) -> u64 {
        self.by_user.get(channel).map_or(0, |(_, at_ms)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_remembered_and_the_oldest_is_forgotten() {
        let mut seen = LastSeen::default();
        let user = |number: usize| ChannelName::personal(&number.to_string()).unwrap();
        for number in 0..=SEEN {
            seen.remember(user(number), number as u64 + 1);
        }
        seen.remember(user(1), 7);
        seen.remember(user(SEEN + 1), 8);
        assert_eq!((seen.of(&user(0)), seen.of(&user(1)), seen.of(&user(2))), (0, 7, 0));
        assert_eq!((seen.by_user.len(), seen.by_age.len()), (SEEN, SEEN));
        seen.forget(&user(1));
        assert_eq!(seen.of(&user(1)), 0);
    }
}

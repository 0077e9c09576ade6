//! Keys of publications that no history keeps: who repeats one is told so, as long as this process remembers.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use fanfare_cluster::channel::ChannelName;

/// Keys that are remembered at most; beyond that the oldest is forgotten.
const MAX_KEYS: usize = 16_384;

/// The keys of one owner task.
#[derive(Debug)]
pub(super) struct Keys {
    seen: HashSet<(ChannelName, Box<str>), foldhash::fast::RandomState>,
    // queue: idempotency keys at an owner
    by_age: VecDeque<(Instant, ChannelName, Box<str>)>,
    window: Duration,
}

impl Keys {
    /// Remembers keys for so long.
    pub(super) fn new(window: Duration) -> Self {
        Self { seen: HashSet::default(), by_age: VecDeque::new(), window }
    }

    /// Whether the key is new to the channel; from then on it is not.
    pub(super) fn is_new(&mut self, channel: &ChannelName, key: &str, now: Instant) -> bool {
        let window = self.window;
        while let Some((_, channel, key)) =
            self.by_age.pop_front_if(|(since, ..)| now.saturating_duration_since(*since) >= window)
        {
            self.seen.remove(&(channel, key));
        }
        if !self.seen.insert((channel.clone(), key.into())) {
            return false;
        }
        self.by_age.push_back((now, channel.clone(), key.into()));
        if self.by_age.len() > MAX_KEYS
            && let Some((_, channel, key)) = self.by_age.pop_front()
        {
            self.seen.remove(&(channel, key));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn a_key_is_known_within_its_channel_and_window() {
        let (mut keys, start) = (Keys::new(Duration::from_secs(300)), Instant::now());
        assert!(keys.is_new(&channel("news"), "k", start));
        assert!(!keys.is_new(&channel("news"), "k", start + Duration::from_secs(299)));
        assert!(keys.is_new(&channel("sport"), "k", start));
        assert!(keys.is_new(&channel("news"), "k", start + Duration::from_secs(300)));
        assert_eq!((keys.seen.len(), keys.by_age.len()), (1, 1), "what is over is forgotten");
    }

    #[test]
    fn the_oldest_key_is_forgotten_when_there_are_too_many() {
        let (mut keys, now) = (Keys::new(Duration::from_secs(300)), Instant::now());
        for key in 0..=MAX_KEYS {
            assert!(keys.is_new(&channel("news"), &key.to_string(), now));
        }
        assert_eq!((keys.seen.len(), keys.by_age.len()), (MAX_KEYS, MAX_KEYS));
        assert!(!keys.is_new(&channel("news"), "1", now));
        assert!(keys.is_new(&channel("news"), "0", now));
    }
}

//! How many publications per second a channel takes: a token bucket for each channel that has given some out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fanfare_cluster::channel::ChannelName;

/// A bucket holds the tokens of this time, so a channel takes that much at once after a pause.
const BUCKET: Duration = Duration::from_secs(1);

/// The buckets of one owner's channels. One that is full again is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// When each bucket will be full again.
    full_at: HashMap<ChannelName, Instant, foldhash::fast::RandomState>,
    sweep_at: Option<Instant>,
}

impl Rates {
    /// Takes a token for one publication.
    ///
    /// # Errors
    /// Says how long it takes until there is one.
    pub(crate) fn take(
        &mut self,
        channel: &ChannelName,
        per_second: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        if per_second == 0 {
            return Ok(());
        }
        self.sweep(now);
        let full_at = self.full_at.get(channel).copied().unwrap_or(now).max(now) + BUCKET / per_second;
        let missing = full_at.saturating_duration_since(now + BUCKET);
        if !missing.is_zero() {
            return Err(missing);
        }
        self.full_at.insert(channel.clone(), full_at);
        Ok(())
    }

    /// Forgets full buckets, once per filling time.
    fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| at <= now) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = Some(now + BUCKET);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn a_channel_takes_as_many_per_second_as_it_may_and_says_when_it_takes_more() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for _ in 0..4 {
            rates.take(&channel("news"), 4, start).unwrap();
        }
        assert_eq!(rates.take(&channel("news"), 4, start), Err(Duration::from_millis(250)));
        assert_eq!(rates.take(&channel("sport"), 4, start), Ok(()), "each channel has its own bucket");
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.take(&channel("news"), 4, later), Err(Duration::from_millis(150)));
        rates.take(&channel("news"), 4, start + Duration::from_millis(250)).unwrap();
    }

    #[test]
    fn a_full_bucket_is_forgotten_and_a_channel_without_a_limit_has_none() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        rates.take(&channel("free"), 0, start).unwrap();
        assert_eq!(rates.full_at.len(), 0);
        for number in 0..100 {
            rates.take(&channel(&number.to_string()), 1, start).unwrap();
        }
        rates.take(&channel("last"), 1, start + Duration::from_secs(2)).unwrap();
        assert_eq!(rates.full_at.len(), 1);
    }

    #[test]
    fn over_a_long_time_the_rate_holds_whatever_it_is() {
        for per_second in [1, 3, 7, 1_000] {
            let (mut rates, start) = (Rates::default(), Instant::now());
            let ticks = (0..10_000).map(|tick| start + Duration::from_millis(tick));
            let taken = ticks.filter(|now| rates.take(&channel("a"), per_second, *now).is_ok()).count();
            let expected = 10 * per_second as usize;
            assert!((expected..=expected + per_second as usize).contains(&taken), "{per_second}: {taken}");
        }
    }
}

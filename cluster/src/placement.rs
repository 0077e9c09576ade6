//! Which replica owns which channel: a function over one small record that all processes agree on.

use crate::channel::ChannelName;
use crate::member::MemberId;
use crate::rendezvous::score;

/// Which placement is meant. Totally ordered; the same number means the same content for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementNumber {
    /// Raised by an operator after the registry was restored from a backup.
    pub generation: u64,
    /// The registry's revision at which the placement was written; 0 means that none was written yet.
    pub revision: u64,
}

/// The replicas that own channels, with their weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    number: PlacementNumber,
    replicas: Vec<(MemberId, u32)>,
}

impl Placement {
    /// A placement as read from the registry.
    pub fn new(number: PlacementNumber, mut replicas: Vec<(MemberId, u32)>) -> Self {
        replicas.sort();
        replicas.dedup_by(|a, b| a.0 == b.0);
        Self { number, replicas }
    }

    /// Its number.
    pub fn number(&self) -> PlacementNumber {
        self.number
    }

    /// Its replicas in the order of their ids.
    pub fn replicas(&self) -> &[(MemberId, u32)] {
        &self.replicas
    }

    /// Whether the replica is placed.
    pub fn contains(&self, replica: &MemberId) -> bool {
        self.replicas.iter().any(|(id, _)| id == replica)
    }

    /// The replica that owns the channel; none while nobody is placed.
    pub fn owner(&self, channel: &ChannelName) -> Option<&MemberId> {
        if let [(only, _)] = self.replicas.as_slice() {
            return Some(only);
        }
        let score_of = |(id, weight): &(MemberId, u32)| score(id.as_str(), *weight, channel.as_str());
        let best = |a: &&(MemberId, u32), b: &&(MemberId, u32)| score_of(a).total_cmp(&score_of(b));
        self.replicas.iter().max_by(best).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rank_above_revisions() {
        let number = |generation, revision| PlacementNumber { generation, revision };
        assert!(number(2, 1) > number(1, 900));
        assert!(number(1, 2) > number(1, 1));
    }

    #[test]
    fn nobody_owns_a_channel_until_somebody_is_placed() {
        let channel = ChannelName::parse("news").unwrap();
        assert_eq!(Placement::default().owner(&channel), None);
        let a: MemberId = "a".parse().unwrap();
        let placement = Placement::new(PlacementNumber::default(), vec![(a.clone(), 1)]);
        assert_eq!(placement.owner(&channel), Some(&a));
    }
}

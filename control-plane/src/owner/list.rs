//! Which channels are followed, in the order of their names.

use std::collections::BTreeMap;

use fanfare_cluster::channel::ChannelName;

use super::Owner;

impl Owner {
    /// Channels whose names begin with `prefix` and come behind `after`, in the order of their names, with how many
    /// nodes follow each. It looks at all of them.
    pub(crate) fn list(
        &self,
        after: Option<&ChannelName>,
        prefix: &str,
        most: usize,
    ) -> Vec<(ChannelName, usize)> {
        let mut first = BTreeMap::new();
        for (channel, known) in &self.channels {
            let is_meant = channel.as_str().starts_with(prefix) && after.is_none_or(|after| channel > after);
            let nodes = known.followers.len();
            if is_meant && nodes > 0 && !channel.is_personal() {
                first.insert(channel, nodes);
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        first.into_iter().map(|(channel, nodes)| (channel.clone(), nodes)).collect()
    }
}

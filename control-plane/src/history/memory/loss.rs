//! What a history may lose while its owner lives: for simulations of one that is shared and fails over.

use fanfare_cluster::channel::{ChannelName, StreamPosition};

use super::MemoryHistory;

impl MemoryHistory {
    /// Loses a stream's last publications, as if they had never been there, with their keys. The epoch stays: a store
    /// that fails over does not know what it has lost.
    pub(crate) fn lose_tail(&self, channel: &ChannelName, publications: u64) {
        let mut state = self.lock();
        let Some(stream) = state.streams.get_mut(channel) else { return };
        stream.top = stream.top.saturating_sub(publications);
        let (top, mut freed) = (stream.top, 0);
        while let Some(lost) = stream.kept.pop_back_if(|kept| kept.publication.offset > top) {
            freed += lost.weight();
        }
        stream.keys.retain(|_, position| position.offset <= top);
        stream.bytes -= freed;
        state.bytes -= freed;
    }

    /// Where a stream ends; `None` if there is none.
    pub(crate) fn end(&self, channel: &ChannelName) -> Option<StreamPosition> {
        self.lock().streams.get(channel).map(super::Stream::position)
    }
}

//! What is answered of how far a push or an operation came.

use fanfare_cluster::channel::StreamPosition;
use fanfare_cluster::member::MemberId;
use fanfare_proto::v1::{self, GapReason, NodeGap, PublishResponse, Receipt};

use crate::owners::Settled;
use crate::router;

/// What is answered to a push that was accepted.
pub(crate) fn answer(receipt: router::Receipt) -> PublishResponse {
    let position = receipt.position.map(position);
    let duplicate = matches!(receipt.settled, Some(Settled::Repeated(_)));
    let superseded = matches!(receipt.settled, Some(Settled::Superseded(_)));
    let receipt = Receipt {
        nodes_asked: receipt.nodes_asked as u32,
        written: receipt.counts.written,
        pending: receipt.counts.pending,
        cut: receipt.counts.cut,
        user_offline: receipt.user_offline,
        complete: receipt.gaps.is_empty(),
        gaps: gaps(receipt.gaps),
    };
    PublishResponse { position, duplicate, superseded, receipt: Some(receipt) }
}

/// A place in a stream, as callers know it.
pub(crate) fn position(position: StreamPosition) -> v1::StreamPosition {
    v1::StreamPosition { offset: position.offset, epoch: position.epoch.to_string() }
}

/// The nodes whose part is missing.
pub(crate) fn gaps(gaps: Vec<(MemberId, GapReason)>) -> Vec<NodeGap> {
    let gap = |(node, reason): (MemberId, GapReason)| NodeGap { node: node.into(), reason: reason.into() };
    gaps.into_iter().map(gap).collect()
}

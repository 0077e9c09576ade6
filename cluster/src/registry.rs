//! The port to the registry: who is there, and the placement they agree on.

mod memory;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::member::{Incarnation, MemberId};
use crate::placement::{Placement, PlacementNumber};

pub use memory::MemoryRegistry;

/// A data-plane node as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// This start of the node.
    pub incarnation: Incarnation,
    /// How many connections it may hold.
    pub capacity: u64,
}

/// A control-plane replica as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    /// This start of the replica.
    pub incarnation: Incarnation,
    /// Where nodes dial it.
    pub cluster_address: SocketAddr,
}

/// Everything the registry knows, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The registered nodes.
    pub nodes: BTreeMap<MemberId, NodeRecord>,
    /// The registered replicas, placed or not.
    pub replicas: BTreeMap<MemberId, ReplicaRecord>,
    /// Who owns which channel.
    pub placement: Arc<Placement>,
}

/// What a process registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// It is a node.
    Node(NodeRecord),
    /// It is a replica.
    Replica(ReplicaRecord),
}

/// Why the registry refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Another process that lives has this id.
    #[error("the id {0} is taken by a process that lives: give this one another id")]
    IdTaken(MemberId),
    /// The placement is not the expected one any more: read it and decide again.
    #[error("the placement has changed meanwhile")]
    PlacementChanged,
}

/// Where processes find each other.
///
/// An adapter guarantees that every watcher sees placements in the order of their numbers, though it may
/// skip some, and that a record goes away when its process deregisters or is known to be dead.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Makes a process known under its id, until it deregisters.
    ///
    /// # Errors
    /// [`RegistryError::IdTaken`] if a living process of the same kind has the id.
    async fn register(&self, id: &MemberId, record: Record) -> Result<(), RegistryError>;

    /// Takes the record back, if it is still the given incarnation's.
    async fn deregister(&self, id: &MemberId, incarnation: Incarnation);

    /// Writes a new placement if the present one still has the number `expected`.
    ///
    /// # Errors
    /// [`RegistryError::PlacementChanged`] if it has not.
    async fn place(
        &self,
        expected: PlacementNumber,
        replicas: Vec<(MemberId, u32)>,
    ) -> Result<PlacementNumber, RegistryError>;

    /// A view that follows what the registry knows.
    fn watch(&self) -> MembershipWatch;
}

/// A view that follows what the registry knows; the newest wins.
#[derive(Clone, Debug)]
pub struct MembershipWatch(watch::Receiver<Arc<Membership>>);

impl MembershipWatch {
    /// What is known now; marks it as seen.
    pub fn current(&mut self) -> Arc<Membership> {
        self.0.borrow_and_update().clone()
    }

    /// What is known now, without marking it as seen: cheap, and many can look at once.
    pub fn peek(&self) -> Arc<Membership> {
        self.0.borrow().clone()
    }

    /// Waits until something has changed since [`current`](Self::current) was last called. Ends with
    /// `false` when the registry is gone and nothing will ever change.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

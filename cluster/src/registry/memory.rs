//! The registry of a single process: nothing outlives it, and nobody else sees it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Membership, MembershipWatch, Record, Registry, RegistryError};
use crate::member::{Incarnation, MemberId};
use crate::placement::{Placement, PlacementNumber};

/// Keeps the membership in memory, behind one lock.
#[derive(Debug)]
pub struct MemoryRegistry {
    membership: Mutex<Membership>,
    published: watch::Sender<Arc<Membership>>,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        let (published, _) = watch::channel(Arc::new(Membership::default()));
        Self { membership: Mutex::default(), published }
    }
}

impl MemoryRegistry {
    /// Changes the membership under the lock and shows the result to all watchers in the same order.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Membership) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        // A panic while the lock was held cannot have left the maps in halves: each change is one insert.
        let mut membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut membership)?;
        self.published.send_replace(Arc::new(membership.clone()));
        Ok(result)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn register(&self, id: &MemberId, record: Record) -> Result<(), RegistryError> {
        self.change(|membership| {
            let taken = match &record {
                Record::Node(node) => {
                    membership.nodes.get(id).is_some_and(|other| other.incarnation != node.incarnation)
                }
                Record::Replica(replica) => {
                    membership.replicas.get(id).is_some_and(|other| other.incarnation != replica.incarnation)
                }
            };
            if taken {
                return Err(RegistryError::IdTaken(id.clone()));
            }
            match record {
                Record::Node(node) => drop(membership.nodes.insert(id.clone(), node)),
                Record::Replica(replica) => drop(membership.replicas.insert(id.clone(), replica)),
            }
            Ok(())
        })
    }

    async fn deregister(&self, id: &MemberId, incarnation: Incarnation) {
        let removed = self.change(|membership| {
            membership.nodes.retain(|other, node| other != id || node.incarnation != incarnation);
            membership.replicas.retain(|other, replica| other != id || replica.incarnation != incarnation);
            Ok(())
        });
        debug_assert!(removed.is_ok(), "removal refuses nothing");
    }

    async fn place(
        &self,
        expected: PlacementNumber,
        replicas: Vec<(MemberId, u32)>,
    ) -> Result<PlacementNumber, RegistryError> {
        self.change(|membership| {
            if membership.placement.number() != expected {
                return Err(RegistryError::PlacementChanged);
            }
            let number = PlacementNumber { revision: expected.revision + 1, ..expected };
            membership.placement = Arc::new(Placement::new(number, replicas));
            Ok(number)
        })
    }

    fn watch(&self) -> MembershipWatch {
        MembershipWatch(self.published.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::NodeRecord;

    fn node(incarnation: Incarnation) -> Record {
        Record::Node(NodeRecord { incarnation, capacity: 1 })
    }

    #[tokio::test]
    async fn an_id_belongs_to_one_living_process() {
        let registry = MemoryRegistry::default();
        let id: MemberId = "node".parse().unwrap();
        let (first, second) = (Incarnation::from_wire(1), Incarnation::from_wire(2));
        registry.register(&id, node(first)).await.unwrap();
        assert_eq!(registry.register(&id, node(second)).await, Err(RegistryError::IdTaken(id.clone())));
        registry.deregister(&id, second).await;
        assert_eq!(
            registry.watch().current().nodes.len(),
            1,
            "another incarnation's farewell counts for nothing"
        );
        registry.deregister(&id, first).await;
        registry.register(&id, node(second)).await.unwrap();
    }

    #[tokio::test]
    async fn a_placement_is_written_only_over_the_one_that_was_read() {
        let registry = MemoryRegistry::default();
        let mut watch = registry.watch();
        let before = watch.current().placement.number();
        let replica: MemberId = "replica".parse().unwrap();
        let number = registry.place(before, vec![(replica.clone(), 1)]).await.unwrap();
        assert!(number > before);
        assert!(watch.changed().await);
        assert!(watch.current().placement.contains(&replica));
        assert_eq!(registry.place(before, vec![]).await, Err(RegistryError::PlacementChanged));
    }
}

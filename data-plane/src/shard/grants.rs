//! What tokens have granted for single subscriptions of a connection, which is nothing for most.

use bytes::Bytes;

use crate::authenticator::{self, Permissions, SubscriptionGrant};

/// What holds for one subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    /// What other clients in the channel see.
    pub(crate) info: Bytes,
    /// What the client is told with its subscription.
    pub(crate) data: Bytes,
    pub(crate) permissions: Permissions,
    /// When the subscription ends, in Unix seconds; `None` if never.
    pub(crate) expires_at: Option<u64>,
}

impl From<&SubscriptionGrant> for Grant {
    fn from(grant: &SubscriptionGrant) -> Self {
        let SubscriptionGrant { info, permissions, expires_at, .. } = grant;
        Self { info: info.clone(), data: Bytes::new(), permissions: *permissions, expires_at: *expires_at }
    }
}

impl From<&authenticator::Granted> for Grant {
    fn from(granted: &authenticator::Granted) -> Self {
        Self { info: granted.info.clone(), data: granted.data.clone(), ..Self::default() }
    }
}

/// The grants of a connection, by the numbers of their channels. Empty, it is one pointer.
#[derive(Debug, Default)]
pub(crate) struct Grants(Option<Box<Entries>>);

#[derive(Debug, Default)]
struct Entries(Vec<(u32, Grant)>);

impl Grants {
    /// Replaces what was granted for the channel.
    pub(crate) fn set(&mut self, channel: u32, grant: Grant) {
        self.remove(channel);
        self.0.get_or_insert_default().0.push((channel, grant));
    }

    pub(crate) fn find(&self, channel: u32) -> Option<&Grant> {
        let entries = self.0.as_ref()?;
        entries.0.iter().find(|(number, _)| *number == channel).map(|(_, grant)| grant)
    }

    pub(crate) fn remove(&mut self, channel: u32) {
        let Some(entries) = &mut self.0 else { return };
        entries.0.retain(|(number, _)| *number != channel);
        if entries.0.is_empty() {
            self.0 = None;
        }
    }

    /// When the first of them ends, in Unix seconds; `None` if none ever does.
    pub(crate) fn first_end(&self) -> Option<u64> {
        self.0.as_ref()?.0.iter().filter_map(|(_, grant)| grant.expires_at).min()
    }

    /// The channels whose grants have ended by then.
    pub(crate) fn ended(&self, now: u64) -> Vec<u32> {
        let entries = self.0.iter().flat_map(|entries| &entries.0);
        let over = entries.filter(|(_, grant)| grant.expires_at.is_some_and(|at| at <= now));
        over.map(|(channel, _)| *channel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_without_grants_pays_a_pointer() {
        assert_eq!(size_of::<Grants>(), size_of::<usize>());
        let mut grants = Grants::default();
        grants.set(1, Grant { expires_at: Some(10), ..Default::default() });
        grants.set(1, Grant { expires_at: Some(20), ..Default::default() });
        grants.set(2, Grant::default());
        assert_eq!((grants.first_end(), grants.ended(19), grants.ended(20)), (Some(20), vec![], vec![1]));
        grants.remove(1);
        grants.remove(2);
        assert!(grants.0.is_none());
    }
}

//! A link between a node and the owner: ordered both ways, slow, and cut with all that is on its way.

use std::collections::{BTreeSet, VecDeque};

use fanfare_control_plane::simulation::Owner;
use fanfare_data_plane::simulation::Node;
use fanfare_proto::link::{open_request, open_response};

/// One node's link.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// The session that both know, while it is whole.
    session: Option<u64>,
    /// Counts sessions.
    pub(crate) generation: u64,
    /// Sessions that the owner does not know to have ended.
    pub(crate) ended: Vec<u64>,
    /// Channels of which the owner has told the node, on this session.
    following: BTreeSet<String>,
    to_owner: VecDeque<open_request::Message>,
    to_node: VecDeque<open_response::Message>,
}

impl Wire {
    pub(crate) fn is_whole(&self) -> bool {
        self.session.is_some()
    }

    /// The node dials: it was told of the former link's end.
    pub(crate) fn dial(&mut self, name: &str, node: &mut Node, owner: &mut Owner) {
        self.session = Some(owner.link_up(name));
        self.generation += 1;
        node.link_up();
        self.carry(node, owner);
        // A new link's follows come in the order of a hash: any order is as good as another, but the same seed shall
        // mean the same.
        let key = |message: &open_request::Message| match message {
            open_request::Message::Follow(follow) => follow.channel.clone(),
            _ => String::new(),
        };
        let is_follow = |message: &open_request::Message| matches!(message, open_request::Message::Follow(_));
        let first = self.to_owner.iter().position(is_follow).unwrap_or(0);
        let follows = self.to_owner.iter().skip(first).take_while(|message| is_follow(message)).count();
        self.to_owner.make_contiguous()[first..first + follows].sort_by_key(key);
    }

    /// It breaks: what is on its way is lost. Neither side knows yet.
    pub(crate) fn cut(&mut self) {
        self.ended.extend(self.session.take());
        self.following.clear();
        self.to_owner.clear();
        self.to_node.clear();
        self.generation += 1;
    }

    /// The owner is gone, with all that it knew of sessions.
    pub(crate) fn forget_owner(&mut self) {
        self.cut();
        self.ended.clear();
    }

    /// Takes up what both sides have to say by now.
    pub(crate) fn carry(&mut self, node: &mut Node, owner: &mut Owner) {
        while let Some(message) = node.next_message() {
            if self.session.is_some() {
                self.to_owner.push_back(message);
            }
        }
        if let Some(session) = self.session {
            for message in std::iter::from_fn(|| owner.next_message(session)) {
                if let open_response::Message::Following(following) = &message {
                    self.following.insert(following.channel.clone());
                }
                self.to_node.push_back(message);
            }
        }
        for session in &self.ended {
            while owner.next_message(*session).is_some() {}
        }
    }

    /// Whether the owner has told the node how far the channel has come.
    pub(crate) fn follows(&self, channel: &str) -> bool {
        self.following.contains(channel)
    }

    /// How much is on its way to the owner, and to the node.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.to_owner.len(), self.to_node.len())
    }

    /// The session, and what comes to the owner next.
    pub(crate) fn next_to_owner(&mut self) -> Option<(u64, open_request::Message)> {
        let (session, message) = (self.session?, self.to_owner.pop_front()?);
        if let open_request::Message::Unfollow(unfollow) = &message {
            self.following.remove(&unfollow.channel);
        }
        Some((session, message))
    }

    /// What comes to the node next.
    pub(crate) fn next_to_node(&mut self) -> Option<open_response::Message> {
        self.to_node.pop_front()
    }
}

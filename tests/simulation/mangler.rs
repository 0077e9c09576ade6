//! Faults on purpose: what is between owner, node and clients lies, so that it shows whether anybody would notice.

use fanfare_control_plane::simulation::Store;
use fanfare_data_plane::simulation::Received;
use fanfare_proto::link::open_response;

/// What is done to a publication on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lose,
    Repeat,
    Swap,
}

/// A bug that a node or an owner could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A subscription is born where the stream ends by now, not where it has come to on this road.
    PositionOfAnotherRoad,
    /// What could not be recovered is said to be complete.
    AlwaysComplete,
    /// A question of what was missed is never answered.
    NeverRecovered,
    /// A node that follows again is not told how far the stream has come.
    FollowingWithoutPosition,
}

/// Does what it is told to do.
#[derive(Debug, Default)]
pub struct Mangler {
    /// What to do to one of the publications that come to clients: the one behind so many others.
    pub once: Option<(Kind, usize)>,
    /// Whether it was done.
    pub done: bool,
    /// The publication that waits for the one that it is swapped with: whose it is, and of which channel.
    held: Option<(usize, String, Received)>,
    pub bug: Option<Bug>,
    /// Channels that a node has heard of before.
    heard: Vec<String>,
}

fn channel_of(received: &Received) -> Option<&str> {
    let Received::Reply(reply) = received else { return None };
    let push = reply.push.as_ref()?;
    push.r#pub.is_some().then_some(&push.channel)
}

impl Mangler {
    /// What a client gets in place of this.
    pub fn change(&mut self, person: usize, received: Vec<Received>) -> Vec<Received> {
        let mut changed = Vec::new();
        for received in received {
            let Some(channel) = channel_of(&received).map(str::to_owned) else {
                changed.push(received);
                continue;
            };
            if let Some((_, _, held)) = self.held.take_if(|held| held.0 == person && held.1 == channel) {
                self.done = true;
                changed.extend([received, held]);
                continue;
            }
            match &mut self.once {
                Some((_, left)) if *left > 0 => {
                    *left -= 1;
                    changed.push(received);
                }
                Some((kind, _)) => {
                    let kind = *kind;
                    self.once = None;
                    match kind {
                        Kind::Lose => self.done = true,
                        Kind::Repeat => {
                            self.done = true;
                            changed.extend([received.clone(), received]);
                        }
                        Kind::Swap => self.held = Some((person, channel, received)),
                    }
                }
                None => changed.push(received),
            }
        }
        changed
    }

    /// What a node gets in place of this.
    pub fn change_message(
        &mut self,
        message: open_response::Message,
        store: &Store,
    ) -> Option<open_response::Message> {
        use open_response::Message;
        match (self.bug, message) {
            (Some(Bug::PositionOfAnotherRoad), Message::Following(mut following)) => {
                let end = store.end(&following.channel).map(Into::into);
                following.position = end.filter(|_| following.position.is_some()).or(following.position);
                Some(Message::Following(following))
            }
            (Some(Bug::AlwaysComplete), Message::Recovered(mut recovered)) => {
                recovered.complete = true;
                Some(Message::Recovered(recovered))
            }
            (Some(Bug::NeverRecovered), Message::Recovered(_)) => None,
            (Some(Bug::FollowingWithoutPosition), Message::Following(mut following)) => {
                if self.heard.contains(&following.channel) {
                    following.position = None;
                } else {
                    self.heard.push(following.channel.clone());
                }
                Some(Message::Following(following))
            }
            (_, message) => Some(message),
        }
    }
}

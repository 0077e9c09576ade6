//! Faults on purpose: what is between owner, node and clients lies, so that it shows whether anybody would notice.

use fanfare_data_plane::simulation::Received;
use fanfare_proto::link::open_response;

/// What is done to a publication on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lose,
    Repeat,
    Swap,
}

/// A bug that a node or an owner could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A node is told that a stream has come one further than it has.
    PositionAhead,
    /// What could not be recovered is said to be complete.
    AlwaysComplete,
    /// A question of what was missed is never answered.
    NeverRecovered,
    /// A node that follows again is not told how far the stream has come.
    FollowingWithoutPosition,
    /// The history does not hear how far its streams have come, so it does not know what it has lost.
    DeafHistory,
}

/// Does what it is told to do.
#[derive(Debug, Default)]
pub(crate) struct Mangler {
    /// What to do to one of the publications that come to clients: the one behind so many others.
    pub(crate) once: Option<(Kind, usize)>,
    /// Whether it was done.
    pub(crate) done: bool,
    /// The publication that waits for the one that it is swapped with, and whose it is.
    held: Option<(usize, Road, Received)>,
    pub(crate) bug: Option<Bug>,
    /// Channels that a node has heard of before.
    heard: Vec<String>,
}

/// What has an order: the publications of a channel that have a place, and those that have none.
type Road = (String, bool);

fn road_of(received: &Received) -> Option<Road> {
    let Received::Reply(reply) = received else { return None };
    let push = reply.push.as_ref()?;
    push.r#pub.as_ref().map(|publication| (push.channel.clone(), publication.offset > 0))
}

impl Mangler {
    /// Does this to the publication behind so many others.
    pub(crate) fn once(kind: Kind, behind: usize) -> Self {
        Self { once: Some((kind, behind)), ..Self::default() }
    }

    /// As if there were this bug.
    pub(crate) fn bug(bug: Bug) -> Self {
        Self { bug: Some(bug), ..Self::default() }
    }

    /// What a client gets in place of this.
    pub(crate) fn change(&mut self, person: usize, received: Vec<Received>) -> Vec<Received> {
        let mut changed = Vec::new();
        for received in received {
            let Some(road) = road_of(&received) else {
                changed.push(received);
                continue;
            };
            if let Some((_, _, held)) = self.held.take_if(|held| held.0 == person && held.1 == road) {
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
                        Kind::Swap => self.held = Some((person, road, received)),
                    }
                }
                None => changed.push(received),
            }
        }
        changed
    }

    /// What a node gets in place of this.
    pub(crate) fn change_message(
        &mut self,
        message: open_response::Message,
    ) -> Option<open_response::Message> {
        use open_response::Message;
        match (self.bug, message) {
            (Some(Bug::PositionAhead), Message::Following(mut following)) => {
                if let Some(position) = &mut following.position {
                    position.offset += 1;
                }
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

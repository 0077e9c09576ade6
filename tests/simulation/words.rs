//! What happens, in words that are the same for the same seed: epochs are random, so they get names.

use fanfare_cluster::channel::{Epoch, StreamPosition};
use fanfare_data_plane::simulation::Received;
use fanfare_proto::link::{self, open_request, open_response};

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Whether it is kept: it costs more than what it is about.
    pub(crate) is_kept: bool,
    pub(crate) lines: Vec<String>,
    names: Names,
}

/// The names of epochs, in the order in which they were heard of.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Epoch>);

impl Trace {
    pub(crate) fn say_with(&mut self, line: impl FnOnce(&mut Names) -> String) {
        if self.is_kept {
            self.lines.push(line(&mut self.names));
        }
    }
}

impl Names {
    pub(crate) fn place(&mut self, StreamPosition { epoch, offset }: StreamPosition) -> String {
        let known = self.0.iter().position(|one| *one == epoch);
        let name = known.unwrap_or_else(|| {
            self.0.push(epoch);
            self.0.len() - 1
        });
        format!("e{name}:{offset}")
    }

    fn position(&mut self, position: Option<link::StreamPosition>) -> String {
        position.map_or("nowhere".to_owned(), |at| self.place(at.into()))
    }

    /// What a node says.
    pub(crate) fn of_node(&mut self, message: &open_request::Message) -> String {
        match message {
            open_request::Message::Follow(follow) => {
                format!("follow {}, seen until {}", follow.channel, self.position(follow.position))
            }
            open_request::Message::Recover(recover) => {
                let since = self.position(recover.since);
                format!("recover {}: {} since {since}", recover.ticket, recover.channel)
            }
            other => format!("{other:?}"),
        }
    }

    /// What an owner says.
    pub(crate) fn of_owner(&mut self, message: &open_response::Message) -> String {
        match message {
            open_response::Message::Following(following) => {
                format!("following {} at {}", following.channel, self.position(following.position))
            }
            open_response::Message::Top(top) => {
                format!("top {} at {}", top.channel, self.position(top.position))
            }
            open_response::Message::Recovered(recovered) => format!(
                "recovered {} with {} to {}, complete: {}, error: {}",
                recovered.ticket,
                recovered.publications.len(),
                self.position(recovered.position),
                recovered.complete,
                recovered.error,
            ),
            open_response::Message::Deliver(deliver) => {
                let wire = deliver.publication.clone().unwrap_or_default();
                let data = short(&wire.data);
                let place = StreamPosition { epoch: Epoch(deliver.epoch), offset: wire.offset };
                format!("deliver {} {data} at {}", deliver.channel, self.place(place))
            }
            other => format!("{other:?}"),
        }
    }
}

/// What a client gets.
pub(crate) fn describe(received: &Received) -> String {
    let Received::Reply(reply) = received else { return format!("{received:?}") };
    match (&reply.push, &reply.subscribe, &reply.error) {
        (Some(push), ..) => match (&push.r#pub, &push.unsubscribe) {
            (Some(publication), _) => {
                let data = short(&publication.data);
                format!("gets {data} at {} of {}", publication.offset, push.channel)
            }
            (_, Some(unsubscribe)) => format!("is told {} of {}", unsubscribe.code, push.channel),
            _ => "gets another push".to_owned(),
        },
        (_, Some(result), _) => format!(
            "is subscribed at {}, recovered: {} with {:?}",
            result.offset,
            result.recovered,
            result.publications.iter().map(|one| one.offset).collect::<Vec<_>>(),
        ),
        (.., Some(error)) => format!("gets error {}", error.code),
        _ => format!("gets the reply {}", reply.id),
    }
}

/// Data without what only makes it large.
pub(crate) fn short(data: &[u8]) -> String {
    String::from_utf8_lossy(data).split_whitespace().collect()
}

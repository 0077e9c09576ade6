//! A node that is nothing but a link: it asks an owner whatever is measured, and reads the answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_cluster::dial::{MAX_LINK_MESSAGE, dial};
use fanfare_cluster::member::Incarnation;
use fanfare_proto::link::link_service_client::LinkServiceClient;
use fanfare_proto::link::open_request::Message as Said;
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{CaughtUp, Hello, OpenRequest, OpenResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// What may wait for the transport: all that is said before an answer must come.
const READY: usize = 8_192;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The version of the link protocol that it speaks.
const VERSION: u32 = 1;

/// A node that is linked and has caught up. Its replica does not find it in the registry, and needs not.
pub(super) struct LinkNode {
    said: mpsc::Sender<OpenRequest>,
    heard: Streaming<OpenResponse>,
    sequence: u64,
    incarnation: Incarnation,
}

impl LinkNode {
    /// Dials a replica's cluster port as a node does, with the hash of the channel options that it has.
    pub(super) async fn dial(replica: SocketAddr, namespaces_hash: u64) -> Result<Self> {
        let incarnation = Incarnation::random();
        let hello = Hello {
            node: "bench".to_owned(),
            incarnation: incarnation.to_wire(),
            version: VERSION,
            session: 1,
            namespaces_hash,
            fanfare_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        // queue: what a bench's node says
        let (said, outgoing) = mpsc::channel(READY);
        said.try_send(numbered(1, Said::Hello(hello))).context("the first fits")?;
        let mut client = LinkServiceClient::new(dial(replica).await?)
            .max_decoding_message_size(MAX_LINK_MESSAGE)
            .max_encoding_message_size(MAX_LINK_MESSAGE);
        let opening = client.open(ReceiverStream::new(outgoing));
        let heard = tokio::time::timeout(PATIENCE, opening).await.context("no answer in time")??;
        let mut node = Self { said, heard: heard.into_inner(), sequence: 1, incarnation };
        ensure!(matches!(node.hear().await?, Heard::Welcome(_)), "a link begins with a welcome");
        node.say(Said::CaughtUp(CaughtUp::default())).await?;
        Ok(node)
    }

    /// This start of it.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Asks `count` questions, of which at most `window` wait for their answer, and reads until all are answered.
    /// What one asks may take several messages. `is_answer` says which messages are answers, or what is wrong.
    pub(super) async fn ask(
        &mut self,
        count: usize,
        window: usize,
        question: impl Fn(usize) -> Vec<Said>,
        is_answer: impl Fn(&Heard) -> Result<bool>,
    ) -> Result<()> {
        let (mut asked, mut answered) = (0, 0);
        while answered < count {
            while asked < count && asked - answered < window {
                for message in question(asked) {
                    self.say(message).await?;
                }
                asked += 1;
            }
            answered += usize::from(is_answer(&self.hear().await?)?);
        }
        Ok(())
    }

    async fn say(&mut self, message: Said) -> Result<()> {
        self.sequence += 1;
        let message = numbered(self.sequence, message);
        let saying = tokio::time::timeout(PATIENCE, self.said.send(message));
        saying.await.context("the replica does not read")?.context("the link is cut")
    }

    async fn hear(&mut self) -> Result<Heard> {
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.heard.message()).await;
            let heard = heard.context("no answer in time")??.context("the link has ended")?;
            if let Some(message) = heard.message {
                return Ok(message);
            }
        }
    }
}

fn numbered(sequence: u64, message: Said) -> OpenRequest {
    OpenRequest { sequence, message: Some(message) }
}

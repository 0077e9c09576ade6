//! Streams in Redis or Valkey: they outlive this process, and are the same for all replicas.

mod call;
mod config;
mod connection;
mod failure;
mod server;

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, Epoch, StreamPosition};
use fanfare_cluster::placement::PlacementNumber;
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link;
use prost::Message as _;
use smallvec::SmallVec;

use crate::metrics::RedisMetrics;

use super::{
    Answer, Append, Appended, Entry, History, HistoryError, Outcome, Page, Part, Read, Retention, Stored,
};

use call::{Arguments, Call, Reply, Script, Wait};
pub use config::{InvalidRedis, RedisConfig, RedisSentinel, RedisTls};
use server::Server;

/// How long the epoch of a channel is kept that nothing was published to: whoever follows it tells of the epoch, so it
/// goes on even if it is forgotten here.
const UNPUBLISHED: Duration = Duration::from_secs(3600);
/// What a page cannot have more of.
const MAX_LIMIT: usize = 1 << 20;

/// Keeps streams in Redis. Each operation is one script, so it is carried out as a whole or not at all.
pub(crate) struct RedisHistory(Arc<Inner>);

struct Inner {
    server: Arc<Server>,
    prefix: String,
    wait: Option<Wait>,
    append: Script,
    top: Script,
    read: Script,
}

impl fmt::Debug for RedisHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisHistory").finish_non_exhaustive()
    }
}

impl RedisHistory {
    /// Connects. A server that cannot be reached is tried again and again; until then all calls fail at once.
    ///
    /// # Errors
    /// If the configuration cannot be used, whatever servers there are.
    pub(crate) async fn open(
        config: &RedisConfig,
        metrics: RedisMetrics,
        tasks: &Tasks,
    ) -> Result<Self, InvalidRedis> {
        // The server looks at the time ten times a second only, and must answer before we give it up.
        let wait = Wait { replicas: config.wait_replicas, patience: config.response_timeout.0 / 2 };
        Ok(Self(Arc::new(Inner {
            server: Server::open(config, metrics, tasks).await?,
            prefix: config.prefix.clone(),
            wait: (config.wait_replicas > 0).then_some(wait),
            append: Script::new(
                concat!("#!lua\n", include_str!("redis/open.lua"), include_str!("redis/append.lua"))
                    .to_owned(),
            ),
            // These work also when the server's memory is full.
            top: Script::new(
                concat!(
                    "#!lua flags=allow-oom\n",
                    include_str!("redis/open.lua"),
                    include_str!("redis/top.lua")
                )
                .to_owned(),
            ),
            read: Script::new(concat!("#!lua flags=no-writes\n", include_str!("redis/read.lua")).to_owned()),
        })))
    }
}

impl History for RedisHistory {
    fn append(&self, append: Append) -> Answer<Appended> {
        let inner = self.0.clone();
        Box::pin(async move { inner.append(append).await })
    }

    fn top(
        &self,
        channel: ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
    ) -> Answer<StreamPosition> {
        let inner = self.0.clone();
        Box::pin(async move { inner.top(&channel, fence, known, "").await })
    }

    fn read(&self, read: Read) -> Answer<Page> {
        let inner = self.0.clone();
        Box::pin(async move { inner.read(read).await })
    }

    fn remove(&self, channel: ChannelName, fence: PlacementNumber) -> Answer<StreamPosition> {
        let inner = self.0.clone();
        Box::pin(async move { inner.top(&channel, fence, StreamPosition::default(), "remove").await })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        0
    }
}

impl Inner {
    async fn append(&self, append: Append) -> Result<Appended, HistoryError> {
        let Append { channel, entries, retention, fence, known } = append;
        let mut keys = self.keys(&channel);
        let mut arguments = opening(fence, known);
        let Retention { size, ttl, keys: window, meta } = retention;
        arguments.push(size);
        // What is known of a stream must not end before its publications.
        for time in [ttl, window, meta.max(ttl)] {
            arguments.push(milliseconds(time).max(1));
        }
        let ttls: SmallVec<[Option<Duration>; 1]> = entries.iter().map(|entry| entry.ttl).collect();
        for entry in entries {
            let key_number = (!entry.key.is_empty()).then(|| {
                keys.push(format_args!("{}.key.{}", Tag(&self.prefix, &channel), entry.key));
                keys.len() - 2
            });
            push_entry(&mut arguments, entry, key_number);
        }
        let call = Call { script: &self.append, keys, arguments, wait: self.wait };
        let mut reply = Answered::new(self.server.call(&call).await?, &channel)?;
        let top = reply.position()?;
        let time_ms = reply.number()?;
        let mut outcomes = SmallVec::with_capacity(ttls.len());
        for ttl in ttls {
            outcomes.push(reply.outcome(time_ms, ttl)?);
        }
        Ok(Appended { outcomes, top })
    }

    /// The end of a stream; `what` else is done there.
    async fn top(
        &self,
        channel: &ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
        what: &str,
    ) -> Result<StreamPosition, HistoryError> {
        let mut arguments = opening(fence, known);
        arguments.push(UNPUBLISHED.as_millis());
        arguments.push(what);
        let call = Call { script: &self.top, keys: self.keys(channel), arguments, wait: None };
        Answered::new(self.server.call(&call).await?, channel)?.position()
    }

    async fn read(&self, read: Read) -> Result<Page, HistoryError> {
        let Read { channel, part, limit, max_bytes, retention } = read;
        let mut arguments = Arguments::default();
        let (direction, offset, down_to) = match part {
            Part::After(offset) => ("after", offset, 0),
            Part::Before(offset, down_to) => ("before", offset, down_to),
        };
        // Redis refuses to look for what is before the first id.
        let limit = if direction == "before" && offset == 0 { 0 } else { limit.min(MAX_LIMIT) };
        arguments.push(direction);
        arguments.push(offset);
        arguments.push(down_to);
        arguments.push(limit);
        arguments.push(max_bytes);
        arguments.push(milliseconds(retention.ttl));
        let call = Call { script: &self.read, keys: self.keys(&channel), arguments, wait: None };
        let mut reply = self.server.call(&call).await?;
        if reply == Reply::Integer(0) {
            // Nobody has asked for the channel before: it gets its epoch now.
            match self.top(&channel, PlacementNumber::default(), StreamPosition::default(), "").await {
                // But somebody does so at the same moment.
                Err(HistoryError::Fenced) => reply = self.server.call(&call).await?,
                top => return top.map(|top| Page { stored: Vec::new(), top }),
            }
        }
        let mut reply = Answered::new(reply, &channel)?;
        let top = reply.position()?;
        let mut stored = Vec::new();
        while let Some(one) = reply.stored()? {
            stored.push(one);
        }
        Ok(Page { stored, top })
    }

    /// The keys of all that is kept of a channel but its idempotency keys.
    fn keys(&self, channel: &ChannelName) -> Arguments {
        let mut keys = Arguments::default();
        let tag = Tag(&self.prefix, channel);
        keys.push(format_args!("{tag}.meta"));
        keys.push(format_args!("{tag}.stream"));
        keys
    }
}

/// What all keys of a channel begin with. What is in braces says in which slot of a cluster a key is, so a channel's
/// own braces are written otherwise.
struct Tag<'a>(&'a str, &'a ChannelName);

impl fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.0)?;
        for part in self.1.as_str().split_inclusive(['{', '}', '%']) {
            let (plain, last) = part.split_at(part.len() - part.ends_with(['{', '}', '%']) as usize);
            f.write_str(plain)?;
            match last {
                "{" => f.write_str("%7B")?,
                "}" => f.write_str("%7D")?,
                "%" => f.write_str("%25")?,
                _ => {}
            }
        }
        f.write_char('}')
    }
}

/// What `open.lua` wants.
fn opening(fence: PlacementNumber, known: StreamPosition) -> Arguments {
    let mut arguments = Arguments::default();
    arguments.push(format_args!("{:020}{:020}", fence.generation, fence.revision));
    arguments.push(known.epoch);
    arguments.push(known.offset);
    arguments.push(Epoch::random());
    arguments
}

/// What `append.lua` wants for each publication.
fn push_entry(arguments: &mut Arguments, entry: Entry, key_number: Option<usize>) {
    let Entry { mut publication, version, version_epoch, ttl, key: _ } = entry;
    // Its place and times are kept beside it.
    (publication.offset, publication.time_ms, publication.expires_at_ms) = (0, 0, 0);
    arguments.push_with(|bytes| publication.encode(bytes).expect("a vector takes all"));
    arguments.push(publication.weight());
    if key_number.is_none() && version == 0 && ttl.is_none() {
        arguments.push("");
        return;
    }
    arguments.push_with(|bytes| {
        use std::io::Write as _;
        let ttl = ttl.map(|ttl| milliseconds(ttl).to_string()).unwrap_or_default();
        let version = if version > 0 { format!("{version:020}") } else { String::new() };
        let key_number = key_number.map(|number| number.to_string()).unwrap_or_default();
        write!(bytes, "{ttl},{version},{key_number},{version_epoch}").expect("a vector takes all");
    });
}

/// What is longer than numbers can say in Lua lasts for ever anyway.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}

/// What a script has answered, value by value.
struct Answered<'a> {
    values: std::vec::IntoIter<Reply>,
    channel: &'a ChannelName,
}

impl<'a> Answered<'a> {
    fn new(reply: Reply, channel: &'a ChannelName) -> Result<Self, HistoryError> {
        match reply {
            Reply::Integer(0) => Err(HistoryError::Fenced),
            Reply::List(values) => Ok(Self { values: values.into_iter(), channel }),
            _ => Err(unreadable(channel)),
        }
    }

    fn next(&mut self) -> Result<Reply, HistoryError> {
        self.values.next().ok_or_else(|| unreadable(self.channel))
    }

    fn number(&mut self) -> Result<u64, HistoryError> {
        let number = match self.next()? {
            Reply::Integer(number) => u64::try_from(number).ok(),
            Reply::Bytes(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        number.ok_or_else(|| unreadable(self.channel))
    }

    fn position(&mut self) -> Result<StreamPosition, HistoryError> {
        let Reply::Bytes(epoch) = self.next()? else { return Err(unreadable(self.channel)) };
        let epoch = std::str::from_utf8(&epoch).ok().and_then(|text| text.parse().ok());
        let epoch = epoch.ok_or_else(|| unreadable(self.channel))?;
        Ok(StreamPosition { epoch, offset: self.number()? })
    }

    fn outcome(&mut self, time_ms: u64, ttl: Option<Duration>) -> Result<Outcome, HistoryError> {
        match self.next()? {
            Reply::Integer(0) => Ok(Outcome::Superseded),
            Reply::Integer(offset) => Ok(Outcome::Stored {
                offset: offset.unsigned_abs(),
                time_ms,
                expires_at_ms: ttl.map_or(0, |ttl| time_ms + milliseconds(ttl)),
            }),
            Reply::Bytes(place) => {
                let place = std::str::from_utf8(&place).ok().and_then(|text| text.split_once(' '));
                let place = place.and_then(|(epoch, offset)| {
                    Some(StreamPosition { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
                });
                place.map(Outcome::Repeated).ok_or_else(|| unreadable(self.channel))
            }
            _ => Err(unreadable(self.channel)),
        }
    }

    /// The next publication of a page; `None` at its end.
    fn stored(&mut self) -> Result<Option<Stored>, HistoryError> {
        let Some(Reply::Bytes(id)) = self.values.next() else { return Ok(None) };
        let (time_ms, expires_at_ms) = (self.number()?, self.number()?);
        let offset = std::str::from_utf8(&id).ok().and_then(|id| id.strip_suffix("-0")?.parse().ok());
        let offset: u64 = offset.ok_or_else(|| unreadable(self.channel))?;
        let publication = match self.next()? {
            Reply::Integer(_) => None,
            Reply::Bytes(bytes) => {
                let publication = link::Publication::decode(bytes).map_err(|_| unreadable(self.channel))?;
                Some(link::Publication { offset, time_ms, expires_at_ms, ..publication })
            }
            _ => return Err(unreadable(self.channel)),
        };
        Ok(Some(Stored { offset, publication }))
    }
}

fn unreadable(channel: &ChannelName) -> HistoryError {
    let name = channel.as_str();
    HistoryError::Unavailable(format!(
        "what Redis keeps of the channel {name:?} cannot be read: somebody else writes to its keys"
    ))
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;

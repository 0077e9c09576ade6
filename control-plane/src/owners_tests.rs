//! What must hold for what owner tasks are handed.

use std::time::Duration;

use fanfare_cluster::byte_queue::Receiver;
use fanfare_cluster::placement::PlacementNumber;
use fanfare_proto::link::open_response;

use super::*;
use crate::history::{Answer, Append, Appended, MemoryHistory, Read};
use crate::links::{Links, Outgoing};
use crate::owner::request::Keep;

fn publish(channel: &str, data: &'static str, rate_limit: u32) -> Publish {
    let publication = link::Publication { data: data.into(), ..Default::default() };
    Publish { publication, rate_limit, ..Publish::to(ChannelName::parse(channel).unwrap()) }
}

/// As the router makes it for a channel with history.
fn stored(channel: &str, data: &'static str) -> Publish {
    let keep = Keep { stored: true, ..Keep::default() };
    Publish { keep, ..publish(channel, data, 0) }
}

/// One owner task, and a node that follows "news" and has caught up.
async fn start() -> (Owners, Tasks, Receiver<Outgoing>) {
    let (owners, tasks, outgoing, _) =
        start_with(OwnersSetup::in_memory(8 << 20, Namespaces::default())).await;
    (owners, tasks, outgoing)
}

async fn start_with(setup: OwnersSetup) -> (Owners, Tasks, Receiver<Outgoing>, Link) {
    let tasks = Tasks::default();
    let owners = Owners::start(&setup, &tasks);
    let hello = link::Hello { incarnation: 7 << 32, ..Default::default() };
    let node = "node".parse().unwrap();
    let links = Links::new(8 << 20, setup.metrics.clone());
    let (link, outgoing) = links.open(&hello, &node, link::Welcome::default());
    owners.session_up(&link).await;
    owners.follow(link.session(), ChannelName::parse("news").unwrap(), None).await;
    owners.caught_up(link.session()).await;
    (owners, tasks, outgoing, link)
}

/// Channels outside of any namespace have a history.
fn with_history() -> Namespaces {
    let options = r#"{"history_size": 10, "history_ttl": "60s"}"#;
    Namespaces::new(serde_json::from_str(options).unwrap(), &[]).unwrap()
}

/// A history that is away while its gate is closed: it answers what it is asked then when the gate opens, or never.
#[derive(Debug)]
struct Gated {
    inner: MemoryHistory,
    open: tokio::sync::watch::Receiver<bool>,
}

impl Gated {
    fn behind<T: Send + 'static>(&self, answer: Answer<T>) -> Answer<T> {
        let mut open = self.open.clone();
        Box::pin(async move {
            // The gate is gone only when the test is.
            let _ = open.wait_for(|open| *open).await;
            answer.await
        })
    }
}

impl History for Gated {
    fn append(&self, append: Append) -> Answer<Appended> {
        self.behind(self.inner.append(append))
    }

    fn top(
        &self,
        channel: ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
    ) -> Answer<StreamPosition> {
        self.behind(self.inner.top(channel, fence, known))
    }

    fn read(&self, read: Read) -> Answer<Page> {
        self.behind(self.inner.read(read))
    }

    fn remove(&self, channel: ChannelName, fence: PlacementNumber) -> Answer<StreamPosition> {
        self.behind(self.inner.remove(channel, fence))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.inner.bytes()
    }
}

/// What the node gets: the data of publications, and "act".
async fn delivered(outgoing: &mut Receiver<Outgoing>, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        match outgoing.recv().await.expect("the link is there").0 {
            open_response::Message::Deliver(deliver) => {
                let data = deliver.publication.unwrap().data;
                all.push(String::from_utf8(data.to_vec()).unwrap());
            }
            open_response::Message::Act(_) => all.push("act".to_owned()),
            open_response::Message::Recovered(recovered) => {
                all.push(format!("recovered {}", recovered.publications.len()));
            }
            _ => {}
        }
    }
    all
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test]
async fn batches_single_publications_and_operations_keep_their_order() {
    let (owners, _tasks, mut outgoing) = start().await;
    let first = Batch(vec![publish("news", "1", 0), publish("sport", "x", 0), publish("news", "2", 0)]);
    let first = owners.publish_batch(0, first, soon()).await.unwrap();
    let single = owners.publish(publish("news", "3", 0), soon()).unwrap();
    let act = Act { channel: ChannelName::parse("news").unwrap(), act: link::Act::default() };
    let act = owners.act(act).unwrap();
    let last = owners.publish_batch(0, Batch(vec![publish("news", "4", 0)]), soon()).await.unwrap();
    let asked: Vec<usize> = first.await.unwrap().into_iter().map(|one| one.unwrap().links.len()).collect();
    assert_eq!(asked, [1, 0, 1]);
    assert_eq!(delivered(&mut outgoing, 5).await, ["1", "2", "3", "act", "4"]);
    assert!(single.await.unwrap().is_ok() && act.await.unwrap().is_ok() && last.await.unwrap()[0].is_ok());
}

#[tokio::test]
async fn a_batch_is_published_though_its_caller_has_gone_and_a_single_push_is_not() {
    let (owners, _tasks, mut outgoing) = start().await;
    drop(owners.publish_batch(0, Batch(vec![publish("news", "1", 0)]), soon()).await.unwrap());
    drop(owners.publish(publish("news", "given up", 0), soon()).unwrap());
    drop(owners.publish_batch(0, Batch(vec![publish("news", "2", 0)]), soon()).await.unwrap());
    assert_eq!(delivered(&mut outgoing, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_batch_is_not_published_after_its_time() {
    let (owners, _tasks, mut outgoing) = start().await;
    let past = Instant::now() - Duration::from_millis(1);
    let late = owners.publish_batch(0, Batch(vec![publish("news", "late", 0)]), past).await.unwrap();
    assert_eq!(late.await.unwrap()[0].as_ref().unwrap_err(), &Refusal::Busy);
    owners.publish(publish("news", "1", 0), soon()).unwrap().await.unwrap().unwrap();
    assert_eq!(delivered(&mut outgoing, 1).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_room_and_is_refused_only_when_its_time_is_over() {
    let tasks = Tasks::default();
    let owners = Owners::start(&OwnersSetup::in_memory(2 << 20, Namespaces::default()), &tasks);
    let room = owners.room.clone().acquire_many_owned(1 << 20).await.unwrap();
    assert_eq!(owners.publish(publish("news", "1", 0), soon()).unwrap_err(), Refusal::Busy);
    let batch = || Batch(vec![publish("news", "1", 0)]);
    assert_eq!(owners.publish_batch(0, batch(), soon()).await.unwrap_err(), Refusal::Busy);
    let waiting = owners.publish_batch(0, batch(), soon());
    let (placing, ()) = tokio::join!(waiting, async { drop(room) });
    assert!(placing.unwrap().await.unwrap()[0].is_ok());
    assert_eq!(owners.room.available_permits(), 1 << 20, "the room is free again");
}

#[tokio::test]
async fn a_channel_over_its_rate_takes_nothing_and_says_when_it_will() {
    let (owners, _tasks, mut outgoing) = start().await;
    let batch = Batch((0..3).map(|_| publish("news", "1", 2)).collect());
    let placings = owners.publish_batch(0, batch, soon()).await.unwrap().await.unwrap();
    assert!(placings[0].is_ok() && placings[1].is_ok());
    assert!(matches!(placings[2], Err(Refusal::TooFast { wait }) if !wait.is_zero()));
    let free = owners.publish(publish("news", "2", 0), soon()).unwrap();
    assert!(free.await.unwrap().is_ok());
    assert_eq!(delivered(&mut outgoing, 3).await, ["1", "1", "2"]);
}

#[tokio::test]
async fn a_stored_publication_has_its_place_with_everything_behind_it() {
    let (owners, _tasks, mut outgoing, link) =
        start_with(OwnersSetup::in_memory(8 << 20, with_history())).await;
    let batch = Batch(vec![stored("news", "1"), publish("news", "2", 0), stored("news", "3")]);
    let placings = owners.publish_batch(0, batch, soon()).await.unwrap().await.unwrap();
    let offsets: Vec<_> =
        placings.iter().map(|one| one.as_ref().unwrap().position.map(|position| position.offset)).collect();
    assert_eq!(offsets, [Some(1), None, Some(2)]);
    let since = Some(link::StreamPosition { offset: 1, epoch: 0 });
    let recover =
        link::Recover { channel: "news".into(), since, limit: 9, max_bytes: 9, ..Default::default() };
    owners.recover(link.session(), ChannelName::parse("news").unwrap(), recover).await;
    owners.publish(stored("news", "4"), soon()).unwrap().await.unwrap().unwrap();
    assert_eq!(delivered(&mut outgoing, 5).await, ["1", "2", "3", "recovered 1", "4"]);
    let page = owners.read(
        ChannelName::parse("news").unwrap(),
        Question { limit: 9, max_bytes: 99, ..Default::default() },
    );
    assert_eq!(page.unwrap().await.unwrap().unwrap().stored.len(), 3);
    let top = owners.remove(ChannelName::parse("news").unwrap()).unwrap().await.unwrap().unwrap();
    assert_eq!(top.offset, 3);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_does_not_answer_holds_up_its_own_channels_only_and_not_for_ever() {
    let (gate, open) = tokio::sync::watch::channel(true);
    let inner = MemoryHistory::new(1 << 20);
    let history = Arc::new(Gated { inner, open });
    let setup = OwnersSetup { history, ..OwnersSetup::in_memory(8 << 20, with_history()) };
    let metrics = setup.metrics.clone();
    let (owners, _tasks, mut outgoing, _link) = start_with(setup).await;
    owners.publish(stored("news", "1"), soon()).unwrap().await.unwrap().unwrap();
    gate.send(false).unwrap();
    let waiting = owners.publish(stored("news", "2"), soon()).unwrap();
    let behind = owners.publish(publish("news", "3", 0), soon()).unwrap();
    owners.publish(publish("sport", "x", 0), soon()).unwrap().await.unwrap().unwrap();
    let started = Instant::now();
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::HistoryUnavailable);
    assert_eq!(started.elapsed(), Duration::from_secs(4));
    assert!(behind.await.unwrap().is_ok());
    assert_eq!(owners.room.available_permits(), 4 << 20, "what has no answer takes no room");
    gate.send(true).unwrap();
    // What the history has done all the same is found, and comes before what is published later.
    assert_eq!(delivered(&mut outgoing, 3).await, ["1", "3", "2"]);
    owners.publish(stored("news", "4"), soon()).unwrap().await.unwrap().unwrap();
    assert_eq!(delivered(&mut outgoing, 1).await, ["4"]);
    assert!(metrics.history.errors.get() >= 1 && metrics.history.stored.get() == 2);
}

//! What must hold for what owner tasks are handed.

use std::time::Duration;

use fanfare_cluster::byte_queue::Receiver;

use super::*;
use crate::links::{Links, Outgoing};

fn publish(channel: &str, data: &'static str, rate_limit: u32) -> Publish {
    let publication = link::Publication { data: data.into(), ..Default::default() };
    let channel = ChannelName::parse(channel).unwrap();
    Publish { channel, publication, exclude: Vec::new(), receipt: None, rate_limit }
}

/// One owner task, and a node that follows "news" and has caught up.
async fn start() -> (Owners, Tasks, Receiver<Outgoing>) {
    let (metrics, tasks) = (Metrics::default(), Tasks::default());
    let owners = Owners::start(1, 8 << 20, &metrics, &tasks);
    let hello = link::Hello { incarnation: 7 << 32, ..Default::default() };
    let node = "node".parse().unwrap();
    let (link, outgoing) = Links::new(8 << 20, metrics).open(&hello, &node, link::Welcome::default());
    owners.session_up(&link).await;
    owners.follow(link.session(), ChannelName::parse("news").unwrap()).await;
    owners.caught_up(link.session()).await;
    (owners, tasks, outgoing)
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
    let single = owners.publish(publish("news", "3", 0)).unwrap();
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
    drop(owners.publish(publish("news", "given up", 0)).unwrap());
    drop(owners.publish_batch(0, Batch(vec![publish("news", "2", 0)]), soon()).await.unwrap());
    assert_eq!(delivered(&mut outgoing, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_batch_is_not_published_after_its_time() {
    let (owners, _tasks, mut outgoing) = start().await;
    let past = Instant::now() - Duration::from_millis(1);
    let late = owners.publish_batch(0, Batch(vec![publish("news", "late", 0)]), past).await.unwrap();
    assert_eq!(late.await.unwrap()[0].as_ref().unwrap_err(), &Refusal::Busy);
    owners.publish(publish("news", "1", 0)).unwrap().await.unwrap().unwrap();
    assert_eq!(delivered(&mut outgoing, 1).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_room_and_is_refused_only_when_its_time_is_over() {
    let (metrics, tasks) = (Metrics::default(), Tasks::default());
    let owners = Owners::start(1, 2 << 20, &metrics, &tasks);
    let room = owners.room.clone().acquire_many_owned(1 << 20).await.unwrap();
    assert_eq!(owners.publish(publish("news", "1", 0)).unwrap_err(), Refusal::Busy);
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
    let free = owners.publish(publish("news", "2", 0)).unwrap();
    assert!(free.await.unwrap().is_ok());
    assert_eq!(delivered(&mut outgoing, 3).await, ["1", "1", "2"]);
}

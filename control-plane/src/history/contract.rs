//! What every adapter of the port `History` must do: each case is run against all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::placement::PlacementNumber;
use fanfare_proto::link;

use super::{Append, Appended, Entry, History, HistoryError, Outcome, Page, Part, Read, Retention};

/// A history under test, and how time passes for it.
pub(crate) struct Case {
    pub(crate) history: Arc<dyn History>,
    /// Channels of one case do not meet those of another.
    pub(crate) prefix: String,
}

/// Long enough that nothing ends by itself.
pub(crate) const LONG: Retention = Retention {
    size: 100,
    ttl: Duration::from_secs(3600),
    keys: Duration::from_secs(300),
    meta: Duration::from_secs(86_400),
};
const FENCE: PlacementNumber = PlacementNumber { generation: 1, revision: 5 };

/// Runs all cases that do not depend on time against histories that `make` makes.
pub(crate) async fn run_all<F: Future<Output = Case>>(make: impl Fn() -> F) {
    offsets_count_from_one_within_an_epoch(make().await).await;
    a_batch_has_its_places_in_order(make().await).await;
    parts_are_read_both_ways(make().await).await;
    no_more_is_kept_than_the_size_says(make().await).await;
    what_is_removed_leaves_the_top(make().await).await;
    a_key_gets_its_first_answer(make().await).await;
    an_older_version_is_dropped(make().await).await;
    an_older_fence_is_refused(make().await).await;
    a_lost_tail_is_a_new_epoch(make().await).await;
    a_publication_comes_back_as_it_was(make().await).await;
    bytes_are_bounded(make().await).await;
    an_epoch_that_was_told_is_kept(make().await).await;
    a_channel_without_publications_has_one_epoch(make().await).await;
    channels_do_not_meet(make().await).await;
    keys_and_versions_may_be_anything(make().await).await;
    what_is_dropped_leaves_no_trace(make().await).await;
    keys_outlive_publications(make().await).await;
    a_smaller_size_counts_from_the_next_append(make().await).await;
}

impl Case {
    pub(crate) fn channel(&self, name: &str) -> ChannelName {
        ChannelName::parse(&format!("{}{name}", self.prefix)).unwrap()
    }

    pub(crate) fn request(&self, entries: Vec<Entry>) -> Append {
        Append {
            channel: self.channel("news"),
            entries,
            retention: LONG,
            fence: FENCE,
            known: StreamPosition::default(),
        }
    }

    pub(crate) async fn append(&self, entries: Vec<Entry>) -> Appended {
        self.history.append(self.request(entries)).await.expect("it can be appended to")
    }

    /// Appends publications of this text each.
    pub(crate) async fn publish(&self, texts: &[&str]) -> Appended {
        self.append(texts.iter().map(|text| entry(text)).collect()).await
    }

    pub(crate) async fn read(&self, part: Part, limit: usize) -> Page {
        let read =
            Read { channel: self.channel("news"), part, limit, max_bytes: usize::MAX, retention: LONG };
        self.history.read(read).await.expect("it can be read")
    }

    async fn top(&self) -> StreamPosition {
        self.history.top(self.channel("news"), FENCE, StreamPosition::default()).await.expect("it has a top")
    }
}

pub(crate) fn entry(text: &str) -> Entry {
    let data = Bytes::copy_from_slice(text.as_bytes());
    Entry { publication: link::Publication { data, ..Default::default() }, ..Default::default() }
}

fn offset(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Stored { offset, .. } => *offset,
        other => panic!("it was not stored: {other:?}"),
    }
}

/// What a page holds, as offsets and texts.
pub(crate) fn texts(page: &Page) -> Vec<(u64, String)> {
    let text = |publication: &link::Publication| String::from_utf8_lossy(&publication.data).into_owned();
    let one = |stored: &super::Stored| {
        (stored.offset, stored.publication.as_ref().map_or_else(|| "over".to_owned(), text))
    };
    page.stored.iter().map(one).collect()
}

fn pairs(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(offset, text)| (*offset, (*text).to_owned())).collect()
}

async fn offsets_count_from_one_within_an_epoch(case: Case) {
    let before = case.top().await;
    assert_eq!(before.offset, 0);
    assert!(before.epoch.is_some(), "followers learn of the epoch before the first publication");
    let first = case.publish(&["a"]).await;
    let second = case.publish(&["b"]).await;
    assert_eq!((offset(&first.outcomes[0]), offset(&second.outcomes[0])), (1, 2));
    assert_eq!((first.top.epoch, second.top.epoch), (before.epoch, before.epoch));
    assert_eq!(case.top().await, second.top);
    let other = case.history.top(case.channel("other"), FENCE, StreamPosition::default()).await.unwrap();
    assert_eq!(other.offset, 0, "each channel counts for itself");
}

async fn a_batch_has_its_places_in_order(case: Case) {
    let appended = case.publish(&["a", "b", "c"]).await;
    let offsets: Vec<u64> = appended.outcomes.iter().map(offset).collect();
    assert_eq!((offsets, appended.top.offset), (vec![1, 2, 3], 3));
    assert_eq!(texts(&case.read(Part::After(0), 10).await), pairs(&[(1, "a"), (2, "b"), (3, "c")]));
}

async fn parts_are_read_both_ways(case: Case) {
    case.publish(&["a", "b", "c", "d", "e"]).await;
    let read = async |part, limit| texts(&case.read(part, limit).await);
    assert_eq!(read(Part::After(2), 2).await, pairs(&[(3, "c"), (4, "d")]));
    assert_eq!(read(Part::After(5), 2).await, pairs(&[]));
    assert_eq!(read(Part::After(u64::MAX), 2).await, pairs(&[]));
    assert_eq!(read(Part::Before(u64::MAX, 0), 2).await, pairs(&[(5, "e"), (4, "d")]));
    assert_eq!(read(Part::Before(3, 0), 10).await, pairs(&[(2, "b"), (1, "a")]));
    assert_eq!(read(Part::Before(u64::MAX, 3), 10).await, pairs(&[(5, "e"), (4, "d")]));
    assert_eq!(read(Part::Before(0, 0), 10).await, pairs(&[]));
    assert_eq!(read(Part::Before(3, 7), 10).await, pairs(&[]));
    assert_eq!(case.read(Part::After(0), 0).await.top.offset, 5, "the top comes with every page");
}

async fn no_more_is_kept_than_the_size_says(case: Case) {
    let retention = Retention { size: 2, ..LONG };
    let request =
        Append { retention, ..case.request(["a", "b", "c"].iter().map(|text| entry(text)).collect()) };
    assert_eq!(case.history.append(request).await.unwrap().top.offset, 3);
    assert_eq!(texts(&case.read(Part::After(0), 10).await), pairs(&[(2, "b"), (3, "c")]));
}

async fn what_is_removed_leaves_the_top(case: Case) {
    let before = case.publish(&["a", "b"]).await.top;
    assert_eq!(case.history.remove(case.channel("news"), FENCE).await.unwrap(), before);
    let page = case.read(Part::After(0), 10).await;
    assert_eq!((page.stored.len(), page.top), (0, before));
    let after = case.publish(&["c"]).await;
    assert_eq!((offset(&after.outcomes[0]), after.top.epoch), (3, before.epoch));
}

async fn a_key_gets_its_first_answer(case: Case) {
    let keyed = |key: &str, text: &str| Entry { key: key.to_owned(), ..entry(text) };
    let first = case.append(vec![keyed("k", "a"), keyed("k", "b"), keyed("l", "c")]).await;
    let place = StreamPosition { offset: 1, ..first.top };
    assert_eq!(offset(&first.outcomes[0]), 1);
    assert_eq!(first.outcomes[1], Outcome::Repeated(place), "also within one batch");
    assert_eq!(offset(&first.outcomes[2]), 2);
    let again = case.append(vec![keyed("k", "d")]).await;
    assert_eq!((again.outcomes[0], again.top.offset), (Outcome::Repeated(place), 2));
    let elsewhere = Append { channel: case.channel("other"), ..case.request(vec![keyed("k", "a")]) };
    let elsewhere = case.history.append(elsewhere).await.unwrap();
    assert_eq!(offset(&elsewhere.outcomes[0]), 1, "a key counts within its channel");
}

async fn an_older_version_is_dropped(case: Case) {
    let versioned = |version, version_epoch: &str| Entry {
        version,
        version_epoch: version_epoch.to_owned(),
        ..entry("a")
    };
    let batch = vec![versioned(5, "x"), versioned(5, "x"), versioned(4, "x"), versioned(6, "x")];
    let outcomes = case.append(batch).await.outcomes;
    assert_eq!((outcomes[1], outcomes[2]), (Outcome::Superseded, Outcome::Superseded));
    assert_eq!((offset(&outcomes[0]), offset(&outcomes[3])), (1, 2));
    let outcomes = case.append(vec![entry("none"), versioned(1, "y"), versioned(1, "y")]).await.outcomes;
    assert_eq!((offset(&outcomes[0]), offset(&outcomes[1])), (3, 4), "another epoch begins anew");
    assert_eq!(outcomes[2], Outcome::Superseded);
}

async fn an_older_fence_is_refused(case: Case) {
    case.publish(&["a"]).await;
    let newer = PlacementNumber { revision: FENCE.revision + 1, ..FENCE };
    let top = case.history.top(case.channel("news"), newer, StreamPosition::default()).await.unwrap();
    let late = case.history.append(case.request(vec![entry("b")])).await;
    assert_eq!(late, Err(HistoryError::Fenced), "taking over raises the fence");
    let late = case.history.top(case.channel("news"), FENCE, StreamPosition::default()).await;
    assert_eq!(late, Err(HistoryError::Fenced));
    let late = case.history.remove(case.channel("news"), FENCE).await;
    assert_eq!(late, Err(HistoryError::Fenced));
    let restored = PlacementNumber { generation: FENCE.generation + 1, revision: 0 };
    let request = Append { fence: restored, ..case.request(vec![entry("c")]) };
    let appended = case.history.append(request).await.unwrap();
    assert_eq!((offset(&appended.outcomes[0]), appended.top.epoch), (2, top.epoch));
}

async fn a_lost_tail_is_a_new_epoch(case: Case) {
    let before = case.publish(&["a", "b"]).await.top;
    let known = StreamPosition { offset: 3, ..before };
    let request = Append { known, ..case.request(vec![entry("c")]) };
    let appended = case.history.append(request).await.unwrap();
    assert_ne!(appended.top.epoch, before.epoch, "no offset is used twice");
    assert_eq!((offset(&appended.outcomes[0]), appended.top.offset), (1, 1));
    assert_eq!(texts(&case.read(Part::After(0), 10).await), pairs(&[(1, "c")]));
    let known = StreamPosition { offset: 9, ..appended.top };
    let taken_over = case.history.top(case.channel("news"), FENCE, known).await.unwrap();
    assert_ne!(taken_over.epoch, appended.top.epoch);
    assert_eq!(taken_over.offset, 0);
    let equal = case.history.top(case.channel("news"), FENCE, taken_over).await.unwrap();
    assert_eq!(equal, taken_over);
    let of_another = case.history.top(case.channel("news"), FENCE, known).await.unwrap();
    assert_eq!(of_another, taken_over, "another epoch's position says nothing of this one");
}

async fn a_publication_comes_back_as_it_was(case: Case) {
    let publication = link::Publication {
        data: Bytes::from_static(&[0, 1, 2, 255]),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        publisher: Some(link::Publisher { user: "ann".into(), ..Default::default() }),
        ..Default::default()
    };
    let ttl = Some(Duration::from_secs(60));
    let entry = Entry { publication: publication.clone(), ttl, ..Default::default() };
    let appended = case.append(vec![entry]).await;
    let Outcome::Stored { offset, time_ms, expires_at_ms } = appended.outcomes[0] else {
        panic!("it was not stored")
    };
    assert_eq!(expires_at_ms, time_ms + 60_000);
    assert!(time_ms > 1_600_000_000_000, "in milliseconds");
    let page = case.read(Part::After(0), 10).await;
    let expected = link::Publication { offset, time_ms, expires_at_ms, ..publication };
    assert_eq!(page.stored[0].publication.as_ref(), Some(&expected));
}

async fn bytes_are_bounded(case: Case) {
    case.publish(&["aaaaaaaaaa", "b", "cccccccccc", "d"]).await;
    let read = |part, max_bytes| {
        let read = Read { channel: case.channel("news"), part, limit: 10, max_bytes, retention: LONG };
        case.history.read(read)
    };
    assert_eq!(read(Part::After(0), 1).await.unwrap().stored.len(), 1, "one at least");
    let offsets = |page: Page| page.stored.iter().map(|stored| stored.offset).collect::<Vec<_>>();
    assert_eq!(offsets(read(Part::After(0), 12).await.unwrap()), [1, 2]);
    assert_eq!(offsets(read(Part::Before(u64::MAX, 0), 11).await.unwrap()), [4, 3]);
}

async fn an_epoch_that_was_told_is_kept(case: Case) {
    let told = case.top().await;
    let request = Append { known: told, ..case.request(vec![entry("a")]) };
    let appended = case.history.append(request).await.unwrap();
    assert_eq!(appended.top, StreamPosition { offset: 1, ..told });
}

async fn a_channel_without_publications_has_one_epoch(case: Case) {
    let page = case.read(Part::After(0), 10).await;
    assert!(page.top.epoch.is_some(), "who asks first is told");
    assert_eq!((page.top.offset, case.read(Part::Before(u64::MAX, 0), 10).await.top), (0, page.top));
    assert_eq!(case.top().await, page.top);
    assert_eq!(case.publish(&["a"]).await.top, StreamPosition { offset: 1, ..page.top });
}

async fn channels_do_not_meet(case: Case) {
    let names = ["a", "a{", "a}", "a%7B", "{a}", "}a{", "{}", "%", "%25", "a.meta", "a.key.k", "ü 🦀"];
    for name in names {
        let keyed = Entry { key: "k".into(), ..entry(name) };
        let append = Append { channel: case.channel(name), ..case.request(vec![keyed]) };
        assert_eq!(offset(&case.history.append(append).await.unwrap().outcomes[0]), 1, "{name}");
    }
    for name in names {
        let (part, channel) = (Part::After(0), case.channel(name));
        let read = Read { channel, part, limit: 10, max_bytes: usize::MAX, retention: LONG };
        assert_eq!(texts(&case.history.read(read).await.unwrap()), pairs(&[(1, name)]));
    }
}

async fn keys_and_versions_may_be_anything(case: Case) {
    let one = |key: &str, version, version_epoch: &str| Entry {
        key: key.into(),
        version,
        version_epoch: version_epoch.into(),
        ttl: Some(Duration::MAX),
        ..Entry::default()
    };
    let odd = ",1,\n} {k}\0%s\r\n";
    let batch = vec![
        one(odd, u64::MAX - 1, odd),
        one(odd, 0, ""),
        one(" ", u64::MAX - 1, odd),
        one("", u64::MAX, odd),
    ];
    let appended = case.append(batch).await;
    assert_eq!(offset(&appended.outcomes[0]), 1);
    assert_eq!(appended.outcomes[1], Outcome::Repeated(StreamPosition { offset: 1, ..appended.top }));
    assert_eq!(appended.outcomes[2], Outcome::Superseded);
    assert_eq!(offset(&appended.outcomes[3]), 2, "versions are compared to the last digit");
    let page = case.read(Part::After(0), 10).await;
    let empty = page.stored[0].publication.as_ref().expect("it lasts for ever");
    assert!(empty.data.is_empty());
    assert_eq!(page.stored.len(), 2);
}

async fn what_is_dropped_leaves_no_trace(case: Case) {
    let one = |key: &str, version| Entry { key: key.into(), version, ..entry("a") };
    case.append(vec![one("k", 5)]).await;
    let outcomes = case.append(vec![one("k", 9), one("l", 4), one("l", 6)]).await.outcomes;
    assert!(matches!(outcomes[0], Outcome::Repeated(_)));
    assert_eq!(outcomes[1], Outcome::Superseded);
    assert_eq!(offset(&outcomes[2]), 2, "neither did the repeat raise the version, nor was the key taken");
    assert_eq!(case.top().await.offset, 2);
}

async fn keys_outlive_publications(case: Case) {
    let keyed = || Entry { key: "k".into(), ..entry("a") };
    let first = case.append(vec![keyed()]).await.top;
    case.history.remove(case.channel("news"), FENCE).await.unwrap();
    assert_eq!(case.append(vec![keyed()]).await.outcomes[0], Outcome::Repeated(first));
    let known = StreamPosition { offset: 9, ..first };
    let appended = case.history.append(Append { known, ..case.request(vec![keyed()]) }).await.unwrap();
    assert_eq!(appended.outcomes[0], Outcome::Repeated(first), "also those of an epoch that is over");
    assert_ne!(appended.top.epoch, first.epoch);
}

async fn a_smaller_size_counts_from_the_next_append(case: Case) {
    case.publish(&["a", "b", "c"]).await;
    let retention = Retention { size: 1, ..LONG };
    case.history.append(Append { retention, ..case.request(vec![entry("d")]) }).await.unwrap();
    assert_eq!(texts(&case.read(Part::After(0), 10).await), pairs(&[(4, "d")]));
}

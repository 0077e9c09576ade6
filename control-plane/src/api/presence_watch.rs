//! One `WatchPresence`: joins what the presence tasks tell, and gives it a cursor.

use std::collections::{BTreeMap, VecDeque};

use fanfare_cluster::member::Incarnation;
use fanfare_cluster::placement::PlacementNumber;
use fanfare_proto::v1::presence_change::What;
use fanfare_proto::v1::watch_presence_response::Event;
use fanfare_proto::v1::{PresenceChange, SnapshotEnd, SnapshotReason, SnapshotStart, WatchPresenceResponse};
use futures_util::Stream;

use super::presence_answers::{coverage, member, merged, subject, timestamp, user};
use crate::members::{Change, Coverage, Cursor, Occasion, Pulled, Tenure, Told};
use crate::presence::Watching;
use crate::refusal::Refusal;

/// How far a watcher has come in each presence task that it watches something of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownCursor {
    tenure: Tenure,
    counters: BTreeMap<usize, u64>,
}

impl ShownCursor {
    /// Reads a request's cursor; none if it is empty.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        let read = || {
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            let mut parts = text.split('-');
            let mut next = || number(parts.next()?);
            let incarnation = Incarnation::from_wire(next()?);
            let placement = PlacementNumber { generation: next()?, revision: next()? };
            let counter = |part: &str| {
                let (task, counter) = part.split_once('.')?;
                Some((usize::try_from(number(task)?).ok()?, number(counter)?))
            };
            let counters = parts.map(counter).collect::<Option<BTreeMap<_, _>>>()?;
            Some(Self { tenure: Tenure { incarnation, placement }, counters })
        };
        match text {
            "" => Ok(None),
            _ => read()
                .map(Some)
                .ok_or_else(|| Refusal::invalid("cursor", "must be a cursor of WatchPresence")),
        }
    }

    /// How far it has come in one task. If it has not watched there, that fits nowhere.
    pub(super) fn of(&self, task: usize) -> Cursor {
        let counter = self.counters.get(&task).copied().unwrap_or(u64::MAX);
        Cursor { tenure: self.tenure, counter }
    }

    fn to_text(&self) -> String {
        let Tenure { incarnation, placement } = self.tenure;
        let PlacementNumber { generation, revision } = placement;
        let counters = self.counters.iter().map(|(task, counter)| format!("-{task:x}.{counter:x}"));
        let head = format!("{:x}-{generation:x}-{revision:x}", incarnation.to_wire());
        head + &counters.collect::<String>()
    }
}

/// What a watcher is told, for as long as it reads. What it does not read waits in the presence tasks, which then keep
/// the newest state only.
pub(super) fn watch(watching: Watching) -> impl Stream<Item = Result<WatchPresenceResponse, Refusal>> + Send {
    let parts = watching.tasks().count();
    let state = Watch {
        watching,
        parts,
        coverages: BTreeMap::new(),
        told: None,
        cursors: BTreeMap::new(),
        ready: VecDeque::new(),
    };
    futures_util::stream::unfold(Some(state), async |state| {
        let mut state = state?;
        match state.next().await {
            Some(answer) => Some((Ok(answer), Some(state))),
            None => Some((Err(Refusal::Stopping), None)),
        }
    })
}

struct Watch {
    watching: Watching,
    parts: usize,
    /// What each task says last.
    coverages: BTreeMap<usize, Coverage>,
    /// What the watcher was told last.
    told: Option<Coverage>,
    /// Where each task stands; none in one that tells a snapshot.
    cursors: BTreeMap<usize, Option<Cursor>>,
    // queue: presence events of one pull
    ready: VecDeque<WatchPresenceResponse>,
}

impl Watch {
    async fn next(&mut self) -> Option<WatchPresenceResponse> {
        // How far it can be believed is told first, when all tasks have said so.
        while self.told.is_none() || self.ready.is_empty() {
            let (task, pulled) = self.watching.next().await?;
            self.take(task, pulled);
        }
        self.ready.pop_front()
    }

    fn take(&mut self, task: usize, pulled: Pulled) {
        let complete =
            pulled.coverage.as_ref().or(self.coverages.get(&task)).is_some_and(|last| last.complete);
        if let Some(said) = pulled.coverage {
            self.coverages.insert(task, said);
            let all = merged(self.coverages.values().cloned());
            if self.coverages.len() == self.parts && self.told.as_ref() != Some(&all) {
                let event = Some(Event::Coverage(coverage(all.clone())));
                let answer = WatchPresenceResponse { event, ..Default::default() };
                match self.told.replace(all) {
                    None => self.ready.push_front(answer),
                    Some(_) => self.ready.push_back(answer),
                }
            }
        }
        let has_news = !pulled.told.is_empty();
        for told in pulled.told {
            let event = Some(event(told, complete));
            self.ready.push_back(WatchPresenceResponse { event, ..Default::default() });
        }
        self.cursors.insert(task, pulled.cursor);
        if has_news && let Some(last) = self.ready.back_mut() {
            last.cursor = cursor(self.parts, &self.cursors).unwrap_or_default();
        }
    }
}

/// Where all tasks together stand, if each has told its snapshots.
fn cursor(parts: usize, cursors: &BTreeMap<usize, Option<Cursor>>) -> Option<String> {
    let all = cursors.iter().map(|(task, cursor)| cursor.map(|cursor| (*task, cursor)));
    let all = all.collect::<Option<Vec<_>>>().filter(|all| all.len() == parts)?;
    let tenure = all.first()?.1.tenure;
    // While the placement changes, tasks may differ for a moment.
    let agree = all.iter().all(|(_, cursor)| cursor.tenure == tenure);
    let counters = all.iter().map(|(task, cursor)| (*task, cursor.counter)).collect();
    agree.then(|| ShownCursor { tenure, counters }.to_text())
}

fn event(told: Told, complete: bool) -> Event {
    match told {
        Told::Begin(channel, occasion) => {
            let reason = match occasion {
                Occasion::First => SnapshotReason::First,
                Occasion::CursorLost => SnapshotReason::CursorLost,
                Occasion::Slow => SnapshotReason::Slow,
                Occasion::OwnerChanged => SnapshotReason::OwnerChanged,
            };
            Event::SnapshotStart(SnapshotStart { subject: subject(&channel), reason: reason.into() })
        }
        Told::End(channel) => Event::SnapshotEnd(SnapshotEnd { subject: subject(&channel) }),
        Told::Change(channel, change, at_ms) => {
            let name = if channel.is_personal() { String::new() } else { channel.as_str().to_owned() };
            let what = match change {
                Change::Joined(id, view) => What::Joined(member(id, view)),
                Change::Left(id, view) => What::Left(member(id, view)),
                Change::User(view) => What::User(user(view, complete)),
            };
            Event::Change(PresenceChange { at: timestamp(at_ms), channel: name, what: Some(what) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor_at(counter: u64) -> Cursor {
        let placement = PlacementNumber { generation: 1, revision: 31 };
        Cursor { tenure: Tenure { incarnation: Incarnation::from_wire(u64::MAX), placement }, counter }
    }

    #[test]
    fn a_cursor_survives_being_text() {
        let cursors = BTreeMap::from([(0, Some(cursor_at(5))), (17, Some(cursor_at(u64::MAX - 1)))]);
        let text = cursor(2, &cursors).unwrap();
        let read = ShownCursor::parse(&text).unwrap().unwrap();
        assert_eq!((read.of(0), read.of(17)), (cursor_at(5), cursor_at(u64::MAX - 1)));
        assert_eq!(read.of(3).counter, u64::MAX, "no counter comes so far");
        assert_eq!(ShownCursor::parse(""), Ok(None));
        for bad in ["x", "1-2", "1-2-3-4", "1-2-3-4.x", "-1-2-3"] {
            assert!(ShownCursor::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn there_is_no_place_to_come_back_to_until_all_tasks_have_told_their_snapshots() {
        let mut cursors = BTreeMap::from([(0, Some(cursor_at(5)))]);
        assert_eq!(cursor(2, &cursors), None, "one has said nothing");
        cursors.insert(1, None);
        assert_eq!(cursor(2, &cursors), None, "one tells a snapshot");
        let other = Tenure { incarnation: Incarnation::from_wire(1), ..cursor_at(0).tenure };
        cursors.insert(1, Some(Cursor { tenure: other, counter: 7 }));
        assert_eq!(cursor(2, &cursors), None, "they do not agree");
        cursors.insert(1, Some(cursor_at(7)));
        assert!(cursor(2, &cursors).is_some());
    }
}

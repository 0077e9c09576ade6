//! What the suite found: a verdict on each case, and one on how it was closed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Verdicts with which a case has failed.
const FAILED: [&str; 3] = ["FAILED", "WRONG CODE", "UNCLEAN"];

/// The verdicts on all cases.
#[derive(Debug)]
pub(crate) struct Verdicts(BTreeMap<String, Verdict>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: String,
    behavior_close: String,
}

impl Verdicts {
    /// Reads the index of the reports on one server.
    ///
    /// # Panics
    /// If it is none.
    pub(crate) fn read(index: &str) -> Self {
        let mut servers: BTreeMap<String, BTreeMap<String, Verdict>> =
            serde_json::from_str(index).expect("the index is as the suite writes it");
        let (_, verdicts) = servers.pop_first().expect("there is a server");
        Self(verdicts)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many cases have which verdict.
    pub(crate) fn counts(&self) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for verdict in self.0.values() {
            *counts.entry(&verdict.behavior).or_default() += 1;
        }
        let counts = counts.iter().map(|(verdict, count)| format!("{count} {verdict}"));
        format!("{} cases: {}", self.len(), counts.collect::<Vec<_>>().join(", "))
    }

    /// The failed cases, with their verdicts.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |verdict: &str| FAILED.contains(&verdict);
        self.0
            .iter()
            .filter(|(_, verdict)| failed(&verdict.behavior) || failed(&verdict.behavior_close))
            .map(|(case, verdict)| {
                format!("{case}: {}, closing: {}", verdict.behavior, verdict.behavior_close)
            })
            .collect()
    }
}

#[test]
fn a_case_fails_by_what_it_does_and_by_how_it_closes() {
    let verdicts = Verdicts::read(
        r#"{"fanfare": {
            "1.1.1": {"behavior": "OK", "behaviorClose": "OK", "duration": 1, "reportfile": "a.json"},
            "6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "INFORMATIONAL"},
            "7.1.1": {"behavior": "OK", "behaviorClose": "UNCLEAN"},
            "9.1.1": {"behavior": "FAILED", "behaviorClose": "OK"}
        }}"#,
    );
    assert_eq!(verdicts.counts(), "4 cases: 1 FAILED, 1 NON-STRICT, 2 OK");
    assert_eq!(verdicts.failures(), ["7.1.1: OK, closing: UNCLEAN", "9.1.1: FAILED, closing: OK"]);
}

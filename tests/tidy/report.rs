//! How a broken rule is shown.

/// Fails with every violation of `rule` in one message.
#[track_caller]
pub(crate) fn none(rule: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "\n{rule}\n{count} violation(s):\n  {list}\n",
        count = violations.len(),
        list = violations.join("\n  "),
    );
}

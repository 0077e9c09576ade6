//! The API reference says what the protos say.

mod comments;
mod page;
mod tables;

use std::collections::BTreeSet;

use fanfare_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::markdown::prose;
use crate::{report, repository};

const DOCUMENT: &str = "docs/api-reference.md";

/// Whoever sets it wants the document written anew: `make api-reference`.
const WRITE: &str = "FANFARE_WRITE_API_REFERENCE";

#[test]
fn the_api_reference_is_what_the_protos_say() {
    let generated = page::page(&descriptors());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(repository::root().join(DOCUMENT), &generated).expect("the document can be written");
    }
    let written = repository::read(DOCUMENT);
    let first = generated.lines().zip(written.lines()).position(|(wanted, is)| wanted != is);
    let number = first.unwrap_or_else(|| generated.lines().count().min(written.lines().count())) + 1;
    assert!(
        generated == written,
        "{DOCUMENT} is out of date from line {number} on: run `make api-reference`"
    );
}

#[test]
fn every_link_inside_the_api_reference_leads_to_a_heading() {
    let page = page::page(&descriptors());
    let lines = prose(&page);
    let headings = lines.iter().filter_map(|(_, line)| line.strip_prefix('#'));
    let headings: BTreeSet<String> =
        headings.map(|heading| page::anchor(heading.trim_start_matches('#').trim())).collect();
    let mut dead = Vec::new();
    for (number, line) in &lines {
        let targets = line.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
        dead.extend(
            targets.filter(|target| !headings.contains(*target)).map(|target| format!("{number}: #{target}")),
        );
    }
    report::none("Every link inside the API reference leads to a heading.", &dead);
}

/// The public API has comments on everything; buf's lint says so, too, but where it runs it sees files only.
#[test]
fn nothing_in_the_api_reference_is_without_a_comment() {
    report::none("Everything in proto/fanfare/v1 has a comment.", &page::without_comment(&descriptors()));
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors are what the build has encoded")
}

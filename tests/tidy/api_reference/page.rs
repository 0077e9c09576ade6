//! The page that the API reference is: contents, then a section per service with what its file defines.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};

use super::comments::{Comments, paragraphs};
use super::tables::{self, Place};

/// What is public.
pub(crate) const PACKAGE: &str = "fanfare.v1";

/// Field numbers in `FileDescriptorProto` and `ServiceDescriptorProto`.
const MESSAGE: i32 = 4;
const ENUM: i32 = 5;
const SERVICE: i32 = 6;
const METHOD: i32 = 2;

const HEAD: &str = "\
# API reference

Everything in the package `fanfare.v1`, from the comments of [its protos](../proto/fanfare/v1). `make api-reference`
writes this page: to change it, change the protos.

How calls behave, with receipts, errors and deadlines: [API for backends](api.md). A push from your language:
[clients](clients.md). `make proto-export` makes a folder and an archive of the `.proto` files.

## Contents

";

/// The page.
pub(crate) fn page(set: &FileDescriptorSet) -> String {
    let mut page = HEAD.to_owned();
    let types = types(set);
    for file in public(set) {
        page.push_str(&contents(file));
    }
    for file in public(set) {
        page.push_str(&section(file, &types));
    }
    page
}

/// GitHub's anchor of a heading that is a name.
pub(crate) fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace('.', "").replace(' ', "-")
}

/// A type as it stands in a table: ours lead to their heading, Google's to their own page.
pub(crate) fn link(full_name: &str) -> String {
    let full_name = full_name.trim_start_matches('.');
    if let Some(name) = full_name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')) {
        return format!("[{name}](#{})", anchor(name));
    }
    let place = match full_name {
        "google.rpc.Status" => "../proto/google/rpc/status.proto".to_owned(),
        _ => match full_name.strip_prefix("google.protobuf.") {
            Some(name) => {
                format!("https://protobuf.dev/reference/protobuf/google.protobuf/#{}", anchor(name))
            }
            None => panic!("the API reference does not know where {full_name} is explained"),
        },
    };
    format!("[{full_name}]({place})")
}

/// What has no comment, by its name.
pub(crate) fn without_comment(set: &FileDescriptorSet) -> Vec<String> {
    let mut found = Vec::new();
    let types = types(set);
    for file in public(set) {
        let comments = Comments::of(file);
        let mut check = |path: &[i32], name: &str| {
            if comments.at(path).is_empty() {
                found.push(format!("{PACKAGE}.{name}"));
            }
        };
        for (at, service) in (0..).zip(&file.service) {
            check(&[SERVICE, at], service.name());
            for (index, method) in (0..).zip(&service.method) {
                check(&[SERVICE, at, METHOD, index], method.name());
            }
        }
        for (at, message) in (0..).zip(&file.message_type) {
            check(&[MESSAGE, at], message.name());
        }
        for (at, one) in (0..).zip(&file.enum_type) {
            check(&[ENUM, at], one.name());
        }
        for (at, message) in (0..).zip(&file.message_type) {
            let place = Place { comments: &comments, path: [MESSAGE, at], types: &types };
            found.extend(tables::without_comment(message, &place));
        }
    }
    found
}

fn public(set: &FileDescriptorSet) -> impl Iterator<Item = &FileDescriptorProto> {
    set.file.iter().filter(|file| file.package() == PACKAGE)
}

/// The names of all that a comment may link to.
fn types(set: &FileDescriptorSet) -> BTreeSet<String> {
    let messages = public(set).flat_map(|file| &file.message_type).map(|message| message.name().to_owned());
    let enums = public(set).flat_map(|file| &file.enum_type).map(|one| one.name().to_owned());
    messages.chain(enums).collect()
}

/// Lines of the table of contents.
fn contents(file: &FileDescriptorProto) -> String {
    let mut lines = String::new();
    let listed = |names: Vec<&str>| {
        let links = names.into_iter().map(|name| format!("[{name}](#{})", anchor(name)));
        links.collect::<Vec<_>>().join(", ")
    };
    for service in &file.service {
        let methods = service.method.iter().map(|method| {
            let heading = format!("{}.{}", service.name(), method.name());
            format!("[{}](#{})", method.name(), anchor(&heading))
        });
        let (name, methods) = (service.name(), methods.collect::<Vec<_>>().join(", "));
        writeln!(lines, "* [{name}](#{}): {methods}", anchor(name)).expect("a String takes everything");
    }
    let messages = listed(file.message_type.iter().map(DescriptorProto::name).collect());
    writeln!(lines, "  * Messages: {messages}").expect("a String takes everything");
    if !file.enum_type.is_empty() {
        let enums = listed(file.enum_type.iter().map(EnumDescriptorProto::name).collect());
        writeln!(lines, "  * Enums: {enums}").expect("a String takes everything");
    }
    lines
}

/// A service, and the types of its file.
fn section(file: &FileDescriptorProto, types: &BTreeSet<String>) -> String {
    let comments = Comments::of(file);
    let mut text = String::new();
    for (at, service) in (0..).zip(&file.service) {
        text.push_str(&service_section(file, service, at, &comments, types));
    }
    for (at, message) in (0..).zip(&file.message_type) {
        let nested = message.nested_type.iter().filter(|nested| nested.options.is_none()).count();
        assert!(
            nested + message.enum_type.len() == 0,
            "{} has types inside, which the API reference does not show yet",
            message.name()
        );
        let place = Place { comments: &comments, path: [MESSAGE, at], types };
        let comment = paragraphs(comments.at(&place.path), types);
        let fields = tables::fields(message, &place);
        text.push_str(&format!("\n### {}\n\n{comment}\n\n{fields}", message.name()));
    }
    for (at, one) in (0..).zip(&file.enum_type) {
        let place = Place { comments: &comments, path: [ENUM, at], types };
        let comment = paragraphs(comments.at(&place.path), types);
        let values = tables::values(one, &place);
        text.push_str(&format!("\n### {}\n\n{comment}\n\n{values}", one.name()));
    }
    text
}

fn service_section(
    file: &FileDescriptorProto,
    service: &ServiceDescriptorProto,
    at: i32,
    comments: &Comments,
    types: &BTreeSet<String>,
) -> String {
    let short = file.name().rsplit('/').next().unwrap_or_default();
    let comment = paragraphs(comments.at(&[SERVICE, at]), types);
    let mut text = format!(
        "\n## {}\n\n{comment}\n\nDefined in [{short}](../proto/{}); the full name is `{PACKAGE}.{}`.\n",
        service.name(),
        file.name(),
        service.name()
    );
    for (index, method) in (0..).zip(&service.method) {
        let comment = paragraphs(comments.at(&[SERVICE, at, METHOD, index]), types);
        text.push_str(&format!(
            "\n### {}.{}\n\n{}\n\n{comment}\n",
            service.name(),
            method.name(),
            signature(method)
        ));
    }
    text
}

/// What goes in and what comes out.
fn signature(method: &MethodDescriptorProto) -> String {
    let side = |streams: bool, name: &str| {
        let stream = if streams { "stream of " } else { "" };
        format!("{stream}{}", link(name))
    };
    let request = side(method.client_streaming(), method.input_type());
    let response = side(method.server_streaming(), method.output_type());
    format!("{request} → {response}")
}

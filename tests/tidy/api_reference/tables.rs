//! The tables of the API reference: the fields of a message, the values of an enum.

use std::collections::BTreeSet;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, MessageOptions};

use super::comments::{Comments, cell};
use super::page::{PACKAGE, link};

/// Field numbers in `DescriptorProto` and `EnumDescriptorProto`.
const FIELD: i32 = 2;
const ONEOF: i32 = 8;
const VALUE: i32 = 2;

/// What is said about things that stand at `path`.
pub(crate) struct Place<'a> {
    pub(crate) comments: &'a Comments,
    pub(crate) path: [i32; 2],
    pub(crate) types: &'a BTreeSet<String>,
}

impl Place<'_> {
    fn cell(&self, kind: i32, index: usize) -> String {
        let [list, at] = self.path;
        cell(self.comments.at(&[list, at, kind, index as i32]), self.types)
    }
}

/// One row per field. What only one of can be set stands together, under a row that says so.
pub(crate) fn fields(message: &DescriptorProto, place: &Place<'_>) -> String {
    if message.field.is_empty() {
        return "It has no fields.\n".to_owned();
    }
    let mut table = "| no. | field | type | meaning |\n|---|---|---|---|\n".to_owned();
    let mut before = None;
    for (index, field) in message.field.iter().enumerate() {
        let group = field.oneof_index.filter(|_| !field.proto3_optional());
        if let Some(group) = group.filter(|_| group != before) {
            let name = message.oneof_decl[group as usize].name();
            table.push_str(&format!("| | one of `{name}`: | | {} |\n", place.cell(ONEOF, group as usize)));
        }
        before = group;
        let indent = if group.is_some() { "· " } else { "" };
        table.push_str(&format!(
            "| {} | {indent}`{}` | {} | {} |\n",
            field.number(),
            field.name(),
            type_of(field, message),
            place.cell(FIELD, index)
        ));
    }
    table
}

/// One row per value.
pub(crate) fn values(of: &EnumDescriptorProto, place: &Place<'_>) -> String {
    let mut table = "| no. | value | meaning |\n|---|---|---|\n".to_owned();
    for (index, value) in of.value.iter().enumerate() {
        table.push_str(&format!(
            "| {} | `{}` | {} |\n",
            value.number(),
            value.name(),
            place.cell(VALUE, index)
        ));
    }
    table
}

fn type_of(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let name = field.type_name().rsplit('.').next().unwrap_or_default();
    let entry = message.nested_type.iter().find(|nested| nested.name() == name);
    if let Some(entry) = entry.filter(|entry| entry.options.as_ref().is_some_and(MessageOptions::map_entry)) {
        return format!(
            "map\\<{}, {}\\>",
            type_of(&entry.field[0], message),
            type_of(&entry.field[1], message)
        );
    }
    let one = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("repeated {one}"),
        _ if field.proto3_optional() => format!("optional {one}"),
        _ => one,
    }
}

/// What has no comment, by its name.
pub(crate) fn without_comment(message: &DescriptorProto, place: &Place<'_>) -> Vec<String> {
    let fields = message.field.iter().enumerate().filter(|(index, _)| place.cell(FIELD, *index).is_empty());
    let names = fields.map(|(_, field)| format!("{PACKAGE}.{}.{}", message.name(), field.name()));
    names.collect()
}

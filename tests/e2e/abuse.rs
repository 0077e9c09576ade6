//! What a stranger can do to the doors, each time beside a bystander, and with a look at what it leaves: nothing.

mod compression;
mod floods;
mod halves;
mod handshakes;
mod headers;
mod json;
mod languages;
mod protobuf;
mod siege;
mod tokens;

//! `fanfare`: the server, and the command line of those who run it and push through it.

mod bench;
mod channels;
mod cli;
mod client;
mod config;
mod config_command;
mod connection_list;
mod connections;
mod endpoint;
mod exit;
mod history;
mod nodes;
mod pages;
mod presence;
mod print;
mod push;
mod reload;
mod serve;
mod shell;
mod token;
mod version;

use cli::{Cli, Command};

/// The lowest memory of all allocators measured: buffers that nobody has touched stay unmapped.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let result = match Cli::read().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Push(arguments) => push::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Connections(arguments) => connections::run(&arguments),
        Command::Disconnect(arguments) => connections::disconnect(&arguments),
        Command::Revoke(arguments) => connections::revoke(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Presence(arguments) => presence::run(&arguments),
        Command::Channels(arguments) => channels::run(&arguments),
        Command::Nodes(arguments) => nodes::run(&arguments),
        Command::Config(arguments) => config_command::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Completion(arguments) => shell::completion(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
        Command::Version(arguments) => version::run(&arguments),
    };
    exit::report(result)
}

//! `fanfare completion` and `fanfare man`: what shells and manuals want to know about the command line.

use std::path::Path;

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionArguments, ManArguments};
use crate::exit::Failure;
use crate::print;

pub(crate) fn completion(arguments: &CompletionArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "fanfare", &mut script);
    print::text(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(arguments: &ManArguments) -> Result<(), Failure> {
    match &arguments.dir {
        Some(dir) => write_pages(dir),
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| Failure::Failed(format!("cannot make the page: {error}")))?;
            print::text(&String::from_utf8_lossy(&page))
        }
    }
}

fn write_pages(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::Failed(format!("cannot write to {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, dir).map_err(failed)
}

//! `fanfare version`.

use crate::cli::{Output, VersionArguments};
use crate::exit::Failure;

pub(crate) fn run(arguments: &VersionArguments) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match arguments.output {
        Output::Table => println!("fanfare {version}"),
        Output::Json => println!("{}", serde_json::json!({ "version": version })),
    }
    Ok(())
}

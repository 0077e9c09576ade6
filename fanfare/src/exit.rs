//! Exit codes: 0 done, 1 failed, 2 used wrongly or configured wrongly, 64 + the gRPC code if the server refused.

use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration or the arguments are wrong: exit code 2.
    Usage(String),
    /// Anything else that went wrong here: exit code 1.
    Failed(String),
    /// The server refused: exit code 64 and the gRPC code.
    Refused { code: i32, message: String },
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// Prints what went wrong, if anything did, and says so to the shell.
pub(crate) fn report(result: Result<(), Failure>) -> ExitCode {
    let (code, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Failed(message)) => (1, message),
        Err(Failure::Refused { code, message }) => (64 + code, message),
    };
    eprintln!("fanfare: {message}");
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

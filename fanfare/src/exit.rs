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

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::Refused { message, .. } => {
                f.write_str(message)
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// Prints what went wrong, if anything did, and says so to the shell.
pub(crate) fn report(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let code = match &failure {
        Failure::Usage(_) => 2,
        Failure::Failed(_) => 1,
        Failure::Refused { code, .. } => 64 + code,
    };
    eprintln!("fanfare: {failure}");
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

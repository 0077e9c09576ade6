//! The arguments of `fanfare completion` and `fanfare man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fanfare completion bash > ~/.local/share/bash-completion/completions/fanfare\n  \
    fanfare completion zsh > \"${fpath[1]}/_fanfare\"\n  \
    fanfare completion fish > ~/.config/fish/completions/fanfare.fish")]
pub(crate) struct CompletionArguments {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fanfare man | man -l -\n  \
    fanfare man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArguments {
    /// Write one page per command into this directory, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

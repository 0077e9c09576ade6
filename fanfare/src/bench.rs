//! `fanfare bench`: placeholder while the measurement is being written.
use crate::cli::BenchArguments;
use crate::exit::Failure;

pub(crate) fn run(_arguments: &BenchArguments) -> Result<(), Failure> {
    Err(Failure::Failed("bench".to_owned()))
}

//! Revocations on disk: a line for each, written before it counts, read when the replica starts.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_proto::link::Revocation;
use serde::{Deserialize, Serialize};

/// Lines behind the last clean-up from which the file is written anew.
const CLEAN_UP: usize = 100_000;

/// A line of the file. Times are Unix seconds.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    user: String,
    issued_before: u64,
    until: u64,
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl Journal {
    /// Opens the file, which need not be there yet, and reads what still holds in it.
    ///
    /// # Errors
    /// If it cannot be read or written, or holds something else than revocations. A last line without an end was
    /// being written when the replica ended: nobody was told that it counts, and it is left out.
    pub(crate) fn open(path: &Path, now: u64) -> Result<(Self, Vec<Revocation>)> {
        let revocations = match File::open(path) {
            Ok(file) => read(file, now)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let file = write_anew(path, &revocations)?;
        let open = Open { path: path.to_owned(), file, lines: 0 };
        Ok((Self(Arc::new(Mutex::new(open))), revocations))
    }

    /// Adds one; when it returns the disk has it. It blocks.
    pub(crate) fn append(&self, revocation: &Revocation, now: u64) -> Result<()> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.lines >= CLEAN_UP {
            let held = read(File::open(&open.path)?, now)?;
            open.file = write_anew(&open.path, &held)?;
            open.lines = 0;
        }
        let line = line(revocation)?;
        open.file.write_all(&line)?;
        open.file.sync_data()?;
        open.lines += 1;
        Ok(())
    }
}

/// The newest revocation of each user that has not ended.
fn read(file: File, now: u64) -> Result<Vec<Revocation>> {
    let mut by_user = HashMap::new();
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    for number in 1_u64.. {
        text.clear();
        reader.read_until(b'\n', &mut text)?;
        if !text.ends_with(b"\n") {
            break;
        }
        let Line { user, issued_before, until } = serde_json::from_slice(&text)
            .map_err(|error| Error::other(format!("line {number} is no revocation: {error}")))?;
        // Later lines hold what earlier ones of the same user said, too.
        by_user.insert(user.clone(), Revocation { user, issued_before, until });
    }
    Ok(by_user.into_values().filter(|revocation| revocation.until > now).collect())
}

/// Writes a new file beside the old one and puts it in its place, so that there is a whole one at any time.
fn write_anew(path: &Path, revocations: &[Revocation]) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut writer = BufWriter::new(File::create(&new)?);
    for revocation in revocations {
        writer.write_all(&line(revocation)?)?;
    }
    writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&new, path)?;
    OpenOptions::new().append(true).open(path)
}

fn line(Revocation { user, issued_before, until }: &Revocation) -> Result<Vec<u8>> {
    let line = Line { user: user.clone(), issued_before: *issued_before, until: *until };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that goes away with the test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("fanfare-journal-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            // What is left in the temporary folder harms nobody.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn revocation(user: &str, issued_before: u64, until: u64) -> Revocation {
        Revocation { user: user.into(), issued_before, until }
    }

    fn open(file: &Temporary, now: u64) -> (Journal, Vec<Revocation>) {
        let (journal, mut held) = Journal::open(&file.0, now).unwrap();
        held.sort_by(|one, other| one.user.cmp(&other.user));
        (journal, held)
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_until_it_has_ended() {
        let file = Temporary::new("restart");
        let (journal, held) = open(&file, 5);
        assert_eq!(held, []);
        journal.append(&revocation("ann", 1, 10), 5).unwrap();
        journal.append(&revocation("bob\n", 2, 20), 5).unwrap();
        journal.append(&revocation("ann", 3, 15), 5).unwrap();
        drop(journal);
        assert_eq!(open(&file, 10).1, [revocation("ann", 3, 15), revocation("bob\n", 2, 20)]);
        assert_eq!(open(&file, 15).1, [revocation("bob\n", 2, 20)]);
        let text = std::fs::read_to_string(&file.0).unwrap();
        assert_eq!(text.lines().count(), 1, "what has ended is not kept: {text}");
    }

    #[test]
    fn a_line_that_was_being_written_does_not_count_and_nonsense_is_told() {
        let file = Temporary::new("torn");
        let (journal, _) = open(&file, 5);
        journal.append(&revocation("ann", 1, 10), 5).unwrap();
        drop(journal);
        let mut raw = OpenOptions::new().append(true).open(&file.0).unwrap();
        raw.write_all(b"{\"user\":\"bob\",\"iss").unwrap();
        assert_eq!(open(&file, 5).1, [revocation("ann", 1, 10)]);
        std::fs::write(&file.0, "nonsense\n").unwrap();
        let error = Journal::open(&file.0, 5).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}

//! The files of this repository, as the checks read them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::Source;

/// Folders that hold nothing of ours; hidden ones are left out too.
const NOT_OURS: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Where the workspace begins.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of ours whose name ends with `ending`, with its path from the root, sorted.
pub(crate) fn files(ending: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    collect(&root(), "", ending, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no file ends with {ending}: the checks look in the wrong place");
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// Every Rust file of ours.
pub(crate) fn sources() -> Vec<Source> {
    files(".rs").into_iter().map(|(path, text)| Source::new(path, text)).collect()
}

/// One file, by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

fn collect(folder: &Path, prefix: &str, ending: &str, found: &mut Vec<String>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{} cannot be listed: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("an entry of a folder that was just opened");
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.path().is_dir() {
            collect(&entry.path(), &path, ending, found);
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
}

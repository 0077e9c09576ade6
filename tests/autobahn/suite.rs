//! The suite as `scripts/setup-autobahn` has prepared it: a program that plays a client of many faults.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

/// Names the folder that the script prepares.
const VARIABLE: &str = "FANFARE_AUTOBAHN";

/// The script writes this file last.
const READY: &str = "ready";

/// How long the whole run may take, in seconds. The suite has shorter limits for each case.
const LIMIT: u32 = 900;

/// Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, sizes and the rest: all but compression
/// (12 and 13), which we do not offer. There are no sections 8 and 11.
const SECTIONS: [&str; 9] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];

/// The suite, ready to run.
#[derive(Debug)]
pub(crate) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// The suite, or why there is none.
    pub(crate) fn prepared() -> Result<Self, String> {
        let folder = std::env::var_os(VARIABLE).ok_or_else(|| format!("{VARIABLE} is not set"))?;
        let folder = PathBuf::from(folder);
        if folder.join(READY).exists() {
            Ok(Self { folder })
        } else {
            Err(format!("{} is not prepared", folder.display()))
        }
    }

    /// Runs all sections against a server. Returns the index of the reports.
    ///
    /// # Panics
    /// If the suite cannot run; with all that it printed.
    pub(crate) fn run(&self, server: SocketAddr) -> String {
        let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("autobahn");
        let _ = fs::remove_dir_all(&work); // of an earlier run, if there was one
        fs::create_dir_all(&work).expect("the folder can be made");
        let spec = json!({
            "outdir": work.join("reports"),
            "servers": [{ "agent": "fanfare", "url": format!("ws://{server}"), "options": { "version": 18 } }],
            "cases": SECTIONS,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        });
        let spec_path = work.join("spec.json");
        fs::write(&spec_path, spec.to_string()).expect("the specification can be written");
        let output = Command::new("timeout")
            .args(["--kill-after=5", &LIMIT.to_string()])
            .arg(self.folder.join("wstest"))
            .args(["--mode", "fuzzingclient", "--spec"])
            .arg(&spec_path)
            .current_dir(&work)
            .stdin(Stdio::null())
            .output()
            .expect("`timeout` is there");
        let index = fs::read_to_string(work.join("reports/index.json"));
        let printed = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && index.is_ok(),
            "the suite ends with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&printed)
        );
        index.expect("as just asserted")
    }
}

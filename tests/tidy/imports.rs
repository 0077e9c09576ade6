//! Which crate may name which, and behind which doors a dependency stays.

use crate::mask::is_word;
use crate::source::{Source, word_positions};
use crate::{report, repository};

/// Each of our crates that is not at the top: its folder, and which of ours it may use.
const OURS: [(&str, &[&str]); 4] = [
    ("proto", &[]),
    ("cluster", &["fanfare_proto"]),
    ("control-plane", &["fanfare_cluster", "fanfare_proto"]),
    ("data-plane", &["fanfare_cluster", "fanfare_proto"]),
];

/// All that the crates above could name.
const CRATES: [&str; 6] = [
    "fanfare",
    "fanfare_proto",
    "fanfare_cluster",
    "fanfare_control_plane",
    "fanfare_data_plane",
    "fanfare_tests",
];

/// Dependencies that one file at most may name, so that replacing one is a change of one file.
const IN_ONE_FILE: [&str; 3] = ["jsonwebtoken", "etcd_client", "redis"];

/// Files that may name one of them besides. `fanfare token` signs, as a backend would: it shares nothing with the
/// node, which verifies, and must not get its tokens from the same code, or a mistake would fit itself.
const BESIDES: [(&str, &str); 1] = [("jsonwebtoken", "fanfare/src/token.rs")];

/// Files that may name tonic though they are no service and no link.
const TONIC_BY_NAME: [&str; 7] = [
    "cluster/src/dial.rs",
    "control-plane/src/api/asked.rs",
    "control-plane/src/api/edge.rs",
    "control-plane/src/api/guard.rs",
    "control-plane/src/api/handshakes.rs",
    "control-plane/src/api/status.rs",
    "fanfare/src/client.rs",
];

/// Where fastwebsockets may be named.
const FASTWEBSOCKETS: [&str; 4] = [
    "data-plane/src/listener",
    "data-plane/src/connection",
    "data-plane/src/frame.rs",
    "data-plane/src/frame/",
];

#[test]
fn the_planes_never_name_each_other_and_lower_crates_never_name_higher_ones() {
    let mut violations = crates(&repository::sources());
    violations.extend(manifests(&repository::files("Cargo.toml")));
    report::none(
        "proto uses none of our crates, cluster uses proto, the planes use cluster and proto.",
        &violations,
    );
}

#[test]
fn fastwebsockets_stays_in_the_listener_the_connection_and_the_frame() {
    report::none(
        "fastwebsockets is named in the data plane's listener, connection and frame.rs only.",
        &behind_doors(&repository::sources(), "fastwebsockets", |path| {
            FASTWEBSOCKETS.iter().any(|door| path.starts_with(door))
        }),
    );
}

#[test]
fn tonic_stays_at_the_doors() {
    report::none(
        "tonic is named in *_service.rs, link* and a few files that this test lists.",
        &behind_doors(&repository::sources(), "tonic", may_name_tonic),
    );
}

#[test]
fn a_replaceable_dependency_is_named_in_one_file() {
    report::none(
        "jsonwebtoken, etcd_client and redis are each named in one file of the product, and where this test says so.",
        &in_one_file(&repository::sources()),
    );
}

fn crates(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let Some(refused) = refused_in(&source.path) else {
            continue;
        };
        for (line, code) in source.numbered_code() {
            for name in refused.iter().filter(|name| names_crate(code, name)) {
                found.push(format!("{}:{line}: names `{name}`", source.path));
            }
        }
    }
    found
}

fn manifests(manifests: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in manifests {
        let Some(refused) = refused_in(path) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            let code = line.split('#').next().unwrap_or(line);
            let is_own_name = code.starts_with("name = ");
            for name in refused.iter().filter(|name| !is_own_name && depends(code, name)) {
                found.push(format!("{path}:{}: depends on `{name}`", index + 1));
            }
        }
    }
    found
}

/// The crates of ours that a file at `path` may not name; none if the file is in no such crate.
fn refused_in(path: &str) -> Option<Vec<&'static str>> {
    let folder = path.split('/').next()?;
    let (_, allowed) = OURS.iter().find(|(crate_folder, _)| *crate_folder == folder)?;
    let own = format!("fanfare_{}", folder.replace('-', "_"));
    Some(CRATES.into_iter().filter(|name| !allowed.contains(name) && *name != own).collect())
}

/// A line of a manifest that has the crate as a dependency, as key or as `package`.
fn depends(line: &str, name: &str) -> bool {
    let package = name.replace('_', "-");
    let is_key = line
        .trim_start()
        .strip_prefix(&package)
        .is_some_and(|rest| rest.trim_start().starts_with(['=', '.']));
    is_key
        || line.contains(&format!("\"{package}\""))
        || line.trim_end().ends_with(&format!("dependencies.{package}]"))
}

/// Whether a line of code names a crate: at the head of a path or in a `use`, not as a module of ours.
fn names_crate(code: &str, name: &str) -> bool {
    word_positions(code, name).any(|at| {
        let before = code[..at].trim_end();
        let after = code[at + name.len()..].trim_start();
        let is_inside_path =
            before.strip_suffix("::").is_some_and(|path| path.ends_with(|c| is_word(c) || c == '>'));
        let is_imported = before.ends_with("use") || before.ends_with("extern crate");
        !is_inside_path && (after.starts_with("::") || is_imported)
    })
}

fn behind_doors(sources: &[Source], name: &str, may: impl Fn(&str) -> bool) -> Vec<String> {
    let outside = sources.iter().filter(|source| !may(&source.path));
    outside
        .flat_map(|source| {
            let lines = source.numbered_code().filter(|(_, code)| names_crate(code, name));
            lines.map(|(line, _)| format!("{}:{line}: names `{name}`", source.path))
        })
        .collect()
}

fn may_name_tonic(path: &str) -> bool {
    path.ends_with("_service.rs")
        || path.split('/').any(|part| part.starts_with("link"))
        || path.starts_with("proto/")
        || path.starts_with("tests/")
        || TONIC_BY_NAME.contains(&path)
}

fn in_one_file(sources: &[Source]) -> Vec<String> {
    let is_product = |source: &&Source| {
        let path = &source.path;
        path.contains("/src/") && !path.starts_with("tests/") && !path.ends_with("_tests.rs")
    };
    let product = sources.iter().filter(is_product);
    let product: Vec<&Source> = product.collect();
    let mut found = Vec::new();
    for name in IN_ONE_FILE {
        let naming: Vec<&str> = product
            .iter()
            .filter(|source| source.code.lines().any(|code| names_crate(code, name)))
            .filter(|source| !BESIDES.contains(&(name, &source.path)))
            .map(|source| source.path.as_str())
            .collect();
        if naming.len() > 1 {
            found.push(format!("`{name}` is named in {}", naming.join(", ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{behind_doors, crates, in_one_file, manifests, may_name_tonic, names_crate};
    use crate::source::Source;

    #[test]
    fn a_plane_that_names_the_other_is_found() {
        let names = |path, text| crates(&[Source::new(path, text)]).len();
        assert_eq!(names("data-plane/src/a.rs", "use fanfare_control_plane::A;\n"), 1);
        assert_eq!(names("control-plane/src/a.rs", "    fanfare_data_plane::b();\n"), 1);
        assert_eq!(names("cluster/src/a.rs", "use fanfare_data_plane as b;\n"), 1);
        assert_eq!(names("proto/build.rs", "use fanfare_cluster::A;\n"), 1);
        assert_eq!(names("data-plane/src/a.rs", "use fanfare_cluster::A; // fanfare_control_plane::B\n"), 0);
        assert_eq!(names("fanfare/src/a.rs", "use fanfare_control_plane::A;\n"), 0);
        assert_eq!(names("proto/src/lib.rs", "include!(\"x\"); pub use proto::fanfare::v1;\n"), 0);
    }

    #[test]
    fn a_manifest_with_a_refused_dependency_is_found() {
        let depends =
            |folder: &str, line: &str| manifests(&[(format!("{folder}/Cargo.toml"), line.to_owned())]).len();
        assert_eq!(depends("data-plane", "fanfare-control-plane.workspace = true\n"), 1);
        assert_eq!(depends("data-plane", "x = { package = \"fanfare-control-plane\" }\n"), 1);
        assert_eq!(depends("cluster", "[dependencies.fanfare-data-plane]\n"), 1);
        assert_eq!(depends("proto", "fanfare-cluster = { path = \"../cluster\" }\n"), 1);
        assert_eq!(
            depends("data-plane", "name = \"fanfare-data-plane\"\nfanfare-proto.workspace = true\n"),
            0
        );
        assert_eq!(depends("fanfare", "fanfare-data-plane.workspace = true\n"), 0);
    }

    #[test]
    fn a_module_of_ours_is_not_the_crate_of_the_same_name() {
        assert!(names_crate("use redis::Client;", "redis"));
        assert!(names_crate("let a = ::redis::Client::open();", "redis"));
        assert!(names_crate("use redis;", "redis"));
        assert!(!names_crate("mod redis;", "redis"));
        assert!(!names_crate("use self::redis::RedisHistory;", "redis"));
    }

    #[test]
    fn tonic_outside_its_doors_is_found() {
        let found =
            |path| behind_doors(&[Source::new(path, "use tonic::Status;\n")], "tonic", may_name_tonic).len();
        assert_eq!(found("control-plane/src/router.rs"), 1);
        assert_eq!(found("control-plane/src/api/push.rs"), 1);
        for door in [
            "control-plane/src/api/push_service.rs",
            "data-plane/src/links/up.rs",
            "control-plane/src/link.rs",
            "cluster/src/dial.rs",
            "proto/build.rs",
            "tests/e2e/push.rs",
        ] {
            assert_eq!(found(door), 0, "{door}");
        }
    }

    #[test]
    fn a_dependency_named_in_two_files_is_found() {
        let file = |path| Source::new(path, "use jsonwebtoken::decode;\n");
        assert!(in_one_file(&[file("a/src/b.rs"), file("tests/src/token.rs")]).is_empty());
        assert_eq!(in_one_file(&[file("a/src/b.rs"), file("a/src/c.rs")]).len(), 1);
        assert!(in_one_file(&[file("a/src/b.rs"), file("fanfare/src/token.rs")]).is_empty());
        assert_eq!(in_one_file(&[file("a/src/b.rs"), file("c/src/token.rs")]).len(), 1);
    }
}

//! The documents name the two commands and have no dead links.

use crate::markdown::prose;
use crate::{report, repository};

#[test]
fn the_readme_shows_how_to_run_and_how_to_test() {
    let readme = repository::read("README.md");
    let missing = ["make run", "make test"].into_iter().filter(|command| !readme.contains(command));
    let missing: Vec<String> = missing.map(|command| format!("README.md: no `{command}`")).collect();
    report::none("The README has the two commands that a newcomer needs.", &missing);
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    let mut dead = Vec::new();
    for (path, text) in repository::files(".md") {
        for (line, target) in relative_links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let place = match file.strip_prefix('/') {
                Some(from_root) => repository::root().join(from_root),
                None => repository::root().join(folder).join(file),
            };
            if !place.exists() {
                dead.push(format!("{path}:{line}: {target} does not exist"));
            }
        }
    }
    report::none("Every relative link in a document leads to a file that exists.", &dead);
}

/// Line and target of every link that stays inside the repository.
fn relative_links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let definition =
            line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        for target in targets.chain(definition) {
            let target = target.split(' ').next().unwrap_or_default();
            let leads_outside = target.contains("://") || target.starts_with("mailto:");
            if !leads_outside && !target.starts_with('#') && !target.is_empty() {
                links.push((number, target));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::relative_links;

    #[test]
    fn links_inside_the_repository_are_found() {
        let text = "[a](docs/a.md#b) and ![c](d.svg \"e\")\n\n[f]: g.md\n";
        assert_eq!(relative_links(text), [(1, "docs/a.md#b"), (1, "d.svg"), (3, "g.md")]);
    }

    #[test]
    fn links_to_elsewhere_and_code_are_left_out() {
        let text = "[a](https://example.org) [b](#c) [d](mailto:e@example.org)\n```\n[f](g.md)\n```\n";
        assert_eq!(relative_links(text), []);
    }
}

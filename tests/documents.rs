//! The documents name nothing that is not there: links, files, tests, and the two commands of the README.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/json.md",
    "docs/files.md",
    "benches/peers/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: impl AsRef<Path>) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The heading's name in a link, as code hosts form it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for document in DOCUMENTS {
        for link in read(document).split("](").skip(1) {
            let target = link.split(')').next().expect("a target");
            if target.starts_with("http") {
                continue;
            }
            count += 1;
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => PathBuf::from(document),
                file => Path::new(document).parent().expect("a folder").join(file),
            };
            assert!(root().join(&file).exists(), "{document} links to {target}, which is not there");
            let there = section.is_empty()
                || read(&file)
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == section);
            assert!(there, "{document} links to {target}, which has no such section");
        }
    }
    assert!(count > 20);
}

#[test]
fn every_file_and_test_that_is_named_is_there() {
    let mut count = 0;
    for document in DOCUMENTS {
        for name in read(document).split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "benches/", "docs/", "scripts/"]
                .iter()
                .any(|start| name.starts_with(start));
            // NAME stands for what the reader adds.
            if !is_path || name.contains(['*', ' ']) || name.contains("NAME") {
                continue;
            }
            count += 1;
            let (file, test) = name.split_once("::").unwrap_or((name, ""));
            assert!(root().join(file).exists(), "{document} names {name}, which is not there");
            let there = test.is_empty() || read(file).contains(&format!("fn {test}()"));
            assert!(there, "{document} names {name}, and {file} has no such test");
        }
    }
    assert!(count > 20);
}

#[test]
fn pictures_are_small_enough_for_a_page() {
    for entry in std::fs::read_dir(root().join("docs/pictures")).expect("the folder") {
        let entry = entry.expect("an entry");
        let bytes = entry.metadata().expect("its size").len();
        assert!(bytes < 300_000, "{} has {bytes} bytes", entry.path().display());
    }
}

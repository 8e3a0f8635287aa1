//! The documents name nothing that is not there (links, files, tests), and their Python example runs.

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

/// The table comes from the registry of cases: what is added there has to appear in the README.
#[test]
fn the_readmes_table_of_operations_is_what_the_program_prints() {
    let readme = read("README.md");
    let block = readme.split("<!-- begin: evoke bench --table -->\n").nth(1).expect("the first mark");
    let block = block.split("<!-- end: evoke bench --table -->").next().expect("the second mark");
    let mut evoke = assert_cmd::Command::cargo_bin("evoke").expect("the program");
    let output = evoke.args(["bench", "--table"]).output().expect("it runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(block == printed, "README.md needs the output of `evoke bench --table`:\n{printed}");
}

#[test]
fn pictures_are_small_enough_for_a_page() {
    for entry in std::fs::read_dir(root().join("docs/pictures")).expect("the folder") {
        let entry = entry.expect("an entry");
        let bytes = entry.metadata().expect("its size").len();
        assert!(bytes < 300_000, "{} has {bytes} bytes", entry.path().display());
    }
}

#[test]
fn the_readmes_table_of_peers_is_what_the_results_give() {
    let script = root().join("scripts/results.py");
    match std::process::Command::new("python3").arg(&script).arg("--check").output() {
        Err(error) => eprintln!("the_readmes_table_of_peers: SKIPPED, python3: {error}"),
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The Python example of docs/files.md, on a data set that the program has just made.
#[test]
fn a_shard_opens_in_python_as_documented() {
    let own = root().join(".tools/python/bin/python");
    let python = std::env::var_os("EVOKE_PYTHON").map(PathBuf::from).or_else(|| own.exists().then_some(own));
    let Some(python) = python else {
        eprintln!(
            "a_shard_opens_in_python_as_documented: SKIPPED, no Python (set EVOKE_PYTHON, or run scripts/test)"
        );
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let prepare =
        ["prepare", "scenes", "--train", "3", "--val", "0", "--unseen", "0", "--size", "32", "--out", "DATA"];
    let mut evoke = assert_cmd::Command::cargo_bin("evoke").expect("the program");
    evoke.args(prepare).current_dir(folder.path()).assert().success();
    let text = read("docs/files.md");
    let example =
        text.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the example");
    assert_eq!(example.lines().count(), 6);
    let program = format!("{example}print(pixels.shape, len(captions), min(map(len, captions)) > 9)");
    let mut command = std::process::Command::new(python);
    let output = command.args(["-c", &program]).current_dir(folder.path()).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "(32, 32, 3) 5 True");
}

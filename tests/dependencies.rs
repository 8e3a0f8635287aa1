//! The rules of deny.toml (licences, duplicates, refused crates, sources), checked with cargo alone: they hold also
//! where cargo-deny is not at hand.

use std::collections::BTreeMap;
use std::process::Command;

use toml::Value;

/// A crate that the program, its build or its tests can pull in, on any system.
struct Package {
    name: String,
    version: String,
    /// A path or repository, where it is not from the registry.
    source: Option<String>,
    licence: String,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--all-features",
            "--target",
            "all",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    if !output.status.success() {
        // It reads the crates of all systems: without a network, `cargo fetch --locked` has to have run before.
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("dependencies: SKIPPED, cargo cannot read all crates (run `cargo fetch --locked`): {why}");
        return Vec::new();
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains('|')) {
        let (package, licence) = line.split_once('|').expect("a package and its licence");
        let mut words = package.split(' ');
        let (name, version) = (words.next().expect("a name"), words.next().expect("a version"));
        let version = version.trim_start_matches('v').to_string();
        let source = words.find(|word| word.starts_with('(') && *word != "(proc-macro)");
        let licence = licence.trim_end_matches(" (*)").to_string();
        found.entry((name.to_string(), version.clone())).or_insert(Package {
            name: name.into(),
            version,
            source: source.map(str::to_string),
            licence,
        });
    }
    assert!(found.len() > 100, "the tree was not understood: {} packages", found.len());
    found.into_values().filter(|package| package.name != "evoke").collect()
}

fn rules() -> toml::Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    std::fs::read_to_string(path).expect("deny.toml").parse().expect("TOML")
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// Whether a licence expression can be met by allowed licences alone. `AND` binds tighter than `OR`.
fn allowed(expression: &str, licences: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, licences);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, licences: &[&str]) -> bool {
    let mut met = all(words, at, licences);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, licences);
    }
    met
}

fn all(words: &[&str], at: &mut usize, licences: &[&str]) -> bool {
    let mut met = one(words, at, licences);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, licences);
    }
    met
}

fn one(words: &[&str], at: &mut usize, licences: &[&str]) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let met = any(words, at, licences);
        *at += 1;
        return met;
    }
    let mut name = word.to_string();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    licences.contains(&name.as_str())
}

#[test]
fn every_licence_is_allowed() {
    let rules = rules();
    let licences = strings(&rules["licenses"]["allow"]);
    for Package { name, version, licence, .. } in packages() {
        assert!(
            allowed(&licence, &licences),
            "{name} {version} has the licence {licence:?}, not in deny.toml"
        );
    }
}

#[test]
fn every_crate_comes_from_the_registry_and_none_is_refused() {
    let rules = rules();
    let refused = strings(&rules["bans"]["deny"]);
    for Package { name, version, source, .. } in packages() {
        assert!(source.is_none(), "{name} {version} comes from {source:?}");
        assert!(!refused.contains(&name.as_str()), "{name} {version} is refused by deny.toml");
    }
}

#[test]
fn no_crate_is_there_twice_without_a_reason() {
    let rules = rules();
    let skipped: Vec<&str> = rules["bans"]["skip"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|skip| skip["crate"].as_str().expect("name@version"))
        .collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Package { name, version, .. } in packages() {
        if !skipped.contains(&format!("{name}@{version}").as_str()) {
            versions.entry(name).or_default().push(version);
        }
    }
    for (name, versions) in versions {
        assert!(
            versions.len() == 1,
            "{name} is there in versions {versions:?}; see `cargo tree -i {name}@VERSION`"
        );
    }
}

#[test]
fn licence_expressions_mean_what_spdx_says() {
    let licences = ["MIT", "OFL-1.1", "Apache-2.0 WITH LLVM-exception"];
    for met in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(MIT OR X) AND OFL-1.1", "X AND Y OR MIT"] {
        assert!(allowed(met, &licences), "{met}");
    }
    assert!(allowed("Apache-2.0 WITH LLVM-exception OR X", &licences));
    for not in ["", "X", "MIT AND X", "MIT AND (X OR Y)", "Apache-2.0", "X WITH LLVM-exception"] {
        assert!(!allowed(not, &licences), "{not}");
    }
}

//! Real COCO pictures, from the annotation file to captions learned by heart.
//!
//! Runs where the folder `coco-mini` lies beside the repository, in `../shared/data`, or where `EVOKE_COCO_MINI` says.

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use common::{evoke, json, run, succeeded, text};
use evoke::eval::{distance, tokenize};
use serde_json::Value;

const ANNOTATIONS: &str = "captions_val2014_mini.json";

/// The folder, or a line that says which test was left out.
fn coco_mini(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/coco-mini");
    let folder = std::env::var_os("EVOKE_COCO_MINI").map_or(beside, PathBuf::from);
    if folder.join(ANNOTATIONS).exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {test} (no COCO pictures in {})", folder.display());
    None
}

fn prepare(coco: &Path, out: &Path) -> Value {
    let annotations = coco.join(ANNOTATIONS);
    let images = coco.join("images");
    let args = ["--images", text(&images), "--out", text(out), "--size", "64", "--json"];
    json(run(&[&["prepare", "coco", "--annotations", text(&annotations)], &args[..]].concat()))
}

fn words(caption: &str) -> Vec<String> {
    tokenize(caption)
}

#[test]
fn distance_counts_words() {
    let of = |a: &str, b: &str| distance(&words(a), &words(b));
    assert_eq!(of("a dog runs", "A dog runs."), 0);
    assert_eq!(of("a dog runs", "a cat runs"), 1);
    assert_eq!(of("a dog runs", "a big dog runs"), 1);
    assert_eq!(of("a dog runs", "dog"), 2);
    assert_eq!(of("", "a dog"), 2);
}

/// Share of the results that equal one of their picture's captions, and that are within one word of one.
fn shares(annotations: &Path, results: &Path) -> (f64, f64) {
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let annotations = read(annotations);
    // Results name pictures by COCO's own numbers, as every tool for its files expects.
    let mut captions: HashMap<i64, Vec<Vec<String>>> = HashMap::new();
    for annotation in annotations["annotations"].as_array().unwrap() {
        let picture = annotation["image_id"].as_i64().unwrap();
        captions.entry(picture).or_default().push(words(annotation["caption"].as_str().unwrap()));
    }
    let results = read(results);
    let results = results.as_array().unwrap();
    let nearest: Vec<usize> = results
        .iter()
        .map(|result| {
            let said = words(result["caption"].as_str().unwrap());
            let own = &captions[&result["image_id"].as_i64().unwrap()];
            own.iter().map(|caption| distance(&said, caption)).min().unwrap()
        })
        .collect();
    let share = |most: usize| nearest.iter().filter(|&&d| d <= most).count() as f64 / nearest.len() as f64;
    (share(0), share(1))
}

/// Trains as the example says, with settings on top, and evaluates on the training pictures.
fn by_heart(name: &str, pictures: usize, sets: &[&str]) -> Option<(Value, f64, f64)> {
    let coco = coco_mini(name)?;
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    prepare(&coco, &data);
    let mut train = evoke();
    train.args(["train", "captioner", "--quiet", "--data", text(&data), "--out", text(&out)]);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/coco-mini.toml");
    train.args(["--config", text(&config), "--overfit", &pictures.to_string()]);
    train.args(sets.iter().flat_map(|set| ["--set", set]));
    let summary = json(train.arg("--json").output().unwrap());
    let results = folder.path().join("results.json");
    let args = ["--split", "train", "--results", text(&results), "--json"];
    let report = json(run(&[&["evaluate", text(&out), "--data", text(&data)], &args[..]].concat()));
    let (exact, near) = shares(&coco.join(ANNOTATIONS), &results);
    println!(
        "{pictures} pictures, {:.0} s: exact {:.1} %, within one word {:.1} %, CIDEr-D {:.3}",
        summary["seconds"].as_f64().unwrap(),
        100.0 * exact,
        100.0 * near,
        report["CIDEr-D"].as_f64().unwrap()
    );
    Some((report, exact, near))
}

#[test]
fn coco_is_prepared_inspected_and_verified() {
    let Some(coco) = coco_mini("coco_is_prepared_inspected_and_verified") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let report = prepare(&coco, &data);
    assert_eq!(report["splits"]["train"]["samples"], 195);
    assert_eq!(report["splits"]["train"]["captions"], 781);
    assert_eq!(report["splits"]["train"]["skipped"].as_array().unwrap().len(), 0, "{report}");
    let inspected = succeeded(run(&["inspect", text(&data)]));
    common::says(&String::from_utf8(inspected.stdout).unwrap(), &["195", "64"]);
    succeeded(run(&["verify", text(&data)]));
}

#[test]
fn coco_pictures_are_learned_by_heart() {
    let Some((report, exact, near)) = by_heart("coco_pictures_are_learned_by_heart", 195, &[]) else {
        return;
    };
    assert_eq!(report["pictures"], 195);
    assert!(near >= 0.9, "within one word: {near}; exact: {exact}; {report}");
    assert!(report["CIDEr-D"].as_f64().unwrap() > 2.5, "{report}");
    let gain = report["nats_other"].as_f64().unwrap() - report["nats_true"].as_f64().unwrap();
    assert!(gain > 0.3, "the picture decides: {report}");
}

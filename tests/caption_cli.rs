//! `evoke caption` and `evoke evaluate` with wrong input: one line that says what, where and what to do.

mod common;

use std::path::{Path, PathBuf};

use common::{checkpoint, json, refused, run, says, scenes, succeeded, text, train};
use image::{Rgb, RgbImage};

/// A data set, a finished run on it, and a good picture.
struct Made {
    folder: tempfile::TempDir,
    data: PathBuf,
    run: PathBuf,
    picture: PathBuf,
}

impl Made {
    fn new() -> Made {
        let folder = tempfile::tempdir().unwrap();
        let data = scenes(folder.path(), 24, 8);
        let run = folder.path().join("run");
        succeeded(train(&data, &run, &["train.steps=4", "train.checkpoint_every=2"]).output().unwrap());
        let picture = folder.path().join("good.png");
        RgbImage::from_pixel(48, 32, Rgb([200, 30, 30])).save(&picture).unwrap();
        Made { folder, data, run, picture }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn caption(&self, pictures: &[&Path]) -> std::process::Output {
        let pictures: Vec<&str> = pictures.iter().map(|path| text(path)).collect();
        run(&[&["caption", text(&self.run)], &pictures[..]].concat())
    }

    /// The refusal of `evaluate` on these data.
    fn evaluate(&self, data: &Path, more: &[&str], code: i32) -> String {
        refused(run(&[&["evaluate", text(&self.run), "--data", text(data)], more].concat()), code)
    }
}

#[test]
fn pictures_that_cannot_be_read() {
    let made = Made::new();
    let good = std::fs::read(&made.picture).unwrap();
    let cases = [
        (made.file("broken.png", b"\x89PNG\r\n\x1a\nand then nothing"), "broken.png"),
        (made.file("text.jpg", b"this is no picture"), "text.jpg"),
        (made.file("empty.png", b""), "empty.png"),
        (made.file("cut.png", &good[..good.len() / 2]), "cut.png"),
        (made.file("giant.ppm", b"P6 20000 20000 255\n\0"), "too large: 20000 x 20000"),
        (made.folder.path().join("missing.png"), "missing.png"),
        (made.folder.path().to_path_buf(), "is a folder"),
    ];
    for (path, part) in &cases {
        let output = made.caption(&[path]);
        assert!(output.stdout.trim_ascii().is_empty(), "{path:?}");
        says(&refused(output, 1), &[text(path), part]);
    }
    // Among others: the good one gets its caption, and of two bad ones each has its line.
    let output = made.caption(&[&made.picture, &cases[0].0, &cases[4].0]);
    let (said, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.lines().count() == 1 && said.starts_with(&format!("{}\t", made.picture.display())),
        "{said}"
    );
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    says(lines[0], &["broken.png"]);
    says(lines[1], &["giant.ppm", "too large"]);
    assert_eq!(lines[2], "evoke: 2 of 3 pictures could not be read");
    // As JSON, the reason stands beside the picture.
    let output = run(&["caption", text(&made.run), text(&cases[0].0), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(report["pictures"][0]["error"].is_string() && report["pictures"][0]["caption"].is_null());
}

#[test]
fn one_pixel_and_a_very_long_picture_get_a_caption() {
    let made = Made::new();
    for (width, height) in [(1, 1), (1, 500), (3000, 2)] {
        let path = made.folder.path().join("odd.png");
        RgbImage::from_pixel(width, height, Rgb([9, 9, 200])).save(&path).unwrap();
        let report = json(run(&["caption", text(&made.run), text(&path), "--json"]));
        assert!(report["pictures"][0]["caption"].is_string(), "{width} x {height}: {report}");
    }
}

#[test]
fn a_run_that_is_not_there_or_holds_nothing_yet() {
    let made = Made::new();
    let nowhere = made.folder.path().join("nowhere");
    for command in [["caption", text(&made.picture)], ["evaluate", "--data"]] {
        let more: &[&str] = if command[1] == "--data" { &[text(&made.data)] } else { &[] };
        let call = |place: &Path| run(&[&[command[0], text(place), command[1]], more].concat());
        says(&refused(call(&nowhere), 1), &["nowhere", "no such run folder", "evoke train"]);
        says(&refused(call(made.folder.path()), 1), &["holds no run", "config.toml", "evoke train"]);
    }
    std::fs::remove_dir_all(made.run.join("checkpoints")).unwrap();
    says(&refused(made.caption(&[&made.picture]), 1), &["holds no checkpoint yet", "evoke train"]);
    says(&made.evaluate(&made.data, &[], 1), &["holds no checkpoint yet"]);
}

#[test]
fn a_tokenizer_that_does_not_match() {
    let made = Made::new();
    let captions = made.file("captions.tsv", b"good.png\tquite other words\n");
    let other = made.folder.path().join("other");
    let args = ["prepare", "captions", text(&captions), "--out", text(&other), "--size", "32"];
    succeeded(run(&args));
    let line = made.evaluate(&other, &["--split", "train"], 1);
    says(&line, &["other", "another tokenizer", "--tokenizer-file and the run's tokenizer.json"]);
    // The run's own tokenizer, replaced by the other's.
    std::fs::copy(other.join("tokenizer.json"), made.run.join("tokenizer.json")).unwrap();
    let line = refused(made.caption(&[&made.picture]), 1);
    says(&line, &["run/tokenizer.json", "is not the tokenizer that the run was trained with"]);
}

#[test]
fn pictures_of_another_size_and_a_split_that_is_not_there() {
    let made = Made::new();
    let smaller = made.folder.path().join("smaller");
    let counts = ["--train", "8", "--val", "4", "--unseen", "0", "--size", "16"];
    succeeded(run(&[&["prepare", "scenes", "--out", text(&smaller)], &counts[..]].concat()));
    says(&made.evaluate(&smaller, &[], 1), &["smaller", "16 x 16", "32 x 32", "prepare it"]);
    says(&made.evaluate(&made.data, &["--split", "vall"], 1), &["vall", "train", "val"]);
    says(&made.evaluate(&made.folder.path().join("nowhere"), &[], 1), &["nowhere"]);
    let odd = made.run.join("config.toml").join("results.json");
    says(&made.evaluate(&made.data, &["--results", text(&odd)], 1), &["results.json", "cannot write"]);
}

#[test]
fn ways_of_decoding_that_make_no_sense() {
    let made = Made::new();
    for (args, part) in [
        (&["--beam", "0"][..], "beam"),
        (&["--temperature", "0"], "temperature"),
        (&["--temperature", "nan"], "temperature"),
        (&["--top-p", "1.5"], "top-p"),
    ] {
        let output = run(&[&["caption", text(&made.run), text(&made.picture)], args].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(part) && !error.contains("panicked"), "{args:?}: {error}");
    }
}

#[test]
fn files_of_a_run_that_are_damaged() {
    let made = Made::new();
    let damaged = |name: &str, bytes: &[u8], parts: &[&str], code: i32| {
        let path = made.run.join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        says(&refused(made.caption(&[&made.picture]), code), parts);
        std::fs::write(&path, good).unwrap();
    };
    damaged("data.json", b"{", &["data.json", "is damaged"], 1);
    damaged("tokenizer.json", b"[]", &["tokenizer.json"], 1);
    damaged("config.toml", b"[model]\nwidth = \n", &["config.toml line 2"], 2);
    damaged("config.toml", b"[model]\nwidth = 20\nheads = 2\n", &["step-00000004", "20", "16"], 1);
    // A damaged newest checkpoint: the one before it speaks.
    let weights = checkpoint(&made.run, 4).join("weights.safetensors");
    std::fs::write(&weights, b"rubbish").unwrap();
    let output = run(&["caption", text(&made.run), text(&made.picture), "--json"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    says(&error, &["step-00000004", "weights.safetensors"]);
    assert_eq!(json(output)["step"], 2, "{error}");
}

//! `evoke score` as a user meets it: its JSON, its table, and one clear line for each mistake.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Files {
    folder: TempDir,
}

impl Files {
    fn new(candidates: &str, references: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("results.json"), candidates).expect("written");
        std::fs::write(folder.path().join("captions.json"), references).expect("written");
        Files { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exit code, stdout, stderr.
    fn score(&self, more: &[&str]) -> (i32, String, String) {
        run(&self.path("results.json"), &self.path("captions.json"), more)
    }

    /// The one line that a failing run prints.
    fn error(&self) -> String {
        let (code, stdout, stderr) = self.score(&[]);
        assert!(code == 1 || code == 2, "exit code {code}: {stderr}");
        assert_eq!(stdout, "", "nothing on stdout");
        assert_eq!(stderr.trim_end().lines().count(), 1, "one line: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}

fn run(candidates: &Path, references: &Path, more: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("evoke")
        .expect("the program")
        .args(["score", "--candidates"])
        .arg(candidates)
        .arg("--references")
        .arg(references)
        .args(more)
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn captions() -> Value {
    json!({
        "info": {}, "images": [{"id": 1}, {"id": 2}, {"id": 3}],
        "annotations": [
            {"image_id": 1, "id": 10, "caption": "A man riding a wave on a surfboard."},
            {"image_id": 1, "id": 11, "caption": "The surfer is on a big wave."},
            {"image_id": 2, "id": 12, "caption": "Two giraffes stand by a tall tree."},
            {"image_id": 3, "id": 13, "caption": "A plate of pizza and a fork."},
        ],
    })
}

const GOOD: &str = r#"[{"image_id": 1, "caption": "a man riding a wave on a surfboard"},
 {"image_id": "2", "caption": "Two giraffes stand by a tall tree!"},
 {"image_id": 3, "caption": "a man on a wave"}]"#;

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("{name} is missing from {report}"))
}

#[test]
fn json_has_every_documented_field() {
    let (code, stdout, stderr) = Files::new(GOOD, &captions().to_string()).score(&["--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&stdout).expect("one JSON document");
    for name in ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "CIDEr-D-dealt"] {
        let value = number(&report, name);
        assert!((0.0..=10.0).contains(&value), "{name} = {value}");
    }
    assert_eq!(number(&report, "distinct_share"), 1.0);
    assert_eq!(number(&report, "reference_distinct_share"), 1.0);
    assert_eq!(number(&report, "exact_share"), 2.0 / 3.0);
    assert_eq!(report["pictures"], 3);
    assert_eq!(report["without_candidate"], 0);
    assert!(number(&report, "CIDEr-D") > number(&report, "CIDEr-D-dealt"));
}

#[test]
fn people_get_an_aligned_table() {
    let (code, stdout, _) = Files::new(GOOD, &captions().to_string()).score(&[]);
    assert_eq!(code, 0);
    let widths: Vec<usize> = stdout.lines().map(|line| line.chars().count()).collect();
    assert!(widths.len() > 9 && widths.iter().all(|w| *w == widths[0]), "{stdout}");
    assert!(stdout.contains("CIDEr-D"), "{stdout}");
}

#[test]
fn pictures_without_a_candidate_are_counted_and_left_out() {
    let one = r#"[{"image_id": 1, "caption": "a man"}, {"image_id": 3, "caption": "a fork"}]"#;
    let (code, stdout, stderr) = Files::new(one, &captions().to_string()).score(&["--json"]);
    let report: Value = serde_json::from_str(&stdout).expect("one JSON document");
    assert_eq!((code, &report["pictures"], &report["without_candidate"]), (0, &json!(2), &json!(1)));
    assert!(stderr.contains("1 of 3 pictures"), "{stderr}");
}

#[test]
fn one_picture_has_no_cider_and_a_note_says_so() {
    let one = r#"[{"image_id": 1, "caption": "A man riding a wave on a surfboard"}]"#;
    let references =
        json!({"annotations": [{"image_id": 1, "caption": "A man riding a wave on a surfboard."}]});
    let (code, stdout, stderr) = Files::new(one, &references.to_string()).score(&["--json"]);
    let report: Value = serde_json::from_str(&stdout).expect("one JSON document");
    assert_eq!((code, number(&report, "CIDEr-D")), (0, 0.0));
    assert!(number(&report, "BLEU-4") > 0.99);
    assert!(stderr.contains("one picture"), "{stderr}");
}

#[test]
fn a_missing_file_is_named() {
    let files = Files::new(GOOD, &captions().to_string());
    let (code, _, stderr) = run(&files.path("none.json"), &files.path("captions.json"), &[]);
    assert!(code == 1 && stderr.contains("none.json") && !stderr.contains("panicked"), "{code} {stderr}");
    std::fs::remove_file(files.path("captions.json")).expect("removed");
    assert!(files.error().contains("captions.json"));
    // A folder is no file.
    let (code, _, stderr) = run(files.folder.path(), &files.path("captions.json"), &[]);
    assert!(code == 1 && stderr.lines().count() == 1, "{code} {stderr}");
}

#[test]
fn no_annotations_and_no_candidates_are_said() {
    let line = Files::new(GOOD, r#"{"images": [{"id": 1}], "annotations": []}"#).error();
    assert!(line.contains("captions.json") && line.contains("annotations"), "{line}");
    let line = Files::new("[]", &captions().to_string()).error();
    assert!(line.contains("results.json") && line.contains("no candidates"), "{line}");
}

#[test]
fn what_is_not_json_is_named_with_its_line() {
    let line = Files::new("[{\"image_id\": 1,\n\"caption\": }]", &captions().to_string()).error();
    assert!(line.contains("results.json") && line.contains("line 2"), "{line}");
    let line = Files::new(GOOD, "").error();
    assert!(line.contains("captions.json") && line.contains("not JSON"), "{line}");
    let line = Files::new(GOOD, "\u{feff}{\"annotations\":").error();
    assert!(line.contains("captions.json") && line.contains("line 1"), "{line}");
}

#[test]
fn what_is_json_but_not_of_the_format_is_told_what_to_be() {
    let line = Files::new(r#"{"image_id": 1}"#, &captions().to_string()).error();
    assert!(line.contains("results.json") && line.contains("expected a list"), "{line}");
    let line = Files::new(r#"[{"image_id": 1}]"#, &captions().to_string()).error();
    assert!(line.contains("caption") && line.contains("line 1"), "{line}");
    let line = Files::new(r#"[{"image_id": [1], "caption": "a"}]"#, &captions().to_string()).error();
    assert!(line.contains("image_id must be"), "{line}");
    let line = Files::new(GOOD, r#"{"images": []}"#).error();
    assert!(line.contains("captions.json") && line.contains("annotations"), "{line}");
}

#[test]
fn a_candidate_for_an_unknown_picture_is_named() {
    let line = Files::new(r#"[{"image_id": 99, "caption": "a"}]"#, &captions().to_string()).error();
    assert!(line.contains("99") && line.contains("no references"), "{line}");
}

#[test]
fn two_candidates_for_a_picture_are_refused() {
    // A number and the same number as text are one picture.
    let two = r#"[{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}]"#;
    let line = Files::new(two, &captions().to_string()).error();
    assert!(line.contains("image_id 1 ") && line.contains("more than one candidate"), "{line}");
}

#[test]
fn a_missing_option_is_wrong_usage() {
    let output = Command::cargo_bin("evoke").expect("the program").arg("score").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

//! `evoke train` with wrong input, as a user gives it: one line that says what, where and what to do.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{checkpoint, evoke, refused, resume, run, same_tensors, says, scenes, succeeded, text, train};

/// A data set and a finished run on it.
struct Made {
    folder: tempfile::TempDir,
    data: PathBuf,
    run: PathBuf,
}

impl Made {
    fn new() -> Made {
        let folder = tempfile::tempdir().unwrap();
        let data = scenes(folder.path(), 24, 0);
        let run = folder.path().join("run");
        succeeded(train(&data, &run, &["train.steps=4", "train.checkpoint_every=2"]).output().unwrap());
        Made { folder, data, run }
    }

    fn resumed(&self, sets: &[&str]) -> Output {
        let mut command = resume(&self.data, &self.run);
        command.arg("--resume");
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        command.output().unwrap()
    }
}

fn refused_train(data: &Path, out: &Path, sets: &[&str], code: i32, parts: &[&str]) {
    says(&refused(train(data, out, sets).output().unwrap(), code), parts);
    assert!(!out.join("checkpoints").exists(), "nothing was begun");
}

#[test]
fn no_such_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    refused_train(&folder.path().join("nowhere"), &out, &[], 1, &["nowhere", "evoke prepare"]);
    assert!(!out.exists(), "no run folder is left behind");
    // A folder that is there, but no data set.
    refused_train(folder.path(), &out, &[], 1, &["index.json", "evoke prepare"]);
}

#[test]
fn settings_that_do_not_exist_or_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 8, 0);
    let out = folder.path().join("run");
    let cases: [(&str, &[&str]); 8] = [
        ("model.witdh=32", &["model.witdh", "nearest is model.width"]),
        ("trian.batch=32", &["trian.batch", "nearest is train.batch"]),
        ("model.width=many", &["model.width", "many"]),
        ("model.heads=3", &["model.width is 16", "multiple of model.heads (3)"]),
        ("model.patch=5", &["model.patch", "5", "32"]),
        ("model.patch=64", &["model.patch", "64", "32"]),
        ("train.batch=0", &["train.batch is 0", "at least 1"]),
        (
            "train.evaluate_sounds=3",
            &["train.evaluate_sounds does nothing for the captioner", "leave it out"],
        ),
    ];
    for (set, parts) in cases {
        refused_train(&data, &out, &[set], 2, parts);
        assert!(!out.exists(), "{set}: no run folder is left behind");
    }
    let file = folder.path().join("my.toml");
    std::fs::write(&file, "[train]\nbatch = 8\n\n[optimizer]\nlearning_rat = 0.1\n").unwrap();
    let line = refused(resume(&data, &out).args(["--config", text(&file)]).output().unwrap(), 2);
    says(&line, &["my.toml line 5", "optimizer.learning_rat", "nearest is optimizer.learning_rate"]);
    let missing = folder.path().join("missing.toml");
    let line = refused(resume(&data, &out).args(["--config", text(&missing)]).output().unwrap(), 1);
    says(&line, &["missing.toml", "cannot read"]);
}

#[test]
fn print_config_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let sets =
        ["--set", "model.width=64", "--set", "optimizer.learning_rate=1e-5", "--set", "stem=convolution"];
    let print = |args: &[&str]| {
        let output = run(&[&["train", "captioner", "--print-config"], args].concat());
        String::from_utf8(succeeded(output).stdout).unwrap()
    };
    let first = print(&sets);
    says(&first, &["width = 64", "stem = \"convolution\""]);
    assert!(!first.contains("evaluate_sounds") && !first.contains("evaluate_seconds"), "{first}");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, &first).unwrap();
    assert_eq!(print(&["--config", text(&file)]), first);
    assert_ne!(print(&[]), first);
    // And a run writes down the very same.
    let data = scenes(folder.path(), 8, 0);
    let out = folder.path().join("run");
    succeeded(train(&data, &out, &["train.steps=1"]).output().unwrap());
    let stored = std::fs::read_to_string(out.join("config.toml")).unwrap();
    assert_eq!(print(&["--config", text(&out.join("config.toml"))]), stored);
}

#[test]
fn a_second_run_into_the_same_folder() {
    let made = Made::new();
    let before = std::fs::read(checkpoint(&made.run, 4).join("state.json")).unwrap();
    let line = refused(train(&made.data, &made.run, &[]).output().unwrap(), 1);
    says(&line, &["already holds a run", "--resume", "another --out"]);
    assert_eq!(std::fs::read(checkpoint(&made.run, 4).join("state.json")).unwrap(), before);
    let other = made.folder.path().join("mine");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.tex"), "").unwrap();
    refused_train(&made.data, &other, &[], 1, &["thesis.tex", "new or an empty folder"]);
}

#[test]
fn places_that_cannot_be_a_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 8, 0);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused_train(&data, &file, &[], 1, &["is a file", "another --out"]);
    refused_train(&data, &file.join("run"), &[], 1, &["cannot create the folder", "file"]);
}

#[test]
fn resume_with_other_settings_names_them() {
    let made = Made::new();
    let line = refused(made.resumed(&["train.batch=8"]), 2);
    says(&line, &["cannot be continued exactly", "train.batch was 4 and is now 8", "another --out"]);
    let line = refused(made.resumed(&["model.width=32", "train.seed=7"]), 2);
    says(&line, &["model.width was 16 and is now 32", "train.seed was 1 and is now 7"]);
    // Half a cosine ends where the run ends: more steps would have made other first steps.
    says(&refused(made.resumed(&["train.steps=9"]), 2), &["train.steps was 4 and is now 9"]);
    // Settings that no weight depends on may change.
    succeeded(made.resumed(&["train.keep=1", "train.checkpoint_every=1"]));
}

#[test]
fn resume_with_another_data_set() {
    let made = Made::new();
    let other = tempfile::tempdir().unwrap();
    let data = scenes(other.path(), 25, 0);
    let line = refused(resume(&data, &made.run).arg("--resume").output().unwrap(), 1);
    says(&line, &[text(&data), "not the data set that the run began with", "another --out"]);
}

#[test]
fn resume_of_nothing() {
    let made = Made::new();
    let nothing = made.folder.path().join("nothing");
    let line = refused(resume(&made.data, &nothing).arg("--resume").output().unwrap(), 1);
    says(&line, &["nothing", "no such run folder"]);
    std::fs::create_dir(&nothing).unwrap();
    let line = refused(resume(&made.data, &nothing).arg("--resume").output().unwrap(), 1);
    says(&line, &["nothing", "holds no run"]);
}

/// The checkpoints of a wider model in this run's folder.
#[test]
fn a_run_folder_with_the_checkpoints_of_another_model() {
    let made = Made::new();
    let other = made.folder.path().join("wider");
    let sets = ["model.width=32", "train.steps=4"];
    succeeded(train(&made.data, &other, &sets).output().unwrap());
    std::fs::remove_dir_all(made.run.join("checkpoints")).unwrap();
    std::fs::rename(other.join("checkpoints"), made.run.join("checkpoints")).unwrap();
    let line = refused(made.resumed(&[]), 1);
    says(&line, &["step-00000004", "weights.safetensors", "32", "16"]);
    let line =
        refused(run(&["evaluate", text(&made.run), "--data", text(&made.data), "--split", "train"]), 1);
    says(&line, &["step-00000004", "weights.safetensors", "32", "16"]);
}

/// What an undisturbed run of 2,000 steps leaves must also be left by one whose metrics could not be written.
#[test]
fn metrics_that_cannot_be_written_stop_a_run_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 0);
    let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
    let sets = ["train.steps=2000", "train.checkpoint_every=100", "train.evaluate_every=0"];
    succeeded(train(&data, &whole, &sets).output().unwrap());

    // In mid-run: the system lets no file grow beyond 96 KiB, which holds for root too. Metrics get there first but for
    // TensorBoard's file, which a run can do without.
    let inner = train(&data, &out, &sets);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 192; exec \"$0\" \"$@\""]);
    let output = limited.arg(inner.get_program()).args(inner.get_args()).output().unwrap();
    let line = common::refused_after(output, 1, &["TensorBoard gets no more"]);
    says(&line, &["metrics.jsonl", "cannot write", "too large", "--resume"]);
    let saved = common::steps(&out);
    let last = *saved.last().unwrap();
    assert!(last < 2000, "the limit came too late: {saved:?}");

    // At the beginning of a resume: a folder in its place.
    let (file, aside) = (out.join("metrics.jsonl"), folder.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    let line = refused(resume(&data, &out).arg("--resume").output().unwrap(), 1);
    says(&line, &["metrics.jsonl", "is a folder", "move it away"]);
    assert_eq!(common::steps(&out), saved);

    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    succeeded(resume(&data, &out).arg("--resume").output().unwrap());
    same_tensors(&whole, &out, 2000, &["weights", "moments"]);
    assert_eq!(common::metrics(&whole), common::metrics(&out));
}

#[test]
fn two_trainings_in_one_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 0);
    let out = folder.path().join("run");
    let mut first = train(&data, &out, &["train.steps=1000000"]);
    let mut first = first.stderr(std::process::Stdio::null()).spawn().unwrap();
    while !out.join("metrics.jsonl").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let line = refused(resume(&data, &out).arg("--resume").output().unwrap(), 1);
    first.kill().unwrap();
    first.wait().unwrap();
    says(&line, &["another training writes to it", &first.id().to_string()]);
}

#[test]
fn devices_that_are_not_there() {
    let made = Made::new();
    for (device, code) in [("cuda", 1), ("cuda:7", 1), ("tpu", 2)] {
        let output = resume(&made.data, &made.run).args(["--resume", "--device", device]).output().unwrap();
        says(&refused(output, code), &["--device", device]);
    }
}

/// What a user may do right: the same commands without the mistakes. Guards the tests above against failing for
/// another reason.
#[test]
fn the_same_commands_without_mistakes() {
    let made = Made::new();
    let again = made.folder.path().join("again");
    succeeded(train(&made.data, &again, &["train.steps=4", "train.checkpoint_every=2"]).output().unwrap());
    same_tensors(&made.run, &again, 4, &["weights", "moments"]);
    succeeded(made.resumed(&[]));
    let evaluate = |evoke: &mut Command| evoke.output().unwrap();
    succeeded(evaluate(
        evoke().arg("evaluate").arg(&again).arg("--data").arg(&made.data).args(["--split", "train"]),
    ));
}

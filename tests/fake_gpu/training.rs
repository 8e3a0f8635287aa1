//! Whole training runs on the fake GPU: steps are queued and read one later, and leave what a run leaves that waits.

use std::path::Path;
use std::process::Command;

use evoke::data::vocabulary::Vocabulary;

use super::common::{
    RANDOM, metrics, refused_after, resume, same_tensors, says, scenes, signal_at, succeeded, train,
};
use super::{libraries, with_gpu};

const ALL: [&str; 3] = ["weights", "moments", "average"];
/// Everything random is on, two passes a step, and more is asked for on some steps than on others.
const SETS: [&str; 5] = [
    "train.steps=9",
    "train.evaluate_every=6",
    "train.checkpoint_every=4",
    "train.keep=9",
    "train.evaluate_pictures=1",
];
/// Small, since kernels run thread by thread; this is the smallest head that they take.
pub const SIZES: [&str; 7] = [
    "model.width=32",
    "model.heads=1",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "model.feed_forward=32",
    "model.patch=16",
    "train.batch=2",
];

/// `command` where the fake GPU is found, on it.
fn on_gpu(mut command: Command, libraries: &Path, cache: &Path, set: &[(&str, &str)]) -> Command {
    command.args(["--device", "cuda"]);
    let mut command = with_gpu(command, libraries, cache);
    command.envs(set.iter().copied());
    command
}

#[test]
fn a_run_that_reads_its_loss_late_leaves_what_one_leaves_that_waits() {
    let Some(libraries) = libraries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (scenes(folder.path(), 12, 2), folder.path().join("cache"));
    let sets = [&RANDOM[..], &SETS, &SIZES].concat();
    let whole = |name: &str, set: &[(&str, &str)]| {
        let out = folder.path().join(name);
        succeeded(on_gpu(train(&data, &out, &sets), libraries, &cache, set).output().unwrap());
        out
    };
    // Waits for each launch, and for the loss of each pass before it goes on.
    let waited = whole("waited", &[("EVOKE_CUDA_SYNC", "1")]);
    let queued = whole("queued", &[]);
    let plain = whole("plain", &[("EVOKE_CUDA_GRAPH", "0")]);
    assert_eq!(metrics(&waited).len(), 9);
    for other in [&queued, &plain] {
        assert_eq!(metrics(&waited), metrics(other));
        for step in [4, 8, 9] {
            same_tensors(&waited, other, step, &ALL);
        }
    }

    // Stopped in the middle: the step that runs is read and saved, and a resume goes on from it.
    let stopped = folder.path().join("stopped");
    let command = on_gpu(train(&data, &stopped, &sets), libraries, &cache, &[]);
    let line =
        refused_after(signal_at(command, &stopped, 3, "TERM"), 75, &["ignores the picture", "device:"]);
    says(&line, &["stopped by SIGTERM after step", "everything is saved"]);
    let mut command = on_gpu(resume(&data, &stopped), libraries, &cache, &[]);
    succeeded(command.arg("--resume").output().unwrap());
    assert_eq!(metrics(&waited), metrics(&stopped));
    same_tensors(&waited, &stopped, 9, &ALL);
}

#[test]
fn a_step_that_is_not_finite_is_skipped_before_the_host_knows() {
    let Some(libraries) = libraries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (scenes(folder.path(), 12, 0), folder.path().join("cache"));
    // Such a rate makes weights from which no loss is finite.
    let sets = ["optimizer.learning_rate=1e30", "schedule.warmup_steps=1", "schedule.kind=constant"];
    let sets = [&sets[..], &SIZES, &["train.steps=30", "train.checkpoint_every=1", "train.keep=50"]].concat();
    let diverged = |name: &str, set: &[(&str, &str)]| {
        let out = folder.path().join(name);
        let output = on_gpu(train(&data, &out, &sets), libraries, &cache, set).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("in a row could not be used"), "{told}");
        (metrics(&out), told)
    };
    let (waited, queued) = (diverged("waited", &[("EVOKE_CUDA_SYNC", "1")]), diverged("queued", &[]));
    // Paths differ in nothing but their folders.
    assert_eq!(waited.0, queued.0);
    assert_eq!(waited.1.replace("/waited", ""), queued.1.replace("/queued", ""));
}

/// With one shape all that a step launches is one graph.
#[test]
fn a_step_is_one_graph() {
    let Some(libraries) = libraries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (scenes(folder.path(), 12, 0), folder.path().join("cache"));
    for (accumulate, steps) in [(1, 7), (3, 5)] {
        let log = folder.path().join(format!("{accumulate}.log"));
        let passes = format!("train.accumulate={accumulate}");
        let number = format!("train.steps={steps}");
        // Words are cut to one length, so that every batch has it.
        let sets = [&passes, &number, "model.max_words=4", "train.checkpoint_every=0"];
        let sets = [&sets[..], &SIZES].concat();
        let out = folder.path().join(format!("run-{accumulate}"));
        let log_path = log.to_str().unwrap();
        let set = [("FAKE_CUDA_LOG", log_path)];
        succeeded(on_gpu(train(&data, &out, &sets), libraries, &cache, &set).output().unwrap());
        let log = std::fs::read_to_string(log).unwrap();
        // From the first replay on to the last update.
        let lines: Vec<&str> = log.lines().collect();
        let replays: Vec<usize> =
            (0..lines.len()).filter(|&i| lines[i].starts_with("graph of")).take(steps - 1).collect();
        assert_eq!(replays.len(), steps - 1, "{log}");
        let between = &lines[replays[0]..=replays[steps - 2]];
        assert_eq!(between.len(), steps - 1, "something else was launched between steps: {between:?}");
        assert!(between.iter().all(|line| line == &between[0]), "{between:?}");
        assert_eq!(log.matches("record optimizer_adamw").count(), 1);
        assert_eq!(log.matches("record guard_tally").count(), accumulate);
    }
}

/// Rows of logits lie in whole lines, whatever the number of words: forward, and where their gradient is read.
#[test]
fn rows_of_logits_begin_on_lines() {
    let Some(libraries) = libraries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (scenes(folder.path(), 12, 0), folder.path().join("cache"));
    let (out, log) = (folder.path().join("run"), folder.path().join("log"));
    let sets = [&SIZES[..], &["train.steps=2", "model.max_words=4", "train.checkpoint_every=0"]].concat();
    let set = [("FAKE_CUDA_LOG", log.to_str().unwrap())];
    succeeded(on_gpu(train(&data, &out, &sets), libraries, &cache, &set).output().unwrap());
    let vocabulary = Vocabulary::load(&data.join("tokenizer.json")).unwrap().size();
    assert_ne!(vocabulary % 8, 0, "a vocabulary that needs no care proves nothing");
    // Bytes of a line, and of an element.
    let line = 128 / 2;
    let (width, rows, stride) = (32, 2 * 4, vocabulary.next_multiple_of(line));
    let (table, hidden) =
        (format!("{width} x {vocabulary} by {width}"), format!("{width} x {rows} by {width}"));
    let logits = format!("{vocabulary} x {rows} by {stride}");
    let log = std::fs::read_to_string(log).unwrap();
    for product in [
        format!("layout {table} and {hidden} into {logits}"),
        format!("layout {table} and {logits} into {hidden}"),
        format!("layout {hidden} and {logits} into {table}"),
    ] {
        assert!(log.lines().any(|found| found == product), "no {product} in {log}");
    }
    assert!(
        !log.contains(&format!("{vocabulary} x {rows} by {vocabulary}")),
        "rows one after another: {log}"
    );
}

//! What the tests of the whole program share: tiny data, tiny models, and the program run as a user runs it.
#![allow(dead_code)] // each test takes what it needs

pub mod browser;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One step takes about a millisecond.
pub const TINY: [&str; 9] = [
    "model.width=16",
    "model.heads=2",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "model.patch=8",
    "model.max_words=12",
    "train.batch=4",
    "schedule.warmup_steps=20",
    "optimizer.learning_rate=0.003",
];

/// Everything random is on, and accumulation: what an exact resume has to get right.
pub const RANDOM: [&str; 5] = [
    "train.accumulate=2",
    "model.word_dropout=0.2",
    "loss.parallel_prediction=0.25",
    "optimizer.average=0.9",
    "train.skip_spikes=3",
];

/// How long anything here may take before a test calls it stuck.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn evoke() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("evoke"))
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn run(args: &[&str]) -> Output {
    evoke().args(args).output().unwrap()
}

pub fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The command's JSON document.
pub fn json(output: Output) -> Value {
    serde_json::from_slice(&succeeded(output).stdout).unwrap()
}

/// The one line on stderr of a command that has to fail with `code`, after lines that `may_precede` it.
pub fn refused_after(output: Output, code: i32, may_precede: &[&str]) -> String {
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(!error.contains("panicked") && !error.contains("RUST_BACKTRACE"), "{error}");
    let preceding =
        |line: &str| !line.starts_with("evoke: ") && may_precede.iter().any(|part| line.contains(part));
    let lines: Vec<&str> = error.lines().filter(|line| !preceding(line)).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].starts_with("evoke: "), "{error}");
    lines[0].to_owned()
}

/// The one line on stderr of a command that has to fail with `code`.
pub fn refused(output: Output, code: i32) -> String {
    refused_after(output, code, &[])
}

/// Asserts that a line says all of `parts`.
pub fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
}

/// A data set of the embedded world, 32 x 32 pixels.
pub fn scenes(folder: &Path, train: usize, val: usize) -> PathBuf {
    let out = folder.join("data");
    let (train, val) = (train.to_string(), val.to_string());
    let args = ["prepare", "scenes", "--size", "32", "--unseen", "0", "--train", &train, "--val", &val];
    succeeded(evoke().args(args).arg("--out").arg(&out).output().unwrap());
    out
}

/// `evoke train captioner --quiet` of a tiny model, with settings on top.
pub fn train(data: &Path, out: &Path, sets: &[&str]) -> Command {
    let mut command = resume(data, out);
    for set in TINY.iter().chain(sets) {
        command.args(["--set", set]);
    }
    command
}

/// `evoke train captioner --quiet` without settings, to which `--resume` is to be added.
pub fn resume(data: &Path, out: &Path) -> Command {
    let mut command = evoke();
    command.args(["train", "captioner", "--quiet", "--data", text(data), "--out", text(out)]);
    command
}

/// The folder of the checkpoint of `step`.
pub fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}"))
}

/// Steps of all checkpoints.
pub fn steps(run: &Path) -> BTreeSet<u64> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return BTreeSet::new() };
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    entries.filter_map(|entry| name(entry).strip_prefix("step-")?.parse().ok()).collect()
}

/// Asserts that two runs left the same tensors at `step`, byte for byte.
pub fn same_tensors(one: &Path, two: &Path, step: u64, groups: &[&str]) {
    for group in groups {
        let read = |run: &Path| {
            let path = checkpoint(run, step).join(format!("{group}.safetensors"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        assert!(read(one) == read(two), "{group}.safetensors differs at step {step}");
    }
}

/// The lines of metrics.jsonl without what a clock decides.
pub fn metrics(run: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        for name in ["samples_per_second", "data_wait"] {
            assert!(fields.remove(name).is_some(), "no {name} in {fields:?}");
        }
        line
    };
    lines.lines().map(line).collect()
}

/// Sends `signal` as soon as metrics.jsonl has `lines` lines, and waits for the end.
pub fn signal_at(mut command: Command, run: &Path, lines: usize, signal: &str) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    loop {
        let written = std::fs::read(run.join("metrics.jsonl")).unwrap_or_default();
        if written.iter().filter(|&&byte| byte == b'\n').count() >= lines {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{lines} lines of metrics never came");
        std::thread::sleep(Duration::from_millis(1));
    }
    let kill = ["-s", signal, &child.id().to_string()].map(str::to_owned);
    assert!(Command::new("kill").args(kill).status().unwrap().success(), "the run ended before the signal");
    child.wait_with_output().unwrap()
}

/// A small generator of its own, so that a seed means the same in every release of every crate.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

/// Runs a `prepare` of `out` that takes about `whole`, killing it at random instants, until the data set is complete; the
/// number of kills.
pub fn killed_until_done(
    make: impl Fn() -> Command,
    out: &Path,
    whole: Duration,
    random: &mut Random,
) -> usize {
    for kills in 0.. {
        let mut child = make().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Longer and longer, so that it ends on a machine that has become slow, too.
        let limit = whole.as_micros() as u64 * (10 + kills as u64) / 12;
        let (started, wait) = (Instant::now(), Duration::from_micros(random.below(limit)));
        while started.elapsed() < wait && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = child.try_wait().unwrap();
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        if let Some(status) = ended {
            assert!(status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return kills;
        }
        // The kill may have come after the last of the work.
        if out.join("index.json").exists() && !out.join("prepare-journal.jsonl").exists() {
            return kills + 1;
        }
    }
    unreachable!()
}

/// Every file of a folder with its bytes, by name.
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

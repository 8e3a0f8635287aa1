//! A run that is stopped and resumed ends as one that never was: byte for byte, with all that is random turned on.

mod common;

use std::path::Path;

use common::{
    RANDOM, metrics, refused, refused_after, resume, same_tensors, says, scenes, signal_at, succeeded,
};
use common::{steps, train};

const ALL: [&str; 3] = ["weights", "moments", "average"];
/// 42 pictures make 10 passes of 4, so 5 steps of 2 passes, an epoch.
const PICTURES: usize = 42;
const STEPS_OF_AN_EPOCH: u64 = 5;

/// A run with everything random turned on, to its end.
fn whole(data: &Path, out: &Path, sets: &[&str]) {
    succeeded(train(data, out, &[&RANDOM[..], sets].concat()).output().unwrap());
}

#[test]
fn a_run_stopped_by_sigterm_and_resumed_ends_byte_for_byte_as_one_that_ran_through() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), PICTURES, 8);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let sets = ["train.steps=400", "train.evaluate_every=90", "train.checkpoint_every=150"];
    whole(&data, &one, &sets);

    let mut stops = Vec::new();
    for (round, lines) in [37, 113, 199, 300].into_iter().enumerate() {
        let command = match round {
            0 => train(&data, &two, &[&RANDOM[..], &sets].concat()),
            _ => {
                let mut command = resume(&data, &two);
                command.arg("--resume");
                command
            }
        };
        // What an evaluation on the way finds of so small a model may be a warning.
        let output = signal_at(command, &two, lines, "TERM");
        let line = refused_after(output, 75, &["ignores the picture"]);
        says(&line, &["stopped by SIGTERM after step", "everything is saved", "--resume"]);
        let step: u64 = line.split("after step ").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        assert!(step >= lines as u64 && steps(&two).contains(&step), "{line}");
        stops.push(step);
    }
    assert!(stops.iter().any(|step| step % STEPS_OF_AN_EPOCH != 0), "none was in mid-epoch: {stops:?}");
    succeeded(resume(&data, &two).arg("--resume").output().unwrap());

    same_tensors(&one, &two, 400, &ALL);
    assert_eq!(metrics(&one).len(), 400);
    assert_eq!(metrics(&one), metrics(&two));
    // Resumed at its end there is nothing left to do, and nothing changes.
    succeeded(resume(&data, &two).arg("--resume").output().unwrap());
    same_tensors(&one, &two, 400, &ALL);
    assert_eq!(metrics(&one), metrics(&two));
}

#[test]
fn sigint_saves_and_exits_with_75_too() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), PICTURES, 0);
    let out = folder.path().join("run");
    let command = train(&data, &out, &["train.steps=100000", "train.evaluate_every=0"]);
    let line = refused(signal_at(command, &out, 20, "INT"), 75);
    says(&line, &["stopped by SIGINT", "everything is saved"]);
    assert_eq!(steps(&out).len(), 1);
}

#[test]
fn two_runs_and_any_number_of_threads_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 64, 8);
    // Wide enough that every operation has work for more than one thread.
    let sets = ["train.steps=12", "model.width=64", "model.heads=4", "train.batch=16"];
    let sets = [&RANDOM[..], &sets].concat();
    let runs = [("one", "1"), ("two", "2"), ("again", "2"), ("three", "3")].map(|(name, threads)| {
        let out = folder.path().join(name);
        succeeded(train(&data, &out, &sets).env("RAYON_NUM_THREADS", threads).output().unwrap());
        out
    });
    for other in &runs[1..] {
        same_tensors(&runs[0], other, 12, &ALL);
        assert_eq!(metrics(&runs[0]), metrics(other));
    }
    // The comparison can fail: another seed gives other weights.
    let seeded = folder.path().join("seeded");
    succeeded(train(&data, &seeded, &[&sets[..], &["train.seed=2"]].concat()).output().unwrap());
    let weights =
        |run: &Path| std::fs::read(common::checkpoint(run, 12).join("weights.safetensors")).unwrap();
    assert!(weights(&runs[0]) != weights(&seeded));
}

/// The tests above do not set it: it is the default.
#[test]
fn dropout_is_on_in_these_tests() {
    let printed = common::run(&["train", "captioner", "--print-config"]);
    let config = String::from_utf8(succeeded(printed).stdout).unwrap();
    says(&config, &["encoder_dropout = 0.1", "decoder_dropout = 0.1", "label_smoothing = 0.1"]);
}

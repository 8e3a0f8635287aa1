//! What watches over a run: divergence, spikes, early stop, the best checkpoint, the picture that is not looked at.

mod common;

use std::path::{Path, PathBuf};

use common::{
    checkpoint, evoke, json, metrics, refused_after, run, says, scenes, steps, succeeded, text, train,
};
use serde_json::{Value, json};

/// Every weight and moment of the checkpoint of `step`.
fn values(run: &Path, step: u64) -> Vec<f32> {
    let mut values = Vec::new();
    for file in ["weights", "moments", "average"] {
        let Ok(bytes) = std::fs::read(checkpoint(run, step).join(format!("{file}.safetensors"))) else {
            continue;
        };
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        values.extend(bytes[header..].chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())));
    }
    assert!(!values.is_empty());
    values
}

/// Pictures of one colour each, with the captions that `caption` gives to their numbers.
fn captioned(folder: &Path, count: usize, val_share: &str, caption: impl Fn(usize) -> String) -> PathBuf {
    let mut lines = String::new();
    for i in 0..count {
        let name = format!("{i:04}.png");
        let colour = image::Rgb([(i * 37 % 256) as u8, (i * 101 % 256) as u8, (i * 171 % 256) as u8]);
        image::RgbImage::from_pixel(16, 16, colour).save(folder.join(&name)).unwrap();
        lines += &format!("{}\n", json!({"path": name, "caption": caption(i)}));
    }
    let file = folder.join("captions.jsonl");
    std::fs::write(&file, lines).unwrap();
    let out = folder.join("data");
    let args =
        ["prepare", "captions", text(&file), "--out", text(&out), "--size", "16", "--val-share", val_share];
    succeeded(run(&args));
    out
}

#[test]
fn a_run_that_diverges_never_writes_a_weight_that_is_not_finite() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 0);
    let cases = [
        ("million", &["optimizer.learning_rate=1e6"][..]),
        ("decayed", &["optimizer.learning_rate=100", "encoder_weight_decay=1", "decoder_weight_decay=1"]),
        ("averaged", &["optimizer.learning_rate=1e30", "optimizer.average=0.9"]),
        // Over the first moment's bias correction such a rate is infinite: one good step, infinite weights.
        ("infinite", &["optimizer.learning_rate=1e38"]),
    ];
    for (name, sets) in cases {
        let out = folder.path().join(name);
        let common = ["schedule.warmup_steps=1", "schedule.kind=constant", "train.steps=300"];
        let sets = [&common[..], &["train.checkpoint_every=1", "train.keep=400"], sets].concat();
        let output = train(&data, &out, &sets).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let saved = steps(&out);
        assert_eq!(saved.is_empty(), name == "infinite", "{name}: {saved:?} {error}");
        for &step in &saved {
            let bad = values(&out, step).iter().filter(|value| !value.is_finite()).count();
            assert_eq!(bad, 0, "{name}: values that are not finite at step {step}: {error}");
        }
        let before = ["step skipped", "no checkpoint at step"];
        let line = refused_after(output, 1, &before);
        says(&line, &["in a row could not be used", "lower optimizer.learning_rate", "another --out"]);
        if name == "infinite" {
            says(&error, &["no checkpoint at step 1", "not finite"]);
        } else {
            // The last one loads.
            json(run(&["evaluate", text(&out), "--data", text(&data), "--split", "train", "--json"]));
        }
    }
}

/// One picture in a hundred has a caption like no other: each time it comes the loss jumps.
#[test]
fn a_loss_spike_is_skipped_and_leaves_the_weights_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let odd = "every good boy does fine unless somebody forgot";
    let data = captioned(folder.path(), 100, "0", |i| if i == 50 { odd } else { "a square" }.to_owned());
    let out = folder.path().join("run");
    let sets = ["train.batch=1", "train.steps=400", "train.skip_spikes=8", "train.checkpoint_every=1"];
    let sets = [&sets[..], &["train.keep=1000", "optimizer.learning_rate=0.001"]].concat();
    let error = String::from_utf8(succeeded(train(&data, &out, &sets).output().unwrap()).stderr).unwrap();
    let lines = metrics(&out);
    let skipped: Vec<u64> = lines
        .iter()
        .filter(|line| line["skipped"] == true)
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert!(!skipped.is_empty() && skipped.len() <= 4, "once an epoch at most: {skipped:?}");
    for &step in &skipped {
        let told: Vec<&str> = error.lines().filter(|l| l.starts_with(&format!("step {step}:"))).collect();
        says(told[0], &["standard deviations over its mean", "step skipped"]);
        assert_eq!(values(&out, step), values(&out, step - 1), "step {step} reached the weights");
        assert_ne!(values(&out, step), values(&out, step + 1));
    }
}

#[test]
fn early_stop() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 8);
    let out = folder.path().join("run");
    // So small a rate changes no weight, so no evaluation is better than the first.
    let sets = ["optimizer.learning_rate=1e-30", "train.steps=1000", "train.evaluate_every=3"];
    let output =
        succeeded(train(&data, &out, &[&sets[..], &["train.early_stop=2"]].concat()).output().unwrap());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("9 steps"));
    assert_eq!(metrics(&out).len(), 9);
    assert!(steps(&out).contains(&9));
}

/// A kill right after the last checkpoint, then `--resume`, trained on where the run that was not killed had ended.
#[test]
fn a_run_that_stopped_early_went_on_when_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 8);
    let out = folder.path().join("run");
    let sets = ["optimizer.learning_rate=1e-30", "train.steps=1000", "train.evaluate_every=3"];
    let sets = [&sets[..], &["train.early_stop=2"]].concat();
    succeeded(train(&data, &out, &sets).output().unwrap());
    succeeded(common::resume(&data, &out).arg("--resume").output().unwrap());
    assert_eq!(metrics(&out).len(), 9);
    // With more patience it does go on: until the evaluations that were already in vain are 4.
    let args = ["--resume", "--set", "train.early_stop=4"];
    succeeded(common::resume(&data, &out).args(args).output().unwrap());
    assert_eq!(metrics(&out).len(), 15);
}

/// Eight pictures are learned by heart, so others are understood less and less.
#[test]
fn the_best_checkpoint_stays_beside_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 8, 16);
    let out = folder.path().join("run");
    let sets = ["train.steps=300", "train.evaluate_every=10", "train.checkpoint_every=15", "train.keep=2"];
    let sets = [&sets[..], &["optimizer.learning_rate=0.02", "loss.label_smoothing=0"]].concat();
    succeeded(train(&data, &out, &sets).output().unwrap());
    let evaluated: Vec<(u64, f64)> = metrics(&out)
        .iter()
        .filter_map(|line| Some((line["step"].as_u64()?, line["evaluation"]["nats_true"].as_f64()?)))
        .collect();
    assert_eq!(evaluated.len(), 30);
    let best = evaluated.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    assert!(best < 285, "the test proves nothing where the best is among the newest: {evaluated:?}");
    assert_eq!(steps(&out).into_iter().collect::<Vec<_>>(), [best, 285, 300]);
    let marked: Value =
        serde_json::from_slice(&std::fs::read(out.join("checkpoints/best.json")).unwrap()).unwrap();
    assert_eq!(marked["step"], best);
    let report = json(run(&["evaluate", text(&out), "--data", text(&data), "--json"]));
    assert_eq!(report["step"], best, "what is evaluated is the best");
    let nats = evaluated.iter().find(|(step, _)| *step == best).unwrap().1;
    assert!((report["nats_true"].as_f64().unwrap() - nats).abs() < 1e-9);
}

/// The mark on the best checkpoint is written after it, so a kill may come in between.
#[test]
fn a_kill_between_the_best_checkpoint_and_its_mark_lost_the_mark() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 8);
    let out = folder.path().join("run");
    let sets = ["train.steps=40", "train.evaluate_every=20", "train.keep=1"];
    succeeded(train(&data, &out, &sets).output().unwrap());
    let path = out.join("checkpoints/best.json");
    let marked = || -> Value { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };
    assert_eq!(marked()["step"], 40, "the test proves nothing where the newest is not the best");
    std::fs::write(&path, json!({"step": 20}).to_string()).unwrap();
    succeeded(common::resume(&data, &out).arg("--resume").output().unwrap());
    assert_eq!(marked()["step"], 40);
}

/// The checkpoint comes after the samples, so the steps since the one before it were lost.
#[test]
fn a_sample_that_could_not_be_written_ended_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 8);
    let out = folder.path().join("run");
    let sets = ["schedule.kind=constant", "train.checkpoint_every=0", "train.evaluate_every=0"];
    succeeded(train(&data, &out, &[&sets[..], &["train.steps=2"]].concat()).output().unwrap());
    std::fs::create_dir_all(out.join("samples/step-00000004.txt/taken")).unwrap();
    let args = ["--resume", "--set", "train.steps=4"];
    let output = succeeded(common::resume(&data, &out).args(args).output().unwrap());
    let error = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = error.lines().filter(|line| !line.contains("ignores the picture")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    says(lines[0], &["samples of step 4 are not kept", "step-00000004.txt"]);
    assert!(steps(&out).contains(&4));
}

#[test]
fn a_decoder_that_cannot_see_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let captions = ["a red square", "two small circles", "one large blue triangle", "a star above a moon"];
    let data = captioned(folder.path(), 200, "0.4", |i| captions[i * 7919 % 101 % 4].to_owned());
    let out = folder.path().join("run");
    let error = succeeded(train(&data, &out, &["train.steps=150"]).output().unwrap()).stderr;
    let error = String::from_utf8(error).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    says(&error, &["the decoder ignores the picture", "nats a token", "word_dropout"]);
    let report =
        json(evoke().arg("evaluate").arg(&out).arg("--data").arg(&data).arg("--json").output().unwrap());
    says(report["warning"].as_str().unwrap(), &["ignores the picture"]);
}

/// The counterpart: the same pictures with captions that belong to them, learned by heart.
#[test]
fn overfit_learns_four_pictures_word_for_word() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 24, 8);
    let out = folder.path().join("run");
    let sets =
        ["model.width=32", "model.heads=4", "encoder_dropout=0", "decoder_dropout=0", "label_smoothing=0"];
    let sets = [&sets[..], &["train.steps=300", "optimizer.learning_rate=0.005"]].concat();
    let output = train(&data, &out, &sets).args(["--overfit", "4", "--json"]).output().unwrap();
    assert!(output.stderr.is_empty(), "no warning: {}", String::from_utf8_lossy(&output.stderr));
    let summary = json(output);
    let report = &summary["evaluation"];
    assert_eq!(report["pictures"], 4);
    assert_eq!(report["exact"], 1.0, "{report}");
    let gain = report["nats_other"].as_f64().unwrap() - report["nats_true"].as_f64().unwrap();
    assert!(gain > 1.0, "the picture decides: {report}");
}

//! `evoke plan` as a user runs it: the time that it predicts and the batch that fits.

use assert_cmd::Command;
use serde_json::Value;

const SMALL: &[&str] = &["--size", "32", "--vocabulary", "50", "--set", "model.width=32", "--set", "heads=1"];

/// What `evoke plan` prints, its error and exit code.
fn plan(args: &[&[&str]]) -> (Value, String, Option<i32>) {
    let output = Command::cargo_bin("evoke")
        .expect("the program is built with the tests")
        .arg("plan")
        .args(args.concat())
        .arg("--json")
        .output()
        .expect("it runs");
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (printed, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[track_caller]
fn planned(args: &[&[&str]]) -> Value {
    let (plan, error, code) = plan(args);
    assert_eq!(code, Some(0), "{error}");
    plan
}

#[test]
fn the_time_of_a_step_is_predicted_from_operations_timed_here() {
    let of = |batch: &str| {
        let sets = ["--device", "cpu", "--set", batch, "--set", "train.steps=10"];
        planned(&[&["captioner"], SMALL, &sets])["time"].clone()
    };
    let number =
        |time: &Value, field: &str| time[field].as_f64().unwrap_or_else(|| panic!("{field}: {time}"));
    let (few, many) = (of("train.batch=2"), of("train.batch=256"));
    for time in [&few, &many] {
        assert_eq!((&time["basis"], &time["steps"]), (&"measured".into(), &10.into()));
        let (step, run) = (number(time, "step_s"), number(time, "run_s"));
        assert!(step > 0.0 && (run / step - 10.0).abs() < 1e-6, "{time}");
        let ops = time["ops"].as_array().expect("operations");
        let sum: f64 = ops.iter().map(|op| number(op, "seconds")).sum();
        assert!((sum / step - 1.0).abs() < 1e-6 && ops.len() > 8, "{time}");
    }
    assert!((number(&many, "samples_per_s") * number(&many, "step_s") / 256.0 - 1.0).abs() < 1e-6);
    // 128 times the work; other programs may disturb either.
    assert!(number(&many, "step_s") > 4.0 * number(&few, "step_s"), "{few} {many}");

    let film = ["foley", "--seconds", "0.1", "--size", "16", "--device", "cpu", "--set", "model.window=16"];
    let time = planned(&[&film])["time"].clone();
    assert!(number(&time, "sound_samples_per_s") > number(&time, "samples_per_s"), "{time}");
    assert_eq!(time["run_s"], Value::Null, "without data nobody knows the epochs' length: {time}");
    assert!(planned(&[&film, &["--memory-only"]]).get("time").is_none());
}

#[test]
fn the_largest_batch_fits_a_gpu_and_one_more_does_not() {
    for model in ["captioner", "foley"] {
        let gpu = [model, "--gpu", "rtx4090"];
        let plan_of = |batch: u64| plan(&[&gpu, &["--set", &format!("train.batch={batch}")]]);
        let first = planned(&[&gpu, &["--set", "train.batch=1"]]);
        assert_eq!((&first["free"], &first["device"]), (&24_000_000_000u64.into(), &"cuda".into()));
        let largest = first["largest_batch"].as_u64().expect("a batch");
        assert!(largest > 1, "{first}");
        let (last, error, code) = plan_of(largest);
        assert_eq!((&last["fits"], code), (&true.into(), Some(0)), "{error}");
        let (over, error, code) = plan_of(largest + 1);
        assert_eq!((&over["fits"], code), (&false.into(), Some(1)), "{over}");
        assert!(error.contains("the run needs") && error.lines().count() == 1, "{error}");
        assert_eq!(over["largest_batch"], last["largest_batch"]);
    }
}

#[test]
fn a_gpu_by_its_data_sheet_needs_no_gpu() {
    let of = |gpu: &str| planned(&[&["captioner", "--gpu", gpu]]);
    let (h100, h200, rtx) = (of("h100"), of("h200"), of("rtx4090"));
    let step = |plan: &Value| plan["time"]["step_s"].as_f64().expect("seconds");
    assert_eq!((&h100["time"]["basis"], &h200["gpu"]), (&"datasheet".into(), &"NVIDIA H200".into()));
    // As much arithmetic, and memory that is faster.
    assert!(step(&h200) < step(&h100) && step(&h100) < step(&rtx), "{h100} {h200} {rtx}");
    assert!(step(&h100) >= h100["time"]["floor_s"].as_f64().expect("seconds"));

    let (_, error, code) = plan(&[&["captioner", "--gpu", "h100", "--device", "cpu"]]);
    assert!(code == Some(2) && error.contains("--gpu plans for a GPU, --device cpu is none"), "{error}");
    let (_, error, code) = plan(&[&["captioner", "--gpu", "tpu"]]);
    assert!(code == Some(2) && error.contains("rtx4090"), "{error}");
    let (_, error, code) = plan(&[&["captioner", "--gpu", "h100", "--set", "model.width=40"]]);
    assert!(code == Some(2) && error.contains("has no CUDA kernel"), "{error}");
}

#[test]
fn a_gpu_that_is_not_here_is_named_with_the_way_out() {
    let (_, error, code) = plan(&[&["captioner", "--device", "cuda:97"]]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("--gpu h100") && error.lines().count() == 1, "{error}");
}

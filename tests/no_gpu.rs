//! Where there is no NVIDIA driver: one clear line for who asks for a GPU, and `auto` says what it takes instead.

mod common;

use common::{json, run};

#[test]
fn without_a_driver_cuda_is_one_line_and_auto_is_the_cpu() {
    if evoke::device::kernels::MODULES.is_empty() {
        eprintln!("no_gpu: SKIPPED, built without nvcc: there the kernels are what is missing first");
        return;
    }
    let report = json(run(&["doctor", "--json"]));
    if !report["driver"].is_null() {
        eprintln!("no_gpu: SKIPPED, this machine has a driver");
        return;
    }
    assert_eq!(
        (report["device_auto"].as_str(), report["gpus"].as_array().map(Vec::len)),
        (Some("cpu"), Some(0))
    );
    assert!(report["missing"].as_str().is_some_and(|why| why.contains("no NVIDIA driver")), "{report}");
    for device in ["cuda", "cuda:1"] {
        let output = run(&["selftest", "add", "--device", device]);
        let said = String::from_utf8(output.stderr).unwrap();
        let wanted = format!("--device {device}: no NVIDIA driver was found (libcuda); or use --device cpu");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(&wanted), "{said}");
    }
    let output = run(&["selftest", "add", "--device", "cuda:x"]);
    assert_eq!(output.status.code(), Some(2));
    let device = evoke::device::Device::parse("auto").unwrap();
    let line = device.describe("auto");
    assert!(line.contains("device: cpu") && line.contains("since no NVIDIA driver"), "{line}");
}

/// `scripts/gpu-run.sh`, as it lies in a bundle.
#[test]
fn parts_of_the_bundle_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(root.join("scripts/gpu-run.sh"), at("run.sh")).unwrap();
    std::fs::copy(root.join("scripts/gpu-tables.py"), at("tables.py")).unwrap();
    std::fs::copy(assert_cmd::cargo::cargo_bin!("evoke"), at("evoke")).unwrap();
    let part = |name: &str| {
        let output = std::process::Command::new("bash").arg(at("run.sh")).arg(name).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(part("nonsense").0, Some(2));
    assert_eq!(part("doctor").0, Some(0));
    let doctor = std::fs::read_to_string(at("results/doctor.json")).unwrap();
    let doctor: serde_json::Value = serde_json::from_str(&doctor).unwrap();
    let Some(missing) = doctor["missing"].as_str() else {
        eprintln!("no_gpu: SKIPPED, this machine has a GPU");
        return;
    };
    for name in ["selftest", "bench", "step", "train", "attention", "compare", "sanitize"] {
        let (code, said) = part(name);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{name}: MISSING: {missing}")), "{said}");
        let report = std::fs::read_to_string(at(&format!("results/{name}.json"))).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["ok"], &report["missing"]), (&false.into(), &missing.into()));
    }
}

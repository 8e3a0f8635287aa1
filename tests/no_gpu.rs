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

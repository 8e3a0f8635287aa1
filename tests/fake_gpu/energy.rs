//! The counter of a GPU's energy, read in a process that finds the fake NVML.

use std::process::Command;

use evoke::bench::energy::Meter;
use evoke::device::Device;

#[test]
#[ignore = "run by the test below, in a process that finds the fake driver"]
fn counts() {
    let meter = Meter::of(Device::Cuda(0)).expect("a counter");
    let (before, after) = (meter.read().expect("a reading"), meter.read().expect("a reading"));
    assert_eq!(meter.between(&before, &after), 7.0);
}

#[test]
#[ignore = "as above"]
fn does_not_count() {
    let why = Meter::of(Device::Cuda(0)).expect_err("no counter");
    assert_eq!(why, "this GPU has no energy counter");
}

#[test]
fn joules_come_from_nvml_by_the_place_on_the_bus() {
    let Some(libraries) = super::libraries() else { return };
    let cache = tempfile::tempdir().expect("a folder");
    for (test, set) in [("energy::counts", None), ("energy::does_not_count", Some("1"))] {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        let mut command = super::with_gpu(command, libraries, cache.path());
        let output = command.envs(set.map(|set| ("FAKE_NVML_NO_ENERGY", set))).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{test}: {said}");
    }
}

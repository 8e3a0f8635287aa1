//! Every op's cases against their f64 form, through the library and as a user types it.

use assert_cmd::Command;
use evoke::device::Device;
use evoke::ops::cases::{all, check::check};

#[test]
fn every_case_agrees_with_double_precision() {
    let mut failed = Vec::new();
    let mut checked = 0;
    for case in all().iter().filter(|case| case.reference.is_some() && case.storage(Device::Cpu).is_some()) {
        let outcome = check(case, Device::Cpu, 1).unwrap();
        checked += 1;
        if !outcome.ok {
            failed.push(outcome);
        }
    }
    assert!(checked > 80, "only {checked} cases");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_op_has_a_checked_case_and_a_gradient_that_is_wrong_is_found() {
    let mut case = all().into_iter().find(|c| c.op == "linear" && c.name.starts_with("65")).unwrap();
    let right = case.reference.take().unwrap();
    // The same outputs, but a derivative that is off by a tenth of a percent.
    case.reference = Some(Box::new(move |x| {
        let mut out = right(x);
        let moved: f64 = x[0][0];
        out[0][0] += 1e-3 * (moved - f64::from(moved as f32));
        out[0].iter_mut().for_each(|v| *v *= 1.001);
        out
    }));
    let outcome = check(&case, Device::Cpu, 1).unwrap();
    assert!(!outcome.ok, "{outcome:?}");
}

#[test]
fn selftest_reports_as_json() {
    let out = Command::cargo_bin("evoke")
        .unwrap()
        .args(["selftest", "--json", "--device", "cpu", "patches"])
        .output();
    let out = out.unwrap();
    assert!(out.status.success());
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["device"], "cpu");
    assert_eq!(report["failed"], 0);
    assert!(report["passed"].as_u64().unwrap() >= 3);
    for field in ["op", "name", "ok", "error", "tolerance"] {
        assert!(!report["cases"][0][field].is_null(), "{field}");
    }
    let out = Command::cargo_bin("evoke").unwrap().args(["selftest", "no such op"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}

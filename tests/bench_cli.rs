//! `evoke bench` as a user runs it.

use std::collections::BTreeMap;

use assert_cmd::Command;
use serde_json::Value;

fn bench(line: &str) -> std::process::Output {
    let mut command = Command::cargo_bin("evoke").expect("the program is built with the tests");
    command.arg("bench").args(line.split_whitespace()).output().expect("it runs")
}

#[test]
fn the_cases_of_an_operation_are_timed_in_turns_each_often_enough() {
    let output = bench("patches windows --device cpu --seconds 0.01 --json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ops = report["ops"].as_array().expect("operations");
    let mut groups: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for row in ops {
        let times = ["p10_s", "median_s", "p90_s"].map(|field| row[field].as_f64().expect("seconds"));
        assert!(times.is_sorted() && times[0] > 0.0 && row["runs"].as_u64() >= Some(5), "{row}");
        let op = row["op"].as_str().expect("a name");
        groups.entry(row["group"].as_u64().expect("a number")).or_default().push(op);
    }
    assert!(groups.len() >= 2 && ops.len() > groups.len(), "{groups:?}");
    for of_group in groups.values() {
        assert!(of_group.iter().all(|op| *op == of_group[0]), "{groups:?}");
    }

    // Where nothing counts the joules the reason stands there, once.
    let energy = &report["energy"];
    assert_ne!(energy["counter"].is_null(), energy["missing"].is_null(), "{energy}");
    if energy["counter"].is_null() {
        assert!(ops.iter().all(|row| row["energy_j"].is_null()), "{report}");
    } else {
        assert!(
            ops.iter().any(|row| row["energy_j"].as_f64().is_some_and(|joules| joules > 0.0)),
            "{report}"
        );
    }
}

#[test]
fn people_are_told_of_energy_in_one_line() {
    let output = bench("patches --device cpu --seconds 0.01 --warm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("energy: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(text.contains("warm caches"), "{text}");
}

#[test]
fn bench_refuses_what_it_would_not_time() {
    for (line, wanted) in [
        ("step --set model.widthh=3", "the nearest is model.width"),
        ("step foley-step --set model.width=64", "either `step` or `foley-step`"),
        ("attention --set model.width=64", "either `step` or `foley-step`"),
        ("step --length 5", "`foley-step` alone"),
        ("foley-step --length 0", "at least one sample"),
        ("foley-step --steps 0", "at least one step"),
        ("foley-step --length 100 --set loss.spectrogram=1", "times one loss"),
        ("nothing", "no op to time"),
    ] {
        let output = bench(line);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.lines().count() == 1 && said.contains(wanted), "{line}: {said}");
    }
}

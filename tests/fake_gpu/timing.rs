//! What is timed on a GPU: single operations with cold caches, and those of a training step, by the GPU's own clock.

use serde_json::Value;

use super::common::scenes;
use super::{evoke, libraries};

fn report(line: &str, log: &std::path::Path) -> Value {
    let Some(libraries) = libraries() else { unreachable!("asked before") };
    // Counting joules takes more runs than there is time for.
    let set = [("FAKE_CUDA_LOG", log.to_str().expect("text")), ("FAKE_NVML_NO_ENERGY", "1")];
    let output = evoke(line, libraries, &set);
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn operations_are_timed_with_cold_caches_against_the_gpus_own_ceilings() {
    if libraries().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let bench = report("bench positions --seconds 0 --device cuda --json", &log);
    assert_eq!((&bench["device"], &bench["warm"]), (&"cuda".into(), &false.into()));
    assert_eq!(bench["steadiness"]["clock_mhz_before"], 1755.0);
    assert!(bench["ceiling"]["copy_bytes_per_s"].as_f64() > Some(0.0), "{bench}");
    let rows = bench["ops"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["pass"] == "backward"), "{bench}");
    for row in rows {
        assert_eq!(row["runs"], 5, "{row}");
        assert!(
            row["median_s"].as_f64() > Some(0.0) && row["share_of_ceiling"].as_f64() > Some(0.0),
            "{row}"
        );
        assert!(row["bytes"].as_f64() > Some(0.0), "{row}");
    }
    // Twice the second-level cache, 1 MiB here, is filled before each run that counts.
    let flush = format!("fill {}", 2 << 20);
    let fills = || {
        let log = std::fs::read_to_string(&log).expect("a log");
        log.lines().filter(|line| *line == flush).count()
    };
    assert_eq!(fills(), 5 * rows.len());

    let warm = report("bench positions --seconds 0 --device cuda --warm --json", &log);
    assert_eq!((&warm["warm"], fills()), (&true.into(), 5 * rows.len()));
}

#[test]
fn a_training_step_is_queued_and_its_operations_have_the_gpus_clock() {
    if libraries().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (data, log) = (scenes(folder.path(), 12, 2), folder.path().join("log"));
    let sets = super::training::SIZES.map(|set| format!("--set {set}")).join(" ");
    let line = format!("profile train --data {} {sets} --steps 2 --device cuda --json", data.display());
    let profile = report(&line, &log);
    let (step, ops) = (&profile["step"], profile["ops"].as_array().expect("rows"));
    assert_eq!((&profile["device"], &step["runs"]), (&"cuda".into(), &2.into()));
    assert!(step["median_s"].as_f64() > Some(0.0), "{profile}");
    for name in ["attention", "linear", "adamw"] {
        assert!(ops.iter().any(|op| op["name"].as_str().is_some_and(|op| op.starts_with(name))), "{profile}");
    }
    assert!(ops.iter().all(|op| op["seconds"].as_f64() > Some(0.0)), "{profile}");
    // Steps that are timed as a whole are one recording each; those whose operations are timed are none.
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.lines().filter(|line| line.starts_with("graph of")).count() >= 2, "{log}");
}

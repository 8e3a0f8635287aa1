//! The scripts of `benches/peers`: Python reads them all, what those of attention write is what `--peers` takes, and
//! Triton's attention computes attention.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that `variable` names, else the one in `.tools/NAME`.
fn python(variable: &str, name: &str) -> Option<PathBuf> {
    let own = root().join(".tools").join(name).join("bin/python");
    std::env::var_os(variable).map(PathBuf::from).or_else(|| own.exists().then_some(own))
}

#[test]
fn python_reads_every_script() {
    let files = |folder: &str| {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|p| p.extension().is_some_and(|e| e == "py"))
    };
    let scripts: Vec<PathBuf> = files("benches/peers").chain(files("scripts")).collect();
    assert!(scripts.len() > 12, "{scripts:?}");
    let program = "import sys\nfor path in sys.argv[1:]: compile(open(path).read(), path, 'exec')";
    match Command::new("python3").args(["-c", program]).args(scripts).output() {
        Err(error) => eprintln!("python_reads_every_script: SKIPPED, python3: {error}"),
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// A peer that takes a second for every run, by the code that PyTorch's, JAX's and Triton's scripts share.
const PEER: &str = "
from sweep import arguments, sweep, write
class Work:
    aside = 0.0
    def __init__(self, pattern, length, seen):
        self.seen, self.length = seen, length
    def times(self, way, name):
        return [1.0, 1.0, 1.0], None
    def decoded(self):
        return sum(bool(self.seen(self.length - 1, j)) for j in range(self.length))
options = arguments('', 'full', ('f32',), 'f32').parse_args()
machine = {'program': 'Second 1.0', 'device': 'cpu', 'name': '', 'units': 1, 'storage': 'f32'}
write(options, machine, sweep(options, ['slowly'], Work))
";

#[test]
fn what_the_scripts_of_attention_write_is_what_peers_takes() {
    let Some(python) = python("EVOKE_PYTHON", "python") else {
        eprintln!(
            "what_the_scripts_of_attention_write: SKIPPED, no Python (set EVOKE_PYTHON, or run scripts/test)"
        );
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let same =
        ["--patterns", "full,causal,band:6,2,dilated:3:2,strided:sqrt,fixed:sqrt:4", "--lengths", "64,128"];
    let same =
        [&same[..], &["--heads", "2", "--head-size", "8", "--passes", "forward,backward,decode"]].concat();
    let mut peer = Command::new(python);
    peer.env("PYTHONPATH", root().join("benches/peers")).env("PYTHONDONTWRITEBYTECODE", "1");
    common::succeeded(
        peer.current_dir(&folder)
            .args(["-c", PEER, "--out", "peer.json"])
            .args(&same)
            .output()
            .expect("Python runs"),
    );
    let mut profile = common::evoke();
    profile
        .current_dir(&folder)
        .args(["profile", "attention", "--device", "cpu", "--seconds", "4"])
        .args(&same);
    let report =
        common::json(profile.args(["--peers", "peer.json", "--json"]).output().expect("the program runs"));
    let points = report["peers"][0]["points"].as_array().expect("a list");
    assert_eq!(points.len(), 6 * 2 * 3);
    let ours = report["points"].as_array().expect("a list");
    for point in points {
        let same = |one: &&serde_json::Value| {
            ["pattern", "pass", "length"].iter().all(|name| one[name] == point[name])
        };
        let own = ours.iter().find(same).expect("the same point");
        assert_eq!(own["visible_pairs"], point["visible_pairs"], "{point}");
        // Both count operations alike: a second's are all of them.
        let (rate, time) = (own["flop_per_s"].as_f64(), own["median_s"].as_f64());
        let (Some(rate), Some(time)) = (rate, time) else { continue };
        let theirs = point["flop_per_s"].as_f64().expect("a number");
        assert!((rate * time / theirs - 1.0).abs() < 1e-6, "{own} {point}");
    }
}

#[test]
fn tritons_attention_is_attention_and_is_not_timed_without_a_gpu() {
    let name = "tritons_attention";
    let Some(python) = python("EVOKE_PEERS_PYTHON", "peers") else {
        eprintln!("{name}: SKIPPED, no Python of benches/peers/README.md (set EVOKE_PEERS_PYTHON)");
        return;
    };
    let script = root().join("benches/peers/attention_triton.py");
    let run = |words: &[&str]| {
        let mut run = Command::new(&python);
        run.arg(&script).args(words).env("PYTHONDONTWRITEBYTECODE", "1").output().expect("Python runs")
    };
    if !Command::new(&python)
        .args(["-c", "import torch, triton"])
        .output()
        .expect("Python runs")
        .status
        .success()
    {
        eprintln!("{name}: SKIPPED, {} has no torch or no triton", python.display());
        return;
    }
    let output = run(&["--check"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("causal") && told.contains("triton-tma") && !told.contains("DIFFERS"), "{told}");
    if told.contains("interpreted") {
        assert!(told.contains("compiles for sm_90"), "{told}");
        let output = run(&["--out", "never-written.json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains("an interpreter's times say nothing"), "{said}");
    }
}

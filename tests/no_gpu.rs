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
struct Bundle(tempfile::TempDir);

impl Bundle {
    fn new() -> Bundle {
        let bundle = Bundle(tempfile::tempdir().unwrap());
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for (from, to) in [("scripts/gpu-run.sh", "run.sh"), ("scripts/gpu-tables.py", "tables.py")] {
            std::fs::copy(root.join(from), bundle.at(to)).unwrap();
        }
        std::fs::copy(assert_cmd::cargo::cargo_bin!("evoke"), bundle.at("evoke")).unwrap();
        bundle
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// The exit code of a part, what it says on stderr, and its JSON where it left one.
    fn part(&self, arguments: &[&str], set: &[(&str, &str)]) -> (Option<i32>, String, serde_json::Value) {
        let mut command = std::process::Command::new("bash");
        command.arg(self.at("run.sh")).args(arguments).envs(set.iter().copied());
        let output = command.output().unwrap();
        let report = std::fs::read(self.at(&format!("results/{}.json", arguments[0]))).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, serde_json::from_slice(&report).unwrap_or_default())
    }

    /// A program of that name, first on the path it returns.
    fn stub(&self, name: &str, script: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.at("stubs");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), script).unwrap();
        let runs = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.join(name), runs).unwrap();
        format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
    }
}

#[test]
fn parts_of_the_bundle_say_what_is_missing() {
    let bundle = Bundle::new();
    assert_eq!(bundle.part(&["nonsense"], &[]).0, Some(2));
    let (code, _, doctor) = bundle.part(&["doctor"], &[]);
    assert_eq!(code, Some(0));
    let Some(missing) = doctor["missing"].as_str() else {
        eprintln!("no_gpu: SKIPPED, this machine has a GPU");
        return;
    };
    let parts = ["selftest", "bench", "step", "train", "foley", "stream", "resume", "memory", "profile"];
    for name in parts.into_iter().chain(["attention", "compare", "sanitize", "ncu"]) {
        let (code, said, report) = bundle.part(&[name], &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{name}: MISSING: {missing}")), "{said}");
        assert_eq!((&report["ok"], &report["missing"]), (&false.into(), &missing.into()));
    }
}

#[test]
fn the_bundle_reads_what_ncu_reports() {
    // It takes nothing but `--import FILE --csv --page raw` for what it prints.
    const NCU: &str = "#!/bin/sh\n\
        case \"$*\" in *--import*--page\\ raw*) ;; *--clock-control\\ none*) exit 0 ;; *) exit 3 ;; esac\n\
        echo '==PROF== words of its own'\n\
        echo '\"ID\",\"Kernel Name\",\"gpu__time_duration.sum\",\"dram__bytes_read.sum\",\"sm__warps_active.avg.pct_of_peak_sustained_active\"'\n\
        echo '\"\",\"\",\"usecond\",\"Mbyte\",\"%\"'\n\
        echo '\"0\",\"k\",\"1,250.50\",\"12.5\",\"37.5\"'\n";
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("no_gpu: the_bundle_reads_what_ncu_reports SKIPPED, no python3 here");
        return;
    }
    let bundle = Bundle::new();
    let path = bundle.stub("ncu", NCU);
    let (code, said, report) = bundle.part(&["ncu", "cpu"], &[("PATH", &path)]);
    assert_eq!(code, Some(0), "{said}");
    let row = &report["rows"][0];
    assert_eq!((&report["ok"], &row["launches"]), (&true.into(), &1.into()), "{report}");
    for (field, expected) in [("duration", 1250.5e-6), ("dram_bytes_read", 12.5e6), ("warps", 0.375)] {
        let found = row[field].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-12, "{field}: {found}");
    }
    assert!(row["tensor"].is_null(), "what ncu did not tell: {row}");
}

#[test]
fn the_bundle_goes_on_where_the_sanitizer_had_no_time() {
    // Clean, but for racecheck on attention, each time.
    const SANITIZER: &str = "#!/bin/sh\n\
        echo x >>calls\n\
        case \"$*\" in *racecheck*attention*) exit 9 ;; esac\n";
    let bundle = Bundle::new();
    let path = bundle.stub("compute-sanitizer", SANITIZER);
    let calls = || std::fs::read_to_string(bundle.at("calls")).unwrap().lines().count();
    let (code, said, report) = bundle.part(&["sanitize", "cpu"], &[("PATH", &path)]);
    assert_eq!(code, Some(9), "{said}");
    let runs = report["runs"].as_array().unwrap();
    assert_eq!((report["ok"].as_bool(), runs.len()), (Some(false), calls()));
    let faults: Vec<_> = runs.iter().filter(|run| run["exit"] != 0).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!((&faults[0]["tool"], &faults[0]["op"]), (&"racecheck".into(), &"attention".into()));
    let before = calls();
    assert_eq!(bundle.part(&["sanitize", "cpu"], &[("PATH", &path)]).0, Some(9));
    assert_eq!(calls(), before + 1, "what was clean is not done again");
}

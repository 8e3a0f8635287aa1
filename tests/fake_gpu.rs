//! The device `cuda` without a GPU: a driver, a cublasLt and an NVML of our own (`fake_cuda/`) take the place of NVIDIA's, and the
//! kernels run in the emulator. It proves the order of copies, launches and waits, the parameters, the layouts of
//! products, recordings and errors; nothing about a real GPU's speed or arithmetic.
#![cfg(feature = "emulator")]

mod common;
#[path = "fake_gpu/energy.rs"]
mod energy;
#[path = "fake_gpu/program.rs"]
mod program;
#[path = "fake_gpu/timing.rs"]
mod timing;
#[path = "fake_gpu/training.rs"]
mod training;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use evoke::device::kernels;
use serde_json::Value;

/// The folder of the two libraries, or why there is none.
fn libraries() -> Option<&'static Path> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| {
        if kernels::MODULES.is_empty() {
            eprintln!("fake_gpu: SKIPPED, this build has no CUDA kernels");
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-cuda-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let driver = folder.join("libcuda.so.1");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let built = Command::new(&compiler)
            .args([
                "-std=c++17",
                "-O2",
                "-shared",
                "-fPIC",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-DEVOKE_EMULATED",
            ])
            .arg(format!("-I{}", root.join("kernels").display()))
            .arg(root.join("tests/fake_cuda/driver.cpp"))
            .arg(root.join("tests/fake_cuda/cublas.cpp"))
            .args(["-Wl,--whole-archive", env!("EVOKE_EMULATOR"), "-Wl,--no-whole-archive", "-pthread", "-o"])
            .arg(&driver)
            .output()
            .expect("the emulator was built, so there is a C++ compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        // One library under three names: the sides share their streams.
        for name in ["libcublasLt.so.13", "libnvidia-ml.so.1"] {
            std::os::unix::fs::symlink(&driver, folder.join(name)).expect("a link");
        }
        Some(folder)
    })
    .as_deref()
}

/// A command that finds the fake driver and nothing of the user's.
fn with_gpu(mut command: Command, libraries: &Path, cache: &Path) -> Command {
    command.env("LD_LIBRARY_PATH", libraries).env("XDG_CACHE_HOME", cache);
    command.env_remove("EVOKE_CUDA_GRAPH").env_remove("EVOKE_CUDA_SYNC");
    command
}

fn evoke(line: &str, libraries: &Path, set: &[(&str, &str)]) -> Output {
    let cache = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evoke"));
    command.args(line.split_whitespace());
    with_gpu(command, libraries, cache.path()).envs(set.iter().copied()).output().expect("it runs")
}

/// The one line of a command that fails.
fn refused(line: &str, libraries: &Path, set: &[(&str, &str)]) -> String {
    let output = evoke(line, libraries, set);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    said
}

#[test]
fn doctor_tells_of_the_gpu_and_auto_takes_it() {
    let Some(libraries) = libraries() else { return };
    let output = evoke("doctor --json", libraries, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(report["driver"], "13.0");
    assert_eq!(report["gpus"][0]["name"], "Fake GPU");
    assert_eq!(report["gpus"][0]["compute_capability"], "9.0");
    assert_eq!(report["device_auto"], "cuda:0");
    assert_eq!((&report["cublas"], &report["missing"]), (&Value::Bool(true), &Value::Null));
    assert_eq!((&report["cublas_version"], &report["gpus"][0]["missing"]), (&"13.0.0".into(), &Value::Null));
    assert_eq!(report["gpus"][0]["clock_hz"], 1_980_000_000u64);
    assert!(report["gpus"][0]["memory_free"].as_u64() > Some(1 << 30), "{report}");
    let files = report["kernels"]["files"].as_array().expect("a list");
    assert_eq!(files.len(), kernels::MODULES.len());
    assert!(files.iter().any(|file| file == "attention/forward_bf16"), "{files:?}");
    let told = String::from_utf8(evoke("doctor", libraries, &[]).stdout).expect("text");
    for part in ["cublasLt 13.0.0", "1.98 GHz", "attention/forward_bf16", " free"] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn what_cannot_be_used_is_one_line() {
    let Some(libraries) = libraries() else { return };
    let add = "selftest add --device cuda";
    for (set, wanted) in [
        (("FAKE_CUDA_VERSION", "12040"), "runs CUDA 12.4, but the kernels need 13.0"),
        (("FAKE_CUDA_CAPABILITY", "75"), "compute capability 7.5, but the kernels need 8.0"),
        (("FAKE_CUDA_COUNT", "0"), "finds no GPU"),
        (("FAKE_CUDA_MEMORY", "20"), "out of memory"),
    ] {
        let said = refused(add, libraries, &[set]);
        assert!(said.contains(wanted), "{said}");
        let output = evoke("doctor --json", libraries, &[set]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let auto = if wanted == "out of memory" { "cuda:0" } else { "cpu" };
        assert_eq!(report["device_auto"], auto, "{set:?}");
    }
    let said = refused("selftest add --device cuda:3", libraries, &[]);
    assert!(said.contains("there is no GPU 3; the only GPU is cuda:0"), "{said}");

    // The driver alone, without cublasLt.
    let alone = tempfile::tempdir().expect("a folder");
    std::fs::copy(libraries.join("libcuda.so.1"), alone.path().join("libcuda.so.1")).expect("copied");
    let said = refused(add, alone.path(), &[]);
    assert!(said.contains("cuBLAS was not found"), "{said}");
}

#[test]
fn a_kernel_that_goes_wrong_is_named() {
    let Some(libraries) = libraries() else { return };
    let add = "selftest add --device cuda";
    let fails = ("FAKE_CUDA_FAIL", "add_bf16");
    let said = refused(add, libraries, &[fails]);
    assert!(said.contains("illegal memory access") && said.contains("add_bf16"), "{said}");
    // Where each launch is waited for, it is that one and no other.
    let output = evoke(add, libraries, &[fails, ("EVOKE_CUDA_SYNC", "1")]);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("add_bf16: the GPU cannot finish"), "{said}");
}

#[test]
fn the_second_run_is_recorded_and_later_ones_replay_it() {
    let Some(libraries) = libraries() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, graph: &str| {
        let (log, cache) = (folder.path().join(format!("{name}.log")), folder.path().join("cache"));
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "program::runs", "--ignored", "--nocapture"]).env("FAKE_CUDA_LOG", &log);
        let mut command = with_gpu(command, libraries, &cache);
        let output = command.env("EVOKE_CUDA_GRAPH", graph).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(said.matches("no CUDA graph").count(), 0, "{said}");
        let log = std::fs::read_to_string(log).expect("a log");
        move |line: &str| log.lines().filter(|found| found.starts_with(line)).count()
    };
    let recorded = run("recorded", "1");
    // One plain run, then recordings: of the program, and again after its arena grew.
    assert_eq!(recorded("record add_bf16"), 2);
    assert!(recorded("graph of") >= program::RUNS - 2, "{}", recorded("graph of"));
    // Every algorithm was tried; the second is the fastest, and is taken.
    assert!(recorded("launch product 1") > 0 && recorded("launch product 3") > 0);
    assert_eq!((recorded("record product 1"), recorded("record product 3")), (0, 0));
    assert!(recorded("record product 2") > 0);

    // The machine's choices are kept: nothing is measured again.
    let plain = run("plain", "0");
    assert_eq!((plain("graph of"), plain("record"), plain("launch product 1")), (0, 0, 0));
    assert!(plain("launch add_bf16") >= program::RUNS);
}

/// Every case through the device's own code: memory, copies, parameters, products, and the second run as a recording.
#[test]
fn every_case_passes_on_the_fake_gpu() {
    let Some(libraries) = libraries() else { return };
    let output = evoke("selftest --device cuda --json", libraries, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((output.status.code(), report["failed"].as_u64()), (Some(0), Some(0)), "{report}");
    assert!(report["passed"].as_u64() > Some(150), "{report}");
}

/// An epilogue is taken where it is the faster way, and where the library has it.
#[test]
fn epilogues_are_taken_where_they_are_faster() {
    let Some(libraries) = libraries() else { return };
    for (epilogues, taken) in [("fast", true), ("slow", false), ("none", false)] {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let set = [("FAKE_CUDA_EPILOGUES", epilogues), ("FAKE_CUDA_LOG", log.path().to_str().expect("text"))];
        let output = evoke("selftest linear --device cuda --json", libraries, &set);
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!((output.status.code(), report["failed"].as_u64()), (Some(0), Some(0)), "{report}");
        let log = std::fs::read_to_string(log.path()).expect("a log");
        // The second run of a case is recorded: what it holds was chosen.
        for (epilogue, kernel) in [
            ("with 4", "linear_bias_bf16"),
            ("with 6", "linear_relu_bf16"),
            ("with 512", "linear_gradient_bf16"),
        ] {
            let product =
                log.lines().any(|line| line.starts_with("record product") && line.ends_with(epilogue));
            let apart = log.contains(&format!("record {kernel}"));
            assert_eq!((product, apart), (taken, !taken), "{epilogues}, {epilogue}");
        }
    }
}

//! What ptxas says of the embedded kernels: every kernel is in the report for every target, and the families whose speed
//! depends on it keep everything in registers.

use std::path::{Path, PathBuf};

use evoke::device::kernels::{ARCHS, MODULES, REPORT};
use serde::Deserialize;

/// Families of kernels, by how their names begin, that must not spill on the targets below.
const FAMILIES: [&str; 8] = [
    "attention",
    "few_rows",
    "norm",
    "cross_entropy",
    "optimizer",
    "adamw",
    "spectrogram",
    "expected_waveform",
];
/// Where they must not: the oldest GPU that is served, and Hopper.
const TARGETS: [&str; 2] = ["80", "90a"];

/// One kernel on one target.
#[derive(Debug, Deserialize)]
struct Row {
    kernel: String,
    file: String,
    arch: String,
    registers: u32,
    shared_bytes: u32,
    stack_bytes: u32,
    spill_bytes: u32,
}

/// `None`, and a line that says so, where the program holds no kernels.
fn report() -> Option<Vec<Row>> {
    if MODULES.is_empty() {
        eprintln!("kernels_report: SKIPPED, built without nvcc (scripts/cuda-toolchain.sh brings it)");
        return None;
    }
    let text = std::fs::read_to_string(REPORT).unwrap_or_else(|error| panic!("{REPORT}: {error}"));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{REPORT}: {error}")))
}

/// The machine code that is embedded, without what GPUs compile for themselves.
fn machine_targets() -> impl Iterator<Item = &'static str> {
    ARCHS.iter().copied().filter(|arch| !arch.starts_with("compute_"))
}

/// Kernel files, but for those of the emulator.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of kernels") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "cu") && !path.iter().any(|part| part == "emulator") {
            found.push(path);
        }
    }
}

#[test]
fn every_kernel_is_reported_for_every_target() {
    let Some(rows) = report() else { return };
    for arch in machine_targets() {
        for module in MODULES {
            assert!(!module.kernels.is_empty(), "{}: no kernel in the report", module.name);
            for kernel in module.kernels {
                let row =
                    rows.iter().find(|r| r.kernel == *kernel && r.arch == arch && r.file == module.name);
                let row = row.unwrap_or_else(|| panic!("{kernel} for {arch} is not in {REPORT}"));
                // 0 is what the reader leaves where ptxas's lines have another form than it knows.
                assert!(row.registers > 0 && row.registers <= 255, "{row:?}");
                assert!(
                    row.shared_bytes <= 48 << 10,
                    "static shared memory over 48 KiB cannot be launched: {row:?}"
                );
            }
        }
    }
    assert!(rows.iter().all(|row| machine_targets().any(|arch| arch == row.arch)), "{rows:?}");
}

#[test]
fn every_kernel_file_is_embedded() {
    if report().is_none() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in &files {
        let name = file.strip_prefix(&root).expect("under the folder").with_extension("");
        let name = name.to_string_lossy().replace('\\', "/");
        assert!(MODULES.iter().any(|module| module.name == name), "{name}");
    }
    assert_eq!(files.len(), MODULES.len());
}

#[test]
fn no_two_kernels_have_one_name() {
    let mut names: Vec<&str> = MODULES.iter().flat_map(|module| module.kernels).copied().collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "the launch code asks for kernels by name");
}

#[test]
fn families_that_promise_it_do_not_spill() {
    let Some(rows) = report() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut spilling: Vec<&Row> = Vec::new();
    for target in TARGETS {
        if !ARCHS.contains(&target) {
            eprintln!("kernels_report: sm_{target} SKIPPED, not built for it (EVOKE_CUDA_ARCHS=all has it)");
            continue;
        }
        for family in FAMILIES {
            let of_it = |row: &&Row| row.arch == target && row.kernel.starts_with(family);
            let count = rows.iter().filter(of_it).count();
            let source = files.iter().find(|file| {
                let name = file.strip_prefix(&root).expect("under the folder").to_string_lossy().into_owned();
                name.starts_with(family)
            });
            match source {
                Some(file) => assert!(count > 0, "{}: no kernel's name begins with {family}", file.display()),
                None if count == 0 => eprintln!("kernels_report: there is no {family} kernel yet"),
                None => {}
            }
            spilling.extend(rows.iter().filter(of_it).filter(|row| row.spill_bytes + row.stack_bytes > 0));
        }
        let others = rows.iter().filter(|row| row.arch == target && row.spill_bytes > 0);
        for row in others.filter(|row| !FAMILIES.iter().any(|family| row.kernel.starts_with(family))) {
            eprintln!("kernels_report: {} spills {} bytes on sm_{target}", row.kernel, row.spill_bytes);
        }
    }
    assert!(spilling.is_empty(), "these spill: {spilling:#?}");
}

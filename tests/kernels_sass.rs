//! The machine code of the embedded kernels, as cuobjdump prints it: attention moves its tensors 16 bytes at a time and
//! multiplies with tensor-core instructions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use evoke::device::kernels::{ARCHS, MODULES};

/// What the kernels whose names begin with `prefix` keep.
struct Rule {
    prefix: &'static str,
    /// They multiply matrices with tensor-core instructions.
    tensor_cores: bool,
    /// At most so many load instructions narrower than 16 bytes, and of what.
    narrow_loads: (usize, &'static str),
    /// At most so many such store instructions, and of what.
    narrow_stores: (usize, &'static str),
}

/// Every attention kernel has a rule; the first that fits counts.
const RULES: [Rule; 9] = [
    Rule {
        prefix: "attention_decode_",
        tensor_cores: false,
        narrow_loads: (2, "the number of keys, the sequence's key length"),
        narrow_stores: (0, ""),
    },
    Rule {
        prefix: "attention_forward_wide_",
        tensor_cores: true,
        narrow_loads: (
            8,
            "the sequence's key length, the step's state (3), log-sum-exp of an earlier term (4)",
        ),
        narrow_stores: (4, "log-sum-exp of a thread's four rows"),
    },
    Rule {
        prefix: "attention_forward_",
        tensor_cores: true,
        narrow_loads: (
            6,
            "the sequence's key length, the step's state (3), log-sum-exp of an earlier term (2)",
        ),
        narrow_stores: (2, "log-sum-exp of a thread's two rows"),
    },
    Rule {
        prefix: "attention_queries_wide_",
        tensor_cores: true,
        narrow_loads: (
            12,
            "the sequence's key length, the step's state (3), log-sum-exp and delta of four rows (8)",
        ),
        narrow_stores: (0, ""),
    },
    Rule {
        prefix: "attention_queries_",
        tensor_cores: true,
        narrow_loads: (
            8,
            "the sequence's key length, the step's state (3), log-sum-exp and delta of two rows (4)",
        ),
        narrow_stores: (0, ""),
    },
    Rule {
        prefix: "attention_keys_",
        tensor_cores: true,
        narrow_loads: (
            8,
            "the sequence's key length, the step's state (3), log-sum-exp and delta at two places (4)",
        ),
        narrow_stores: (0, ""),
    },
    Rule {
        prefix: "attention_delta_",
        tensor_cores: false,
        narrow_loads: (0, ""),
        narrow_stores: (1, "the row's sum"),
    },
    Rule { prefix: "attention_clear_", tensor_cores: false, narrow_loads: (0, ""), narrow_stores: (0, "") },
    Rule {
        prefix: "attention_weights_",
        tensor_cores: false,
        narrow_loads: (0, ""),
        narrow_stores: (
            1,
            "weights, those of a warp's lanes side by side; runs only when a picture is asked for",
        ),
    },
];
/// Kernels that must have a rule.
const RULED: &str = "attention_";
const TARGETS: [&str; 2] = ["80", "90a"];

/// How often each instruction of interest occurs in a kernel.
#[derive(Debug, Default)]
struct Counts {
    tensor_cores: usize,
    wide: usize,
    narrow_loads: Vec<String>,
    narrow_stores: Vec<String>,
    /// Loads and stores through addresses of unknown kind: the compiler lost track of which memory it is.
    generic: Vec<String>,
    /// Atomic operations on global memory, which would make results depend on the order of threads.
    atomic: Vec<String>,
}

impl Counts {
    fn add(&mut self, instruction: &str) {
        let operation = instruction.split('.').next().unwrap_or_default();
        let wide = instruction.split('.').any(|part| part == "128");
        match operation {
            "HMMA" | "HGMMA" => self.tensor_cores += 1,
            "LDG" | "STG" | "LDGSTS" if wide => self.wide += 1,
            "LDG" | "LDGSTS" => self.narrow_loads.push(instruction.into()),
            "STG" => self.narrow_stores.push(instruction.into()),
            "LD" | "ST" => self.generic.push(instruction.into()),
            "RED" | "REDG" | "ATOM" | "ATOMG" => self.atomic.push(instruction.into()),
            _ => {}
        }
    }
}

/// Reads lines such as `/*00b0*/  @!P0 LDG.E.128 R4, [R2.64] ;  /* 0x... */` under `Function : NAME`.
fn read(listing: &str) -> BTreeMap<String, Counts> {
    let mut kernels: BTreeMap<String, Counts> = BTreeMap::new();
    let mut counts = None;
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Function : ") {
            counts = Some(kernels.entry(name.trim().into()).or_default());
        } else if let (Some(counts), Some((_, code))) = (&mut counts, line.split_once("*/"))
            && line.starts_with("/*")
        {
            let mut words = code.split_whitespace().skip_while(|word| word.starts_with('@') || *word == "{");
            counts.add(words.next().unwrap_or_default().trim_end_matches(';'));
        }
    }
    kernels
}

/// EVOKE_CUOBJDUMP, that of the user's CUDA, of the repository's toolchain, of the system's, or on PATH.
fn cuobjdump() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/cuda/bin/cuobjdump");
    let mut places: Vec<PathBuf> =
        std::env::var_os("EVOKE_CUOBJDUMP").map(PathBuf::from).into_iter().collect();
    places.extend([own, "/usr/local/cuda/bin/cuobjdump".into(), "cuobjdump".into()]);
    places
        .into_iter()
        .find(|path| Command::new(path).arg("--version").output().is_ok_and(|o| o.status.success()))
}

/// The counts of all kernels of all files for one target.
fn dump(tool: &Path, target: &str) -> BTreeMap<String, Counts> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kernels = BTreeMap::new();
    for module in MODULES {
        let file = folder.path().join("module.fatbin");
        std::fs::write(&file, module.fatbin).expect("written");
        let mut command = Command::new(tool);
        // It runs nvdisasm, which stands beside it.
        let beside = tool.parent().unwrap_or(Path::new(""));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(beside.into()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).expect("a path"));
        let told =
            command.args(["-sass", "-arch", &format!("sm_{target}")]).arg(&file).output().expect("it runs");
        assert!(told.status.success(), "{}: {}", module.name, String::from_utf8_lossy(&told.stderr));
        let listing = String::from_utf8_lossy(&told.stdout);
        let found = read(&listing);
        for kernel in module.kernels {
            assert!(found.contains_key(*kernel), "{}: {kernel} has no code for sm_{target}", module.name);
        }
        kernels.extend(found);
    }
    kernels
}

#[test]
fn attention_is_wide_loads_and_tensor_cores() {
    if MODULES.is_empty() {
        eprintln!("kernels_sass: SKIPPED, built without nvcc (scripts/cuda-toolchain.sh brings it)");
        return;
    }
    let Some(tool) = cuobjdump() else {
        eprintln!("kernels_sass: SKIPPED, no cuobjdump here (scripts/cuda-toolchain.sh brings it)");
        return;
    };
    let mut used = BTreeSet::new();
    for target in TARGETS {
        if !ARCHS.contains(&target) {
            eprintln!("kernels_sass: sm_{target} SKIPPED, not built for it (EVOKE_CUDA_ARCHS=all has it)");
            continue;
        }
        for (kernel, counts) in dump(&tool, target) {
            assert!(
                counts.atomic.is_empty(),
                "{kernel}, sm_{target}: no sum may depend on an order: {counts:?}"
            );
            if !kernel.starts_with(RULED) {
                continue;
            }
            let rule = RULES.iter().find(|rule| kernel.starts_with(rule.prefix));
            let rule = rule.unwrap_or_else(|| panic!("{kernel}: give it a rule in RULES; it has {counts:?}"));
            used.insert(rule.prefix);
            let at = format!("{kernel}, sm_{target}: {counts:?}");
            assert!(!rule.tensor_cores || counts.tensor_cores > 0, "no tensor-core instruction: {at}");
            assert!(counts.wide > 0, "no access of 16 bytes: {at}");
            let (most, what) = rule.narrow_loads;
            assert!(counts.narrow_loads.len() <= most, "at most {most} narrow loads ({what}): {at}");
            let (most, what) = rule.narrow_stores;
            assert!(counts.narrow_stores.len() <= most, "at most {most} narrow stores ({what}): {at}");
            assert!(counts.generic.is_empty(), "memory of unknown kind: {at}");
        }
    }
    for rule in RULES.iter().filter(|rule| !used.contains(rule.prefix)) {
        eprintln!("kernels_sass: no kernel {}* was looked at", rule.prefix);
    }
}

#[test]
fn instructions_are_told_apart() {
    let listing = "\t\tFunction : one\n\
        /*0000*/ IMAD.MOV.U32 R1, RZ, RZ, c[0x0][0x28] ; /* 0x00 */\n\
        /* 0x000e220000002100 */\n\
        /*0010*/ @!P0 LDG.E R2, [R2.64] ; /* 0x00 */\n\
        /*0020*/ LDG.E.128.CONSTANT R4, desc[UR12][R4.64] ; /* 0x00 */\n\
        /*0030*/ LDGSTS.E.BYPASS.128 [R11], [R2.64], P0 ; /* 0x00 */\n\
        /*0040*/ LDGDEPBAR ; /* 0x00 */\n\
        /*0050*/ LDSM.16.M88.4 R4, [R0] ; /* 0x00 */\n\
        /*0060*/ HMMA.16816.F32.BF16 R4, R4, R8, R4 ; /* 0x00 */\n\
        Function : two\n\
        /*0000*/ @P1 STG.E.64 [R4.64], R2 ; /* 0x00 */\n\
        /*0010*/ LD.E R2, [R2.64] ; /* 0x00 */\n\
        /*0020*/ RED.E.ADD.F32 [R2.64], R0 ; /* 0x00 */\n\
        /*0030*/ EXIT ; /* 0x00 */\n";
    let kernels = read(listing);
    let (one, two) = (&kernels["one"], &kernels["two"]);
    assert_eq!((one.tensor_cores, one.wide, one.narrow_loads.len()), (1, 2, 1), "{one:?}");
    assert!(one.generic.is_empty() && one.narrow_stores.is_empty(), "{one:?}");
    assert_eq!((two.narrow_stores.len(), two.generic.len(), two.atomic.len()), (1, 1, 1), "{two:?}");
}

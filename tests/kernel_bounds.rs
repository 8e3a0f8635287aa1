//! `scripts/kernel-bounds.py`: what it counts in machine code, against counts by hand. Python 3 alone is needed for a listing;
//! the embedded kernels also need cuobjdump.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evoke::device::kernels::{ARCHS, MODULES, REPORT};
use serde_json::Value;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kernel-bounds.py")
}

/// What it prints; `None`, and a line that says so, where there is no Python.
fn run(arguments: &[&str]) -> Option<Output> {
    match Command::new("python3").arg(script()).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("kernel_bounds: SKIPPED, no python3 here ({error})");
            None
        }
    }
}

fn kernels(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["kernels"].as_array().expect("a list").clone()
}

/// A kernel that copies before its loop, and in it: a loop of four trips, a branch around a comparison, two products, an
/// exp2, and a load that never runs. Addresses are 16 bytes apart, as in machine code.
const LISTING: &str = "\t\tFunction : one\n\
    /*0000*/ IMAD.MOV.U32 R1, RZ, RZ, c[0x0][0x28] ;\n\
    /*0010*/ LDG.E.128 R8, desc[UR4][R2.64] ;\n\
    /*0020*/ MOV R6, RZ ;\n\
    /*0030*/ LDGSTS.E.BYPASS.128 [R4], desc[UR4][R2.64] ;\n\
    /*0040*/ IADD3 R6, R6, 0x1, RZ ;\n\
    /*0050*/ ISETP.NE.AND P0, PT, R6, 0x4, PT ;\n\
    /*0060*/ @!PT LDS RZ, [RZ] ;\n\
    /*0070*/ @P0 BRA 0x30 ;\n\
    /*0080*/ LDSM.16.M88.4 R12, [R5] ;\n\
    /*0090*/ @P1 BRA 0xc0 ;\n\
    /*00a0*/ FSETP.GEU.AND P2, PT, R7, RZ, PT ;\n\
    /*00b0*/ FSEL R7, R7, RZ, P2 ;\n\
    /*00c0*/ HMMA.16816.F32.BF16 R16, R12, R8, R16 ;\n\
    /*00d0*/ HMMA.16816.F32.BF16 R20, R12, R10, R20 ;\n\
    /*00e0*/ MUFU.EX2 R9, R16 ;\n\
    /*00f0*/ FFMA R9, R9, R9, R16 ;\n\
    /*0100*/ SHFL.BFLY PT, R9, R9, 0x1, 0x1f ;\n\
    /*0110*/ VIADD R30, R30, 0x40 ;\n\
    /*0120*/ ISETP.GE.AND P3, PT, R30, R31, PT ;\n\
    /*0130*/ @!P3 BRA 0x20 ;\n\
    /*0140*/ STG.E.128 desc[UR4][R2.64], R16 ;\n\
    /*0150*/ EXIT ;\n\
    /*0160*/ BRA 0x160 ;\n\
    /*0170*/ NOP ;\n";

#[test]
fn a_loop_is_counted_as_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let listing = folder.path().join("one.sass");
    std::fs::write(&listing, LISTING).expect("written");
    let listing = listing.to_str().expect("text");
    let takes = ["--threads", "128", "--registers", "164", "--shared", "40960"];
    let Some(output) = run(&[&["--json", "--listing", listing][..], &takes].concat()) else { return };
    let one = kernels(&output).remove(0);
    assert_eq!(one["hot"], "loop at 0x20", "the loop of four trips is a part of it: {one}");
    // 164 registers are handed out as 168: 5376 a warp, three of which fit the 16384 of a scheduler.
    let fits = &one["per_multiprocessor"];
    assert_eq!(
        (&fits["blocks"], &fits["warps"], &fits["limit"]),
        (&3.into(), &12.into(), &"registers".into())
    );

    let (lean, full) = (&one["lean"], &one["full"]);
    let counts = &lean["counts"];
    for (kind, count) in [
        ("tensor", 2),
        ("mufu", 1),
        ("fp32", 1),
        ("shuffles", 1),
        ("shared_loads", 1),
        ("global_loads", 4),
        // MOV; four times IADD3 and ISETP; VIADD and ISETP.
        ("alu", 11),
        ("branches", 6),
        ("others", 4),
    ] {
        assert_eq!(counts[kind], count, "{kind} in {counts}");
    }
    assert_eq!(lean["loops"][0]["times"], 4);
    assert_eq!(full["counts"]["alu"], 13, "the comparison is on the way that takes every branch");
    // Four warps: two products of 4096 operations each at 62 % of 4096 a clock; 32 lanes at 16 a clock; an LDSM of 512 bytes, four
    // copies of 512 and a shuffle at 128 bytes a clock; 31 instructions on four schedulers.
    let clocks = &lean["clocks"];
    for (pipe, expected) in
        [("tensor", 4.0 * 2.0 / 0.62), ("mufu", 8.0), ("shared", 4.0 * 21.0), ("issue", 31.0)]
    {
        let found = clocks[pipe].as_f64().expect("a number");
        assert!((found - expected).abs() < 0.01, "{pipe}: {found}, by hand {expected}");
    }
    assert_eq!(lean["bound"], "shared");
    let share = lean["share_of_dense_peak"].as_f64().expect("a number");
    assert!((share - 8.0 / 84.0).abs() < 1e-4, "{share}");
}

#[test]
fn blocks_that_fit_are_counted_as_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let listing = folder.path().join("one.sass");
    std::fs::write(&listing, LISTING).expect("written");
    let listing = listing.to_str().expect("text");
    for (takes, blocks, limit) in [
        // 99,328 bytes and the system's 1,024: two of them in 233,472.
        (["128", "32", "99328"], 2, "shared memory"),
        (["1024", "16", "0"], 2, "threads"),
        (["32", "32", "0"], 32, "blocks"),
        // 255 registers are 256: 8192 a warp, two to a scheduler.
        (["256", "255", "0"], 1, "registers"),
    ] {
        let [threads, registers, shared] = takes;
        let sizes = ["--threads", threads, "--registers", registers, "--shared", shared];
        let Some(output) = run(&[&["--json", "--listing", listing][..], &sizes].concat()) else { return };
        let fits = &kernels(&output)[0]["per_multiprocessor"];
        let found = (fits["blocks"].as_u64(), fits["limit"].as_str());
        assert_eq!(found, (Some(blocks), Some(limit)), "{takes:?}");
    }
}

#[test]
fn attentions_loops_hold_the_products_of_a_tile() {
    if MODULES.is_empty() {
        eprintln!("kernel_bounds: SKIPPED, built without nvcc (scripts/cuda-toolchain.sh brings it)");
        return;
    }
    if !ARCHS.contains(&"90a") {
        eprintln!("kernel_bounds: SKIPPED, not built for sm_90a (EVOKE_CUDA_ARCHS=all has it)");
        return;
    }
    let program = assert_cmd::cargo::cargo_bin!("evoke").to_str().expect("text").to_string();
    let names = ["attention_forward_bf16_64", "attention_keys_bf16_64", "attention_queries_wide_bf16_64"];
    let Some(output) = run(&[&["--json", "--program", &program][..], &names].concat()) else { return };
    if String::from_utf8_lossy(&output.stderr).contains("no cuobjdump here") {
        eprintln!("kernel_bounds: SKIPPED, no cuobjdump here (scripts/cuda-toolchain.sh brings it)");
        return;
    }
    let found = kernels(&output);
    let report = std::fs::read_to_string(REPORT).expect("the report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let rows = report.as_array().expect("a list");
    // A product of 16 rows, 64 columns and 64 channels is 8 x 4 instructions. Forward has two of them, dk and dv four,
    // dq three, and wide blocks each of them for two bands of rows.
    for (name, products) in names.iter().zip([2, 4, 2 * 3]) {
        let one = found.iter().find(|one| one["kernel"] == *name).unwrap_or_else(|| panic!("{name}"));
        let lean = &one["lean"];
        let tensor = lean["counts"]["tensor"].as_u64().expect("a number");
        assert!(tensor > 0 && tensor % (32 * products) == 0, "{name}: {tensor} products' instructions");
        assert_eq!(lean["flops"], tensor * 4096 * 4, "{name}: four warps");
        assert_eq!(one["threads"], 128, "{name}");
        assert!(one["shared_bytes"].as_u64().is_some_and(|bytes| bytes >= 40 << 10), "{one}");
        let share = lean["share_of_dense_peak"].as_f64().expect("a number");
        assert!(0.0 < share && share <= 0.62, "{name}: mma.sync allows no more: {share}");
        let row = rows.iter().find(|row| row["kernel"] == *name && row["arch"] == "90a").expect("a row");
        assert_eq!(one["registers"], row["registers"], "{name}: what ptxas said");
    }
}

#[test]
fn what_is_not_there_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "no kernels").expect("written");
    let nowhere = folder.path().join("nowhere");
    for program in [&empty, &nowhere] {
        let Some(output) = run(&["--program", program.to_str().expect("text")]) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("kernel-bounds: "), "{said}");
    }
}

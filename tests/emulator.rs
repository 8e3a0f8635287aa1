//! The emulator reports every rule that a kernel breaks: each of `kernels/emulator/faults.cu`'s kernels is right without
//! its fault, and with it named, with the line.
#![cfg(feature = "emulator")]

use evoke::device::emulated::{Given, kernels, launch};

const THREADS: usize = 64;

/// Launches a faulty kernel on one block under one schedule.
fn run(kernel: &str, fault: u32, schedule: u64, reads: bool) -> Result<Vec<f32>, String> {
    let mut out = vec![f32::NAN; THREADS];
    let mut input: Vec<f32> = if reads { (0..4 * THREADS).map(|i| i as f32).collect() } else { Vec::new() };
    let tensor = |values: &mut Vec<f32>, name: &'static str, writable: bool| Given::Tensor {
        start: values.as_mut_ptr().cast(),
        bytes: if kernel == "fault_out_of_bounds" && !writable { 4 * THREADS } else { 4 * values.len() },
        name,
        writable,
    };
    let mut given = vec![tensor(&mut out, "out", true)];
    if reads {
        given.push(tensor(&mut input, "in", false));
    }
    given.push(Given::Word(fault));
    // SAFETY: both vectors outlive the call, and nobody else has them.
    unsafe { launch(kernel, [1, 1, 1], schedule, &given) }.map_err(|fault| fault.0)?;
    Ok(out)
}

/// Kernel, whether it reads a tensor, and what its report must say.
const FAULTS: [(&str, bool, &[&str]); 14] = [
    ("fault_missing_barrier", false, &["race", "shared 'values'", "with no barrier between", "faults.cu:"]),
    ("fault_divergent_shuffle", false, &["a divergent warp operation", "shuffle", "faults.cu:"]),
    ("fault_missing_copy_wait", true, &["missing copy wait", "shared 'values'", "faults.cu:"]),
    ("fault_wrong_copy_wait", true, &["missing copy wait", "shared 'values'"]),
    ("fault_out_of_bounds", true, &["out of bounds", "thread 63 reads 4 bytes at byte 256 of 'in'"]),
    ("fault_shared_out_of_bounds", false, &["out of bounds", "shared 'values', which has 256 bytes"]),
    ("fault_misaligned", true, &["misaligned", "8 bytes at byte 4 of 'in'"]),
    ("fault_uninitialised_read", false, &["uninitialised read", "thread 5 reads shared 'values'"]),
    ("fault_unreached_barrier", false, &["nobody can go on", "wait at barrier 0", "have ended"]),
    ("fault_named_barrier", false, &["race", "shared 'values'"]),
    ("fault_two_writers", false, &["two writers", "of 'out'"]),
    ("fault_two_writers_of_shared", false, &["two writers", "shared 'values'"]),
    ("fault_global_race", false, &["race", "of 'out'", "another thread wrote in the same launch"]),
    ("fault_writes_an_input", true, &["writes 'in', which is an input"]),
];

#[test]
fn each_planted_fault_is_reported_by_name_under_every_schedule() {
    for (kernel, reads, expected) in FAULTS {
        for schedule in 1..=20 {
            let right =
                run(kernel, 0, schedule, reads).unwrap_or_else(|e| panic!("{kernel} without its fault: {e}"));
            assert!(right.iter().all(|v| v.is_finite()), "{kernel} left outputs unwritten");
            let report = run(kernel, 1, schedule, reads).expect_err(kernel);
            assert!(report.starts_with(kernel), "{report}");
            for words in expected {
                assert!(
                    report.contains(words),
                    "{kernel}, schedule {schedule}: {words:?} is not in {report:?}"
                );
            }
        }
    }
}

#[test]
fn every_faulty_kernel_is_tested() {
    for kernel in kernels().iter().filter(|k| k.starts_with("fault_")) {
        assert!(FAULTS.iter().any(|(name, ..)| name == kernel), "{kernel} is not tested");
    }
}

#[test]
fn a_launch_with_other_parameters_than_the_kernel_takes_is_refused() {
    // SAFETY: no tensor is given.
    let report = unsafe { launch("fault_two_writers", [1, 1, 1], 1, &[Given::Float(1.0)]) }.unwrap_err().0;
    assert!(report.contains("launched with parameters 'f', but it takes 'wi'"), "{report}");
    // SAFETY: as above.
    let report = unsafe { launch("no_such", [1, 1, 1], 1, &[]) }.unwrap_err().0;
    assert!(report.contains("no such kernel"), "{report}");
}

/// A pattern's index arithmetic, compiled from the kernels' own header, against a brute-force mask.
#[test]
fn patterns_in_kernels_show_what_their_definition_says() {
    unsafe extern "C" {
        fn evoke_pattern_test(message: *mut std::ffi::c_char, size: usize) -> std::ffi::c_long;
    }
    let mut message = [0 as std::ffi::c_char; 512];
    // SAFETY: the buffer is as long as it says; the function ends its message with a zero byte.
    let problems = unsafe { evoke_pattern_test(message.as_mut_ptr(), message.len()) };
    // SAFETY: as above.
    let message = unsafe { std::ffi::CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
    assert!(problems > 100_000, "{message}");
}

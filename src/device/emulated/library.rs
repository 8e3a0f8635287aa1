//! The emulator's C functions (`kernels/emulator/api.cpp`).

use std::ffi::{CStr, CString, c_char, c_int};

/// A rule that a kernel broke, as the emulator reports it: kernel, block, thread, what, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

#[repr(C)]
struct CBuffer {
    start: *mut u8,
    bytes: usize,
    name: *const c_char,
    writable: c_int,
}

#[repr(C)]
struct CParameter {
    letter: c_char,
    bytes: u32,
    value: u64,
}

/// Where a tensor's buffer number stands in its parameter.
const TAG_SHIFT: u32 = 48;

unsafe extern "C" {
    fn evoke_emulator_launch(
        name: *const c_char,
        grid: *const u32,
        seed: u64,
        buffers: *const CBuffer,
        buffer_count: usize,
        parameters: *const CParameter,
        parameter_count: usize,
        workers: u32,
        fault: *mut c_char,
        fault_size: usize,
    ) -> c_int;
    fn evoke_emulator_kernel(i: usize) -> *const c_char;
}

/// A parameter of an emulated launch.
#[derive(Debug)]
pub enum Given<'a> {
    Tensor { start: *mut u8, bytes: usize, name: &'a str, writable: bool },
    Absent { writable: bool },
    Word(u32),
    Float(f32),
    Long(u64),
    Bytes(&'a [u8]),
}

/// Runs a kernel. `schedule` decides the order in which its threads and blocks run.
///
/// # Errors
/// What the kernel did wrong, or that there is no such kernel with such parameters.
///
/// # Safety
/// Every tensor's bytes must be valid, and nobody else may touch them during the call.
pub unsafe fn launch(kernel: &str, grid: [u32; 3], schedule: u64, given: &[Given]) -> Result<(), Fault> {
    let c_string = |text: &str| CString::new(text.replace('\0', " ")).expect("no zero bytes are left");
    let names: Vec<CString> = given
        .iter()
        .map(|g| match g {
            Given::Tensor { name, .. } => c_string(name),
            _ => CString::default(),
        })
        .collect();
    let (mut buffers, mut parameters) = (Vec::new(), Vec::new());
    for (given, name) in given.iter().zip(&names) {
        let letter = |writable: bool| if writable { b'w' } else { b'r' };
        let (letter, bytes, value) = match *given {
            Given::Tensor { start, bytes, writable, .. } => {
                buffers.push(CBuffer { start, bytes, name: name.as_ptr(), writable: c_int::from(writable) });
                (letter(writable), 0, (buffers.len() as u64) << TAG_SHIFT)
            }
            Given::Absent { writable } => (letter(writable), 0, 0),
            Given::Word(word) => (b'i', 0, u64::from(word)),
            Given::Float(value) => (b'f', 0, u64::from(value.to_bits())),
            Given::Long(value) => (b'l', 0, value),
            Given::Bytes(bytes) => (b's', bytes.len() as u32, bytes.as_ptr() as u64),
        };
        parameters.push(CParameter { letter: letter as c_char, bytes, value });
    }
    let mut fault = [0 as c_char; 1024];
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let name = c_string(kernel);
    // SAFETY: all pointers live until the call returns; the tensors are the caller's promise.
    let failed = unsafe {
        evoke_emulator_launch(
            name.as_ptr(),
            grid.as_ptr(),
            schedule,
            buffers.as_ptr(),
            buffers.len(),
            parameters.as_ptr(),
            parameters.len(),
            workers,
            fault.as_mut_ptr(),
            fault.len(),
        )
    };
    if failed == 0 {
        return Ok(());
    }
    // SAFETY: the emulator ends its message with a zero byte inside the buffer.
    Err(Fault(unsafe { CStr::from_ptr(fault.as_ptr()) }.to_string_lossy().into_owned()))
}

/// The names of all kernels.
pub fn kernels() -> Vec<String> {
    let mut names = Vec::new();
    loop {
        // SAFETY: the function takes any number; the string it returns lives as long as the program.
        let name = unsafe { evoke_emulator_kernel(names.len()) };
        if name.is_null() {
            return names;
        }
        // SAFETY: as above, and it ends with a zero byte.
        names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    }
}

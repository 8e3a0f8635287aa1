//! Devices: where tensors live and ops run. Nothing above this folder and `ops/*/{cpu,cuda}.rs` knows which one it is.

pub mod cpu;
mod memory;

pub use memory::{Memory, Sizes, StepState};

use crate::graph::plan::Program;
use crate::{Error, Result};

/// A device that was asked for, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Rust and vector instructions on all cores, f32: any machine, and the oracle for the others.
    Cpu,
}

impl Device {
    /// Reads `--device`: `auto`, `cpu`, `cuda`, `cuda:N`.
    ///
    /// # Errors
    /// An unknown name, and a device that this build does not have.
    pub fn parse(name: &str) -> Result<Device> {
        match name {
            "auto" | "cpu" => Ok(Device::Cpu),
            "emulated" => {
                Err(Error::usage("--device emulated: this build has no emulator; use --device cpu"))
            }
            _ if name == "cuda" || name.starts_with("cuda:") => Err(Error::failed(format!(
                "--device {name}: this build has no CUDA kernels; use --device cpu or --device auto"
            ))),
            _ => Err(Error::usage(format!("--device {name}: no such device; use auto, cpu, cuda or cuda:N"))),
        }
    }

    /// One line for the user: which device runs, and why.
    pub fn describe(self, asked: &str) -> String {
        match self {
            Device::Cpu => {
                let why = if asked == "auto" { ", since this build has no CUDA kernels" } else { "" };
                format!("device: cpu ({} threads{why})", rayon::current_num_threads())
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
        }
    }

    /// Runs all nodes of `program` in order.
    pub fn run(self, program: &Program, memory: &mut Memory, state: &StepState) {
        match self {
            Device::Cpu => cpu::run(program, memory, state),
        }
    }
}

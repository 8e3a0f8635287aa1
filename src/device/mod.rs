//! Devices: where tensors live and ops run. Nothing above this folder and `ops/*/{cpu,cuda}.rs` knows which one it is.

pub mod cpu;
#[cfg(feature = "emulator")]
pub mod emulated;
pub mod gpu;
pub mod kernels;
mod memory;
pub mod numbers;

pub use memory::{Element, Memory, Sizes, StepState};

use std::ops::Range;

use crate::graph::DType;
use crate::graph::plan::Program;
use crate::{Error, Result};

/// A device that was asked for, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Rust and vector instructions on all cores, f32: any machine, and the oracle for the others.
    Cpu,
    /// The CUDA kernels on this machine's cores, thread by thread, with every access checked: for tests.
    #[cfg(feature = "emulator")]
    Emulated,
}

impl Device {
    /// Reads `--device`: `auto`, `cpu`, `cuda`, `cuda:N`, and in a build with the emulator `emulated`.
    ///
    /// # Errors
    /// An unknown name, and a device that this build does not have.
    pub fn parse(name: &str) -> Result<Device> {
        match name {
            "auto" | "cpu" => Ok(Device::Cpu),
            #[cfg(feature = "emulator")]
            "emulated" => Ok(Device::Emulated),
            #[cfg(not(feature = "emulator"))]
            "emulated" => Err(Error::usage(
                "--device emulated: this build has no emulator; build with --features emulator, or use --device cpu",
            )),
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
            #[cfg(feature = "emulator")]
            Device::Emulated => {
                "device: emulated (the CUDA kernels, slowly, with every access checked)".into()
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            #[cfg(feature = "emulator")]
            Device::Emulated => "emulated",
        }
    }

    /// What activations are stored as.
    pub fn storage(self) -> DType {
        match self {
            Device::Cpu => DType::F32,
            #[cfg(feature = "emulator")]
            Device::Emulated => DType::BF16,
        }
    }

    /// Runs all nodes of `program` in order.
    ///
    /// # Errors
    /// If the device fails: a kernel that is missing or that went wrong. The CPU never does.
    pub fn run(self, program: &Program, memory: &mut Memory, state: &StepState) -> Result<()> {
        self.run_nodes(program, 0..program.nodes.len(), memory, state)
    }

    /// Runs some of the nodes in order, for timing.
    ///
    /// # Errors
    /// As [`Device::run`].
    pub fn run_nodes(
        self,
        program: &Program,
        nodes: Range<usize>,
        memory: &mut Memory,
        state: &StepState,
    ) -> Result<()> {
        match self {
            Device::Cpu => {
                cpu::run_nodes(program, nodes, memory, state);
                Ok(())
            }
            #[cfg(feature = "emulator")]
            Device::Emulated => emulated::run_nodes(program, nodes, memory, state),
        }
    }
}

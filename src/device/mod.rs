//! Devices: where tensors live and ops run. Nothing above this folder and `ops/*/{cpu,cuda}.rs` knows which one it is.

pub mod cpu;
pub mod cuda;
#[cfg(feature = "emulator")]
pub mod emulated;
pub mod gpu;
pub mod kernels;
mod memory;
pub mod numbers;

pub(crate) use memory::REGIONS;
pub use memory::{Element, Memory, Sizes, StepState};

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::graph::DType;
use crate::graph::plan::Program;
use crate::{Error, Result};

impl std::fmt::Display for Device {
    /// As `--device` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            _ => f.write_str(self.name()),
        }
    }
}

/// A device that was asked for, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Rust and vector instructions on all cores, f32: any machine, and the oracle for the others.
    Cpu,
    /// The GPU of that number.
    Cuda(u32),
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
            "cpu" => Ok(Device::Cpu),
            "auto" => Ok(cuda::usable(0).map_or(Device::Cpu, |_| Device::Cuda(0))),
            "cuda" => Self::gpu(name, 0),
            #[cfg(feature = "emulator")]
            "emulated" => Ok(Device::Emulated),
            #[cfg(not(feature = "emulator"))]
            "emulated" => Err(Error::usage(
                "--device emulated: this build has no emulator; build with --features emulator, or use --device cpu",
            )),
            _ if name.strip_prefix("cuda:").is_some_and(|number| number.parse::<u32>().is_ok()) => {
                Self::gpu(name, name["cuda:".len()..].parse().unwrap_or_default())
            }
            _ => Err(Error::usage(format!("--device {name}: no such device; use auto, cpu, cuda or cuda:N"))),
        }
    }

    fn gpu(name: &str, number: u32) -> Result<Device> {
        match cuda::usable(number) {
            Ok(_) => Ok(Device::Cuda(number)),
            Err(error) => Err(Error::failed(format!("--device {name}: {error}; or use --device cpu"))),
        }
    }

    /// One line for the user: which device runs, and why.
    pub fn describe(self, asked: &str) -> String {
        match self {
            Device::Cpu => {
                let threads = rayon::current_num_threads();
                match cuda::usable(0) {
                    Err(error) if asked == "auto" => {
                        format!("device: cpu ({threads} threads), since {error}")
                    }
                    _ => format!("device: cpu ({threads} threads)"),
                }
            }
            Device::Cuda(number) => match cuda::usable(number) {
                Ok(card) => {
                    let (major, minor) = card.capability;
                    format!("device: cuda:{number} ({}, compute capability {major}.{minor})", card.name)
                }
                Err(error) => format!("device: cuda:{number}, but {error}"),
            },
            #[cfg(feature = "emulator")]
            Device::Emulated => {
                "device: emulated (the CUDA kernels, slowly, with every access checked)".into()
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            #[cfg(feature = "emulator")]
            Device::Emulated => "emulated",
        }
    }

    /// What activations are stored as.
    pub fn storage(self) -> DType {
        match self {
            Device::Cpu => DType::F32,
            Device::Cuda(_) => cuda::STORAGE,
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

    /// Whether the host goes on while a step runs, so that steps are queued and their results read later.
    pub fn queues(self) -> bool {
        matches!(self, Device::Cuda(_)) && !cuda::waits_for_each_launch()
    }

    /// Queues a whole step: the passes that were begun ([`Memory::begin_pass`]), in order, and `update` behind them. On a
    /// GPU nothing waits, and the step is one recording where its passes are of one program. [`Memory::collect`] tells
    /// what came of it.
    ///
    /// # Errors
    /// As [`Device::run`].
    pub fn queue(self, passes: &[Arc<Program>], update: &Program, memory: &mut Memory) -> Result<()> {
        if let Device::Cuda(_) = self {
            let (memory, copy_is_old) = memory.cuda()?;
            cuda::run_step(passes, update, memory, copy_is_old)?;
        } else {
            let begun = memory.take_waiting();
            assert_eq!(begun.len(), passes.len(), "passes of a step");
            for (program, waiting) in passes.iter().zip(&begun) {
                memory.write_waiting(&waiting.writes);
                self.run(program, memory, &waiting.state)?;
            }
            let last = begun.last().map_or_else(StepState::default, |waiting| waiting.state);
            self.run(update, memory, &last)?;
        }
        memory.post()
    }

    /// Runs some of the nodes in order with a clock around each; when they began and ended, in seconds from the first one's
    /// beginning. On a GPU the clocks are its own: nothing is waited for but the end.
    ///
    /// # Errors
    /// As [`Device::run`].
    pub fn run_timed(
        self,
        program: &Program,
        nodes: Range<usize>,
        memory: &mut Memory,
        state: &StepState,
    ) -> Result<Vec<Range<f64>>> {
        if let Device::Cuda(_) = self {
            let (memory, copy_is_old) = memory.cuda()?;
            return cuda::run_timed(program, nodes, memory, copy_is_old, state);
        }
        let began = Instant::now();
        let run = |index| {
            let start = began.elapsed().as_secs_f64();
            self.run_nodes(program, index..index + 1, memory, state)?;
            Ok(start..began.elapsed().as_secs_f64())
        };
        nodes.map(run).collect()
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
            Device::Cuda(_) => {
                let (memory, copy_is_old) = memory.cuda()?;
                cuda::run_nodes(program, nodes, memory, copy_is_old, state)
            }
            #[cfg(feature = "emulator")]
            Device::Emulated => emulated::run_nodes(program, nodes, memory, state),
        }
    }
}

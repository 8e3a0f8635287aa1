//! What the device reaches at best, measured in the same run, and what its datasheet says.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::bench::ceiling::{self, Ceilings};
use crate::device::cuda;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::Graph;
use crate::graph::plan::{Program, Region};
use crate::ops::cases::random;
use crate::ops::elementwise::Add;
use crate::ops::linear::linear;

/// A datasheet's figures: dense arithmetic in bf16 with f32 sums, and memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Datasheet {
    pub bytes_per_s: f64,
    pub flop_per_s: f64,
}

impl From<Datasheet> for Ceilings {
    fn from(sheet: Datasheet) -> Ceilings {
        Ceilings { copy_bytes_per_s: sheet.bytes_per_s, matmul_flop_per_s: sheet.flop_per_s }
    }
}

/// A GPU that need not be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Gpu {
    H100,
    H200,
    /// With 80 GB
    A100,
    #[value(name = "rtx4090")]
    Rtx4090,
}

impl Gpu {
    /// As its driver would name it.
    pub fn name(self) -> &'static str {
        match self {
            Gpu::H100 => "NVIDIA H100 80GB HBM3",
            Gpu::H200 => "NVIDIA H200",
            Gpu::A100 => "NVIDIA A100-SXM4-80GB",
            Gpu::Rtx4090 => "NVIDIA GeForce RTX 4090",
        }
    }

    /// Bytes of its memory, by its datasheet.
    pub fn memory(self) -> usize {
        match self {
            Gpu::H100 | Gpu::A100 => 80_000_000_000,
            Gpu::H200 => 141_000_000_000,
            Gpu::Rtx4090 => 24_000_000_000,
        }
    }

    pub fn datasheet(self) -> Datasheet {
        let (tflops, terabytes) = match self {
            Gpu::A100 => (312.0, 2.0),
            Gpu::H100 => (989.0, 3.35),
            Gpu::H200 => (989.0, 4.8),
            Gpu::Rtx4090 => (165.0, 1.0),
        };
        Datasheet { bytes_per_s: terabytes * 1e12, flop_per_s: tflops * 1e12 }
    }

    /// By the name that the driver gives. The PCIe forms of a chip are slower, and are none of these.
    fn of_name(name: &str) -> Option<Gpu> {
        match name {
            n if n.contains("PCIe") || n.contains("NVL") => None,
            n if n.contains("A100") && n.contains("80GB") => Some(Gpu::A100),
            n if n.contains("H100") => Some(Gpu::H100),
            n if n.contains("H200") => Some(Gpu::H200),
            n if n.contains("RTX 4090") => Some(Gpu::Rtx4090),
            _ => None,
        }
    }
}

/// Sides of a GPU's product, and elements of its sum, from the smallest on: the first size that takes long enough counts, or
/// the last.
const SIDES: [usize; 8] = [64, 128, 256, 512, 1024, 2048, 4096, 8192];
const SUMMED: [usize; 8] = [1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28];
/// Seconds of a run beside which its launch is nothing.
const LONG: f64 = 2e-3;
/// Runs in a row, fewer of longer ones.
const RUNS: usize = 10;
const ROUNDS: usize = 5;

/// Measures both.
///
/// # Errors
/// If the device fails.
pub fn measure(device: Device) -> Result<Ceilings> {
    match device {
        Device::Cuda(_) => {
            let element = device.storage().bytes();
            let (summed, sum) = best(device, SUMMED, |g, len| {
                let [a, b] = ["a", "b"].map(|name| g.input_activation(name, &[len]));
                let out = g.activation("sum", &[len]);
                g.push(Add { len }, &[a, b], &[out]);
                [a, b, out].into_iter().for_each(|id| g.keep(id));
                Ok(0)
            })?;
            let (side, product) = best(device, SIDES, |g, side| {
                let x = g.input_activation("x", &[side, side]);
                let weight = g.weight("weight", &[side, side], 0);
                let out = linear(g, x, weight, None, None)?;
                [x, out].into_iter().for_each(|id| g.keep(id));
                Ok(side * side)
            })?;
            Ok(Ceilings {
                copy_bytes_per_s: (3 * element * summed) as f64 / sum,
                matmul_flop_per_s: 2.0 * (side as f64).powi(3) / product,
            })
        }
        _ => Ok(ceiling::measure()),
    }
}

/// Seconds for each of a quick measurement's two rates.
const QUICK: f64 = 0.15;

/// As [`measure`], but on the CPU in less than half a second.
///
/// # Errors
/// If the device fails.
pub fn quick(device: Device) -> Result<Ceilings> {
    match device {
        Device::Cpu => Ok(ceiling::measure_in(QUICK)),
        _ => measure(device),
    }
}

/// The size that counts, and its shortest time in seconds a run. `trace` returns the elements of its weights.
fn best(
    device: Device,
    sizes: impl IntoIterator<Item = usize>,
    trace: impl Fn(&mut Graph, usize) -> Result<usize>,
) -> Result<(usize, f64)> {
    let mut sizes = sizes.into_iter().peekable();
    loop {
        let size = sizes.next().expect("the last size counts");
        let mut ready = Ready::new(device, |graph| trace(graph, size))?;
        ready.seconds(1)?;
        let one = ready.seconds(1)?;
        if one >= LONG || sizes.peek().is_none() {
            let runs = ((RUNS as f64 * LONG / one).ceil() as usize).clamp(1, RUNS);
            let rounds = (0..ROUNDS).map(|_| ready.seconds(runs)).collect::<Result<Vec<_>>>()?;
            return Ok((size, rounds.into_iter().fold(f64::INFINITY, f64::min)));
        }
    }
}

/// A program whose inputs and weights are random.
struct Ready {
    device: Device,
    program: Program,
    memory: Memory,
}

impl Ready {
    fn new(device: Device, trace: impl FnOnce(&mut Graph) -> Result<usize>) -> Result<Ready> {
        let mut graph = Graph::storing(device.storage());
        let trained = trace(&mut graph)?;
        let program = Program::new(graph, Region::Work);
        let mut memory = Memory::new(device, Sizes { trained, ..Sizes::default() })?;
        memory.reserve(&program)?;
        // Zeroes would let the chip run faster than any data does.
        memory.poison(Region::Work);
        for id in (0..program.tensors.len() as u32).map(crate::graph::Id) {
            if matches!(program.tensor(id).role, crate::graph::Role::Input) {
                memory.write(&program, id, &random::normal(1, program.tensor(id).len(), 1.0));
            }
        }
        if trained > 0 {
            memory.set_flat(Region::Weights, 0, &random::normal(2, trained, 1.0));
        }
        Ok(Ready { device, program, memory })
    }

    /// Seconds of a run, of so many in a row.
    fn seconds(&mut self, runs: usize) -> Result<f64> {
        let start = std::time::Instant::now();
        for _ in 0..runs {
            self.device.run(&self.program, &mut self.memory, &StepState::default())?;
        }
        self.memory.finish()?;
        Ok(start.elapsed().as_secs_f64() / runs as f64)
    }
}

/// The datasheet of a GPU; `None` for the CPU and for chips that are not in the table.
pub fn datasheet(device: Device) -> Option<Datasheet> {
    let Device::Cuda(number) = device else { return None };
    Gpu::of_name(&cuda::usable(number).ok()?.name).map(Gpu::datasheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_is_not_in_the_table_has_no_datasheet() {
        let sheet = |name| Gpu::of_name(name).map(Gpu::datasheet);
        assert_eq!(sheet("NVIDIA H100 80GB HBM3").map(|d| d.flop_per_s), Some(989e12));
        assert_eq!(sheet("NVIDIA H200").map(|d| d.bytes_per_s), Some(4.8e12));
        for unknown in ["NVIDIA H100 PCIe", "NVIDIA A100-SXM4-40GB", "NVIDIA H200 NVL", "Tesla T4"] {
            assert_eq!(Gpu::of_name(unknown), None, "{unknown}");
        }
        assert_eq!(datasheet(Device::Cpu), None);
        for &gpu in <Gpu as clap::ValueEnum>::value_variants() {
            assert_eq!(Gpu::of_name(gpu.name()), Some(gpu));
        }
    }
}

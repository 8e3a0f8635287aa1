//! What the device reaches at best, measured in the same run, and what its datasheet says.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::bench::ceiling::{self, Ceilings};
use crate::bench::spread;
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

/// Side of the GPU's product, and elements of its sum.
const SIDE: usize = 8192;
const SUMMED: usize = 256 << 20;
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
            let sum = best(device, |g| {
                let [a, b] = ["a", "b"].map(|name| g.input_activation(name, &[SUMMED]));
                let out = g.activation("sum", &[SUMMED]);
                g.push(Add { len: SUMMED }, &[a, b], &[out]);
                [a, b, out].into_iter().for_each(|id| g.keep(id));
                Ok(0)
            })?;
            let product = best(device, |g| {
                let x = g.input_activation("x", &[SIDE, SIDE]);
                let weight = g.weight("weight", &[SIDE, SIDE], 0);
                let out = linear(g, x, weight, None, None)?;
                [x, out].into_iter().for_each(|id| g.keep(id));
                Ok(SIDE * SIDE)
            })?;
            Ok(Ceilings {
                copy_bytes_per_s: (3 * element * SUMMED) as f64 / sum,
                matmul_flop_per_s: 2.0 * (SIDE as f64).powi(3) / product,
            })
        }
        _ => Ok(ceiling::measure()),
    }
}

/// The shortest time of a graph, in seconds a run. `trace` returns the elements of its weights.
fn best(device: Device, trace: impl FnOnce(&mut Graph) -> Result<usize>) -> Result<f64> {
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
    let nodes = 0..program.nodes.len();
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        let start = std::time::Instant::now();
        for _ in 0..RUNS {
            device.run_nodes(&program, nodes.clone(), &mut memory, &StepState::default())?;
        }
        memory.finish()?;
        times.push(start.elapsed().as_secs_f64() * 1e3 / RUNS as f64);
    }
    Ok(spread(times).min_ms * 1e-3)
}

/// The datasheet of a GPU; `None` for the CPU and for chips that are not in the table.
pub fn datasheet(device: Device) -> Option<Datasheet> {
    let Device::Cuda(number) = device else { return None };
    of_name(&cuda::usable(number).ok()?.name)
}

/// By the name that the driver gives. The PCIe forms of a chip are slower, and are not in the table.
fn of_name(name: &str) -> Option<Datasheet> {
    let figures = |tflops: f64, terabytes: f64| {
        Some(Datasheet { bytes_per_s: terabytes * 1e12, flop_per_s: tflops * 1e12 })
    };
    match name {
        n if n.contains("PCIe") || n.contains("NVL") => None,
        n if n.contains("A100") && n.contains("80GB") => figures(312.0, 2.0),
        n if n.contains("H100") => figures(989.0, 3.35),
        n if n.contains("H200") => figures(989.0, 4.8),
        n if n.contains("RTX 4090") => figures(165.0, 1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_is_not_in_the_table_has_no_datasheet() {
        assert_eq!(of_name("NVIDIA H100 80GB HBM3").map(|d| d.flop_per_s), Some(989e12));
        assert_eq!(of_name("NVIDIA H200").map(|d| d.bytes_per_s), Some(4.8e12));
        for unknown in ["NVIDIA H100 PCIe", "NVIDIA A100-SXM4-40GB", "NVIDIA H200 NVL", "Tesla T4"] {
            assert_eq!(of_name(unknown), None, "{unknown}");
        }
        assert_eq!(datasheet(Device::Cpu), None);
    }
}

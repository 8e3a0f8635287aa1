//! A clock around each operation of the programs that an engine runs.

use std::time::Instant;

use crate::Result;
use crate::device::{Device, Memory, StepState};
use crate::graph::plan::Program;
use crate::ops::Cost;

/// One operation that ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    pub op: &'static str,
    /// Where it belongs in the model: the scopes of what it writes, as `decoder.0`; empty outside of all.
    pub layer: String,
    pub backward: bool,
    /// Seconds since the watch began.
    pub start: f64,
    pub seconds: f64,
    /// The least that must be moved, in the types that the device stores.
    pub bytes: f64,
    pub flops: f64,
    /// Bytes that it writes.
    pub written: usize,
}

/// What ran since the watch began.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    pub timed: Vec<Timed>,
}

impl Watch {
    pub fn new() -> Watch {
        Watch { began: Instant::now(), timed: Vec::new() }
    }

    /// Runs a program operation by operation, as [`Device::run_timed`] does.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(
        &mut self,
        device: Device,
        program: &Program,
        memory: &mut Memory,
        state: &StepState,
    ) -> Result<()> {
        // The loss writes the first gradient in the forward pass; what comes after it goes backward.
        let gradient = |id: &crate::graph::Id| program.tensors[id.index()].name.starts_with("d ");
        let turn = program.nodes.iter().position(|node| node.outputs.iter().any(gradient));
        let began = self.began.elapsed().as_secs_f64();
        let times = device.run_timed(program, 0..program.nodes.len(), memory, state)?;
        for (index, (node, times)) in program.nodes.iter().zip(times).enumerate() {
            let cost = Cost::of(node, &program.tensors, device.storage());
            let tensors = || node.outputs.iter().map(|id| &program.tensors[id.index()]);
            self.timed.push(Timed {
                op: node.op.name(),
                layer: tensors()
                    .map(|tensor| layer(&tensor.name))
                    .find(|of| !of.is_empty())
                    .unwrap_or_default(),
                backward: turn.is_some_and(|turn| index > turn) || node.op.name().ends_with("backward"),
                start: began + times.start,
                seconds: times.end - times.start,
                bytes: cost.bytes,
                flops: cost.flops,
                written: tensors().map(|tensor| tensor.len() * tensor.dtype.bytes()).sum(),
            });
        }
        Ok(())
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

/// `d decoder.0.attention.qkv` belongs to `decoder.0`, `encoder.embed` to `encoder`.
fn layer(name: &str) -> String {
    let name = name.trim_start_matches("d ");
    let mut parts = name.split('.');
    let (Some(part), Some(next)) = (parts.next(), parts.next()) else { return String::new() };
    match next.parse::<usize>() {
        Ok(number) => format!("{part}.{number}"),
        Err(_) => part.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::layer;

    #[test]
    fn names_tell_the_layer() {
        for (name, of) in [
            ("decoder.0.attention.qkv", "decoder.0"),
            ("d d encoder.11.x", "encoder.11"),
            ("encoder.embed.weight", "encoder"),
            ("targets", ""),
            ("", ""),
        ] {
            assert_eq!(layer(name), of, "{name}");
        }
    }
}

//! Times operations at their registered shapes: the cases of one operation in turns, with cold caches unless told
//! otherwise.

use serde::Serialize;

use super::ceiling::Ceilings;
use super::energy::{self, Meter};
use super::machine::Flush;
use super::turns::{Turns, clocked, in_turns};
use super::{Quantiles, together};
use crate::Result;
use crate::device::Device;
use crate::ops::Cost;
use crate::ops::cases::Case;
use crate::ops::cases::check::{Prepared, STATE};
use crate::train::budget;

/// One op at one shape. Forward and, where there is a gradient, backward.
#[derive(Debug, Serialize)]
pub struct Row {
    pub op: &'static str,
    pub case: String,
    pub pass: &'static str,
    #[serde(flatten)]
    pub times: Quantiles,
    /// Rows of one number were timed in turns.
    pub group: usize,
    /// That must be moved at least, in the types that the device stores.
    pub bytes: f64,
    pub flops: f64,
    /// The time that the ceilings allow, over the median time; `None` where there are none.
    pub share_of_ceiling: Option<f64>,
    /// Joules of one run; `None` where no counter can be read.
    pub energy_j: Option<f64>,
}

/// How operations are timed.
pub struct Timer<'a> {
    pub device: Device,
    /// Seconds for each pass of a case.
    pub seconds: f64,
    pub ceiling: Option<Ceilings>,
    /// Whether caches hold the data of the run before; else `flush` drives it out on this machine, and
    /// [`crate::device::Memory::flush`] on a GPU.
    pub warm: bool,
    pub flush: Option<Flush>,
    pub meter: Option<&'a Meter>,
}

/// Timed runs of an op, however long they take.
const LEAST_RUNS: usize = 5;
/// Of the free memory, what the cases of a group may take together; bytes where it is not known.
const MEMORY_SHARE: usize = 2;
const MEMORY: usize = 2_000_000_000;

/// Nodes of one pass of a case.
struct Part {
    case: usize,
    pass: &'static str,
    nodes: std::ops::Range<usize>,
}

impl Timer<'_> {
    /// Times the cases, those of one op in turns as far as memory holds them together. `tell` hears the op and what part
    /// of it is done.
    ///
    /// # Errors
    /// If the device fails.
    pub fn time(&mut self, cases: &[Case], mut tell: impl FnMut(&str, f64)) -> Result<Vec<Row>> {
        let limit = budget::available(self.device).map_or(MEMORY, |free| free / MEMORY_SHARE);
        let (mut rows, mut group) = (Vec::new(), 0);
        for of_op in cases.chunk_by(|a, b| a.op == b.op) {
            let (mut begun, mut ready, mut taken) = (0, Vec::new(), 0);
            for (number, case) in of_op.iter().enumerate() {
                let prepared = Prepared::new(case, self.device)?;
                if !ready.is_empty() && taken + prepared.bytes() > limit {
                    let ended = std::mem::take(&mut ready);
                    rows.extend(self.group(&of_op[begun..number], ended, group, &mut tell)?);
                    (begun, taken, group) = (number, 0, group + 1);
                }
                taken += prepared.bytes();
                ready.push(prepared);
            }
            rows.extend(self.group(&of_op[begun..], ready, group, &mut tell)?);
            group += 1;
        }
        Ok(rows)
    }

    fn group(
        &mut self,
        cases: &[Case],
        mut ready: Vec<Prepared>,
        group: usize,
        tell: &mut impl FnMut(&str, f64),
    ) -> Result<Vec<Row>> {
        let mut parts = Vec::new();
        for (case, prepared) in ready.iter_mut().enumerate() {
            prepared.run()?;
            let (forward, all) = (prepared.forward_nodes, prepared.program.nodes.len());
            parts.extend(
                [("forward", 0..forward), ("backward", forward..all)]
                    .into_iter()
                    .filter(|(_, nodes)| !nodes.is_empty())
                    .map(|(pass, nodes)| Part { case, pass, nodes }),
            );
        }
        let device = self.device;
        // A GPU's own clock tells single runs apart, once caches are cold.
        let cold_gpu = matches!(device, Device::Cuda(_)) && !self.warm;
        let together = if cold_gpu { 1 } else { together(device) };
        let ready = std::cell::RefCell::new(ready);
        let run = |part: &Part, times: usize| -> Result<()> {
            let Prepared { program, memory, .. } = &mut ready.borrow_mut()[part.case];
            (0..times).try_for_each(|_| device.run_nodes(program, part.nodes.clone(), memory, &STATE))?;
            memory.finish()
        };
        let timed_cold = |part: &Part| -> Result<f64> {
            let Prepared { program, memory, .. } = &mut ready.borrow_mut()[part.case];
            memory.flush()?;
            let times = device.run_timed(program, part.nodes.clone(), memory, &STATE)?;
            Ok(times.last().map_or(0.0, |last| last.end))
        };
        // One run that is not counted: it makes plans and touches memory.
        parts.iter().try_for_each(|part| run(part, together))?;
        let flush = &mut self.flush;
        let times = in_turns(
            Turns::new(parts.len(), self.seconds, LEAST_RUNS),
            |number, again| match flush {
                Some(flush) => {
                    flush.run();
                    Ok(())
                }
                // Warm caches hold its own data, and not those of the one before it.
                None if !again => run(&parts[number], 1),
                None => Ok(()),
            },
            |number| match cold_gpu {
                true => timed_cold(&parts[number]),
                false => clocked(|| run(&parts[number], together)),
            },
            |done| tell(cases[0].op, done),
        )?;
        let mut rows = Vec::new();
        for (part, seconds) in parts.iter().zip(times) {
            let times = Quantiles::of(seconds, together);
            let energy_j = match self.meter {
                Some(meter) => energy::of_runs(meter, times.median_s, |runs| run(part, runs))?,
                None => None,
            };
            let cost = {
                let program = &ready.borrow()[part.case].program;
                let (nodes, tensors) = (&program.nodes, &program.tensors);
                nodes[part.nodes.clone()].iter().fold(Cost::default(), |sum, node| {
                    let cost = Cost::of(node, tensors, device.storage());
                    Cost { bytes: sum.bytes + cost.bytes, flops: sum.flops + cost.flops }
                })
            };
            let floor = self.ceiling.map(|best| best.floor(cost.flops, cost.bytes).0);
            rows.push(Row {
                op: cases[part.case].op,
                case: cases[part.case].name.clone(),
                pass: part.pass,
                times,
                group,
                bytes: cost.bytes,
                flops: cost.flops,
                share_of_ceiling: floor.map(|floor| floor / times.median_s),
                energy_j,
            });
        }
        Ok(rows)
    }
}

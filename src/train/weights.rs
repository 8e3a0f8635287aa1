//! Tensors of a checkpoint to a model's flat buffers.

use std::path::Path;

use super::checkpoint::{self, Checkpoint};
use crate::device::Memory;
use crate::graph::plan::Region;
use crate::nn::Parameters;
use crate::{Error, Result};

/// The best checkpoint of a run, or the latest where none was marked.
///
/// # Errors
/// If there is none, or nothing sound.
pub fn found(run: &Path, note: &mut dyn FnMut(&str)) -> Result<Checkpoint> {
    checkpoint::best_or_latest(run, note)?.ok_or_else(|| {
        Error::failed(format!(
            "{}: holds no checkpoint yet; let `evoke train` reach its first one",
            run.display()
        ))
    })
}

/// Reads what is to be used: averaged weights where there are any.
///
/// # Errors
/// As [`read`].
pub fn best(from: &Checkpoint, parameters: &Parameters, memory: &mut Memory) -> Result<()> {
    let group = if from.has(checkpoint::AVERAGE) { checkpoint::AVERAGE } else { checkpoint::WEIGHTS };
    read(from, group, "", parameters, memory, Region::Weights)
}

/// Reads each parameter's tensor of a group into one of the flat buffers.
///
/// # Errors
/// If a tensor is missing, has another shape, or is damaged.
pub fn read(
    from: &Checkpoint,
    group: &str,
    suffix: &str,
    parameters: &Parameters,
    memory: &mut Memory,
    region: Region,
) -> Result<()> {
    let file = from.group(group)?;
    let mut values = Vec::new();
    for spec in parameters.specs().iter().filter(|s| s.is_trained()) {
        values.resize(spec.len(), 0.0);
        file.read(&format!("{}{suffix}", spec.name), &spec.shape, &mut values)?;
        memory.set_flat(region, spec.offset, &values);
    }
    Ok(())
}

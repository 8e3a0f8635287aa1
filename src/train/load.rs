//! A trained model back from its run folder.

use std::path::Path;

use super::checkpoint::{self, Checkpoint};
use super::identity::Identity;
use super::run_folder::RunFolder;
use crate::config::Config;
use crate::data::Vocabulary;
use crate::device::Device;
use crate::graph::plan::Region;
use crate::models::captioner::{Captioner, Session};
use crate::{Error, Result};

/// A run as `caption` and `evaluate` need it.
#[derive(Debug)]
pub struct Trained {
    pub session: Session,
    pub config: Config,
    pub identity: Identity,
    pub vocabulary: Vocabulary,
    /// The step of the checkpoint that was loaded.
    pub step: u64,
}

/// Loads the best checkpoint of a run, or the latest where none was marked; averaged weights where there are any.
///
/// # Errors
/// If there is no run, no checkpoint, or nothing sound.
pub fn load(run: &Path, device: Device, note: &mut dyn FnMut(&str)) -> Result<Trained> {
    let config = RunFolder::stored_config(run)?;
    let found = checkpoint::best_or_latest(run, note)?;
    let Some(found) = found else {
        return Err(Error::failed(format!(
            "{}: holds no checkpoint yet; let `evoke train` reach its first one",
            run.display()
        )));
    };
    let (identity, vocabulary) = Identity::load(run)?;
    let model = Captioner::new(&config.model, identity.ends())?;
    let mut session = Session::new(model, device, None)?;
    let group = if found.has(checkpoint::AVERAGE) { checkpoint::AVERAGE } else { checkpoint::WEIGHTS };
    read(&found, group, "", &mut session, Region::Weights)?;
    Ok(Trained { session, config, identity, vocabulary, step: found.step() })
}

/// Reads each parameter's tensor of a group into one of the session's flat buffers.
///
/// # Errors
/// If a tensor is missing, has another shape, or is damaged.
pub fn read(
    from: &Checkpoint,
    group: &str,
    suffix: &str,
    session: &mut Session,
    region: Region,
) -> Result<()> {
    let file = from.group(group)?;
    let mut values = Vec::new();
    for spec in session.model.parameters.specs().iter().filter(|s| s.is_trained()) {
        values.resize(spec.len(), 0.0);
        file.read(&format!("{}{suffix}", spec.name), &spec.shape, &mut values)?;
        session.memory.set_flat(region, spec.offset, &values);
    }
    Ok(())
}

//! Checkpoints: `RUN/checkpoints/step-N/`, of which the last complete one survives a kill at any instant.
//!
//! A save goes aside (`.step-N.partial`), is synced file by file, then as a folder, then renamed to its name.
//! `state.json` is written last and knows the length and hashes of the rest, so a folder without a good one is
//! no checkpoint. Deletion goes the same way back: renamed aside first, so nothing half-deleted has a good name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::{self, Files};
use super::manifest::{Manifest, STATE};
pub use super::tensor_file::Tensor;
use super::tensor_file::{self, TensorFile};
use crate::error::At;
use crate::{Error, Result};

/// The usual names of groups.
pub const WEIGHTS: &str = "weights";
/// The optimizer's first and second moments, under names that tell them apart (`NAME.first`, `NAME.second`).
pub const MOMENTS: &str = "moments";
/// The moving average of the weights, where one is kept.
pub const AVERAGE: &str = "average";

const BEST: &str = "best.json";
const PARTIAL: &str = ".partial";
/// An older folder of the same step, put aside while the new one takes its name.
const REPLACED: &str = "-replaced";

/// The tensors of one file, `NAME.safetensors`.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    pub name: &'a str,
    pub tensors: Vec<Tensor<'a>>,
}

/// What becomes of the checkpoint after it is written.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// How many of the newest stay, this one included; at least 1.
    pub last: usize,
    /// This one is the best so far: it stays until another is, beside the newest.
    pub best: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Best {
    step: u64,
}

/// The folder of a run's checkpoints.
pub fn folder(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Saves `groups` and `state` as the checkpoint of `step`, and returns its folder and what went wrong afterwards.
///
/// Whatever fails, the checkpoints that were there still load. After an error the save did not happen (or, if only
/// the last sync failed, may not survive a power cut). An old checkpoint that cannot be removed is no error but a
/// line in the second value: the new one is safe.
pub fn save<T: Serialize>(
    files: &dyn Files,
    run: &Path,
    step: u64,
    groups: &[Group],
    state: &T,
    keep: Keep,
) -> Result<(PathBuf, Option<String>)> {
    let parent = folder(run);
    files::create_dirs(files, &parent)?;
    remove_partials(files, &parent)?;
    let partial = parent.join(format!(".{}{PARTIAL}", step_name(step)));
    let saved = write_folder(files, &partial, step, groups, state)
        .and_then(|manifest| put_in_place(files, &parent, &partial, step, &manifest));
    if let Err(error) = saved {
        if partial.exists() {
            let _ = files::remove_folder(files, &partial, STATE); // the first error is the one to tell
        }
        return Err(error);
    }
    let tidied = if keep.best { mark_best(files, run, step) } else { Ok(()) }
        .and_then(|()| remove_old(files, run, step, keep.last.max(1)));
    let note = tidied.err().map(|error| format!("the checkpoint of step {step} is saved, but: {error}"));
    Ok((parent.join(step_name(step)), note))
}

fn write_folder<T: Serialize>(
    files: &dyn Files,
    partial: &Path,
    step: u64,
    groups: &[Group],
    state: &T,
) -> Result<Manifest> {
    let state = serde_json::to_value(state)
        .map_err(|error| Error::failed(format!("{STATE}: the state has no form as JSON: {error}")))?;
    files.create_dir(partial).at("create the folder", partial)?;
    let mut records = BTreeMap::new();
    for group in groups {
        let name = format!("{}.safetensors", group.name);
        let record = tensor_file::write(files, &partial.join(&name), &group.tensors)?;
        records.insert(name, record);
    }
    let manifest = Manifest::new(step, records, state);
    let path = partial.join(STATE);
    let mut file = files.create(&path).at("create", &path)?;
    files.write(&mut file, &manifest.to_bytes()?).at("write", &path)?;
    files.sync(&file).at("sync", &path)?;
    files.sync_dir(partial).at("sync the folder", partial)?;
    Ok(manifest)
}

fn put_in_place(
    files: &dyn Files,
    parent: &Path,
    partial: &Path,
    step: u64,
    manifest: &Manifest,
) -> Result<()> {
    let place = parent.join(step_name(step));
    if place.exists() {
        let same =
            Checkpoint::open(&place).is_ok_and(|old| old.manifest == *manifest && old.verify().is_ok());
        if same {
            return files::remove_folder(files, partial, STATE);
        }
        // Two renames cannot be one, so between them the old folder must still count: see `candidates`.
        let aside = parent.join(step_name(step) + REPLACED);
        if aside.exists() {
            set_aside_and_remove(files, &aside)?;
        }
        files.rename(&place, &aside).at("rename", &place)?;
    }
    files.rename(partial, &place).at("rename to its place", partial)?;
    files.sync_dir(parent).at("sync the folder", parent)
}

/// Marks the checkpoint of `step` as the best one.
pub fn mark_best(files: &dyn Files, run: &Path, step: u64) -> Result<()> {
    let json = serde_json::to_vec(&Best { step })
        .map_err(|error| Error::failed(format!("{BEST}: cannot be written as JSON: {error}")))?;
    files::replace(files, &folder(run).join(BEST), &json)
}

/// The step marked as best, if one is and its mark can be read.
pub fn best_step(run: &Path) -> Option<u64> {
    let bytes = fs::read(folder(run).join(BEST)).ok()?;
    serde_json::from_slice::<Best>(&bytes).ok().map(|best| best.step)
}

/// What a kill left half-written or half-deleted.
fn remove_partials(files: &dyn Files, parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).at("list", parent)? {
        let path = entry.at("list", parent)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(PARTIAL) {
            if path.is_dir() {
                files::remove_folder(files, &path, STATE)?;
            } else {
                files.remove_file(&path).at("remove", &path)?;
            }
        }
    }
    Ok(())
}

/// Removes all but the `last` newest up to `step`, and the best.
///
/// Those of later steps are damaged ones that a resume had to go behind; they are neither counted nor touched
/// until their step comes again.
fn remove_old(files: &dyn Files, run: &Path, step: u64, last: usize) -> Result<()> {
    let parent = folder(run);
    let best = best_step(run);
    let (mut kept, mut seen) = (0, None);
    for candidate in candidates(&parent)?.into_iter().filter(|candidate| candidate.step <= step) {
        let again = seen.replace(candidate.step) == Some(candidate.step);
        if !again && (kept < last || best == Some(candidate.step)) {
            kept += 1;
            continue;
        }
        set_aside_and_remove(files, &candidate.path)?;
    }
    Ok(())
}

fn set_aside_and_remove(files: &dyn Files, path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = files::parent(path).join(format!(".{name}.old{PARTIAL}"));
    files.rename(path, &aside).at("rename", path)?;
    files::remove_folder(files, &aside, STATE)
}

#[derive(Debug)]
struct Candidate {
    step: u64,
    replaced: bool,
    path: PathBuf,
}

/// Folders with a checkpoint's name, newest first; of one step the one that replaced the other first.
fn candidates(parent: &Path) -> Result<Vec<Candidate>> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).at("list", parent)? {
        let path = entry.at("list", parent)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (name, replaced) = match name.strip_suffix(REPLACED) {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        if let Some(step) = name.strip_prefix("step-").and_then(|digits| digits.parse().ok()) {
            found.push(Candidate { step, replaced, path });
        }
    }
    found.sort_by_key(|candidate| (std::cmp::Reverse(candidate.step), candidate.replaced));
    Ok(found)
}

/// A checkpoint on disk.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: Manifest,
    files: BTreeMap<String, TensorFile>,
}

impl Checkpoint {
    /// Opens the checkpoint in the folder `path`: `state.json`, and each file's length and header, are checked here,
    /// each tensor when it is read, or all of them by [`Checkpoint::verify`].
    pub fn open(path: &Path) -> Result<Self> {
        let manifest = Manifest::read(path)?;
        let mut files = BTreeMap::new();
        for (name, record) in &manifest.files {
            files.insert(name.clone(), TensorFile::open(&path.join(name), record)?);
        }
        Ok(Checkpoint { path: path.to_path_buf(), manifest, files })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The step after which it was saved.
    pub fn step(&self) -> u64 {
        self.manifest.step
    }

    /// The state that was saved with it.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.manifest.state).map_err(|error| {
            let path = self.path.join(STATE);
            Error::failed(format!("{}: was written by another version of evoke ({error})", path.display()))
        })
    }

    /// Whether it has the group `name`.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(&format!("{name}.safetensors"))
    }

    /// The file of the group `name`.
    pub fn group(&self, name: &str) -> Result<&TensorFile> {
        self.files.get(&format!("{name}.safetensors")).ok_or_else(|| {
            Error::failed(format!("{}: was saved without {name}.safetensors", self.path.display()))
        })
    }

    /// Reads every byte once; the first damaged tensor is the error.
    pub fn verify(&self) -> Result<()> {
        self.files.values().try_for_each(TensorFile::verify)
    }
}

/// The newest checkpoint of `run` that is complete and sound in every byte; `None` where none was ever saved.
///
/// Each newer one that is not gets a line through `note` that names the file and the tensor. Errors: none is sound.
pub fn latest(run: &Path, note: &mut dyn FnMut(&str)) -> Result<Option<Checkpoint>> {
    let mut damaged = None;
    for candidate in candidates(&folder(run))? {
        match Checkpoint::open(&candidate.path).and_then(|found| found.verify().map(|()| found)) {
            Ok(found) => return Ok(Some(found)),
            Err(error) => {
                note(&format!("{error}; trying the checkpoint before it"));
                damaged.get_or_insert(error);
            }
        }
    }
    match damaged {
        None => Ok(None),
        Some(error) => Err(Error::failed(format!(
            "no checkpoint in {} is sound ({error}); start again with another --out",
            folder(run).display()
        ))),
    }
}

/// The checkpoint marked as best where there is one and it is sound, else the latest.
pub fn best_or_latest(run: &Path, note: &mut dyn FnMut(&str)) -> Result<Option<Checkpoint>> {
    if let Some(step) = best_step(run) {
        let place = folder(run).join(step_name(step));
        match Checkpoint::open(&place).and_then(|found| found.verify().map(|()| found)) {
            Ok(found) => return Ok(Some(found)),
            Err(error) => note(&format!("the best checkpoint does not load ({error}); taking the latest")),
        }
    }
    latest(run, note)
}

//! Files that are complete or not there: written aside, synced, renamed, and their folder synced.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::At;

/// What a file is called until it is complete.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Writes a whole file so that a kill at any instant leaves either the old one or the new one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = partial(path);
    let mut file = File::create(&aside).at("create", &aside)?;
    file.write_all(bytes).at("write", &aside)?;
    publish(&file, path)
}

/// Syncs the partial file, gives it its name and syncs the folder, so that the name survives a power cut too.
pub fn publish(file: &File, path: &Path) -> Result<()> {
    let aside = partial(path);
    file.sync_all().at("sync", &aside)?;
    fs::rename(&aside, path).at("rename into place", path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes creations, renames and removals in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    #[cfg(unix)]
    File::open(folder).and_then(|handle| handle.sync_all()).at("sync the folder", folder)?;
    Ok(())
}

/// Removes a file if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

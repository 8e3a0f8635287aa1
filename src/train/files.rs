//! Every write of a run goes through [`Files`], so that a test can make each one fail in turn.
//!
//! Reading needs no such seam: a read that fails is an error where it stands and changes nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::At;

/// The steps a durable write is made of. Each either happens or returns its error; none retries.
pub trait Files {
    /// Creates one folder, whose parent is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Appends all of `bytes`.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the file's bytes would survive a power cut.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Returns when the folder's entries (names, not contents) would survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file or folder another name, at once or not at all.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The file system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // A folder can be opened and synced on Unix only; elsewhere the file system orders its own names.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

/// Creates `path` and the folders above it that are missing.
pub fn create_dirs(files: &dyn Files, path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    if !parent.as_os_str().is_empty() && parent != path {
        create_dirs(files, &parent)?;
    }
    match files.create_dir(path) {
        // Someone else made it in the meantime: as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.at("create the folder", path),
    }?;
    files.sync_dir(&parent).at("sync the folder", &parent)
}

/// Replaces the file `path` by `bytes`, at once or not at all: written aside, synced, renamed, its folder synced.
pub fn replace(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = parent(path);
    let aside = folder.join(format!(".{name}.partial"));
    let write = || -> Result<()> {
        let mut file = files.create(&aside).at("create", &aside)?;
        files.write(&mut file, bytes).at("write", &aside)?;
        files.sync(&file).at("sync", &aside)?;
        files.rename(&aside, path).at("rename to its place", &aside)
    };
    if let Err(error) = write() {
        let _ = files.remove_file(&aside); // the first error is the one to tell
        return Err(error);
    }
    files.sync_dir(&folder).at("sync the folder", &folder)
}

/// Removes a folder of files, `first` before the others.
pub fn remove_folder(files: &dyn Files, path: &Path, first: &str) -> Result<()> {
    let marker = path.join(first);
    if marker.exists() {
        files.remove_file(&marker).at("remove", &marker)?;
    }
    for entry in fs::read_dir(path).at("list", path)? {
        let entry = entry.at("list", path)?.path();
        if entry.is_dir() && !entry.is_symlink() {
            remove_folder(files, &entry, first)?;
        } else {
            files.remove_file(&entry).at("remove", &entry)?;
        }
    }
    files.remove_dir(path).at("remove the folder", path)
}

/// The folder a path lies in; `.` for a bare name.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_path_buf(),
        None => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_the_new_bytes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.json");
        replace(&Disk, &path, b"one").unwrap();
        replace(&Disk, &path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn replace_that_cannot_rename_cleans_up_and_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"x").unwrap();
        let error = replace(&Disk, &path, b"one").unwrap_err().to_string();
        assert!(error.contains("taken") && !error.contains('\n'), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the file aside is gone");
    }

    #[test]
    fn folders_above_are_created_and_removed_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        create_dirs(&Disk, &deep).unwrap();
        fs::write(deep.join("state.json"), b"{}").unwrap();
        fs::write(deep.join("weights"), b"1").unwrap();
        remove_folder(&Disk, &folder.path().join("a"), "state.json").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        assert_eq!(parent(Path::new("run")), Path::new("."));
        assert_eq!(parent(Path::new("a/run")), Path::new("a"));
    }
}

//! A disk that fails at a chosen operation, and loses what a power cut would lose.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use evoke::train::files::{Disk, Files};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// It fails, once.
    Fails,
    /// A write stops half-way, and from then on the disk takes nothing more; removing works.
    DiskFull,
    /// The process is gone: this and all later operations do nothing.
    Killed,
    /// As `Killed`, and what was not synced is lost; renames not yet synced happened.
    PowerCut,
    /// As `PowerCut`, but renames not yet synced did not happen.
    PowerCutBeforeRenames,
}

pub const FAULTS: [Fault; 5] =
    [Fault::Fails, Fault::DiskFull, Fault::Killed, Fault::PowerCut, Fault::PowerCutBeforeRenames];

#[derive(Default)]
struct Log {
    operations: usize,
    fired: bool,
    /// Files whose contents, and names whose entries, a power cut would lose.
    unsynced_files: Vec<PathBuf>,
    unsynced_names: Vec<PathBuf>,
    unsynced_renames: Vec<(PathBuf, PathBuf)>,
}

pub struct Faulty {
    at: usize,
    fault: Fault,
    log: RefCell<Log>,
}

impl Faulty {
    pub fn new(at: usize, fault: Fault) -> Self {
        Faulty { at, fault, log: RefCell::new(Log::default()) }
    }

    /// Counts one operation; an error where it must not happen.
    fn allow(&self, takes_space: bool) -> io::Result<()> {
        let mut log = self.log.borrow_mut();
        let now = log.operations;
        log.operations += 1;
        log.fired |= now == self.at;
        let refused = match self.fault {
            Fault::Fails => now == self.at,
            Fault::DiskFull => now == self.at || (log.fired && takes_space),
            _ => log.fired,
        };
        match (refused, self.fault) {
            (false, _) => Ok(()),
            (true, Fault::DiskFull) => Err(io::Error::from(ErrorKind::StorageFull)),
            (true, _) => Err(io::Error::other("injected")),
        }
    }

    /// Whether the chosen operation came up.
    pub fn fired(&self) -> bool {
        self.log.borrow().fired
    }

    /// Leaves the disk as the fault would.
    pub fn settle(&self) {
        let log = self.log.borrow();
        if !log.fired || !matches!(self.fault, Fault::PowerCut | Fault::PowerCutBeforeRenames) {
            return;
        }
        for path in log.unsynced_files.iter().filter(|path| path.exists()) {
            let length = fs::metadata(path).unwrap().len();
            File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
        }
        for path in log.unsynced_names.iter().filter(|path| path.exists()) {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        if self.fault == Fault::PowerCutBeforeRenames {
            for (from, to) in
                log.unsynced_renames.iter().rev().filter(|(from, to)| to.exists() && !from.exists())
            {
                fs::rename(to, from).unwrap();
            }
        }
    }
}

fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_path_buf(),
        Ok(rest) => to.join(rest),
        Err(_) => path.to_path_buf(),
    }
}

impl Files for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.allow(true)?;
        self.log.borrow_mut().unsynced_names.push(path.to_path_buf());
        Disk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.allow(true)?;
        let mut log = self.log.borrow_mut();
        log.unsynced_files.push(path.to_path_buf());
        log.unsynced_names.push(path.to_path_buf());
        Disk.create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.allow(true) {
            if self.fault == Fault::DiskFull {
                file.write_all(&bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        Disk.write(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.allow(true)?;
        // The file last created is the one being written: a save writes one at a time.
        self.log.borrow_mut().unsynced_files.pop();
        Disk.sync(file)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.allow(true)?;
        let mut log = self.log.borrow_mut();
        log.unsynced_names.retain(|name| name.parent() != Some(path));
        log.unsynced_renames.retain(|(_, to)| to.parent() != Some(path));
        Disk.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.allow(true)?;
        let mut log = self.log.borrow_mut();
        for path in &mut log.unsynced_files {
            *path = moved(path, from, to);
        }
        for path in &mut log.unsynced_names {
            // The new name itself is the rename's business; names within a moved folder stay lost.
            *path = moved(path, from, to);
        }
        log.unsynced_names.retain(|path| path != to);
        log.unsynced_renames.push((from.to_path_buf(), to.to_path_buf()));
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.allow(false)?;
        Disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.allow(false)?;
        Disk.remove_dir(path)
    }
}

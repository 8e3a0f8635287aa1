//! One error type: what went wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can fail on a user's behalf. Each prints as one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or the configuration is wrong; exit code 2. What files and folders hold is not its business.
    #[error("{0}")]
    Usage(String),
    /// A signal asked for a stop and the state was saved; exit code 75.
    #[error("{0}")]
    Stopped(String),
    /// A file or folder could not be used.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// Anything else: `what` happened `place`, and the `way out`.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// A wrong command line, option or configuration key.
    pub fn usage(line: impl Into<String>) -> Self {
        Error::Usage(line.into())
    }

    /// A failure told in one line: what, where, and what to do.
    pub fn failed(line: impl Into<String>) -> Self {
        Error::Failed(line.into())
    }

    /// The process's exit code for this error (see `evoke --help`).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Stopped(_) => 75,
            Error::Io { .. } | Error::Failed(_) => 1,
        }
    }
}

/// Adds to an I/O error what was being done, and to which file.
pub trait At<T> {
    /// `action` continues "cannot ...": `read`, `create the folder`.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.as_ref().to_path_buf(), source })
    }
}

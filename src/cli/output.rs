//! What a command prints: text for people, or one JSON document.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::error::At;
use crate::{Error, Result};

/// Where a command's result goes. Progress and notes go to stderr, results to stdout.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints the command's result: `value` as one JSON document with `--json`, else the `human` text.
    pub fn result<T: Serialize>(&self, value: &T, human: impl FnOnce(&T) -> String) -> Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value)
                .map_err(|error| Error::failed(format!("cannot write the result as JSON: {error}")))?
        } else {
            human(value)
        };
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
            // The reader has seen enough (`evoke ... | head`): no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.at("write to", "stdout"),
        }
    }

    /// One line for people, on stderr, so that stdout stays clean for results.
    pub fn note(&self, line: impl AsRef<str>) {
        eprintln!("{}", line.as_ref());
    }
}

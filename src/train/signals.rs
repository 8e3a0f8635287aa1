//! SIGINT and SIGTERM ask the training loop to save and stop; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::{Error, Result};

/// A request to stop, shared with the signal handlers. One for the whole process.
#[derive(Debug, Clone)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    /// The signal's number; 0 before there was one.
    which: Arc<AtomicUsize>,
}

static INSTALLED: OnceLock<Signals> = OnceLock::new();

impl Signals {
    /// Catches SIGINT and SIGTERM from now on. A second call gives the same flags: handlers cannot be stacked.
    pub fn install() -> Result<Signals> {
        if let Some(signals) = INSTALLED.get() {
            return Ok(signals.clone());
        }
        let signals = Signals { stop: Arc::default(), which: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // The order matters: handlers run in the order they were added, so the first signal finds the flag down
            // and raises it, and the second finds it up and exits with the shell's code for that signal.
            flag::register_conditional_shutdown(signal, 128 + signal, signals.stop.clone())
                .and_then(|_| flag::register_usize(signal, signals.which.clone(), signal as usize))
                .and_then(|_| flag::register(signal, signals.stop.clone()))
                .map_err(|error| Error::failed(format!("cannot catch signals: {error}")))?;
        }
        Ok(INSTALLED.get_or_init(|| signals).clone())
    }

    /// Whether a signal asked for a stop.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The name of the signal that asked for it.
    pub fn name(&self) -> &'static str {
        match self.which.load(Ordering::SeqCst) as i32 {
            SIGINT => "SIGINT",
            SIGTERM => "SIGTERM",
            _ => "no signal",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use signal_hook::low_level::raise;

    use super::*;

    const CHILD: &str = "EVOKE_TEST_SIGNALS";

    /// Runs in a process of its own: signals are for a whole process, and the second one ends it.
    #[test]
    fn the_first_signal_asks_and_the_second_exits() {
        let name = "train::signals::tests::the_first_signal_asks_and_the_second_exits";
        match std::env::var(CHILD).as_deref() {
            Err(_) => {
                for (signal, code) in [("SIGINT", 130), ("SIGTERM", 143)] {
                    let child = Command::new(std::env::current_exe().unwrap())
                        .args(["--exact", name, "--test-threads=1"])
                        .env(CHILD, signal)
                        .output()
                        .unwrap();
                    // A failed assertion in the child would exit with 101, reaching its end with 0.
                    assert_eq!(child.status.code(), Some(code), "{child:?}");
                }
            }
            Ok(which) => {
                let number = if which == "SIGINT" { SIGINT } else { SIGTERM };
                let signals = Signals::install().unwrap();
                assert!(!signals.stop_requested());
                assert_eq!(signals.name(), "no signal");
                raise(number).unwrap();
                assert!(signals.stop_requested());
                assert_eq!(signals.name(), which);
                assert!(Signals::install().unwrap().stop_requested(), "one flag for the process");
                raise(number).unwrap();
            }
        }
    }
}

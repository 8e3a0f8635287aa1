//! The run folder: created once, opened again only with `--resume` and settings that continue it exactly.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::files::{self, Files};
use crate::config::{self, Model, ScheduleKind, Settings};
use crate::error::At;
use crate::{Error, Result};

const CONFIG: &str = "config.toml";
const LOCK: &str = ".lock";

/// Settings that no weight depends on: when to look and save, and how long to keep.
const FREE: [&str; 5] = [
    "train.evaluate_every",
    "train.evaluate_pictures",
    "train.checkpoint_every",
    "train.keep",
    "train.early_stop",
];
/// Settings that say where the run ends: free where no earlier step depends on the end.
const LENGTH: [&str; 2] = ["train.steps", "train.epochs"];

/// A run folder that this process alone writes to, until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Settings that differ from those the run was started with, a line each; all of them may.
    changed: Vec<String>,
    /// Held for its lock.
    _lock: File,
}

impl RunFolder {
    /// Makes `path` the folder of a new run with `config`.
    ///
    /// Errors: it holds a run or anything else, is a file, cannot be written, or another training writes to it.
    pub fn create<M: Model>(files: &dyn Files, path: &Path, config: &Settings<M>) -> Result<Self> {
        let place = path.display();
        if path.exists() && !path.is_dir() {
            return Err(Error::failed(format!(
                "{place}: is a file; a run needs a folder: take another --out"
            )));
        }
        if path.join(CONFIG).exists() {
            return Err(Error::failed(format!(
                "{place}: already holds a run; use --resume or another --out"
            )));
        }
        files::create_dirs(files, path)?;
        let lock = lock(path)?;
        for entry in fs::read_dir(path).at("list", path)? {
            let name = entry.at("list", path)?.file_name();
            // Our own lock, and what a kill right here left of config.toml.
            if !name.to_string_lossy().starts_with('.') {
                let name = name.to_string_lossy().into_owned();
                return Err(Error::failed(format!(
                    "{place}: holds {name} but no run; take a new or an empty folder as --out"
                )));
            }
        }
        files::replace(files, &path.join(CONFIG), config.to_toml()?.as_bytes())?;
        Ok(RunFolder { path: path.to_path_buf(), changed: Vec::new(), _lock: lock })
    }

    /// Opens the folder of a run that was started before, to go on with `config`; what may differ is written down.
    ///
    /// There may be no checkpoint yet, if the run was killed early. Errors: there is no run, another training writes
    /// to it, or `config` would not continue it exactly; then all such settings are named.
    pub fn resume<M: Model>(files: &dyn Files, path: &Path, config: &Settings<M>) -> Result<Self> {
        let stored = Self::stored_config(path)?;
        let lock = lock(path)?;
        let (free, fixed): (Vec<_>, Vec<_>) =
            differences(&stored, config)?.into_iter().partition(|difference| difference.may_change);
        if !fixed.is_empty() {
            let lines: Vec<String> = fixed.iter().map(Difference::line).collect();
            return Err(Error::usage(format!(
                "{}: cannot be continued exactly: {}; leave them as they were, or start anew with another --out",
                path.display(),
                lines.join(", ")
            )));
        }
        if !free.is_empty() {
            files::replace(files, &path.join(CONFIG), config.to_toml()?.as_bytes())?;
        }
        let changed = free.iter().map(Difference::line).collect();
        Ok(RunFolder { path: path.to_path_buf(), changed, _lock: lock })
    }

    /// The settings a run was started with: what `--resume` goes on with where nothing else is said, and what
    /// `caption` and `evaluate` build the model from.
    ///
    /// Errors: there is no run, it is damaged, or another model's.
    pub fn stored_config<M: Model>(path: &Path) -> Result<Settings<M>> {
        let kind = Self::model(path)?;
        if kind != M::NAME {
            return Err(Error::failed(format!(
                "{}: is a run of the {kind}, and this needs one of the {}",
                path.display(),
                M::NAME
            )));
        }
        Settings::stored(&path.join(CONFIG))
    }

    /// Which model's run it is, by the keys of its settings; the captioner's where they say nothing.
    ///
    /// Errors: there is no run, or its settings cannot be read.
    pub fn model(path: &Path) -> Result<&'static str> {
        let file = path.join(CONFIG);
        if !path.exists() {
            return Err(Error::failed(format!(
                "{}: no such run folder; `evoke train` makes one with --out",
                path.display()
            )));
        }
        if !file.exists() {
            return Err(Error::failed(format!(
                "{}: holds no run (there is no {CONFIG}); give a folder that `evoke train` made with --out",
                path.display()
            )));
        }
        let text = fs::read_to_string(&file).at("read", &file)?;
        // What is no TOML at all is told, with its line, by those who read it for its values.
        let stored: Table = text.parse().unwrap_or_default();
        let keys = |table: &Table| -> Vec<String> {
            let model = table.get("model").and_then(Value::as_table);
            model.map_or(Vec::new(), |model| model.keys().cloned().collect())
        };
        let of_foley = keys(&Settings::<config::Foley>::default().to_table()?);
        let of_captioner = keys(&Settings::<config::Captioner>::default().to_table()?);
        let foley = keys(&stored).iter().any(|key| of_foley.contains(key) && !of_captioner.contains(key));
        Ok(if foley { config::Foley::NAME } else { config::Captioner::NAME })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Settings that differ from those the run was started with, a line each.
    pub fn changed(&self) -> &[String] {
        &self.changed
    }
}

/// Takes the folder's lock. The system gives it back when the process ends, however it ends.
fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&name).at("open", &name)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = fs::read_to_string(&name).unwrap_or_default();
            return Err(Error::failed(format!(
                "{}: another training writes to it (process {}); wait for it or stop it",
                path.display(),
                if owner.trim().is_empty() { "unknown" } else { owner.trim() }
            )));
        }
        // Some network file systems have no locks: better no guard than no training.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(error).at("lock", &name),
    }
    // Only for the message above: a failure here changes nothing.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// A setting with two values.
#[derive(Debug)]
struct Difference {
    key: String,
    was: Value,
    is: Value,
    may_change: bool,
}

impl Difference {
    fn line(&self) -> String {
        format!("{} was {} and is now {}", self.key, self.was, self.is)
    }
}

/// All settings whose values differ. A setting that is not listed as free must not change: new ones are safe.
fn differences<M: Model>(stored: &Settings<M>, config: &Settings<M>) -> Result<Vec<Difference>> {
    let (old, new) = (stored.to_table()?, config.to_table()?);
    // Half a cosine is stretched over the whole run, so its end shapes every step.
    let end_is_free = config.schedule.kind != ScheduleKind::Cosine;
    let mut found = Vec::new();
    for (section, keys) in &new {
        for (name, is) in keys.as_table().into_iter().flatten() {
            let was = old.get(section).and_then(|keys| keys.get(name)).unwrap_or(is);
            if was != is {
                let key = format!("{section}.{name}");
                let may_change =
                    FREE.contains(&key.as_str()) || (end_is_free && LENGTH.contains(&key.as_str()));
                found.push(Difference { key, was: was.clone(), is: is.clone(), may_change });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::files::Disk;
    use super::*;
    use crate::config::Config;

    fn config(sets: &[&str]) -> Config {
        Config::load(None, &sets.iter().map(|set| set.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn line<T: std::fmt::Debug>(result: Result<T>) -> String {
        let line = result.unwrap_err().to_string();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    #[test]
    fn a_new_folder_holds_the_whole_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("runs/one");
        let config = config(&["width=64"]);
        drop(RunFolder::create(&Disk, &run, &config).unwrap());
        assert_eq!(RunFolder::stored_config(&run).unwrap(), config);
        assert!(line(RunFolder::create(&Disk, &run, &config)).contains("already holds a run; use --resume"));
        let again = RunFolder::resume(&Disk, &run, &config).unwrap();
        assert!(again.changed().is_empty());
        assert_eq!(again.path(), run);
    }

    #[test]
    fn what_is_no_place_for_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"x").unwrap();
        let config = config(&[]);
        assert!(line(RunFolder::create(&Disk, &file, &config)).contains("is a file"));
        assert!(
            line(RunFolder::create(&Disk, &file.join("run"), &config)).contains("cannot create the folder")
        );
        assert!(line(RunFolder::create(&Disk, folder.path(), &config)).contains("holds file but no run"));
        assert!(
            line(RunFolder::resume(&Disk, &folder.path().join("no"), &config)).contains("no such run folder")
        );
        assert!(line(RunFolder::resume(&Disk, folder.path(), &config)).contains("holds no run"));
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        RunFolder::create(&Disk, &empty, &config).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_that_cannot_be_written_is_refused() {
        // Not even root can make a folder here, so the test holds for every user.
        let error = line(RunFolder::create(&Disk, Path::new("/proc/evoke-run"), &config(&[])));
        assert!(error.contains("/proc/evoke-run: cannot create the folder"), "{error}");
    }

    #[test]
    fn two_trainings_cannot_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let config = config(&[]);
        let first = RunFolder::create(&Disk, &run, &config).unwrap();
        let error = line(RunFolder::resume(&Disk, &run, &config));
        assert!(
            error.contains(&format!("another training writes to it (process {})", std::process::id())),
            "{error}"
        );
        drop(first);
        RunFolder::resume(&Disk, &run, &config).unwrap();
    }

    #[test]
    fn resume_refuses_every_setting_that_would_change_the_weights() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        drop(RunFolder::create(&Disk, &run, &config(&[])).unwrap());
        for set in
            ["batch=32", "seed=2", "accumulate=2", "width=128", "learning_rate=0.1", "overfit=4", "steps=9"]
        {
            let error = line(RunFolder::resume(&Disk, &run, &config(&[set])));
            assert!(
                error.contains(set.split('=').next().unwrap()) && error.contains("another --out"),
                "{error}"
            );
        }
        let both = line(RunFolder::resume(&Disk, &run, &config(&["batch=32", "epochs=20"])));
        assert!(
            both.contains("train.batch was 64 and is now 32, train.epochs was 10.0 and is now 20.0"),
            "{both}"
        );
    }

    #[test]
    fn resume_takes_and_stores_what_changes_no_weight() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        drop(RunFolder::create(&Disk, &run, &config(&["schedule.kind=constant"])).unwrap());
        let now = config(&["schedule.kind=constant", "keep=9", "evaluate_every=7", "steps=1000"]);
        let opened = RunFolder::resume(&Disk, &run, &now).unwrap();
        assert_eq!(opened.changed().len(), 3, "{:?}", opened.changed());
        assert!(opened.changed().contains(&"train.keep was 3 and is now 9".to_string()));
        assert_eq!(RunFolder::stored_config(&run).unwrap(), now);
    }

    #[test]
    fn a_captioner_of_an_earlier_release_with_settings_of_sounds_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let now = config(&["width=64", "schedule.kind=constant"]);
        drop(RunFolder::create(&Disk, &run, &now).unwrap());
        let file = run.join(CONFIG);
        let written = fs::read_to_string(&file).unwrap();
        let old = written.replace("[train]\n", "[train]\nevaluate_sounds = 2\nevaluate_seconds = 1.0\n");
        assert_ne!(old, written);
        fs::write(&file, &old).unwrap();
        let stored = RunFolder::stored_config(&run).unwrap();
        assert_eq!(stored, now);
        assert!(RunFolder::resume(&Disk, &run, &stored).unwrap().changed().is_empty());
        // What no release ever wrote is a damage still.
        fs::write(&file, old.replace("evaluate_sounds", "evaluate_noises")).unwrap();
        let error = line(RunFolder::stored_config::<config::Captioner>(&run));
        assert!(error.contains("train.evaluate_noises"), "{error}");
    }

    #[test]
    fn the_names_of_free_settings_exist() {
        let table = Config::default().to_table().unwrap();
        for name in FREE.iter().chain(&LENGTH) {
            let (section, key) = name.split_once('.').unwrap();
            assert!(table.get(section).and_then(|keys| keys.get(key)).is_some(), "{name}");
        }
    }
}

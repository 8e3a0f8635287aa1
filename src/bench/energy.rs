//! Joules from counters that the machine keeps: Intel's and AMD's RAPL through Linux's powercap tree (processor packages,
//! without memory modules and fans), NVIDIA's NVML for a GPU (the whole board).

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::device::Device;
use crate::device::cuda::nvml::Board;

/// Where Linux keeps the counters of the processor.
pub const POWERCAP: &str = "/sys/class/powercap";

/// One package's counter, in microjoules, which begins again at 0 after `range`.
#[derive(Debug, Clone, PartialEq)]
struct Package {
    counter: PathBuf,
    range: u64,
}

/// What can be read.
#[derive(Debug)]
pub enum Meter {
    Rapl(Packages),
    Nvml(Board),
}

/// The packages of this machine's processors.
#[derive(Debug, Clone, PartialEq)]
pub struct Packages(Vec<Package>);

/// A reading of all counters, in microjoules.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading(Vec<u64>);

impl Packages {
    /// Those of a powercap tree ([`POWERCAP`]).
    ///
    /// # Errors
    /// In words, why there is nothing to read.
    pub fn of(tree: &Path) -> std::result::Result<Packages, String> {
        let Ok(entries) = fs::read_dir(tree) else {
            return Err(format!("this system has no {}", tree.display()));
        };
        let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.sort();
        let mut packages = Vec::new();
        for folder in folders {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // `intel-rapl:0` is a package (AMD's has the same name), `intel-rapl:0:1` a part of it; `intel-rapl-mmio` are
            // the same packages again, and `psys` holds them all.
            let Some(number) = name.strip_prefix("intel-rapl:") else { continue };
            if number.contains(':')
                || !read(&folder.join("name")).is_ok_and(|name| name.starts_with("package"))
            {
                continue;
            }
            let counter = folder.join("energy_uj");
            match (number_of(&counter), number_of(&folder.join("max_energy_range_uj"))) {
                (Ok(_), Ok(range)) if range > 0 => packages.push(Package { counter, range }),
                (Err(error), _) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Err(format!("{} is for root alone", counter.display()));
                }
                _ => return Err(format!("{} tells no number", counter.display())),
            }
        }
        match packages.is_empty() {
            true => Err(format!("{} has no counter of a processor (RAPL)", tree.display())),
            false => Ok(Packages(packages)),
        }
    }

    fn read(&self) -> Option<Reading> {
        self.0.iter().map(|package| number_of(&package.counter).ok()).collect::<Option<_>>().map(Reading)
    }

    /// Joules between two readings that are less than a counter's whole range apart.
    fn between(&self, before: &Reading, after: &Reading) -> f64 {
        let used = |(package, (&before, &after)): (&Package, (&u64, &u64))| {
            // The counter began again in between.
            let wrapped = if after < before { package.range } else { 0 };
            (after + wrapped).saturating_sub(before)
        };
        1e-6 * self.0.iter().zip(before.0.iter().zip(&after.0)).map(used).sum::<u64>() as f64
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    Ok(fs::read_to_string(file)?.trim().to_string())
}

fn number_of(file: &Path) -> std::io::Result<u64> {
    read(file)?.parse().map_err(|_| std::io::ErrorKind::InvalidData.into())
}

impl Meter {
    /// The counters that see a device's work.
    ///
    /// # Errors
    /// In words, why there are none.
    pub fn of(device: Device) -> std::result::Result<Meter, String> {
        match device {
            Device::Cpu => Packages::of(Path::new(POWERCAP)).map(Meter::Rapl),
            Device::Cuda(number) => Board::of(number).map(Meter::Nvml),
            #[cfg(feature = "emulator")]
            Device::Emulated => Err("an emulated device has no energy of its own".into()),
        }
    }

    /// What it counts, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Meter::Rapl(_) => "RAPL: all processor packages",
            Meter::Nvml(_) => "NVML: the whole GPU board",
        }
    }

    /// Seconds that must lie between two readings: RAPL counts about once a millisecond, NVML at most some ten times a
    /// second.
    pub fn least_s(&self) -> f64 {
        match self {
            Meter::Rapl(_) => 0.05,
            Meter::Nvml(_) => 1.0,
        }
    }

    /// `None` where it fails.
    pub fn read(&self) -> Option<Reading> {
        match self {
            Meter::Rapl(packages) => packages.read(),
            // Millijoules since the driver was loaded.
            Meter::Nvml(board) => board.millijoules().map(|energy| Reading(vec![1000 * energy])),
        }
    }

    /// Joules between two readings.
    pub fn between(&self, before: &Reading, after: &Reading) -> f64 {
        match self {
            Meter::Rapl(packages) => packages.between(before, after),
            Meter::Nvml(_) => 1e-6 * after.0[0].saturating_sub(before.0[0]) as f64,
        }
    }
}

/// For reports: what energy was counted with, or why it was not.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counter {
    /// What is counted; `None` where nothing can be read.
    pub counter: Option<Cow<'static, str>>,
    /// Why not.
    pub missing: Option<String>,
}

impl From<std::result::Result<Meter, String>> for Counter {
    fn from(found: std::result::Result<Meter, String>) -> Counter {
        match found {
            Ok(meter) => Counter { counter: Some(meter.name().into()), missing: None },
            Err(why) => Counter { counter: None, missing: Some(why) },
        }
    }
}

impl Counter {
    /// One line for people.
    pub fn line(&self) -> String {
        match (&self.counter, &self.missing) {
            (Some(counter), _) => format!("energy: {counter}"),
            (None, why) => format!("no energy: {}", why.as_deref().unwrap_or("nothing counts it")),
        }
    }
}

/// Joules of one of many runs of some work that takes about `seconds` each: as many runs as the meter needs go between
/// two readings. `None` where it cannot be read, or the runs were over too soon for it.
///
/// # Errors
/// If the work fails.
pub fn of_runs(meter: &Meter, seconds: f64, mut run: impl FnMut(usize) -> Result<()>) -> Result<Option<f64>> {
    // A little more than what must be, since medians lie above the fastest runs.
    const SPARE: f64 = 1.25;
    let runs = (SPARE * meter.least_s() / seconds.max(1e-9)).ceil().max(1.0) as usize;
    Ok(over(Some(meter), || run(runs).map(|()| ((), runs)))?.1)
}

/// Does some work and says, beside its result, the joules of one of the runs that it was made of. `None` as in
/// [`of_runs`].
///
/// # Errors
/// If the work fails.
pub fn over<T>(meter: Option<&Meter>, work: impl FnOnce() -> Result<(T, usize)>) -> Result<(T, Option<f64>)> {
    let before = meter.and_then(Meter::read);
    let began = std::time::Instant::now();
    let (result, runs) = work()?;
    let took = began.elapsed().as_secs_f64();
    let joules = meter.zip(before).and_then(|(meter, before)| {
        let joules = meter.between(&before, &meter.read()?) / runs as f64;
        (took >= meter.least_s() && joules > 0.0).then_some(joules)
    });
    Ok((result, joules))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A powercap tree with two packages and what must not be counted beside them.
    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        for (zone, name, energy, range) in [
            ("intel-rapl:0", "package-0", "1000", "262143328850"),
            ("intel-rapl:0:0", "core", "700", "262143328850"),
            ("intel-rapl:1", "package-1", "5000000", "5999999"),
            ("intel-rapl:2", "psys", "9", "262143328850"),
            ("intel-rapl-mmio:0", "package-0", "1000", "262143328850"),
        ] {
            let zone = at.join(zone);
            fs::create_dir(&zone).expect("a folder");
            for (file, text) in [("name", name), ("energy_uj", energy), ("max_energy_range_uj", range)] {
                fs::write(zone.join(file), format!("{text}\n")).expect("written");
            }
        }
        folder
    }

    fn set(tree: &tempfile::TempDir, package: u32, energy: u64) {
        let file = tree.path().join(format!("intel-rapl:{package}/energy_uj"));
        fs::write(file, format!("{energy}\n")).expect("written");
    }

    #[test]
    fn packages_are_summed_and_a_counter_that_began_again_counts_on() {
        let tree = tree();
        let meter = Meter::Rapl(Packages::of(tree.path()).expect("two packages"));
        let before = meter.read().expect("a reading");
        assert_eq!(before, Reading(vec![1000, 5_000_000]));
        set(&tree, 0, 3_001_000);
        let after = meter.read().expect("a reading");
        assert_eq!(meter.between(&before, &after), 3.0);
        // 999,999 microjoules to the end of its range, and one more from 0.
        set(&tree, 1, 1);
        let after = meter.read().expect("a reading");
        assert_eq!(meter.between(&before, &after), 4.0);
    }

    #[test]
    fn the_energy_of_a_run_is_a_share_of_what_many_took() {
        let tree = tree();
        let meter = Meter::Rapl(Packages::of(tree.path()).expect("two packages"));
        let mut done = 0;
        let found = of_runs(&meter, 0.02, |runs| {
            done += runs;
            set(&tree, 0, 1000 + 2_000_000 * runs as u64);
            std::thread::sleep(std::time::Duration::from_secs_f64(0.02 * runs as f64));
            Ok(())
        });
        assert_eq!((found.expect("it runs"), done), (Some(2.0), 4));
        // Over too soon, or a counter that stands still, is no measurement.
        let soon = of_runs(&meter, 10.0, |_| Ok(()));
        assert_eq!(soon.expect("it runs"), None);
        let still = of_runs(&meter, 0.06, |_| {
            std::thread::sleep(std::time::Duration::from_millis(60));
            Ok(())
        });
        assert_eq!(still.expect("it runs"), None);
        assert!(of_runs(&meter, 1.0, |_| Err(crate::Error::failed("no"))).is_err());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let tree = tree();
        let why = |at: &Path| Packages::of(at).expect_err("nothing to read");
        assert!(why(&tree.path().join("nowhere")).contains("has no"));
        fs::write(tree.path().join("intel-rapl:0/energy_uj"), "much").expect("written");
        assert!(why(tree.path()).contains("tells no number"));
        for zone in ["intel-rapl:0", "intel-rapl:1"] {
            fs::remove_dir_all(tree.path().join(zone)).expect("removed");
        }
        assert!(why(tree.path()).contains("no counter of a processor"));
        assert!(Meter::of(Device::Cuda(97)).is_err());
    }
}

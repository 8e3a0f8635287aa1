//! Checkpoints under faults: failing operations, power cuts, kills, a full disk, damaged bytes.

mod damage;
mod disk;
mod faults;
mod faulty;
mod keep;
mod kill;

use std::fs;
use std::io;
use std::path::Path;

use evoke::train::checkpoint::{self, Group, Keep, MOMENTS, Tensor, WEIGHTS};
use evoke::train::files::{Disk, Files};
use serde::{Deserialize, Serialize};

/// A folder in memory where there is one: what a sync is worth is played here by [`Faulty::settle`], and a real one
/// thousands of times over would only be slow.
fn memory() -> io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct State {
    position: u64,
    loss_mean: f64,
}

fn state(step: u64) -> State {
    State { position: step * 64, loss_mean: (step as f64).sqrt() }
}

/// The values of a step's only weight matrix; `salt` makes another run's.
fn values(step: u64, salt: f32) -> Vec<f32> {
    (0..60).map(|i| (i as f32 * 0.37 + step as f32).sin() + salt).collect()
}

fn save_with(
    files: &dyn Files,
    run: &Path,
    step: u64,
    salt: f32,
    last: usize,
    best: bool,
) -> evoke::Result<Option<String>> {
    let (weights, moments) = (values(step, salt), values(step + 1000, salt));
    let tensor = |name: &str, shape: &[usize], data| Tensor { name: name.into(), shape: shape.into(), data };
    let groups = [
        Group {
            name: WEIGHTS,
            tensors: vec![tensor("embed", &[2, 10], &weights[..20]), tensor("out", &[40], &weights[20..])],
        },
        Group { name: MOMENTS, tensors: vec![tensor("embed.first", &[60], &moments)] },
    ];
    checkpoint::save(files, run, step, &groups, &state(step), Keep { last, best }).map(|(_, note)| note)
}

fn save(run: &Path, step: u64) {
    assert_eq!(save_with(&Disk, run, step, 0.0, 2, false).unwrap(), None);
}

/// The step of the checkpoint that loads, after its values were compared with what was saved.
fn loads(run: &Path, salts: &[f32]) -> u64 {
    let found = checkpoint::latest(run, &mut |_| {}).unwrap().expect("a checkpoint");
    let step = found.step();
    assert_eq!(found.state::<State>().unwrap(), state(step));
    let (mut embed, mut out, mut first) = (vec![0.0; 20], vec![0.0; 40], vec![0.0; 60]);
    found.group(WEIGHTS).unwrap().read("embed", &[2, 10], &mut embed).unwrap();
    found.group(WEIGHTS).unwrap().read("out", &[40], &mut out).unwrap();
    found.group(MOMENTS).unwrap().read("embed.first", &[60], &mut first).unwrap();
    let fits = |salt: &f32| {
        [embed.clone(), out.clone()].concat() == values(step, *salt) && first == values(step + 1000, *salt)
    };
    assert!(salts.iter().any(fits), "the values of step {step} are mixed up");
    step
}

fn names(run: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(checkpoint::folder(run))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

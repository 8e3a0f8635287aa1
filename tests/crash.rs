//! kill -9 at random instants, damaged checkpoints, a full disk: what is resumed ends as the run nothing happened to.
//!
//! `EVOKE_KILLS` says how often to kill (20 where it is not set), `EVOKE_SEED` when.

mod common;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{RANDOM, Random, checkpoint, evoke, metrics, refused, resume, same_tensors, says, scenes};
use common::{steps, succeeded, text, train};

const ALL: [&str; 3] = ["weights", "moments", "average"];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

/// A folder in memory where there is one: a kill loses nothing that was written, and syncs only cost time.
fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn command(data: &Path, out: &Path, sets: &[&str]) -> Command {
    train(data, out, &[&RANDOM[..], sets].concat())
}

#[test]
fn kill_9_at_random_instants_leaves_the_weights_of_the_run_that_was_never_killed() {
    const STEPS: u64 = 40;
    let kills = setting("EVOKE_KILLS", 20);
    let mut random = Random(setting("EVOKE_SEED", 1));
    let folder = memory();
    let data = scenes(folder.path(), 42, 8);
    let sets = ["train.steps=40", "train.evaluate_every=7", "train.keep=2"];
    let sets = |every: &'static str| [&sets[..], &[every]].concat();
    let reference = folder.path().join("reference");
    let started = Instant::now();
    succeeded(command(&data, &reference, &sets("train.checkpoint_every=1")).output().unwrap());
    let whole = started.elapsed();

    let (mut done, mut ended, mut instants) = (0, 0, Vec::new());
    while done < kills {
        let out = folder.path().join(format!("run-{ended}"));
        // Every second run saves every second step.
        let every = ["train.checkpoint_every=1", "train.checkpoint_every=2"][ended % 2];
        let mut tries = 0;
        loop {
            let mut next = match out.join("config.toml").exists() {
                true => resume(&data, &out),
                false => command(&data, &out, &sets(every)),
            };
            if out.join("config.toml").exists() {
                next.arg("--resume");
            }
            let mut child = next.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            // Longer and longer for one run, so that it ends on a machine that has become slow, too.
            let longest = whole.as_micros() as u64 * (10 + tries) / 15;
            tries += 1;
            std::thread::sleep(Duration::from_micros(random.below(longest)));
            let before = child.try_wait().unwrap();
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            // A kill damages nothing, so there is no word of a damaged checkpoint, nor of anything else.
            assert!(error.lines().all(|line| line.contains("ignores the picture")), "{error}");
            match before.or(output.status.code().map(|_| output.status)) {
                Some(status) => {
                    assert!(status.success(), "{error}");
                    break;
                }
                None => {
                    done += 1;
                    instants.push(steps(&out).last().copied().unwrap_or(0));
                }
            }
        }
        same_tensors(&reference, &out, STEPS, &ALL);
        assert_eq!(metrics(&reference), metrics(&out));
        let best = |run: &Path| std::fs::read_to_string(run.join("checkpoints/best.json")).unwrap();
        assert_eq!(best(&reference), best(&out), "the best evaluation");
        succeeded(evoke().arg("evaluate").arg(&out).arg("--data").arg(&data).output().unwrap());
        ended += 1;
    }
    println!("{done} kills, {ended} runs brought to their end; newest step at each kill: {instants:?}");
    instants.sort_unstable();
    instants.dedup();
    assert!(instants.len() as u64 > kills.min(STEPS) / 4, "the kills came at too few instants: {instants:?}");
}

/// What is done to a file of a checkpoint.
fn damage(path: &Path, kind: &str) {
    let length = std::fs::metadata(path).unwrap().len();
    let mut file = File::options().write(true).read(true).open(path).unwrap();
    match kind {
        "flipped" => {
            let mut bytes = std::fs::read(path).unwrap();
            let at = length - 101;
            bytes[at as usize] ^= 16;
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&bytes[at as usize..=at as usize]).unwrap();
        }
        "truncated" => file.set_len(length - 1).unwrap(),
        _ => std::fs::remove_file(path).unwrap(),
    }
}

#[test]
fn a_damaged_checkpoint_makes_the_run_fall_back_to_the_one_before_and_end_the_same() {
    let folder = memory();
    let data = scenes(folder.path(), 42, 8);
    let sets = ["schedule.kind=constant", "train.checkpoint_every=2", "train.evaluate_every=10"];
    let reference = folder.path().join("reference");
    succeeded(command(&data, &reference, &[&sets[..], &["train.steps=40"]].concat()).output().unwrap());
    let cases = [
        ("flipped", "weights.safetensors"),
        ("truncated", "moments.safetensors"),
        ("flipped", "average.safetensors"),
        ("truncated", "state.json"),
        ("missing", "weights.safetensors"),
    ];
    for (kind, file) in cases {
        let out = folder.path().join(format!("{kind}-{file}"));
        succeeded(command(&data, &out, &[&sets[..], &["train.steps=21"]].concat()).output().unwrap());
        damage(&checkpoint(&out, 21).join(file), kind);
        let mut again = resume(&data, &out);
        let output = succeeded(again.args(["--resume", "--set", "train.steps=40"]).output().unwrap());
        let error = String::from_utf8(output.stderr).unwrap();
        let notes: Vec<&str> = error.lines().filter(|line| !line.contains("ignores the picture")).collect();
        assert_eq!(notes.len(), 1, "{error}");
        says(notes[0], &["step-00000021", file, "trying the checkpoint before it"]);
        same_tensors(&reference, &out, 40, &ALL);
        assert_eq!(metrics(&reference), metrics(&out), "{kind} {file}");
    }
}

#[test]
fn no_sound_checkpoint_at_all_is_one_line() {
    let folder = memory();
    let data = scenes(folder.path(), 12, 0);
    let out = folder.path().join("run");
    succeeded(command(&data, &out, &["train.steps=2", "train.checkpoint_every=1"]).output().unwrap());
    for step in [1, 2] {
        damage(&checkpoint(&out, step).join("weights.safetensors"), "flipped");
    }
    let line = refused(resume(&data, &out).arg("--resume").output().unwrap(), 1);
    says(&line, &["no checkpoint", "weights.safetensors", "another --out"]);
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/palette.png");
    let output = evoke().args(["caption", text(&out), text(&picture)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    says(error.lines().last().unwrap(), &["evoke: no checkpoint", "weights.safetensors"]);
}

/// Runs `script` with `$0` the program and its other arguments, in a name space where it may mount file systems.
fn mounted(script: &str, name: &str) -> Option<Output> {
    let output =
        Command::new("unshare").args(["-rm", "sh", "-c", script]).arg(evoke().get_program()).output();
    match output {
        Ok(output) if ![Some(99), Some(127)].contains(&output.status.code()) && output.stdout == b"ran\n" => {
            Some(output)
        }
        _ => {
            eprintln!("SKIPPED: {name} (this machine does not let a test mount a file system)");
            None
        }
    }
}

#[test]
fn a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 42, 8);
    let sets = ["train.steps=20", "train.checkpoint_every=5", "train.keep=2", "train.evaluate_every=0"];
    let reference = folder.path().join("reference");
    succeeded(command(&data, &reference, &sets).output().unwrap());
    let kib: u64 = std::fs::read_dir(checkpoint(&reference, 20))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len().div_ceil(4096) * 4)
        .sum();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let settings: String =
        common::TINY.iter().chain(&RANDOM).chain(&sets).map(|set| format!(" --set {set}")).collect();
    let script = format!(
        "mount -t tmpfs -o size={size}k tmpfs '{disk}' || exit 99
         echo ran
         run() {{ \"$0\" train captioner --quiet --data '{data}' --out '{disk}/run' \"$@\" >&2; }}
         run {settings} 2> '{disk}.full'; echo $? > '{disk}.code'; ls '{disk}/run/checkpoints' > '{disk}.kept'
         mount -o remount,size=64m '{disk}'
         run --resume 2> '{disk}.again' || exit 1
         cp -r '{disk}/run' '{disk}.run'",
        size = kib * 5 / 2 + 64,
        disk = disk.display(),
        data = data.display(),
    );
    let Some(output) = mounted(&script, "a_full_disk_keeps_the_last_checkpoint") else { return };
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let full = read("disk.full");
    assert_eq!(read("disk.code").trim(), "1", "{full}");
    // The collapse warning, and pictures and curves that had no room either, are lines of their own.
    let beside = ["ignores the picture", "samples of step", "TensorBoard gets no more"];
    let lines: Vec<&str> =
        full.lines().filter(|line| !beside.iter().any(|other| line.contains(other))).collect();
    assert_eq!(lines.len(), 2, "{full}");
    says(lines[0], &["no checkpoint at step 15", "No space left"]);
    says(lines[1], &["evoke: ", "checkpoints", "No space left"]);
    let kept: Vec<String> = read("disk.kept").lines().map(str::to_owned).collect();
    assert_eq!(kept, ["step-00000005", "step-00000010"], "{full}");
    assert!(output.status.success(), "{}", read("disk.again"));
    same_tensors(&reference, &folder.path().join("disk.run"), 20, &ALL);
}

#[test]
fn a_read_only_folder_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = scenes(folder.path(), 12, 0);
    let script = format!(
        "mkdir '{place}' && mount -t tmpfs -o ro tmpfs '{place}' || exit 99
         echo ran
         \"$0\" train captioner --quiet --data '{data}' --out '{place}/run' >&2",
        place = folder.path().join("disk").display(),
        data = data.display(),
    );
    let Some(mut output) = mounted(&script, "a_read_only_folder_is_one_line") else { return };
    output.stdout.clear();
    says(&refused(output, 1), &["disk/run", "Read-only"]);
}

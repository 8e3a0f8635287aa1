//! `prepare`, `inspect` and `verify` as a user runs them: bad input gets one clear line, kills lose nothing.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::contents;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

fn evoke() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("evoke"))
}

fn run(args: &[&str]) -> Output {
    evoke().args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name)
}

/// The one line on stderr of a command that has to fail.
fn refused(output: Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("evoke: ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(!error.contains("panicked"), "{error}");
    lines[0].to_owned()
}

fn succeeded(output: Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `count` small pictures, and a TSV file with a caption for each.
fn pictures(folder: &Path, count: usize) -> PathBuf {
    let mut lines = String::new();
    for i in 0..count {
        let name = format!("{i:04}.png");
        let picture = RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8 * 10, y as u8 * 10, i as u8]));
        picture.save(folder.join(&name)).unwrap();
        lines += &format!("{name}\tpicture {i} of the colour {}\n", ["red", "green", "blue"][i % 3]);
    }
    let file = folder.join("captions.tsv");
    std::fs::write(&file, lines).unwrap();
    file
}

/// COCO's layout for some of the fixtures.
fn annotations(folder: &Path, names: &[&str]) -> PathBuf {
    let images: Vec<Value> =
        (0..).zip(names).map(|(id, name)| json!({"id": id, "file_name": name})).collect();
    let captions: Vec<Value> = (0..names.len() * 2)
        .map(|i| json!({"id": i, "image_id": i / 2, "caption": format!("Caption {} of a picture.\n", i % 2)}))
        .collect();
    let file = folder.join("captions.json");
    std::fs::write(&file, json!({"images": images, "annotations": captions}).to_string()).unwrap();
    file
}

#[test]
fn coco_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (out, images) = (folder.path().join("data"), fixture(""));
    let file = annotations(folder.path(), &["cmyk.jpg", "turned.jpg", "missing.jpg", "palette.png"]);
    let args =
        ["prepare", "coco", "--annotations", text(&file), "--images", text(&images), "--out", text(&out)];
    let report = succeeded(run(&[&args[..], &["--size", "16", "--json"]].concat()));
    assert_eq!(report["splits"]["train"]["samples"], 3);
    assert_eq!(report["splits"]["train"]["captions"], 6);
    let skipped = &report["splits"]["train"]["skipped"];
    assert!(skipped[0]["picture"].as_str().unwrap().ends_with("missing.jpg"), "{skipped}");
    assert!(skipped[0]["reason"].as_str().unwrap().contains("cannot read"), "{skipped}");
    let written: Value =
        serde_json::from_slice(&std::fs::read(out.join("prepare-report.json")).unwrap()).unwrap();
    assert_eq!(&written["splits"]["train"]["skipped"], skipped);

    let shown = succeeded(run(&["inspect", text(&out), "--json"]));
    assert_eq!(shown["hash"], report["dataset"]);
    assert_eq!(shown["splits"]["train"]["pictures"], 3);
    assert_eq!(shown["splits"]["train"]["samples"][0]["captions"][1], "Caption 1 of a picture.");
    assert_eq!(succeeded(run(&["verify", text(&out), "--json"]))["faults"], json!([]));

    // A complete data set is not touched without --overwrite, even by other options.
    let again = refused(run(&[&args[..], &["--size", "8"]].concat()), 1);
    assert!(again.contains("--overwrite"), "{again}");
    let report = succeeded(run(&[&args[..], &["--size", "8x4", "--overwrite", "--json"]].concat()));
    assert_ne!(shown["hash"], report["dataset"]);
    let shown = succeeded(run(&["inspect", text(&out), "--json"]));
    assert_eq!((&shown["preprocessing"]["height"], &shown["preprocessing"]["width"]), (&json!(8), &json!(4)));
}

#[test]
fn validation_comes_from_files_or_from_a_share() {
    let folder = tempfile::tempdir().unwrap();
    let captions = pictures(folder.path(), 40);
    let out = folder.path().join("data");
    let args = ["prepare", "captions", text(&captions), "--out", text(&out), "--size", "8", "--json"];
    let report = succeeded(run(&[&args[..], &["--val-share", "0.25"]].concat()));
    let count = |split: &str| report["splits"][split]["samples"].as_u64().unwrap();
    assert_eq!(count("train") + count("val"), 40);
    assert!((3..20).contains(&count("val")), "{}", count("val"));

    let images = fixture("");
    let file = annotations(folder.path(), &["cmyk.jpg", "ycck.jpg"]);
    let report = succeeded(run(&[
        "prepare",
        "coco",
        "--annotations",
        text(&file),
        "--images",
        text(&images),
        "--val-annotations",
        text(&file),
        "--val-images",
        text(&images),
        "--out",
        text(&folder.path().join("two")),
        "--json",
    ]));
    assert_eq!(report["splits"]["val"]["samples"], 2);
}

/// A second data set for the first one's model: other captions, the same tokens.
#[test]
fn a_tokenizer_file_makes_data_sets_that_match() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pictures(folder.path(), 2);
    std::fs::write(at("first.tsv"), "0000.png\tA red ball on the grass\n0001.png\tA blue ball\n").unwrap();
    std::fs::write(at("second.tsv"), "0000.png\tA green ball\n0001.png\tThe red grass\n").unwrap();
    let prepare = |captions: &str, out: &str, more: &[&str]| {
        let (captions, out) = (at(captions), at(out));
        let args = ["prepare", "captions", text(&captions), "--out", text(&out), "--size", "8", "--json"];
        run(&[&args[..], more].concat())
    };
    for kind in ["words", "bpe"] {
        let (first, second) = (format!("first-{kind}"), format!("second-{kind}"));
        succeeded(prepare("first.tsv", &first, &["--tokenizer", kind]));
        let tokenizer = at(&first).join("tokenizer.json");
        let report = succeeded(prepare("second.tsv", &second, &["--tokenizer-file", text(&tokenizer)]));
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        assert!(read(tokenizer) == read(at(&second).join("tokenizer.json")), "{kind}");
        let [one, two] =
            [&first, &second].map(|name| succeeded(run(&["inspect", text(&at(name)), "--json"])));
        assert_eq!(one["tokenizer"], two["tokenizer"]);
        assert_eq!(report["tokens"], one["tokenizer"]["size"]);
        // Of "A green ball" and "The red grass" one word in six is not among the first data set's.
        let unknown = two["splits"]["train"]["unknown_share"].as_f64().unwrap();
        assert!((unknown - if kind == "words" { 1.0 / 6.0 } else { 0.0 }).abs() < 1e-9, "{kind}: {unknown}");
    }

    // A file that is no tokenizer is one line, and nothing is begun.
    let whole = std::fs::read_to_string(at("first-words/tokenizer.json")).unwrap();
    let broken = [
        ("empty.json", String::new()),
        ("other.json", "{\"images\": []}".into()),
        ("cut.json", whole[..whole.len() / 2].into()),
        ("foreign.json", whole.replace("<start>", "<begin>")),
        ("parts.json", whole.replace("\"model\": {", "\"decoder\": {\"type\": \"none\"}, \"model\": {")),
        ("gap.json", whole.replace("\"ball\": 6", "\"ball\": 600")),
    ];
    for (name, content) in broken {
        std::fs::write(at(name), content).unwrap();
        let line = refused(prepare("second.tsv", "third", &["--tokenizer-file", text(&at(name))]), 1);
        assert!(line.contains(name) && line.contains("give the tokenizer.json of a data set"), "{line}");
    }
    let line = refused(prepare("second.tsv", "third", &["--tokenizer-file", text(&at("missing.json"))]), 1);
    assert!(line.contains("missing.json: cannot read"), "{line}");
    assert!(!at("third").exists());
    let tokenizer = at("first-words/tokenizer.json");
    let both = prepare("second.tsv", "third", &["--tokenizer-file", text(&tokenizer), "--tokenizer", "bpe"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn odd_pictures_are_used_or_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (stamps, out) = (folder.path().join("stamps"), folder.path().join("data"));
    std::fs::create_dir(&stamps).unwrap();
    let add = |name: &str, bytes: &[u8]| {
        std::fs::write(stamps.join(name), bytes).unwrap();
        std::fs::write(stamps.join(name).with_extension("txt"), format!("A {name}.\nde.utf8=Ein.\n"))
            .unwrap();
    };
    for name in ["cmyk.jpg", "animated.gif", "transparent.webp", "turned.tiff", "palette.png"] {
        add(&format!("good-{name}"), &std::fs::read(fixture(name)).unwrap());
    }
    let mut one = std::io::Cursor::new(Vec::new());
    RgbImage::new(1, 1).write_to(&mut one, image::ImageFormat::Png).unwrap();
    add("good-one.png", one.get_ref());
    let jpeg = std::fs::read(fixture("baseline.jpg")).unwrap();
    add("bad-truncated.jpg", &jpeg[..jpeg.len() / 2]);
    add("bad-empty.png", b"");
    add("bad-text.png", b"not a picture");
    let mut giant = jpeg.clone();
    let frame = giant.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    giant[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
    add("bad-giant.jpg", &giant);
    std::fs::write(stamps.join("bad-alone.png"), one.get_ref()).unwrap();

    // A picture of 20,000 x 20,000 must be refused, not allocated: 1.2 GB do not fit into this limit.
    let command = format!(
        "ulimit -v 1000000; exec \"$0\" prepare captions '{}' --out '{}' --size 16 --json",
        stamps.display(),
        out.display()
    );
    let output = Command::new("sh").arg("-c").arg(command).arg(evoke().get_program()).output().unwrap();
    let report = succeeded(output);
    let train = &report["splits"]["train"];
    assert_eq!(train["samples"], 6, "{train}");
    let reasons: Vec<(String, String)> = train["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["picture"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap().to_owned()))
        .collect();
    for (name, reason) in [
        ("bad-alone.png", "no caption"),
        ("bad-empty.png", "empty"),
        ("bad-giant.jpg", "too large: 20000 x 20000"),
        ("bad-text.png", "no picture"),
        ("bad-truncated.jpg", "broken JPEG"),
    ] {
        let found = reasons.iter().any(|(picture, why)| picture.ends_with(name) && why.contains(reason));
        assert!(found, "{name}: {reasons:?}");
    }
    assert_eq!(reasons.len(), 5);
}

#[test]
fn bad_input_gets_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (out, images) = (path("data"), fixture(""));
    let coco = |file: &Path, images: &Path, out: &Path| {
        run(&["prepare", "coco", "--annotations", text(file), "--images", text(images), "--out", text(out)])
    };
    let good = annotations(folder.path(), &["cmyk.jpg"]);

    for command in ["inspect", "verify"] {
        assert!(refused(run(&[command, text(&path("nowhere"))]), 1).contains("no such folder"));
        assert!(refused(run(&[command, text(folder.path())]), 1).contains("no complete data set"));
    }
    assert!(refused(coco(&path("none.json"), &images, &out), 1).contains("none.json: cannot read"));
    assert!(refused(coco(&good, &path("none"), &out), 1).contains("no such folder of pictures"));
    std::fs::write(path("empty.json"), "").unwrap();
    assert!(refused(coco(&path("empty.json"), &images, &out), 1).contains("is empty"));
    std::fs::write(path("none.json"), "{\"images\":[],\"annotations\":[]}").unwrap();
    assert!(refused(coco(&path("none.json"), &images, &out), 1).contains("0 pictures and 0 captions"));

    // Captions of pictures that are not there, all of them: nothing to make, and the first reason is shown.
    let lost = annotations(folder.path(), &["lost.jpg", "gone.jpg"]);
    let line = refused(coco(&lost, &images, &out), 1);
    assert!(line.contains("no picture could be used") && line.contains("lost.jpg"), "{line}");
    // The way is free for the next try with the right pictures.
    let good = annotations(folder.path(), &["cmyk.jpg"]);
    assert!(coco(&good, &images, &out).status.success());

    // A folder that cannot be made, because a file stands in its way (root may write anywhere else).
    let line = refused(coco(&good, &images, &good.join("data")), 1);
    assert!(line.contains("cannot create the folder"), "{line}");
    assert!(refused(coco(&good, &images, &good), 1).contains("is not a folder"));
    // Somebody else's folder.
    let tiny = path("one.tsv");
    std::fs::write(&tiny, "a.png\tone\n").unwrap();
    let captions = |file: &Path, more: &[&str]| {
        let new = path("new");
        run(&[&["prepare", "captions", text(file), "--out", text(&new)], more].concat())
    };
    assert!(refused(captions(&path("c.csv"), &[]), 1).contains("c.csv"));
    assert!(refused(captions(&tiny, &["--vocabulary", "3"]), 2).contains("too small"));
    for wrong in [["--size", "0"], ["--size", "9x"], ["--val-share", "1"], ["--fit", "bend"]] {
        assert_eq!(captions(&tiny, &wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn damage_is_named_with_file_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let captions = pictures(folder.path(), 6);
    let out = folder.path().join("data");
    succeeded(run(&["prepare", "captions", text(&captions), "--out", text(&out), "--size", "8", "--json"]));
    let shard = out.join("train-00000.safetensors");
    let bytes = std::fs::read(&shard).unwrap();

    let mut flipped = bytes.clone();
    flipped[4096 + 8 * 8 * 3 * 2 + 5] ^= 4;
    std::fs::write(&shard, &flipped).unwrap();
    let output = run(&["verify", text(&out), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fault = &report["faults"][0];
    assert_eq!((&fault["file"], &fault["column"]), (&json!("train-00000.safetensors"), &json!("pixels")));
    assert_eq!(fault["rows"], json!([2]));
    refused(output, 1);

    std::fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refused(run(&["inspect", text(&out)]), 1).contains("train-00000.safetensors"));
    assert!(refused(run(&["verify", text(&out)]), 1).contains("faults"));
}

/// Options that make shards of 21 pictures (1 MiB at 128 x 128), so that there is something to keep.
fn shards_of_21(captions: &Path, out: &Path) -> Command {
    let mut command = evoke();
    command.args(["prepare", "captions", text(captions), "--out", text(out), "--size", "128"]);
    command.args(["--shard-mib", "1", "--val-share", "0.2"]);
    command
}

#[test]
fn a_killed_prepare_goes_on_and_makes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let captions = pictures(folder.path(), 130);
    let whole = folder.path().join("whole");
    let started = Instant::now();
    assert!(shards_of_21(&captions, &whole).output().unwrap().status.success());
    let undisturbed = started.elapsed();
    let expected = contents(&whole);
    assert!(expected.iter().filter(|(name, _)| name.ends_with(".safetensors")).count() >= 6);

    let (mut kills, mut resumed) = (0, 0);
    for round in 0..12u32 {
        let out = folder.path().join(format!("killed-{round}"));
        for attempt in 1..=200u32 {
            let mut child =
                shards_of_21(&captions, &out).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            // Instants all over what is left to do; the reach grows, so that each round ends one day.
            let share = f64::from((round * 37 + attempt * 61) % 100) / 100.0 * f64::from(attempt) / 10.0;
            std::thread::sleep(undisturbed.mul_f64(share.min(20.0)));
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            resumed += usize::from(said.contains("finished from before"));
            if output.status.success() || said.contains("already holds") {
                break;
            }
            assert!(output.status.code().is_none(), "it failed by itself: {said}");
            kills += 1;
        }
        let made = contents(&out);
        let names =
            |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&made), names(&expected), "round {round}");
        assert!(made == expected, "round {round}: the bytes differ");
        std::fs::remove_dir_all(&out).unwrap();
    }
    assert!(kills >= 12 && resumed >= 3, "{kills} kills, {resumed} resumed: the test has lost its teeth");
}

#[test]
fn an_unfinished_data_set_goes_on_only_with_its_own_options() {
    let folder = tempfile::tempdir().unwrap();
    let captions = pictures(folder.path(), 130);
    let out = folder.path().join("data");
    let deadline = Instant::now() + Duration::from_secs(120);
    // Killed as soon as a shard has its name.
    let mut child =
        shards_of_21(&captions, &out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !out.join("train-00001.safetensors").exists() {
        assert!(Instant::now() < deadline, "no shard was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if out.join("index.json").exists() {
        return; // It was faster than the kill.
    }
    assert!(refused(run(&["inspect", text(&out)]), 1).contains("no complete data set"));
    let line = refused(shards_of_21(&captions, &out).args(["--fit", "pad"]).output().unwrap(), 1);
    assert!(line.contains("preprocessing.fit was \"crop\", now \"pad\""), "{line}");

    // A kept shard that was damaged since is made again.
    let shard = out.join("train-00000.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    assert!(shards_of_21(&captions, &out).output().unwrap().status.success());
    assert!(run(&["verify", text(&out)]).status.success());
}

/// A real full disk: a tiny file system in a name space of its own, then made larger.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_what_was_finished() {
    let folder = tempfile::tempdir().unwrap();
    let captions = pictures(folder.path(), 130);
    let mount = folder.path().join("disk");
    std::fs::create_dir(&mount).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=3m tmpfs '{disk}' || exit 99
         run() {{ \"$0\" prepare captions '{captions}' --out '{disk}/data' --size 128 --shard-mib 1; }}
         run 2> '{disk}.full'; echo $? > '{disk}.code'; ls '{disk}/data' > '{disk}.kept'
         mount -o remount,size=64m '{disk}'
         run 2> '{disk}.again' && \"$0\" verify '{disk}/data'",
        disk = mount.display(),
        captions = captions.display()
    );
    let output =
        Command::new("unshare").args(["-rm", "sh", "-c", &script]).arg(evoke().get_program()).output();
    let output = match output {
        Ok(output) if output.status.code() != Some(99) => output,
        _ => return eprintln!("skipped: this machine does not let a test mount a file system"),
    };
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name));
    let Ok(full) = read("disk.full") else { return eprintln!("skipped: no name spaces here") };
    assert_eq!(read("disk.code").unwrap().trim(), "1", "{full}");
    let line: Vec<&str> = full.lines().filter(|line| line.starts_with("evoke: ")).collect();
    assert!(
        line.len() == 1 && line[0].contains("No space left") && line[0].contains("shards are kept"),
        "{full}"
    );
    let kept = read("disk.kept").unwrap();
    assert!(kept.contains("train-00000.safetensors") && !kept.contains(".safetensors.partial"), "{kept}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(read("disk.again").unwrap().contains("finished from before"));
}

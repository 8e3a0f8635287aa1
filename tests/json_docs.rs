//! docs/json.md names every field that `--json` prints, and every command has its section there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../docs/json.md");

fn evoke(folder: &Path, line: &str) -> Vec<u8> {
    let output = Command::cargo_bin("evoke")
        .expect("the program is built with the tests")
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "evoke {line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The fields in the table of each section.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut sections: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut section = "";
    for line in DOCUMENT.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim();
            sections.entry(section).or_default();
        } else if let Some((field, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            sections.entry(section).or_default().insert(field);
        }
    }
    sections
}

/// The paths of all fields within `value`: `splits.train.samples`, `cases[].op`.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                paths(inner, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{at}[]"), found)),
        _ => {}
    }
}

/// Whether `path` is `pattern`, in which `*` stands for one name.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), path.split('.').collect());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, name)| *p == "*" || p == name)
}

#[track_caller]
fn check(section: &str, printed: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(printed).expect("one JSON document");
    let sections = documented();
    let fields = &sections[section];
    let mut found = BTreeSet::new();
    paths(&value, "", &mut found);
    for path in &found {
        // The name of a split is no field.
        let is_name = fields.iter().any(|field| {
            let of_it = field.split_once(".*.").map(|(before, _)| before);
            of_it.is_some_and(|before| {
                path.split_once('.').is_some_and(|(b, name)| b == before && !name.contains('.'))
            })
        });
        let named = is_name || fields.iter().any(|field| matches(field, path));
        assert!(named, "docs/json.md, section {section}: the field `{path}` is not in the table");
    }
    // The same name may stand in other sections with another meaning.
    let own = DOCUMENT.split("\n## ").find(|text| text.starts_with(&format!("{section}\n")));
    let own = own.expect("the section");
    for field in fields.iter().filter(|field| !field.contains(['.', '['])) {
        let line = own.lines().find(|line| line.starts_with(&format!("| `{field}` |")));
        let optional = line.is_some_and(|line| line.contains("missing where"));
        assert!(
            optional || found.contains(*field),
            "docs/json.md, section {section}: `{field}` is not printed"
        );
    }
    value
}

#[test]
fn every_command_has_a_section() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = String::from_utf8(evoke(folder.path(), "--help")).expect("text");
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let sections = documented();
    let mut count = 0;
    for line in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().expect("a name");
        count += 1;
        assert!(
            name == "help" || sections.contains_key(name),
            "docs/json.md has no section for evoke {name}"
        );
    }
    assert!(count > 10, "{help}");
}

#[test]
fn commands_without_a_model_print_what_is_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    check("doctor", &evoke(at, "doctor --json"));
    let plan = check(
        "plan",
        &evoke(at, "plan captioner --size 32 --vocabulary 50 --set width=32 --set batch=2 --json"),
    );
    for part in ["weights", "moments", "gradients", "activations", "workspace", "total"] {
        assert!(plan["bytes"][part].is_u64(), "{part} in {plan}");
    }
    check("plan", &evoke(at, "plan captioner --gpu h200 --set train.steps=5 --json"));
    check("show", &evoke(at, "show positions --grid 2x2 --width 8 --out p.png --json"));
    check("selftest", &evoke(at, "selftest patches --json"));
    check("bench", &evoke(at, "bench patches step --steps 1 --seconds 0.01 --json"));
    let foley = "bench foley-step --length 300 --set width=32 --set train.batch=2 --steps 1 --json";
    let foley = check("bench", &evoke(at, foley));
    assert!(foley["foley_step"]["samples_per_second"].as_f64() > Some(0.0), "{foley}");
    evoke(at, "prepare scenes --train 8 --val 4 --unseen 4 --size 32 --out small --json");
    let step = "profile train --data small --set model.width=32 --set train.batch=2 --set model.patch=16 --steps 1 --trace t.json --json";
    let step = check("profile train", &evoke(at, step));
    let share = |name: &str| step["shares"][name].as_f64().expect("a share");
    assert!(share("products") > 0.0 && share("attention") > 0.0, "{step}");
    let trace: Value =
        serde_json::from_slice(&std::fs::read(at.join("t.json")).expect("a trace")).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 20), "{trace}");
    std::fs::write(at.join("old.json"), evoke(at, "bench patches --seconds 0.01 --json")).expect("written");
    let bench = check("bench", &evoke(at, "bench patches --seconds 0.01 --compare old.json --json"));
    let found = &bench["comparison"];
    let counted =
        found["moved"].as_array().map_or(0, Vec::len) as u64 + found["unchanged"].as_u64().unwrap_or(0);
    assert_eq!(counted, bench["ops"].as_array().map_or(0, Vec::len) as u64, "{bench}");
    check("bench", &evoke(at, "bench --table --json"));
    check("profile --show", &evoke(at, "profile attention --show band:3,1 --length 9 --json"));
    let peer = json!({"machine": {"program": "other"}, "points": [
        {"pattern": "band:4", "pass": "forward", "length": 64, "way": "sdpa", "median_s": 1e-3, "visible_pairs": 620}]});
    std::fs::write(at.join("peer.json"), peer.to_string()).expect("written");
    let profile = "profile attention --patterns full,band:4 --lengths 32..256 --heads 2 --head-size 8 --seconds 3 \
                   --passes forward,backward,decode --device cpu --peers peer.json --json";
    check("profile", &evoke(at, profile));

    // A picture that is missing, so that the list of skipped ones is not empty.
    evoke(at, "show positions --grid 2x2 --width 8 --out q.png");
    std::fs::write(at.join("c.tsv"), "p.png\tone\nq.png\ttwo\nr.png\tthree\n").expect("written");
    check("prepare", &evoke(at, "prepare captions c.tsv --size 16 --out captions --json"));
    check("prepare", &evoke(at, "prepare scenes --train 8 --val 4 --unseen 4 --size 32 --out data --json"));
    check("inspect", &evoke(at, "inspect data --json"));
    check("verify", &evoke(at, "verify data --json"));

    let candidates = json!([{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]);
    let references = json!({"annotations": [
        {"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "two cats"}, {"image_id": 3, "caption": "a"}]});
    std::fs::write(at.join("results.json"), candidates.to_string()).expect("written");
    std::fs::write(at.join("captions.json"), references.to_string()).expect("written");
    check("score", &evoke(at, "score --candidates results.json --references captions.json --json"));
}

#[test]
fn verify_prints_its_faults_as_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    evoke(at, "prepare scenes --train 4 --val 0 --unseen 0 --size 16 --out data");
    let shard = at.join("data/train-00000.safetensors");
    let mut bytes = std::fs::read(&shard).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).expect("written");
    let mut command = Command::cargo_bin("evoke").expect("the program");
    let output = command.args(["verify", "data", "--json"]).current_dir(at).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let report = check("verify", &output.stdout);
    assert_eq!(report["faults"][0]["file"], "train-00000.safetensors");
}

#[test]
fn commands_with_a_model_print_what_is_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    evoke(at, "prepare scenes --train 8 --val 4 --unseen 0 --size 32 --out data");
    let small = "--set width=16 --set heads=2 --set encoder_layers=1 --set decoder_layers=1 --set batch=4 --set steps=2";
    let train = format!("train captioner --data data --out run {small} --quiet --json");
    check("train", &evoke(at, &train));
    check("evaluate", &evoke(at, "evaluate run --data data --json"));
    evoke(at, "show positions --grid 2x2 --width 8 --out p.png");
    let captions = evoke(at, "caption run p.png --temperature 1 --attention a.png --json");
    check("caption", &captions);

    let mut command = Command::cargo_bin("evoke").expect("the program");
    let output =
        command.args(["caption", "run", "missing.png", "--json"]).current_dir(at).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let report = check("caption", &output.stdout);
    assert!(report["pictures"][0]["error"].is_string(), "{report}");
}

/// Half a second of a tone, as WAV.
fn tone(path: &Path, rate: u32) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec).expect("a file");
    for n in 0..rate / 2 {
        let value = (f64::from(n) * 0.3).sin() * 9000.0;
        file.write_sample(value as i16).expect("a sample");
    }
    file.finalize().expect("a whole file");
}

#[test]
fn what_foleys_commands_print_is_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let scenes = "prepare scenes --video --train 4 --val 2 --unseen 2 --size 16 --seconds 0.2 --rate 1600 \
                  --shapes 1 --out film --json";
    check("prepare scenes --video", &evoke(at, scenes));
    check("inspect (sound)", &evoke(at, "inspect film --json"));
    check("verify", &evoke(at, "verify film --json"));
    let small = "--set width=32 --set heads=1 --set encoder_layers=1 --set decoder_layers=2 --set patch=8 \
                 --set window=16 --set batch=2 --set steps=2 --device cpu --quiet --json";
    check("train foley", &evoke(at, &format!("train foley --data film --out seen {small}")));
    let report = check(
        "evaluate (foley)",
        &evoke(at, "evaluate seen --data film --device cpu --listen 2 --page p.html --json"),
    );
    assert_eq!(report["pictures"], json!(true));
    assert_eq!(report["heard"]["clips"], json!(2));
    assert!(std::fs::read_to_string(at.join("p.html")).expect("a page").contains("<audio"));
    let plan = check("plan foley", &evoke(at, "plan foley --data film --set width=32 --set patch=8 --json"));
    assert_eq!((&plan["samples"], plan["choices"].as_array().map(Vec::len)), (&json!(320), Some(3)));
    check("plan video", &evoke(at, "plan video --minutes 1000 --fps 10 --size 200x200 --json"));

    std::fs::create_dir(at.join("wav")).expect("a folder");
    for name in ["a", "b", "c"] {
        tone(&at.join(format!("wav/{name}.wav")), 1600);
    }
    check(
        "prepare video",
        &evoke(at, "prepare audio wav --rate 1600 --seconds 0.1 --val-share 0 --out heard --json"),
    );
    check("train foley", &evoke(at, &format!("train foley --data heard --out deaf {small}")));
    let report =
        check("sound", &evoke(at, "sound deaf --seconds 0.3 --out s.wav --device cpu --quiet --json"));
    assert_eq!(report["samples"], json!(480));
    let made = hound::WavReader::open(at.join("s.wav")).expect("a WAV file");
    assert_eq!((made.duration(), made.spec().sample_rate), (480, 1600));
}

//! BLEU, ROUGE-L and CIDEr-D equal pycocoevalcap's over the same words.
//!
//! Runs where a Python with pycocoevalcap and numpy is found: `EVOKE_PYTHON`, else `.tools/python/bin/python`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use evoke::eval::{Tokens, bleu, cider_d, rouge_l, tokenize};

const TOLERANCE: f64 = 1e-9;

fn python() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin/python");
    std::env::var_os("EVOKE_PYTHON").map(PathBuf::from).or_else(|| own.exists().then_some(own))
}

/// A small generator of its own, so that the captions are the same in every release of every crate.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const COMMON: &[&str] =
    &["a", "a", "a", "the", "on", "in", "of", "with", "and", "next to", "two", "is", "are"];
const THINGS: &[&str] = &[
    "man",
    "woman",
    "dog",
    "cat",
    "table",
    "surfboard",
    "wave",
    "giraffe",
    "train",
    "pizza",
    "street",
    "bench",
    "t-shirt",
    "black-and-white photo",
    "kite",
    "horse",
    "plate",
    "bathroom",
    "clock",
    "bus",
];
const MARKS: &[&str] =
    &[",", ".", " -", "!!", " (left)", " \"stop\"", "'s", " don't", " U.S.", " 1/2", " 3.5", " &"];

/// A caption of 0 to about 40 words: common words, things, now and then a word that no other caption has, a repeat.
fn caption(random: &mut Random) -> String {
    let length = match random.below(20) {
        0 => random.below(3),
        1 => 20 + random.below(20),
        _ => 5 + random.below(10),
    };
    let mut words: Vec<String> = Vec::new();
    for _ in 0..length {
        words.push(match random.below(12) {
            0..=4 => random.pick(COMMON).to_owned(),
            5..=8 => random.pick(THINGS).to_owned(),
            9 => format!("rare{}", random.below(4000)),
            10 => words.last().cloned().unwrap_or_else(|| "again".to_owned()),
            _ => format!("{}{}", random.pick(THINGS), random.pick(MARKS)),
        });
    }
    words.join(" ")
}

/// `count` pictures with 1 to 7 references; candidates are made up, copied, cut or lengthened references, or empty.
fn pictures(count: usize, seed: u64) -> Vec<Tokens> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| {
            let references: Vec<_> =
                (0..1 + random.below(7)).map(|_| tokenize(&caption(&mut random))).collect();
            let mut candidate = references[random.below(references.len())].clone();
            match random.below(6) {
                _ if i == 7 => candidate.clear(),
                0 => candidate = tokenize(&caption(&mut random)),
                1 => candidate.truncate(candidate.len() / 2),
                2 => candidate.extend(tokenize(&caption(&mut random))),
                3 => candidate.reverse(),
                4 if candidate.len() > 2 => candidate.swap(0, 2),
                _ => {}
            }
            Tokens { candidate, references }
        })
        .collect()
}

/// BLEU-1..4, ROUGE-L, CIDEr-D by pycocoevalcap.
fn oracle(python: &Path, pictures: &[Tokens]) -> Vec<f64> {
    let document = serde_json::json!({
        "candidates": pictures.iter().map(|p| p.candidate.join(" ")).collect::<Vec<_>>(),
        "references": pictures
            .iter()
            .map(|p| p.references.iter().map(|r| r.join(" ")).collect::<Vec<_>>())
            .collect::<Vec<_>>(),
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/coco_scores.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    // The script reads all of its input before it prints, so this cannot block on a full pipe.
    child.stdin.take().expect("a pipe").write_all(document.to_string().as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scores: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    let bleu = scores["Bleu"].as_array().expect("four figures").iter();
    bleu.chain([&scores["Rouge"], &scores["Cider"]]).map(|v| v.as_f64().expect("a number")).collect()
}

fn compare(name: &str, sets: &[Vec<Tokens>]) {
    let Some(python) = python() else {
        eprintln!("{name}: SKIPPED, no Python with pycocoevalcap (set EVOKE_PYTHON, or run scripts/test)");
        return;
    };
    for (set, pictures) in sets.iter().enumerate() {
        let theirs = oracle(&python, pictures);
        let ours = bleu(pictures).into_iter().chain([rouge_l(pictures), cider_d(pictures)]);
        let metrics = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"];
        for ((ours, theirs), metric) in ours.zip(theirs).zip(metrics) {
            let error = (ours - theirs).abs();
            // True only if the error is a number: NaN fails.
            assert!(error <= TOLERANCE, "set {set}: {metric} is {ours}, pycocoevalcap says {theirs}");
        }
    }
}

#[test]
fn equal_pycocoevalcap_on_varied_captions() {
    let pictures = pictures(1500, 20210);
    // The set must hold what it is there to vary.
    let references = pictures.iter().map(|p| p.references.len());
    assert!(references.clone().min() == Some(1) && references.max() == Some(7));
    assert!(pictures.iter().any(|p| p.candidate.is_empty()));
    assert!(pictures.iter().any(|p| p.references.iter().any(Vec::is_empty)));
    assert!(pictures.iter().any(|p| p.candidate.len() > 40));
    compare("equal_pycocoevalcap_on_varied_captions", &[pictures]);
}

#[test]
fn equal_pycocoevalcap_on_few_pictures() {
    // One picture, where all document frequencies are 1 of 1; two; and candidates that are all empty.
    let mut empty = pictures(5, 3);
    empty.iter_mut().for_each(|picture| picture.candidate.clear());
    compare("equal_pycocoevalcap_on_few_pictures", &[pictures(1, 1), pictures(2, 2), empty, pictures(12, 4)]);
}

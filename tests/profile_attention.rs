//! `evoke profile attention`, as a user runs it: its JSON, its files, its page in a browser.

mod common;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

fn evoke() -> Command {
    Command::cargo_bin("evoke").expect("the program is built with the tests")
}

const PATTERNS: [&str; 5] = ["full", "causal", "band:6,2", "strided:sqrt", "fixed:sqrt:4"];
const LENGTHS: [u64; 4] = [64, 128, 256, 512];
const PASSES: [&str; 3] = ["forward", "backward", "decode"];

/// One run whose results several tests look at.
fn profiled() -> &'static (TempDir, Value) {
    static RUN: OnceLock<(TempDir, Value)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let patterns = PATTERNS.join(",");
        let output = evoke()
            .current_dir(folder.path())
            .args([
                "profile",
                "attention",
                "--device",
                "cpu",
                "--patterns",
                &patterns,
                "--lengths",
                "64..512",
            ])
            .args([
                "--passes",
                "forward,backward,decode",
                "--heads",
                "2",
                "--head-size",
                "16",
                "--seconds",
                "12",
            ])
            .args(["--csv", "points.csv", "--page", "page.html", "--plots", "plots", "--json"])
            .assert()
            .success();
        let report = serde_json::from_slice(&output.get_output().stdout).expect("one JSON document");
        (folder, report)
    })
}

fn points(report: &Value) -> &Vec<Value> {
    report["points"].as_array().expect("a list")
}

#[test]
fn every_point_is_measured_predicted_and_counted() {
    let (_, report) = profiled();
    assert!(report["machine"]["device"] == "cpu" && report["machine"]["units"].as_u64() > Some(0));
    assert!(report["ceilings"]["copy_bytes_per_s"].as_f64() > Some(1e8));
    assert!(report["ceilings"]["matmul_flop_per_s"].as_f64() > Some(1e8));
    assert_eq!(points(report).len(), PATTERNS.len() * LENGTHS.len() * PASSES.len());
    for point in points(report) {
        let number = |name: &str| point[name].as_f64().unwrap_or_else(|| panic!("{name} in {point}"));
        let (median, predicted) = (number("median_s"), number("predicted_s"));
        assert!(median > 0.0 && predicted > 0.0 && predicted.is_finite(), "{point}");
        assert!(number("p10_s") <= median && median <= number("p90_s"), "{point}");
        assert!((number("error") - (predicted / median - 1.0)).abs() < 1e-9, "{point}");
        let operations = if point["pass"] == "backward" { 10.0 } else { 4.0 };
        assert_eq!(number("flops"), operations * 16.0 * number("visible_pairs"));
        assert!((number("flop_per_s") * median / number("flops") - 1.0).abs() < 1e-9);
        assert!(number("peak_bytes") >= number("planned_bytes") && number("planned_bytes") > 0.0);
        assert!(["memory", "arithmetic"].contains(&point["bound"].as_str().expect("text")), "{point}");
    }
    let pairs = |pattern: &str, pass: &str, length: u64| {
        let found = points(report)
            .iter()
            .find(|p| p["pattern"] == pattern && p["pass"] == pass && p["length"] == length);
        found.and_then(|p| p["visible_pairs"].as_u64()).unwrap_or_else(|| panic!("{pattern} {pass} {length}"))
    };
    assert_eq!(pairs("full", "forward", 256), 2 * 256 * 256);
    assert_eq!(pairs("causal", "backward", 512), 2 * 512 * 513 / 2);
    assert_eq!(pairs("band:6,2", "decode", 128), 2 * 7, "the newest token has none behind it");
    // Inside the band 9 keys a query, less 6 + 5 + ... + 1 at the start and 2 + 1 at the end.
    assert_eq!(pairs("band:6,2", "forward", 512), 2 * (9 * 512 - 21 - 3));
    let strided = points(report).iter().find(|p| p["pattern"] == "strided:sqrt" && p["length"] == 256);
    assert_eq!(strided.expect("there")["resolved"], "strided:16");
}

#[test]
fn fits_say_how_each_pattern_grows() {
    let (_, report) = profiled();
    let fits = report["fits"].as_array().expect("a list");
    assert_eq!(fits.len(), PATTERNS.len() * PASSES.len());
    for fit in fits {
        // The upper half of four lengths: 256 and 512, too few for an interval.
        assert_eq!((fit["from_length"].as_u64(), fit["to_length"].as_u64()), (Some(256), Some(512)));
        assert!(fit["time_exponent"].is_f64() && fit["ci95"].is_null() && fit["measured"] == 2, "{fit}");
        if fit["pass"] != "decode" {
            let memory = fit["memory_exponent"].as_f64().expect("a number");
            assert!((0.8..1.2).contains(&memory), "no pattern keeps a square: {fit}");
            assert!(fit["longest"].as_u64().is_none_or(|n| n > 512), "{fit}");
        }
    }
    assert!(report["prediction"]["points"].as_u64() == Some(30), "{}", report["prediction"]);
    // Joules stand where the machine counts them, or the reason why it does not.
    let energy = &report["energy"];
    assert_ne!(energy["counter"].is_null(), energy["missing"].is_null(), "{energy}");
    let counted = points(report).iter().any(|point| !point["energy_j"].is_null());
    assert!(!counted || energy["counter"].is_string(), "{energy}");
    assert!(counted || fits.iter().all(|fit| fit["energy_exponent"].is_null()), "{fits:?}");
}

#[test]
fn files_hold_every_point_and_picture() {
    let (folder, report) = profiled();
    let text = std::fs::read_to_string(folder.path().join("points.csv")).expect("a file");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + points(report).len());
    let columns = lines[0].split(',').count();
    for line in &lines[1..] {
        // A pattern's comma is quoted, and once more where it is spelled out.
        let commas =
            line.matches(',').count() - if line.starts_with("\"band:6,2\",\"band:6,2\"") { 2 } else { 0 };
        assert_eq!(commas + 1, columns, "{line}");
    }
    let plots = folder.path().join("plots");
    let names: Vec<String> = std::fs::read_dir(&plots)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    for name in [
        "time-forward",
        "time-backward",
        "time-decode",
        "roofline",
        "memory",
        "tiles-4-strided-sqrt",
        "bound-1-full",
    ] {
        let picture = image::open(plots.join(format!("{name}.png"))).expect("a readable PNG").to_rgb8();
        let ground = *picture.get_pixel(0, 0);
        assert!(picture.pixels().filter(|pixel| **pixel != ground).count() > 1000, "{name} is empty");
        let svg = std::fs::read_to_string(plots.join(format!("{name}.svg"))).expect("a file");
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"), "{name}");
    }
    assert_eq!(names.len(), 2 * (PASSES.len() + 2 + 2 * PATTERNS.len()), "{names:?}");
}

fn page() -> String {
    std::fs::read_to_string(profiled().0.path().join("page.html")).expect("a page")
}

#[test]
fn the_page_has_all_parts_and_nothing_from_outside() {
    let page = page();
    for outside in ["http", "@import", "url(", "<script", "<link", "src=", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    for part in [
        "Roofline",
        "Memory",
        "Time of the forward pass",
        "tiles at 512 tokens",
        "How it grows",
        "Every point",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("<td>band:6,2</td>") && !page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn a_report_is_drawn_again_without_measuring() {
    let (folder, report) = profiled();
    let again = tempfile::tempdir().expect("a folder");
    std::fs::write(again.path().join("old.json"), report.to_string()).expect("written");
    let output = evoke()
        .current_dir(again.path())
        .args(["profile", "attention", "--from", "old.json", "--json"])
        .args(["--csv", "points.csv", "--page", "page.html", "--plots", "plots"])
        .assert()
        .success();
    let told: Value = serde_json::from_slice(&output.get_output().stdout).expect("one JSON document");
    assert_eq!(&told, report);
    let plots = folder.path().join("plots");
    let plots = std::fs::read_dir(plots).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut files: Vec<PathBuf> = plots.map(|name| Path::new("plots").join(name)).collect();
    files.extend(["points.csv".into(), "page.html".into()]);
    for file in files {
        let read = |folder: &TempDir| std::fs::read(folder.path().join(&file)).expect("a file");
        assert!(read(folder) == read(&again), "{}", file.display());
    }
    let refused = |line: &str, code: i32, wanted: &str| {
        let output = evoke().current_dir(again.path()).args(line.split(' ')).assert().code(code);
        let said = String::from_utf8(output.get_output().stderr.clone()).expect("text");
        assert!(said.contains(wanted), "{line}: {said}");
    };
    std::fs::write(again.path().join("other.json"), r#"{"points": []}"#).expect("written");
    refused("profile attention --from other.json", 1, "is no report of `evoke profile attention --json`");
    refused("profile attention --from old.json --lengths 1k", 2, "--lengths");
}

#[test]
fn what_does_not_fit_the_time_is_predicted_and_marked() {
    let output = evoke()
        .args(["profile", "attention", "--device", "cpu", "--patterns", "full,band:8", "--lengths", "64..1k"])
        .args(["--heads", "2", "--head-size", "8", "--seconds", "0.001", "--json"])
        .assert()
        .success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    for point in points(&report) {
        let calibrates = point["length"].as_u64() <= Some(128);
        assert_eq!(point["calibration"], json!(calibrates), "{point}");
        assert_eq!(point["median_s"].is_null(), !calibrates, "{point}");
        assert_eq!(point["not_tried"], if calibrates { Value::Null } else { json!("time") }, "{point}");
        assert!(point["predicted_s"].as_f64() > Some(0.0), "{point}");
    }
    assert!(report["fits"][0]["time_exponent"].is_null() && report["prediction"]["median_error"].is_null());
}

#[test]
fn what_does_not_fit_the_memory_is_predicted_and_marked() {
    // Terabytes at the longest length, megabytes at the shortest.
    let output = evoke()
        .args(["profile", "attention", "--device", "cpu", "--patterns", "band:2", "--lengths", "64,16m"])
        .args(["--heads", "4", "--head-size", "4096", "--passes", "forward", "--seconds", "60", "--json"])
        .args(["--config", "small.toml"])
        .current_dir(small_config().path())
        .assert()
        .success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    let last = points(&report).last().expect("a point");
    assert_eq!((&last["length"], &last["not_tried"]), (&json!(1 << 24), &json!("memory")), "{last}");
    assert_eq!(report["feed_forward"]["width"], 32);
}

/// A model so small that its feed-forward layer takes no time.
fn small_config() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("small.toml"), "[model]\nwidth = 32\nheads = 2\n").expect("written");
    folder
}

#[test]
fn a_mask_is_printed_with_its_ends_in_words() {
    let output =
        evoke().args(["profile", "attention", "--show", "band:2,1", "--length", "5"]).assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(text.contains("keys p-2 to p+1, both ends inclusive: 4 keys"), "{text}");
    assert!(text.ends_with("##...\n###..\n####.\n.####\n..###\n"), "{text}");
}

#[test]
fn peers_stand_beside_and_other_work_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |pairs: u64| {
        let point = |length: u64, pairs: u64, seconds: f64| {
            json!({"pattern": "full", "pass": "forward", "length": length, "way": "sdpa", "median_s": seconds,
                   "visible_pairs": pairs})
        };
        // A power law of its own: four times the time at twice the length.
        let peer = json!([{"machine": {"program": "Other 1.0", "device": "cpu"}, "points": [
            point(128, 128 * 128, 1e-2), point(256, pairs, 4e-2), point(8192, 1, 1.0)]}]);
        std::fs::write(folder.path().join("peer.json"), peer.to_string()).expect("written");
        evoke()
            .current_dir(folder.path())
            .args(["profile", "attention", "--device", "cpu", "--patterns", "full", "--lengths", "64..256"])
            .args(["--heads", "1", "--head-size", "8", "--passes", "forward", "--seconds", "4"])
            .args(["--peers", "peer.json", "--page", "page.html", "--json"])
            .assert()
    };
    let output = run(256 * 256).success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    assert_eq!(report["peers"][0]["points"].as_array().map(Vec::len), Some(2), "8192 was not profiled here");
    let fit = &report["peers"][0]["fits"][0];
    assert!((fit["time_exponent"].as_f64().expect("a number") - 2.0).abs() < 1e-9, "{fit}");
    let ours = points(&report).last().and_then(|p| p["median_s"].as_f64()).expect("measured");
    assert!((fit["times_evoke"].as_f64().expect("a number") * ours / 4e-2 - 1.0).abs() < 1e-9, "{fit}");
    let page = std::fs::read_to_string(folder.path().join("page.html")).expect("a page");
    assert!(page.contains("Beside Other 1.0"));

    let said = String::from_utf8_lossy(&run(7).code(1).get_output().stderr).into_owned();
    assert!(said.contains("256 has 7 visible pairs, here it has 65536"), "{said}");
}

#[test]
fn wrong_options_are_one_line_and_exit_2() {
    for (options, says) in [
        (&["--lengths", "4k..1k"][..], "must not be above"),
        (&["--lengths", "x"], "a length is a number"),
        (&["--patterns", "bend:3"], "no such form"),
        (&["--patterns", "in-time:1:4:3/16"], "samples that look at frames"),
        (&["--patterns", "fixed:sqrt:16", "--lengths", "64"], "does not fit a block"),
        (&["--passes", "up"], "no such pass"),
        (&["--type", "bf16", "--device", "cpu"], "works on f32"),
        (&["--heads", "0"], "at least one"),
        (&["--seconds", "0"], "more than 0"),
        (&["--show", "band:3", "--length", "9999"], "at most"),
    ] {
        let result = evoke().args(["profile", "attention"]).args(options).assert().code(2);
        let said = String::from_utf8_lossy(&result.get_output().stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(says) && !said.contains("panicked"), "{options:?}: {said}");
    }
    let missing = evoke().args(["profile", "attention", "--page", "no/such/folder/p.html"]).assert().code(1);
    assert!(String::from_utf8_lossy(&missing.get_output().stderr).contains("there is no folder"));
}

#[test]
fn the_page_is_readable_in_a_browser_at_any_width() {
    let Some(browser) = common::browser::find() else {
        eprintln!(
            "the_page_is_readable_in_a_browser_at_any_width: SKIPPED, no Chromium (in PATH, or set EVOKE_CHROMIUM)"
        );
        return;
    };
    let seen = common::browser::look(&browser, &page());
    assert_eq!(seen, common::browser::Seen::default(), "at 1280 and at 400 pixels");
}

/// The browser sees what the test above looks for.
#[test]
fn a_bad_page_is_noticed_in_a_browser() {
    let Some(browser) = common::browser::find() else {
        eprintln!(
            "a_bad_page_is_noticed_in_a_browser: SKIPPED, no Chromium (in PATH, or set EVOKE_CHROMIUM)"
        );
        return;
    };
    let look = |body: &str| common::browser::look(&browser, &format!("<!doctype html><body>{body}</body>"));
    let wide = look("<div style=\"width:600px\">wide</div>");
    assert_eq!((wide.overflows, wide.requests), (vec![400], 0), "fits 1280 alone");
    let asks = look("<img src=\"http://127.0.0.1:9/x.png\">");
    assert!(asks.requests > 0, "{asks:?}");
    let fails = look("<script>undefined_function()</script>");
    assert!(!fails.errors.is_empty(), "{fails:?}");
}

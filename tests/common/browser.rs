//! A page in headless Chromium: what it asks for, what it complains of, and whether it is wider than its window.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Widths in which a page is looked at: a screen's, and a phone's.
const WIDTHS: [u32; 2] = [1280, 400];

/// What was seen; the default is a page without fault.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    /// Messages on the console.
    pub errors: Vec<String>,
    /// Requests beside the page itself.
    pub requests: usize,
    /// Widths at which the page must be scrolled sideways.
    pub overflows: Vec<u32>,
}

/// `EVOKE_CHROMIUM`, or a Chromium or Chrome in PATH.
pub fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("EVOKE_CHROMIUM") {
        return Some(PathBuf::from(path));
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// Opens the page in frames of both widths: a window of its own would have a least width.
///
/// # Panics
/// If the browser does not run, or does not tell what it saw.
pub fn look(browser: &Path, page: &str) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames: String = WIDTHS
        .iter()
        .map(|width| {
            format!(
                "<iframe width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{quoted}\"></iframe>\n"
            )
        })
        .collect();
    let script = "addEventListener('load', () => {
        let told = [...document.querySelectorAll('iframe')].map(frame => {
            let root = frame.contentDocument.documentElement;
            let asked = frame.contentWindow.performance.getEntriesByType('resource').length;
            return [frame.width, root.scrollWidth > root.clientWidth ? 1 : 0, asked].join(' ');
        });
        document.body.innerHTML = 'SEEN ' + told.join(';') + ' END';
    })";
    let outer = folder.path().join("outer.html");
    std::fs::write(&outer, format!("<!doctype html><body>{frames}<script>{script}</script></body>"))
        .expect("written");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--enable-logging=stderr", "--window-size=1400,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", outer.display()))
        .output()
        .expect("the browser runs");
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let told = text.split_once("SEEN ").and_then(|(_, rest)| rest.split_once(" END"));
    let (told, _) = told.unwrap_or_else(|| panic!("the browser told nothing: {text:.500}\n{log}"));
    let mut seen = Seen::default();
    for frame in told.split(';') {
        let numbers: Vec<u32> = frame.split(' ').map(|word| word.parse().expect("a number")).collect();
        if numbers[1] > 0 {
            seen.overflows.push(numbers[0]);
        }
        seen.requests += numbers[2] as usize;
    }
    assert_eq!(told.split(';').count(), WIDTHS.len(), "{told}");
    seen.errors = log.lines().filter(|line| line.contains(":CONSOLE")).map(String::from).collect();
    seen
}

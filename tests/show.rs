//! `evoke show`, as a user runs it.

use assert_cmd::Command;

fn evoke() -> Command {
    Command::cargo_bin("evoke").expect("the program is built with the tests")
}

#[test]
fn positions_are_drawn_on_a_line_and_on_a_grid() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("positions.png");
    let draw = |options: &[&str]| {
        evoke().args(["show", "positions", "--out"]).arg(&out).args(options).assert().success();
        image::open(&out).expect("a readable PNG").to_rgb8()
    };
    let line = draw(&["--positions", "50", "--width", "32"]);
    let grid = draw(&["--grid", "5x10", "--width", "32"]);
    assert!(line.width() > 500 && line.dimensions() == grid.dimensions());
    assert_ne!(line, grid);
    assert_eq!(grid, draw(&["--kind", "sinusoid-2d", "--grid", "5x10", "--width", "32"]));
}

#[test]
fn wrong_options_are_one_line_and_exit_2() {
    for options in [
        &["--width", "33"][..],
        &["--kind", "sinusoid-2d", "--width", "34"],
        &["--kind", "sinusoid-1d", "--grid", "3x3"],
        &["--kind", "sinusoid-2d", "--positions", "9"],
        &["--positions", "0"],
        &["--grid", "0x4"],
        &["--grid", "4096x4096"],
    ] {
        let result = evoke().args(["show", "positions", "--out", "never.png"]).args(options).assert().code(2);
        let said = String::from_utf8_lossy(&result.get_output().stderr).into_owned();
        assert!(!said.contains("panicked") && !said.is_empty(), "{options:?}: {said}");
    }
    assert!(!std::path::Path::new("never.png").exists());
}

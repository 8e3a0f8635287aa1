//! The command line: one file for each command, one place where errors become a line and an exit code.

mod bench;
mod caption;
mod demo;
mod demo_foley;
mod doctor;
mod evaluate;
mod evaluate_sound;
mod inspect;
mod inspect_sound;
mod method;
mod output;
mod plan;
mod plan_foley;
mod plan_time;
mod plan_video;
mod prepare;
mod prepare_audio;
mod prepare_media;
mod prepare_motion;
mod prepare_progress;
mod prepare_scenes;
mod prepare_video;
mod profile;
mod profile_attention;
mod profile_train;
mod score;
mod selftest;
mod show;
mod sound;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use output::Output;

use crate::{Error, Result};

/// Train Transformers that describe pictures and make the sound of silent video, on any machine.
#[derive(Debug, Parser)]
#[command(
    name = "evoke",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped by a signal after saving."
)]
struct Cli {
    /// Print one JSON document on stdout instead of text (docs/json.md lists the fields)
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Prepare(prepare::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Train(train::Args),
    Caption(caption::Args),
    Sound(sound::Args),
    Evaluate(evaluate::Args),
    Score(score::Args),
    Selftest(selftest::Args),
    Show(show::Args),
    Plan(plan::Args),
    Profile(profile::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
}

/// Parses the command line, runs the command, and turns an error into one line on stderr.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evoke: {}", one_line(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let out = Output { json: cli.json };
    match cli.command {
        Command::Demo(args) => args.run(&out),
        Command::Prepare(args) => args.run(&out),
        Command::Inspect(args) => args.run(&out),
        Command::Verify(args) => args.run(&out),
        Command::Train(args) => args.run(&out),
        Command::Caption(args) => args.run(&out),
        Command::Sound(args) => args.run(&out),
        Command::Evaluate(args) => args.run(&out),
        Command::Score(args) => args.run(&out),
        Command::Selftest(args) => args.run(&out),
        Command::Show(args) => args.run(&out),
        Command::Plan(args) => args.run(&out),
        Command::Profile(args) => args.run(&out),
        Command::Bench(args) => args.run(&out),
        Command::Doctor(args) => args.run(&out),
    }
}

/// Errors of libraries may span lines; a user gets one.
fn one_line(error: &Error) -> String {
    error
        .to_string()
        .split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

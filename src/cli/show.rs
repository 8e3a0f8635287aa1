//! `evoke show`: pictures of what a model is made of.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::Output;
use crate::look::positions::{Places, positions_picture};
use crate::nn::positions::{sinusoid_1d, sinusoid_2d};
use crate::{Error, Result};

/// Draw what a model is made of
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Positions(PositionsArgs),
}

/// Draw the positional encodings, and how alike they make positions
#[derive(Debug, clap::Args)]
struct PositionsArgs {
    /// Over the sequence of tokens, or over the rows and columns of the patches; sinusoid-1d unless --grid is given
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Positions on the line (sinusoid-1d)
    #[arg(long, conflicts_with = "grid")]
    positions: Option<usize>,
    /// Rows and columns of the grid, as 14x14 (sinusoid-2d)
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = parse_grid)]
    grid: Option<(usize, usize)>,
    /// Channels of each position
    #[arg(long, default_value_t = 128)]
    width: usize,
    /// The PNG file to write
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[value(name = "sinusoid-1d")]
    Sinusoid1d,
    #[value(name = "sinusoid-2d")]
    Sinusoid2d,
}

#[derive(Debug, Serialize)]
struct Shown {
    out: PathBuf,
    positions: usize,
    width: usize,
}

/// Every position is compared with every other: more than this takes long and shows nothing.
const MOST: usize = 4096;

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        match self.what {
            What::Positions(args) => args.run(out),
        }
    }
}

impl PositionsArgs {
    fn run(self, out: &Output) -> Result<()> {
        let implied = if self.grid.is_some() { Kind::Sinusoid2d } else { Kind::Sinusoid1d };
        let places = match (self.kind.unwrap_or(implied), self.positions, self.grid) {
            (Kind::Sinusoid1d, _, Some(_)) => {
                return Err(Error::usage("--grid belongs to --kind sinusoid-2d; a line takes --positions N"));
            }
            (Kind::Sinusoid2d, Some(_), _) => {
                return Err(Error::usage(
                    "--positions belongs to --kind sinusoid-1d; a grid takes --grid ROWSxCOLUMNS",
                ));
            }
            (Kind::Sinusoid1d, count, None) => Places::Line(count.unwrap_or(128)),
            (Kind::Sinusoid2d, None, grid) => {
                let (rows, columns) = grid.unwrap_or((14, 14));
                Places::Grid { rows, columns }
            }
        };
        let (count, width) = (places.count(), self.width);
        if !(1..=MOST).contains(&count) || !(1..=MOST).contains(&width) {
            return Err(Error::usage(format!(
                "{count} positions of width {width}: choose from 1 to {MOST} of either"
            )));
        }
        let encoding = match places {
            Places::Line(count) => sinusoid_1d(count, width),
            Places::Grid { rows, columns } => sinusoid_2d(rows, columns, width),
        };
        // Only the width can be wrong here, and it came from the command line.
        let encoding = encoding.map_err(|error| Error::usage(format!("--width {width}: {error}")))?;
        positions_picture(&encoding, width, places)?.save(&self.out)?;
        let shown = Shown { out: self.out, positions: count, width };
        out.result(&shown, |s| format!("{} positions of width {}: {}", s.positions, s.width, s.out.display()))
    }
}

fn parse_grid(text: &str) -> Result<(usize, usize), String> {
    let (rows, columns) = text.split_once(['x', 'X']).ok_or("write rows and columns as 14x14")?;
    let number = |part: &str| {
        let number = part.trim().parse::<usize>().ok().filter(|number| (1..=MOST).contains(number));
        number.ok_or(format!("'{part}' is no whole number from 1 to {MOST}"))
    };
    Ok((number(rows)?, number(columns)?))
}

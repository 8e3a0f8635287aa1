//! `evoke profile`: where time and memory go.

use clap::Subcommand;

use super::{Output, profile_attention, profile_train};
use crate::Result;

/// Say where time and memory go, predicted and measured
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Attention(Box<profile_attention::Args>),
    Train(profile_train::Args),
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        match self.what {
            What::Attention(args) => args.run(out),
            What::Train(args) => args.run(out),
        }
    }
}

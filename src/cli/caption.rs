//! `evoke caption`: say what is in a picture.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Output;
use super::method::MethodArgs;
use crate::data::picture;
use crate::decode;
use crate::device::Device;
use crate::train::captioner::load;
use crate::{Error, Result};

/// Describe pictures with a trained run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,
    /// Picture files
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    #[command(flatten)]
    method: MethodArgs,
    /// Write a PNG of what each head looks at for each word; of several pictures each gets a number in the name
    #[arg(long, value_name = "OUT.png")]
    attention: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

#[derive(Debug, Serialize)]
struct Described {
    picture: PathBuf,
    caption: Option<String>,
    /// Sum over the words, in nats.
    log_probability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    step: u64,
    pictures: Vec<Described>,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let method = self.method.method()?;
        let device = Device::parse(&self.device)?;
        let mut trained = load::load(&self.run, device, &mut |line| out.note(line))?;
        let mut report = Report { step: trained.step, pictures: Vec::new() };
        for (number, path) in self.pictures.iter().enumerate() {
            let pixels = match picture::load(path, &trained.identity.preprocessing) {
                Ok(pixels) => pixels,
                Err(skipped) => {
                    // Of a single picture the error at the end says the same.
                    if self.pictures.len() > 1 {
                        out.note(format!("{}: {}", path.display(), skipped.reason));
                    }
                    report.pictures.push(Described {
                        picture: path.clone(),
                        caption: None,
                        log_probability: None,
                        attention: None,
                        error: Some(skipped.reason),
                    });
                    continue;
                }
            };
            let caption = decode::caption(&mut trained.session, &pixels, method)?.remove(0);
            let mut drawn = None;
            if let Some(file) = &self.attention {
                let file = numbered(file, number, self.pictures.len());
                if caption.tokens.is_empty() {
                    out.note(format!("{}: an empty caption has nothing to look at", path.display()));
                } else {
                    decode::attention(&mut trained.session, &trained.vocabulary, &pixels, &caption)?
                        .save(&file)?;
                    drawn = Some(file);
                }
            }
            report.pictures.push(Described {
                picture: path.clone(),
                caption: Some(trained.vocabulary.decode(&caption.tokens)),
                log_probability: Some(caption.log_probability),
                attention: drawn,
                error: None,
            });
        }
        let failed = report.pictures.iter().filter(|d| d.error.is_some()).count();
        out.result(&report, |report| {
            let lines: Vec<String> = report.pictures.iter().filter_map(line).collect();
            lines.join("\n")
        })?;
        if failed == 0 {
            return Ok(());
        }
        if let [Described { picture, error: Some(reason), .. }] = &report.pictures[..] {
            return Err(Error::failed(format!("{}: {reason}", picture.display())));
        }
        Err(Error::failed(format!("{failed} of {} pictures could not be read", report.pictures.len())))
    }
}

fn line(described: &Described) -> Option<String> {
    Some(format!("{}\t{}", described.picture.display(), described.caption.as_ref()?))
}

/// `out.png` for one picture, `out-1.png`, `out-2.png` for several.
fn numbered(file: &Path, number: usize, pictures: usize) -> PathBuf {
    if pictures == 1 {
        return file.to_path_buf();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}-{}.png", number + 1))
}

//! Reading settings from a TOML file and from `--set key=value`.
//!
//! Each setting is tried on its own against the defaults, so an error knows the key and where it was written.

use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Table, Value, de::DeValue};

use super::{Model, Settings};
use crate::error::At;
use crate::{Error, Result};

/// One value that someone wrote, and where.
struct Setting {
    section: String,
    key: String,
    value: Value,
    origin: String,
}

impl<M: Model> Settings<M> {
    /// The defaults, changed by the TOML file and then by `sets` in their order (`model.width=128`, or `width=128`
    /// where only one section has such a key), and checked.
    ///
    /// Errors, as wrong usage: an unknown key, a value of another type or out of range; each with its place.
    pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Self> {
        Self::default().with(file, sets)
    }

    /// The same on top of this configuration instead of the defaults.
    pub fn with(&self, file: Option<&Path>, sets: &[String]) -> Result<Self> {
        let Some(path) = file else { return self.with_text("", "", sets) };
        let text = std::fs::read_to_string(path).at("read", path)?;
        self.with_text(&text, &path.display().to_string(), sets)
    }

    /// The settings that a run wrote down. An earlier release wrote keys of [`Model::WITHOUT`] too: they did nothing then,
    /// and are passed over.
    ///
    /// Errors: as [`Settings::load`].
    pub fn stored(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).at("read", file)?;
        Self::default().changed(&text, &file.display().to_string(), &[], true)
    }

    /// The same from TOML that is at hand; `place` names it in errors.
    pub fn with_text(&self, text: &str, place: &str, sets: &[String]) -> Result<Self> {
        self.changed(text, place, sets, false)
    }

    fn changed(&self, text: &str, place: &str, sets: &[String], stored: bool) -> Result<Self> {
        let keys = Keys { known: Self::default().to_table()?, model: M::NAME, without: M::WITHOUT, stored };
        let mut table = self.to_table()?;
        let mut settings = from_text(text, place, &keys)?;
        for set in sets {
            settings.push(from_set(set, &keys)?);
        }
        for setting in settings {
            try_alone::<M>(&setting, &keys.known)?;
            if let Some(Value::Table(section)) = table.get_mut(&setting.section) {
                section.insert(setting.key, setting.value);
            }
        }
        let config = Self::deserialize(table).map_err(|error| Error::usage(error.message().to_string()))?;
        config.check()?;
        Ok(config)
    }
}

/// The keys that there are, and how others are told.
struct Keys {
    known: Table,
    model: &'static str,
    without: &'static [&'static str],
    /// What is read are a run's own settings: keys of `without` are passed over.
    stored: bool,
}

/// The settings in a TOML text, in no order of importance: each key occurs once.
fn from_text(text: &str, path: &str, among: &Keys) -> Result<Vec<Setting>> {
    let line_of = |at: usize| text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1;
    let not_toml = |error: toml::de::Error| {
        let line = error.span().map(|span| format!(" line {}", line_of(span.start))).unwrap_or_default();
        Error::usage(format!("{path}{line}: {}", error.message()))
    };
    let spans = toml::de::DeTable::parse(text).map_err(not_toml)?;
    let values: Table = text.parse().map_err(not_toml)?;
    let mut settings = Vec::new();
    for (name, content) in spans.get_ref() {
        let origin = |at: &Spanned<_>| format!("{path} line {}", line_of(at.span().start));
        let (section, DeValue::Table(keys)) = (name.get_ref().to_string(), content.get_ref()) else {
            return Err(unknown(&origin(name), name.get_ref(), among));
        };
        for key in keys.keys() {
            let value = values.get(&section).and_then(|table| table.get(key.get_ref().as_ref()));
            let full = format!("{section}.{}", key.get_ref());
            match value {
                Some(value) if lookup(&among.known, &section, key.get_ref()).is_some() => {
                    settings.push(Setting {
                        section: section.clone(),
                        key: key.get_ref().to_string(),
                        value: value.clone(),
                        origin: origin(key),
                    })
                }
                _ if among.stored && among.without.contains(&full.as_str()) => {}
                _ => return Err(unknown(&origin(key), &full, among)),
            }
        }
        if keys.is_empty() && !among.known.contains_key(&section) {
            return Err(unknown(&origin(name), &section, among));
        }
    }
    Ok(settings)
}

/// The setting in `key=value`.
fn from_set(set: &str, among: &Keys) -> Result<Setting> {
    let known = &among.known;
    let origin = format!("--set {set}");
    let (name, raw) = set
        .split_once('=')
        .map(|(name, raw)| (name.trim(), raw.trim()))
        .ok_or_else(|| Error::usage(format!("{origin}: expects key=value, such as model.width=128")))?;
    let (section, key) = match name.split_once('.') {
        Some((section, key)) if lookup(known, section, key).is_some() => {
            (section.to_string(), key.to_string())
        }
        Some(_) => return Err(unknown(&origin, name, among)),
        None => {
            let holders: Vec<&String> =
                known.keys().filter(|section| lookup(known, section, name).is_some()).collect();
            match holders[..] {
                [] => return Err(unknown(&origin, name, among)),
                [section] => (section.clone(), name.to_string()),
                _ => {
                    let names: Vec<String> =
                        holders.iter().map(|section| format!("{section}.{name}")).collect();
                    return Err(Error::usage(format!("{origin}: could mean {}", names.join(" or "))));
                }
            }
        }
    };
    Ok(Setting { section, key, value: bare_value(raw), origin })
}

/// A value as TOML; else as a number written more freely (`.1`); else the text itself.
fn bare_value(raw: &str) -> Value {
    match format!("value = {raw}").parse::<Table>() {
        Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or(Value::Boolean(false)),
        _ => raw.parse().map(Value::Float).unwrap_or_else(|_| Value::String(raw.to_string())),
    }
}

fn lookup<'a>(known: &'a Table, section: &str, key: &str) -> Option<&'a Value> {
    known.get(section)?.as_table()?.get(key)
}

/// Puts the setting alone into an otherwise default configuration: its type is wrong if that fails.
fn try_alone<M: Model>(setting: &Setting, known: &Table) -> Result<()> {
    let Setting { section, key, value, origin } = setting;
    let alone = |value: Value| {
        let keys = Table::from_iter([(key.clone(), value)]);
        Settings::<M>::deserialize(Table::from_iter([(section.clone(), Value::Table(keys))]))
    };
    if alone(value.clone()).is_ok() {
        return Ok(());
    }
    let expected = match lookup(known, section, key) {
        Some(Value::Integer(_)) => "a whole number, 0 or more".to_string(),
        Some(Value::Float(_)) => "a number".to_string(),
        Some(Value::Boolean(_)) => "true or false".to_string(),
        // serde knows the names of the choices; a name that is none of them makes it tell.
        _ => match alone(Value::String("?".to_string())) {
            Err(error) => {
                let message = error.message();
                message.split_once("expected ").map_or(message, |(_, names)| names).to_string()
            }
            Ok(_) => "a text".to_string(),
        },
    };
    Err(Error::usage(format!("{origin}: {section}.{key} is {value}, but expects {expected}")))
}

/// The error for a key that does not exist, with the nearest that does.
fn unknown(origin: &str, name: &str, among: &Keys) -> Error {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let other = |full: &&&str| **full == name || full.rsplit('.').next() == Some(name);
    if let Some(full) = among.without.iter().find(other) {
        return Error::usage(format!("{origin}: {full} does nothing for the {}; leave it out", among.model));
    }
    let nearest = among
        .known
        .iter()
        .flat_map(|(section, keys)| {
            keys.as_table().into_iter().flat_map(Table::keys).map(move |key| (section, key))
        })
        // The right key in the wrong section is nearer than another key in the right one.
        .map(|(section, key)| {
            (distance(leaf, key), distance(name, &format!("{section}.{key}")), section, key)
        })
        .min();
    match nearest {
        Some((_, _, section, key)) => {
            Error::usage(format!("{origin}: there is no key {name}; the nearest is {section}.{key}"))
        }
        None => Error::usage(format!("{origin}: there is no key {name}")),
    }
}

/// Levenshtein's distance: letters to insert, remove or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = corner + usize::from(letter != *other);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Config;
    use super::*;

    fn load(text: &str, sets: &[&str]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), &sets.iter().map(|set| set.to_string()).collect::<Vec<_>>())
    }

    fn refused(text: &str, sets: &[&str], parts: &[&str]) {
        let error = load(text, sets).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let line = error.to_string();
        assert!(!line.contains('\n') && parts.iter().all(|part| line.contains(part)), "{parts:?} in: {line}");
    }

    #[test]
    fn the_file_changes_the_defaults_and_sets_change_the_file() {
        let config =
            load("[model]\nwidth = 128\nheads = 4\n[train]\nbatch = 8\n", &["train.batch=16"]).unwrap();
        assert_eq!((config.model.width, config.model.heads, config.train.batch), (128, 4, 16));
        assert_eq!(config.loss, Config::default().loss);
        let free = load(
            "",
            &["learning_rate=.001", "norm=post", "tie_embeddings = false", "model.stem=\"convolution\""],
        );
        let free = free.unwrap();
        assert_eq!(free.optimizer.learning_rate, 0.001);
        assert_eq!(free.model.norm, crate::config::NormOrder::Post);
        assert!(!free.model.tie_embeddings);
        assert_eq!(load("", &["clip=2"]).unwrap().optimizer.clip, 2.0, "a whole number is a number");
        let later = load("", &["batch=3", "batch=4"]).unwrap();
        assert_eq!(later.train.batch, 4);
        assert_eq!(later.with(None, &["seed=9".to_string()]).unwrap().train.batch, 4);
    }

    #[test]
    fn an_unknown_key_names_itself_its_place_and_the_nearest_one() {
        refused(
            "[model]\nwidth = 64\nwidht = 3\n",
            &[],
            &["my.toml line 3", "no key model.widht", "model.width"],
        );
        refused("\nbatch = 3\n", &[], &["my.toml line 2", "no key batch", "nearest is train.batch"]);
        refused("[trian]\nseed = 1\n", &[], &["my.toml line 2", "trian.seed", "nearest is train.seed"]);
        refused("[trian]\n", &[], &["my.toml line 1", "no key trian"]);
        refused("", &["model.batch=3"], &["--set model.batch=3", "nearest is train.batch"]);
        refused("", &["learningrate=3"], &["nearest is optimizer.learning_rate"]);
        refused("", &["model=3"], &["no key model"]);
        refused("", &["width"], &["--set width", "expects key=value"]);
    }

    #[test]
    fn bug_a_captioner_took_settings_of_sounds_that_it_does_not_make() {
        let told = ["train.evaluate_sounds does nothing for the captioner", "leave it out"];
        refused("[train]\nevaluate_sounds = 2\n", &[], &[&["my.toml line 2"][..], &told].concat());
        refused("", &["evaluate_sounds=2"], &[&["--set evaluate_sounds=2"][..], &told].concat());
        refused(
            "",
            &["train.evaluate_seconds=0"],
            &["train.evaluate_seconds does nothing for the captioner"],
        );
        let printed = Config::default().to_toml().unwrap();
        assert!(!printed.contains("evaluate_s") && !printed.contains("sound"), "{printed}");
        type Foley = Settings<crate::config::Foley>;
        let foley = Foley::load(None, &["evaluate_sounds=7".to_string()]).unwrap();
        assert_eq!(foley.train.evaluate_sounds, 7);
        let printed = foley.to_toml().unwrap();
        let lines = ["\nevaluate_sounds = 7\n", "\nevaluate_seconds = 1.0\n"];
        assert!(lines.iter().all(|line| printed.contains(line)), "{printed}");
    }

    #[test]
    fn a_value_of_another_type_says_what_is_expected() {
        refused(
            "[model]\n\nwidth = \"wide\"\n",
            &[],
            &["my.toml line 3", "model.width", "\"wide\"", "whole number"],
        );
        refused("", &["width=-3"], &["--set width=-3", "model.width is -3", "whole number, 0 or more"]);
        refused("", &["steps=1.5"], &["train.steps", "whole number"]);
        refused("", &["tie_embeddings=maybe"], &["true or false"]);
        refused("", &["learning_rate=fast"], &["a number"]);
        refused("", &["norm=middle"], &["model.norm", "\"middle\"", "`pre`", "`post`"]);
        refused("", &["positions=3"], &["`sinusoid-1d`", "`learned`"]);
        refused("[model.width]\nx = 3\n", &[], &["model.width", "whole number"]);
        refused("[model]\nwidth = = 3\n", &[], &["my.toml line 2"]);
        refused("", &["seed=99999999999999999999"], &["train.seed"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Config::load(Some(Path::new("no/such.toml")), &[]).unwrap_err().to_string();
        assert!(error.contains("no/such.toml: cannot read"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_equal(
            rate in (0u32..0x7f80_0000).prop_map(f32::from_bits).prop_filter("positive", |rate| *rate > 0.0),
            dropout in 0f32..1.0,
            seed in 0..=i64::MAX as u64,
            heads in 1usize..9,
            tie in any::<bool>(),
            kind in prop_oneof![Just("cosine"), Just("warmup"), Just("constant")],
        ) {
            let sets = [
                format!("learning_rate={rate:e}"),
                format!("decoder_dropout={dropout}"),
                format!("seed={seed}"),
                format!("heads={heads}"),
                format!("width={}", heads * 4),
                format!("tie_embeddings={tie}"),
                format!("schedule.kind={kind}"),
            ];
            let config = Config::load(None, &sets).unwrap();
            prop_assert_eq!(config.optimizer.learning_rate, rate);
            prop_assert_eq!(config.model.decoder_dropout, dropout);
            prop_assert_eq!(config.train.seed, seed);
            prop_assert_eq!(&load(&config.to_toml().unwrap(), &[]).unwrap(), &config);
        }

        #[test]
        fn no_set_and_no_file_makes_it_panic(text in "\\PC{0,60}", set in "[a-z_.=\"0-9\\[\\]{}#\n -]{0,40}") {
            let _ = load(&text, &[]);
            let _ = load("", &[&set]);
            let _ = load("", &[&format!("width={set}")]);
        }
    }
}

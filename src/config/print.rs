//! Printing every setting as a TOML file, each under its description.

use toml::Table;

use super::{Model, Settings};
use crate::{Error, Result};

/// The struct definitions, whose doc comments become the comments of `config.toml`: written once, read by both.
const SOURCE: &str = include_str!("mod.rs");

impl<M: Model> Settings<M> {
    /// Every key with its value, defaults included, each under its description; [`Settings::load`] reads it back equal.
    pub fn to_toml(&self) -> Result<String> {
        let plain = self.plain_toml()?;
        let mut text = String::new();
        let mut section = "";
        for line in plain.lines() {
            let about = match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                Some(name) => {
                    section = name;
                    docs::<M>("Settings", name).or_else(|| docs::<M>(&type_of::<M>(name), ""))
                }
                None => docs::<M>(&type_of::<M>(section), line.split(' ').next().unwrap_or_default()),
            };
            for doc in about.iter().flatten() {
                text.push_str(format!("# {doc}").trim_end());
                text.push('\n');
            }
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }

    fn plain_toml(&self) -> Result<String> {
        let all = toml::to_string(self)
            .map_err(|error| Error::usage(format!("the configuration has no TOML form: {error}")))?;
        let (mut text, mut section) = (String::new(), "");
        for line in all.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            }
            let key = line.split(' ').next().unwrap_or_default();
            if !M::WITHOUT.contains(&format!("{section}.{key}").as_str()) {
                text.push_str(line);
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// Sections of keys; floats with the digits of an f32, as `plain_toml` writes them.
    pub(crate) fn to_table(&self) -> Result<Table> {
        self.plain_toml()?.parse().map_err(|error| Error::usage(format!("the configuration: {error}")))
    }
}

/// The struct of a section, by the field of `Settings`.
fn type_of<M: Model>(section: &str) -> String {
    match section {
        "model" => return M::SECTIONS[0].into(),
        "loss" => return M::SECTIONS[1].into(),
        _ => {}
    }
    let field = format!("    pub {section}: ");
    SOURCE
        .lines()
        .find_map(|line| line.strip_prefix(&field))
        .map(|rest| rest.trim_end_matches(',').to_string())
        .unwrap_or_default()
}

/// The doc comment lines of a struct's field, or with an empty `field` of the struct itself.
fn docs<M: Model>(of: &str, field: &str) -> Option<Vec<&'static str>> {
    let (mut lines, mut current): (Vec<&str>, &str) = (Vec::new(), "");
    for line in M::SOURCE.lines().chain(SOURCE.lines()).map(str::trim) {
        let name =
            |prefix| line.strip_prefix(prefix).and_then(|rest: &str| rest.split([' ', ':', '<']).next());
        if let Some(doc) = line.strip_prefix("///") {
            lines.push(doc.trim());
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        if let Some(structure) = name("pub struct ") {
            current = structure;
            if structure == of && field.is_empty() {
                return Some(lines);
            }
        } else if current == of && !field.is_empty() && name("pub ") == Some(field) {
            return Some(lines).filter(|lines| !lines.is_empty());
        } else if line == "}" {
            current = "";
        }
        lines.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn all_keys_are_printed_with_their_descriptions_and_the_digits_one_would_type() {
        let config = Config::default();
        let text = config.to_toml().unwrap();
        assert_eq!(text.parse::<Table>().unwrap().try_into::<Config>().unwrap(), config);
        for line in [
            "learning_rate = 0.0003",
            "label_smoothing = 0.1",
            "epsilon = 0.00000001",
            "# Channels of every token; a multiple of `heads`.\nwidth = 256",
            "# The captioner's shape. The picture's size and the vocabulary come from the data.\n[model]",
            "# Passes whose gradients are added up before one step.\naccumulate = 1",
            "\nheads = 8",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let keys = text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
        let all: usize = config.to_table().unwrap().values().map(|keys| keys.as_table().unwrap().len()).sum();
        assert_eq!(keys, all);
    }
}

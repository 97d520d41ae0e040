//! The operator's settings, read by name with the declared default behind each.
//!
//! A name that the policy did not declare is an error of the operator and is refused before `configure` runs.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Setting, parse_duration};

/// The values of the declared settings.
#[derive(Debug)]
pub struct Settings<'a> {
    declared: &'a [Setting],
    given: &'a [(String, String)],
}

impl<'a> Settings<'a> {
    /// Checks the names that the operator gave against the declared ones.
    pub fn new(declared: &'a [Setting], given: &'a [(String, String)]) -> Result<Self, String> {
        for (index, (name, _)) in given.iter().enumerate() {
            if !declared.iter().any(|setting| setting.name == name) {
                let known: Vec<&str> = declared.iter().map(|setting| setting.name).collect();
                let known = if known.is_empty() { "it has none".to_string() } else { known.join(", ") };
                return Err(format!("unknown setting \"{name}\"; the settings of this policy: {known}"));
            }
            if given[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("setting \"{name}\" is given twice"));
            }
        }
        Ok(Self { declared, given })
    }

    /// Returns the text of a declared setting.
    ///
    /// # Panics
    ///
    /// If the policy asks for a setting that its description does not declare.
    pub fn text(&self, name: &str) -> &'a str {
        if let Some((_, value)) = self.given.iter().find(|(given, _)| given == name) {
            return value;
        }
        let declared = self.declared.iter().find(|setting| setting.name == name);
        declared.unwrap_or_else(|| panic!("setting \"{name}\" is not declared in DESCRIPTION")).default
    }

    /// Returns a declared setting as a duration, such as `30s` or `5m`.
    pub fn duration(&self, name: &str) -> Result<Duration, String> {
        parse_duration(self.text(name)).map_err(|error| format!("setting {name}: {error}"))
    }

    /// Returns a declared setting as a duration, or as a share of `whole`, such as `10%`.
    pub fn duration_of(&self, name: &str, whole: Duration) -> Result<Duration, String> {
        let text = self.text(name);
        let Some(share) = text.strip_suffix('%') else { return self.duration(name) };
        match share.parse::<u8>() {
            Ok(hundredths @ 0..=100) => Ok(whole / 100 * u32::from(hundredths)),
            _ => {
                Err(format!("setting {name}: expected 0% to 100%, or a duration such as 30s, got \"{text}\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Setting] = &[Setting { name: "ttl", default: "5m", doc: "" }];

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_setting_not_given_has_its_default() {
        assert_eq!(Settings::new(DECLARED, &[]).unwrap().duration("ttl"), Ok(Duration::from_secs(300)));
    }

    #[test]
    fn errors_name_the_setting() {
        let unknown = Settings::new(DECLARED, &pairs(&[("tll", "5m")])).unwrap_err();
        assert!(unknown.contains("tll") && unknown.contains("ttl"), "{unknown}");
        let twice = Settings::new(DECLARED, &pairs(&[("ttl", "5m"), ("ttl", "6m")])).unwrap_err();
        assert!(twice.contains("twice"), "{twice}");
        let given = pairs(&[("ttl", "soon")]);
        let bad = Settings::new(DECLARED, &given).unwrap().duration("ttl").unwrap_err();
        assert!(bad.contains("ttl") && bad.contains("\"soon\""), "{bad}");
    }
    #[test]
    fn a_share_is_counted_in_hundredths_of_the_whole() {
        let minute = Duration::from_secs(60);
        for (text, ms) in [("10%", 6_000), ("0%", 0), ("100%", 60_000), ("90s", 90_000)] {
            let given = pairs(&[("ttl", text)]);
            let settings = Settings::new(DECLARED, &given).unwrap();
            assert_eq!(settings.duration_of("ttl", minute), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["101%", "%", "-1%", "1.5%", "10 %", "ten"] {
            let given = pairs(&[("ttl", text)]);
            let error = Settings::new(DECLARED, &given).unwrap().duration_of("ttl", minute).unwrap_err();
            assert!(error.contains("ttl") && error.contains(&format!("\"{text}\"")), "{error}");
        }
    }
}

//! A policy's description of itself, and the checks that it passes before an operator sees it.

use super::bindings::v0_1::exports::leasehold::policy::control::Description;
use crate::policy::printable::MAX_SENTENCE_BYTES;

/// Bounds on a policy's description of itself.
const MAX_SETTINGS: usize = 32;
const MAX_WORD_BYTES: usize = 64;

/// Checks that an operator can be shown the description.
pub(super) fn check_description(description: &Description) -> Result<(), String> {
    let word = |what: &str, text: &str| {
        let good = !text.is_empty() && text.len() <= MAX_WORD_BYTES && !text.chars().any(char::is_control);
        if good {
            Ok(())
        } else {
            Err(format!("describe: {what} must have 1 to {MAX_WORD_BYTES} printable bytes"))
        }
    };
    let sentence = |what: &str, text: &str| {
        let good = text.len() <= MAX_SENTENCE_BYTES && !text.chars().any(char::is_control);
        if good {
            Ok(())
        } else {
            Err(format!("describe: {what} must have {MAX_SENTENCE_BYTES} printable bytes at most"))
        }
    };
    word("name", &description.name)?;
    word("version", &description.version)?;
    sentence("summary", &description.summary)?;
    if description.settings.len() > MAX_SETTINGS {
        return Err(format!("describe: more than {MAX_SETTINGS} settings"));
    }
    for (index, setting) in description.settings.iter().enumerate() {
        word("the name of a setting", &setting.name)?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !setting.name.chars().all(good) {
            return Err(format!("describe: the setting {:?} needs a name of a-z, 0-9 and '-'", setting.name));
        }
        if description.settings.iter().take(index).any(|earlier| earlier.name == setting.name) {
            return Err(format!("describe: the setting {:?} is listed twice", setting.name));
        }
        sentence("the default of a setting", &setting.default)?;
        sentence("the doc of a setting", &setting.doc)?;
    }
    Ok(())
}

/// Checks that the policy knows every setting that it is given.
pub(super) fn check_names(settings: &[(String, String)], description: &Description) -> Result<(), String> {
    let known: Vec<&str> = description.settings.iter().map(|setting| setting.name.as_str()).collect();
    let unknown = settings.iter().find(|(name, _)| !known.contains(&name.as_str()));
    match unknown {
        Some((name, _)) if known.is_empty() => {
            Err(format!("unknown setting {name:?}; this policy has no settings"))
        }
        Some((name, _)) => {
            Err(format!("unknown setting {name:?}; the settings of this policy: {}", known.join(", ")))
        }
        None => Ok(()),
    }
}

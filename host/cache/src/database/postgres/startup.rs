//! The startup parameter `options` of a session: which settings it has, as the server reads it.

/// Returns what the text sets this parameter to, in any of the forms that the server takes: `-c name=value`,
/// `-cname=value`, `--name=value`. Names have no case, a dash is an underscore, and the last value counts.
pub(super) fn value_of(options: &str, name: &str) -> Option<String> {
    let words = words(options);
    let mut value = None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next(),
            _ => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
        };
        let set = setting.and_then(|setting| setting.split_once('='));
        if let Some((_, to)) = set.filter(|(set, _)| set.replace('-', "_").eq_ignore_ascii_case(name)) {
            value = Some(to.to_owned());
        }
    }
    value
}

/// Splits the text at spaces; a backslash takes the character behind it as it is.
fn words(options: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        let (character, is_plain) = match character {
            '\\' => (characters.next().unwrap_or('\\'), true),
            other => (other, false),
        };
        if character.is_ascii_whitespace() && !is_plain {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_in_each_form_and_not_in_the_name_or_value_of_another_one() {
        for options in [
            "-c statement_timeout=5s",
            "-cstatement_timeout=5s",
            "--statement_timeout=5s",
            "--statement-timeout=5s",
            "-c search_path=a  -c STATEMENT_TIMEOUT=0",
        ] {
            assert!(value_of(options, "statement_timeout").is_some(), "{options}");
        }
        for options in [
            "",
            "-c",
            "-c search_path=statement_timeout",
            "-c search_path=a\\ -c\\ statement_timeout=5s",
            "-c my.statement_timeout=5s",
            "-c idle_in_transaction_session_timeout=5s",
            "statement_timeout=5s",
        ] {
            assert_eq!(value_of(options, "statement_timeout"), None, "{options}");
        }
        let twice = "-c statement_timeout=5s --statement-timeout=1\\ min";
        assert_eq!(value_of(twice, "statement_timeout").as_deref(), Some("1 min"));
    }
}

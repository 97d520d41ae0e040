//! Names of SQL: what is accepted is quoted so that a database reads back the names that were given.

use leasehold::testing::sql::words_of;
use leasehold::{Column, ConnectError};
use leasehold_fuzz::{Seed, Target, assert_printable};

/// Separator of the three names in an input, which is in none of them.
const SEPARATOR: char = '|';

const WORDS: &[&[u8]] = &[
    b"|",
    b".",
    b"\"",
    b"\"\"",
    b"\".\"",
    b"; DROP TABLE workspaces; --",
    b"/*",
    b"\0",
    b"\x1b[2J\n",
    b"_",
    b"select",
    b"0",
    "\u{e4}\u{ff21}\u{212a}\u{202e}".as_bytes(),
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Reads quoted identifiers with dots between them, as both databases do: a quote within is doubled.
fn read_back(words: &str) -> Option<Vec<String>> {
    let mut rest = words.chars().peekable();
    let mut names = Vec::new();
    loop {
        (rest.next()? == '"').then_some(())?;
        let mut name = String::new();
        loop {
            match rest.next()? {
                '"' if rest.peek() == Some(&'"') => name.extend(rest.next()),
                '"' => break,
                other => name.push(other),
            }
        }
        names.push(name);
        match rest.next() {
            None => return Some(names),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}

#[test]
fn column_is_quoted_so_that_the_names_that_were_given_are_read_back() {
    let longest = "x".repeat(63);
    let seeds = ["workspaces|id|secret", "app.workspaces|id|platform_inbound_secret", "_1._2|_3|_4"];
    let seeds = seeds.into_iter().map(str::to_owned).chain([format!("{longest}.{longest}|{longest}|k")]);
    let seeds = seeds.map(Seed::from).collect();
    let target = Target { name: "column", seeds, words: WORDS, gate: 20_000, long: 2_000_000 };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let mut names = text.splitn(3, SEPARATOR);
        let [table, key, secret] = [(); 3].map(|()| names.next().unwrap_or_default());
        match Column::new(table, key, secret) {
            Ok(column) => {
                let bare = table.rsplit('.').next().unwrap_or_default();
                let expected =
                    [table.split('.').collect(), vec![bare, key], vec![bare, secret], vec![secret]];
                for (words, names) in words_of(&column).iter().zip(expected) {
                    assert_eq!(
                        read_back(words).as_deref(),
                        Some(&*names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()),
                        "{words}"
                    );
                    assert!(names.len() <= 2 && names.iter().all(|name| (1..=63).contains(&name.len())));
                }
                assert_eq!(column.to_string(), format!("{table}.{secret}"));
                assert_printable(&column.to_string(), 3 * 64);
            }
            Err(error) => {
                let ConnectError::Identifier { role, name } = &error else { panic!("{error}") };
                let given = match *role {
                    "table" => table,
                    "key column" => key,
                    "secret column" => secret,
                    _ => panic!("{error}"),
                };
                assert_eq!(name, given, "{error}");
                // It is quoted whole, and each byte of it is ten at most.
                assert_printable(&error.to_string(), 160 + 10 * name.len());
            }
        }
    });
}

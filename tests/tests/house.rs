//! The rules of the house, held against its sources: arrows in one direction, rooms of a bounded size, one
//! meaning for one name, lines that a reader need not scroll, and a test for each guarantee.

mod licences;
mod modules;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use self::modules::Modules;

/// The widest line of Rust, in characters.
const MAX_COLUMNS: usize = 110;
/// The largest folder's share of the lines of host/.
const MAX_ROOM: f64 = 0.27;

/// The crates of host/, by their root module.
const CRATES: [&str; 2] = ["host/cache/src", "host/server/src"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in it")
}

/// Every file below a folder of the repository whose name ends so.
fn files(folder: &str, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut folders = vec![repository().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

/// Returns whether a file has a test, or is named by one that has: a module's tests may be beside it.
fn tests_something(name: &str) -> bool {
    let paths = [repository().join(name), repository().join("tests").join(name)];
    let texts = paths.iter().filter_map(|path| fs::read_to_string(path).ok());
    let words =
        ["#[test]", "#[tokio::test", "mod tests;", "on_both!", "pub(crate) enum Rule", "pub enum Rule"];
    texts.into_iter().any(|text| words.iter().any(|word| text.contains(word)))
}

#[test]
fn every_seeded_bug_applies_and_says_what_catches_it() -> Result<()> {
    let mut count = 0;
    for patch in files("tests/seeded-bugs", ".patch")? {
        let text = fs::read_to_string(&patch)?;
        ensure!(text.contains("\nCaught-by: "), "{}: no Caught-by", shown(&patch));
        let mut git = Command::new("git");
        let git = git.current_dir(repository()).args(["apply", "--check"]).arg(&patch);
        let checked = git.output().context("git looks whether a patch applies")?;
        let said = String::from_utf8_lossy(&checked.stderr);
        ensure!(checked.status.success(), "{} does not apply: re-base it: {said}", shown(&patch));
        count += 1;
    }
    ensure!(count > 20, "{count} seeded bugs");
    Ok(())
}

#[test]
fn no_file_and_no_folder_takes_from_one_that_takes_from_it() -> Result<()> {
    for root in CRATES {
        let modules = Modules::read(&repository().join(root))?;
        ensure!(modules.len() > 50, "{root}: {} modules were read", modules.len());
        let circles = modules.circles_of_files();
        ensure!(circles.is_empty(), "{root}: circles of files: {circles:#?}");
        let circles = modules.circles_of_folders();
        ensure!(circles.is_empty(), "{root}: circles of folders: {circles:#?}");
    }
    Ok(())
}

#[test]
fn no_folder_is_more_than_a_quarter_of_the_host() -> Result<()> {
    let mut lines: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut total = 0;
    for path in files("host", ".rs")? {
        let count = fs::read_to_string(&path)?.lines().count();
        total += count;
        for folder in path.ancestors().skip(1).take_while(|folder| !folder.ends_with("src")) {
            *lines.entry(folder.to_owned()).or_default() += count;
        }
    }
    for (folder, count) in lines {
        let share = count as f64 / total as f64;
        let is_inside = folder.components().any(|part| part.as_os_str() == "src");
        ensure!(!is_inside || share <= MAX_ROOM, "{}: {share:.2} of host/", shown(&folder));
    }
    Ok(())
}

#[test]
fn no_type_of_the_host_has_the_name_of_another_one() -> Result<()> {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files("host", ".rs")? {
        for line in fs::read_to_string(&path)?.lines() {
            // At the margin, or in a module of tests. A type of a trait or of an impl names nothing new.
            let Some(name) = defined_type(line) else { continue };
            named.entry(name.to_owned()).or_default().push(shown(&path));
        }
    }
    ensure!(named.len() > 200, "{} types were read", named.len());
    named.retain(|_, places| places.len() > 1);
    ensure!(named.is_empty(), "types with one name: {named:#?}");
    Ok(())
}

/// The type that a line defines.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || *word == "crate)");
    let keyword = words.next()?;
    let is_type = ["struct", "enum", "trait", "union"].contains(&keyword);
    let is_alias = keyword == "type" && !line.starts_with(' ');
    let name = words.next()?;
    let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
    (is_type || is_alias).then(|| name.split_at(end).0).filter(|name| name.starts_with(char::is_uppercase))
}

#[test]
fn what_is_linked_has_a_licence_that_is_allowed() -> Result<()> {
    let rules = fs::read_to_string(repository().join("deny.toml"))?;
    let refused = licences::refused(&rules, repository())?;
    ensure!(refused.is_empty(), "deny.toml does not allow: {refused:#?}");
    Ok(())
}

#[test]
fn no_line_of_rust_is_wider_than_a_reader_sees() -> Result<()> {
    let mut wide = Vec::new();
    for folder in ["host", "guest", "tests"] {
        for path in files(folder, ".rs")? {
            let text = fs::read_to_string(&path)?;
            let lines = text.lines().enumerate();
            let too_wide = lines.filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
            wide.extend(too_wide.map(|(number, _)| format!("{}:{}", shown(&path), number + 1)));
        }
    }
    ensure!(wide.is_empty(), "more than {MAX_COLUMNS} columns: {wide:#?}");
    Ok(())
}

/// The table of guarantees in tests/README.md, and every name in it: a path, or a test by its path.
#[test]
fn each_guarantee_has_tests_and_a_seeded_bug_that_are_there() -> Result<()> {
    let page = fs::read_to_string(repository().join("tests/README.md"))?;
    let sources = files("tests", ".rs")?.into_iter().chain(files("host", ".rs")?);
    let sources: Vec<String> = sources.map(fs::read_to_string).collect::<Result<_, _>>()?;
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| G")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        ensure!(cells.len() == 5, "{row}");
        rows += 1;
        if cells[1] == "coming" {
            continue;
        }
        for cell in &cells[1..] {
            let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            ensure!(!names.is_empty(), "{}: an empty cell", cells[0]);
            for name in names {
                let is_path = [repository().join(name), repository().join("tests").join(name)]
                    .iter()
                    .any(|path| path.exists());
                let is_tested = !name.ends_with(".rs") || tests_something(name);
                ensure!(is_tested, "{}: {name} has no test", cells[0]);
                let function = format!("fn {}", name.rsplit("::").next().unwrap_or(name));
                let is_test = sources.iter().any(|source| source.contains(&function))
                    || sources.iter().any(|source| source.contains(&format!("    {name},\n")));
                ensure!(is_path || is_test, "{}: there is no {name}", cells[0]);
            }
        }
    }
    ensure!(rows == 12, "{rows} guarantees");
    Ok(())
}

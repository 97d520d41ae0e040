//! The modules of a crate, and what each takes from which other one by its `use` lines.
//!
//! A `pub use` is a facade and takes nothing. A name is followed through facades to where it is defined.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;

/// A module's path from the root: `["policy", "rollout"]`.
type Module = Vec<String>;
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

pub(super) struct Modules {
    arrows: Arrows,
    /// Those with modules of their own: a folder beside the file.
    folders: BTreeSet<Module>,
    count: usize,
}

impl Modules {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut texts = BTreeMap::new();
        read_folder(root, &[], &mut texts)?;
        let facades = facades(&texts);
        let mut arrows = Arrows::new();
        for (module, text) in &texts {
            // The root only names what there is.
            for used in uses(text, false).iter().filter(|_| !module.is_empty()) {
                let target = resolve(used, module, &texts, &facades);
                if let Some(target) = target.filter(|target| target != module && !target.is_empty()) {
                    arrows.entry(module.clone()).or_default().insert(target);
                }
            }
        }
        let parents = texts.keys().filter(|module| !module.is_empty());
        let folders = parents.map(|module| module[..module.len() - 1].to_vec()).collect();
        Ok(Self { arrows, folders, count: texts.len() })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn circles_of_files(&self) -> Vec<Vec<Module>> {
        circles(&self.arrows)
    }

    /// The same between folders, but for a folder and what is inside of it.
    pub(super) fn circles_of_folders(&self) -> Vec<Vec<Module>> {
        let mut arrows = Arrows::new();
        for (from, targets) in &self.arrows {
            for to in targets {
                let (from, to) = (self.folder_of(from), self.folder_of(to));
                if !from.starts_with(&to) && !to.starts_with(&from) {
                    arrows.entry(from).or_default().insert(to);
                }
            }
        }
        circles(&arrows)
    }

    fn folder_of(&self, module: &Module) -> Module {
        let is_folder = self.folders.contains(module);
        if is_folder { module.clone() } else { module[..module.len() - 1].to_vec() }
    }
}

fn read_folder(folder: &Path, module: &[String], texts: &mut BTreeMap<Module, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut inner = module.to_vec();
        if path.is_dir() {
            inner.push(name);
            read_folder(&path, &inner, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["main", "tests"].contains(&&*name)
        {
            if name != "lib" {
                inner.push(name);
            }
            let text = fs::read_to_string(&path)?;
            let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            texts.insert(inner, text[..tests].to_owned());
        }
    }
    Ok(())
}

/// What each module passes on by another name.
fn facades(texts: &BTreeMap<Module, String>) -> BTreeMap<(Module, String), Module> {
    let mut facades = BTreeMap::new();
    for (module, text) in texts {
        for used in uses(text, true) {
            let target = resolve(&used, module, texts, &BTreeMap::new());
            if let (Some(target), Some(name)) = (target.filter(|target| target != module), used.last()) {
                facades.insert((module.clone(), name.clone()), target);
            }
        }
    }
    facades
}

/// The paths that a text uses: those that it passes on, or the others.
fn uses(text: &str, passed_on: bool) -> Vec<Vec<String>> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut paths = Vec::new();
    for statement in code.split(';') {
        let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
        let visibility = before.rsplit(['}', ']', '{']).next().unwrap_or_default().trim();
        if !visibility.is_empty() && !visibility.starts_with("pub")
            || passed_on != visibility.starts_with("pub")
        {
            continue;
        }
        expand(&[], tree, &mut paths);
    }
    paths
}

/// The paths of a tree: `a::{b, c::d}` has two.
fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let (mut depth, mut start) = (0, 0);
    let ends = tree.char_indices().filter(|(_, c)| match c {
        '{' => {
            depth += 1;
            false
        }
        '}' => {
            depth -= 1;
            false
        }
        c => *c == ',' && depth == 0,
    });
    let ends: Vec<usize> = ends.map(|(index, _)| index).chain([tree.len()]).collect();
    for end in ends {
        let part = tree[start..end].trim();
        start = end + 1;
        let (head, rest) = part.split_once('{').map_or((part, None), |(head, rest)| (head, Some(rest)));
        let mut path = prefix.to_vec();
        let names = head.split("::").map(|name| name.split(" as ").next().unwrap_or(name).trim());
        path.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        match rest {
            Some(rest) => expand(&path, rest.strip_suffix('}').unwrap_or(rest), paths),
            None if path.len() > prefix.len() => paths.push(path),
            None => {}
        }
    }
}

/// The module in which the path's last name is defined, if that is one of this crate.
fn resolve(
    path: &[String],
    module: &Module,
    texts: &BTreeMap<Module, String>,
    facades: &BTreeMap<(Module, String), Module>,
) -> Option<Module> {
    let mut names = path.iter();
    let mut at = match path.first()?.as_str() {
        "crate" => {
            names.next();
            Vec::new()
        }
        "self" => {
            names.next();
            module.clone()
        }
        "super" => module.clone(),
        first => {
            let mut child = module.clone();
            child.push(first.to_owned());
            texts.get(&child)?;
            module.clone()
        }
    };
    for name in names {
        if name == "super" {
            at.pop();
            continue;
        }
        at.push(name.clone());
        if !texts.contains_key(&at) {
            at.pop();
            let mut seen = BTreeSet::new();
            while let Some(target) = facades.get(&(at.clone(), name.clone())) {
                if !seen.insert(at.clone()) {
                    break;
                }
                at = target.clone();
            }
            break;
        }
    }
    Some(at)
}

/// Every set of modules of which each can be reached from each.
fn circles(arrows: &Arrows) -> Vec<Vec<Module>> {
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            next.extend(
                arrows.get(module).into_iter().flatten().filter(|target| seen.insert((*target).clone())),
            );
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        arrows.keys().map(|from| (from, reached(from))).collect();
    let is_circle = |from: &Module, to: &Module| {
        reach.get(from).is_some_and(|seen| seen.contains(to))
            && reach.get(to).is_some_and(|seen| seen.contains(from))
    };
    let mut found: BTreeSet<Vec<Module>> = BTreeSet::new();
    for from in arrows.keys().filter(|from| is_circle(from, from)) {
        found.insert(arrows.keys().filter(|to| is_circle(from, to)).cloned().collect());
    }
    found.into_iter().collect()
}

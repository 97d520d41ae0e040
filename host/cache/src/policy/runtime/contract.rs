//! The versions of the contract that this host speaks, and which of them a component was built against.
//!
//! A component states it in the name of each import and export: `leasehold:policy/clock@0.1.0`. The rule of
//! versions is in `world.wit`. Each version has a folder in `wit/`, a module in `bindings/` and a constant
//! here.

/// The name of the package, without a version.
const PACKAGE: &str = "leasehold:policy";

/// The oldest version that is spoken, and so far the only one.
pub(in crate::policy) const V0_1: Contract = Contract {
    package: "leasehold:policy@0.1.0",
    imports: &["clock", "database", "entry", "log", "types"],
    exports: &["control", "policy"],
};

/// All versions that are spoken, the newest last.
const SPOKEN: &[Contract] = &[V0_1];

/// One version of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) struct Contract {
    /// The package with its version, as the first line of its WIT files states it.
    pub(in crate::policy) package: &'static str,
    /// The interfaces that a policy may import.
    imports: &'static [&'static str],
    /// The interfaces that a policy has to export.
    exports: &'static [&'static str],
}

impl Contract {
    /// Returns the version that a component was built against, by the names of its imports and exports. One
    /// that names none gets the newest, which says what it lacks.
    ///
    /// # Errors
    ///
    /// In words, if it is a version that this host does not speak.
    pub(super) fn of<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<&'static Self, String> {
        let newest = SPOKEN.last().unwrap_or(&V0_1);
        let Some(version) = names.find_map(|name| parts(name)?.1) else { return Ok(newest) };
        let spoken = SPOKEN.iter().find(|contract| track(contract.version()) == track(version));
        spoken.ok_or_else(|| {
            let packages: Vec<_> = SPOKEN.iter().map(|contract| contract.package).collect();
            format!(
                "this host speaks {}, and it was built against {PACKAGE}@{version}; build it against what is \
                 spoken, or give it to a host that speaks its version",
                packages.join(", ")
            )
        })
    }

    /// Returns whether a policy may import this interface.
    pub(super) fn offers(&self, name: &str) -> bool {
        parts(name).is_some_and(|(interface, _)| self.imports.contains(&interface))
    }

    /// Returns all that a policy may import, as a message names it.
    pub(super) fn offered(&self) -> String {
        format!("{PACKAGE}/{{{}}}@{}", self.imports.join(", "), self.version())
    }

    /// Returns the exports, as a component names them but for the version, that are not among these.
    pub(super) fn missing_exports(&self, mut is_exported: impl FnMut(&str) -> bool) -> Vec<String> {
        let exports = self.exports.iter().map(|interface| format!("{PACKAGE}/{interface}"));
        exports.filter(|name| !is_exported(name)).collect()
    }

    /// Returns the name of the world that a policy implements.
    pub(super) fn world(&self) -> String {
        format!("{PACKAGE}/cache-policy@{}", self.version())
    }

    fn version(&self) -> &'static str {
        self.package.split_once('@').map_or("", |(_, version)| version)
    }
}

/// Splits the name of an import or export of the contract into interface and version.
fn parts(name: &str) -> Option<(&str, Option<&str>)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').map_or((rest, None), |(interface, version)| (interface, Some(version))))
}

/// Returns the part of a version that has to agree: the first two numbers before 1.0, the first from then on.
fn track(version: &str) -> (&str, Option<&str>) {
    let mut numbers = version.split('.');
    match numbers.next().unwrap_or_default() {
        "0" => ("0", numbers.next()),
        major => (major, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_its_folder_in_wit_says() {
        let world = include_str!("../../../../../wit/0.1/world.wit");
        let words = |word: &str| -> Vec<_> {
            let lines = world.lines().filter_map(|line| line.trim().strip_prefix(word));
            lines.map(|rest| rest.trim().trim_end_matches(';')).collect()
        };
        // `types` is imported by the others.
        let types = include_str!("../../../../../wit/0.1/types.wit");
        assert!(types.starts_with(&format!("package {};", V0_1.package)));
        let imports = [words("import "), vec!["types"]].concat();
        assert_eq!((V0_1.imports, V0_1.exports), (&imports[..], &words("export ")[..]));
    }

    #[test]
    fn a_component_is_run_by_the_version_that_it_names() {
        for (names, expected) in [
            (&["leasehold:policy/clock@0.1.0"][..], Some(&V0_1)),
            (&["leasehold:policy/clock@0.1.9"], Some(&V0_1)),
            (&["wasi:io/poll@0.2.0", "leasehold:policy/policy@0.1.0"], Some(&V0_1)),
            (&["wasi:io/poll@0.2.0"], Some(&V0_1)),
            (&["leasehold:policy/clock", "leasehold:policyx/clock@7.0.0"], Some(&V0_1)),
            (&[], Some(&V0_1)),
            (&["leasehold:policy/clock@0.2.0"], None),
            (&["leasehold:policy/clock@0.10.0"], None),
            (&["leasehold:policy/clock@1.1.0"], None),
            (&["leasehold:policy/clock@"], None),
        ] {
            assert_eq!(Contract::of(names.iter().copied()).ok(), expected, "{names:?}");
        }
        assert_eq!((track("1.1.0"), track("1.9")), (("1", None), ("1", None)));
        let refused = Contract::of(["leasehold:policy/clock@0.2.0"].into_iter());
        assert!(refused.is_err_and(|words| {
            words.contains("speaks leasehold:policy@0.1.0, and it was built against leasehold:policy@0.2.0;")
        }));
    }

    #[test]
    fn the_interfaces_of_a_version_are_offered_and_no_others() {
        assert!(V0_1.offers("leasehold:policy/clock@0.1.0") && V0_1.offers("leasehold:policy/types"));
        for name in
            ["leasehold:policy/network@0.1.0", "clock", "wasi:clocks/clock@0.1.0", "leasehold:policy/policy"]
        {
            assert!(!V0_1.offers(name), "{name}");
        }
        assert_eq!(V0_1.missing_exports(|name| name.ends_with("/policy")), ["leasehold:policy/control"]);
        assert_eq!(V0_1.offered(), "leasehold:policy/{clock, database, entry, log, types}@0.1.0");
        assert_eq!(V0_1.world(), "leasehold:policy/cache-policy@0.1.0");
    }
}

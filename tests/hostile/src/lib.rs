//! A policy that breaks the rule that its setting `does` names. It is compiled to a component for the tests,
//! and never shipped.
//!
//! Each behaviour is one that the type system of the SDK lets through: the tests are about what the host does
//! about it. Behaviour that the SDK does not let through is in `tests/src/hostile`, written around the
//! template in `wat/`. An unknown name is refused, so that a test cannot pass because of a slip of the pen.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod issues;
mod leases;
mod marker;
mod reads;
mod runaway;

use alloc::format;
use alloc::string::String;
use core::cell::{Cell, RefCell};

use leasehold_policy::{
    Context, DatabaseError, Description, Instant, IssueMode, Policy, Secret, Setting, Settings,
};

use crate::marker::Marker;

const FAR: Instant = Instant::from_nanos(u64::MAX);

/// The policy, with the name of the rule that it breaks.
pub struct Hostile {
    does: String,
    /// Prefix of the ids of workspaces that it treats honestly; empty: it treats none so.
    spares: String,
    /// A secret that it must not keep from one call to the next, and keeps.
    kept: RefCell<Option<Secret>>,
    was_absent: Cell<bool>,
    calls: Cell<u32>,
    _marker: Marker,
}

impl Policy for Hostile {
    const DESCRIPTION: Description = Description {
        name: "hostile",
        version: "0.0.0",
        summary: "Breaks a rule.",
        settings: &[
            Setting { name: "does", default: "nothing", doc: "Which rule it breaks." },
            Setting {
                name: "spares",
                default: "",
                doc: "Which workspaces it spares, by how their ids begin.",
            },
            Setting { name: "mark", default: "", doc: "What the scanner of memories looks for, disguised." },
        ],
    };

    fn configure(settings: &Settings<'_>) -> Result<Self, String> {
        let does = String::from(settings.text("does"));
        match does.as_str() {
            "refuses-settings" => return Err(String::from("setting does: never good enough")),
            "refuses-at-length" => return Err("x".repeat(60_000)),
            "traps-in-configure" => panic!("configure"),
            "spins-in-configure" => runaway::spin(),
            known if reads::knows(known) || leases::knows(known) || issues::knows(known) => {}
            unknown => return Err(format!("setting does: nobody knows {unknown:?}")),
        }
        let marker = Marker::new(settings.text("mark"));
        Ok(Self {
            does,
            spares: String::from(settings.text("spares")),
            kept: RefCell::default(),
            was_absent: Cell::default(),
            calls: Cell::default(),
            _marker: marker,
        })
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        if self.spares(cx) {
            return cx.select();
        }
        if leases::knows(&self.does) { leases::read(&self.does, cx) } else { reads::read(self, cx) }
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        if self.spares(cx) { cx.issue(mode) } else { issues::issue(&self.does, cx, mode) }
    }
}

impl Hostile {
    fn spares(&self, cx: &Context) -> bool {
        !self.spares.is_empty() && cx.workspace().starts_with(&self.spares)
    }
}

/// Countdown of host calls. `traps-at-3` traps instead of the third host call that an honest policy would
/// make.
struct Steps(Option<u32>);

impl Steps {
    fn of(does: &str) -> Self {
        Self(does.strip_prefix("traps-at-").and_then(|step| step.parse().ok()))
    }

    fn next(&mut self) {
        self.0 = self.0.map(|left| match left {
            1 => panic!("at this step"),
            left => left - 1,
        });
    }
}

leasehold_policy::export!(Hostile);

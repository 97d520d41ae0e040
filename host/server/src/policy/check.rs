//! `leasehold policy check`: a policy is rehearsed and its card is held against what its author expects, for
//! a build that is to fail when it differs.
//!
//! Every expectation gets its line, whether it holds or not: one run reports everything.

use std::fmt::Write as _;

use super::CommandOutcome;
use super::arguments::Check;
use super::card::rehearse;
use crate::print::print;

pub(super) async fn run(command: &Check) -> anyhow::Result<CommandOutcome> {
    let card = rehearse(&command.candidate).await?;
    let (mut lines, mut outcome) = (String::new(), CommandOutcome::Done);
    for expectation in &command.expectations {
        let (holds, found) = expectation.held_against(&card);
        let word = if holds { "holds" } else { "fails" };
        writeln!(lines, "{word}  {expectation}  found {found}")?;
        if !holds {
            outcome = CommandOutcome::Differs;
        }
    }
    print(&lines)?;
    Ok(outcome)
}

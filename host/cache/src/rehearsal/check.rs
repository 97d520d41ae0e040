//! The rules that are never taste: each step of the scenario is held against them, with words for a breach.
//!
//! Pure. Most breaches are impossible, because the host judges every call; that is no reason not to look.

use super::database::Statement;
use crate::{Error, Lookup, Secret};

/// Result of a check: a breach is described in words that go on from the name of the step.
pub(super) type Verdict<T> = Result<T, String>;

/// Checks a read while the database holds `stored`, and no earlier secret or absence can be known.
pub(super) fn finds(read: &Result<Lookup, Error>, stored: &Secret) -> Verdict<()> {
    finds_one(read, &[stored]).map(drop)
}

/// Checks a read where any of these secrets will do, and returns the index of the one that it was.
pub(super) fn finds_one(read: &Result<Lookup, Error>, secrets: &[&Secret]) -> Verdict<usize> {
    match read {
        Ok(lookup) => secrets
            .iter()
            .position(|secret| secret.verify(lookup.secret.expose()))
            .ok_or_else(|| "it was answered with a secret that the database does not hold".into()),
        Err(Error::Absent) => Err("it was answered that there is no secret, and there is one".into()),
        Err(error) => Err(format!("it failed although the database is well: {error}")),
    }
}

/// Checks a read while the database holds no secret.
pub(super) fn finds_none(read: &Result<Lookup, Error>) -> Verdict<()> {
    match read {
        Err(Error::Absent) => Ok(()),
        Ok(_) => Err("it was answered with a secret, and there is none".into()),
        Err(error) => Err(format!("it failed although the database is well: {error}")),
    }
}

/// Checks a read while the database holds no secret any more, and `kept` is the secret that an earlier policy
/// has kept. Returns whether that was the answer.
pub(super) fn finds_none_or(read: &Result<Lookup, Error>, kept: &Secret) -> Verdict<bool> {
    match read {
        Ok(lookup) if lookup.secret.verify(kept.expose()) => Ok(true),
        other => finds_none(other).map(|()| false),
    }
}

/// Checks a read of a workspace for which absence is kept, while the database holds `stored`. Returns whether
/// the answer was absence.
pub(super) fn finds_or_none(read: &Result<Lookup, Error>, stored: &Secret) -> Verdict<bool> {
    match read {
        Err(Error::Absent) => Ok(true),
        other => finds(other, stored).map(|()| false),
    }
}

/// Checks a hit after `refresh-after`: the call that it led to must have sent a SELECT.
pub(super) fn refreshes(selects: u64) -> Verdict<()> {
    if selects > 0 {
        return Ok(());
    }
    Err("it read nothing. The lease asks for a refresh, and the call that this led to sent no SELECT, so \
         that the secret got no newer. Once `refresh-after` has passed, call `database.select` and put what \
         it finds (`renew` and `read_through` of the SDK see to that); or put no `refresh-after` before \
         `fresh-until`, which means never"
        .into())
}

/// Checks a read of a workspace that holds `stored`, while the database fails. Returns whether it was
/// answered all the same.
pub(super) fn survives(read: &Result<Lookup, Error>, stored: &Secret) -> Verdict<bool> {
    match read {
        Ok(lookup) if lookup.secret.verify(stored.expose()) => Ok(true),
        Ok(_) => Err("it was answered with a secret that the database does not hold".into()),
        Err(Error::Absent) => Err("an error of the database was answered as absence".into()),
        Err(_) => Ok(false),
    }
}

/// Checks an issue of a workspace that has a row, while the database is well. `row` is the stored secret
/// afterwards.
pub(super) fn issues(
    issue: &Result<Secret, Error>,
    row: Option<&Secret>,
    statements: &[Statement],
) -> Verdict<()> {
    let sent = statements.iter().filter(|statement| matches!(statement, Statement::Issue { .. })).count();
    let secret = match issue {
        _ if sent == 0 => return Err("the issue was never sent to the database".into()),
        Err(error) => return Err(format!("it failed although the database is well: {error}")),
        Ok(secret) => secret,
    };
    if statements.contains(&Statement::Issue { answered_early: true }) {
        return Err("the secret was served before the database had it".into());
    }
    match row {
        Some(row) if row.verify(secret.expose()) => Ok(()),
        _ => Err("it did not return the secret that was issued".into()),
    }
}

/// Checks a heal of a workspace that has a row, while the database is well. `row` is the stored secret
/// afterwards.
pub(super) fn heals(heal: &Result<Lookup, Error>, row: Option<&Secret>) -> Verdict<()> {
    match row {
        Some(row) => finds(heal, row),
        None => Err("nothing was stored".into()),
    }
}

/// Checks an issue that the database refuses, or for a workspace that it does not know.
pub(super) fn fails<T>(issue: &Result<T, Error>) -> Verdict<()> {
    match issue {
        Err(_) => Ok(()),
        Ok(_) => Err("it was said to be done, and the database did not do it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    fn answered(secret: &str) -> Result<Lookup, Error> {
        let now = crate::Instant::default();
        Ok(Lookup::new(Secret::new(secret), Status::Miss, now, now))
    }

    #[track_caller]
    fn breaks<T: std::fmt::Debug>(verdict: Verdict<T>, words: &str) {
        let reason = verdict.expect_err(words);
        assert!(reason.contains(words), "{reason}");
    }

    #[test]
    fn a_read_must_find_what_is_there() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        assert_eq!(finds(&answered("new"), &new), Ok(()));
        assert_eq!(finds_one(&answered("old"), &[&new, &old]), Ok(1));
        breaks(finds(&answered("old"), &new), "does not hold");
        breaks(finds(&Err(Error::Absent), &new), "there is no secret, and there is one");
        breaks(
            finds(&Err(Error::Timeout), &new),
            "although the database is well: the database did not answer",
        );
        assert_eq!(finds_none(&Err(Error::Absent)), Ok(()));
        breaks(finds_none(&answered("old")), "there is none");
        breaks(finds_none(&Err(Error::Overloaded)), "although the database is well");
    }

    #[test]
    fn what_an_earlier_policy_has_kept_may_be_the_answer_and_nothing_else() {
        let (kept, stored) = (Secret::new("kept"), Secret::new("stored"));
        assert_eq!(finds_none_or(&answered("kept"), &kept), Ok(true));
        assert_eq!(finds_none_or(&Err(Error::Absent), &kept), Ok(false));
        breaks(finds_none_or(&answered("other"), &kept), "there is none");
        assert_eq!(finds_or_none(&Err(Error::Absent), &stored), Ok(true));
        assert_eq!(finds_or_none(&answered("stored"), &stored), Ok(false));
        breaks(finds_or_none(&answered("other"), &stored), "does not hold");
        assert_eq!(heals(&answered("stored"), Some(&stored)), Ok(()));
        breaks(heals(&answered("kept"), Some(&stored)), "does not hold");
        breaks(heals(&Err(Error::Absent), None), "nothing was stored");
    }

    #[test]
    fn a_refresh_sends_a_select() {
        assert_eq!(refreshes(1), Ok(()));
        breaks(refreshes(0), "sent no SELECT");
    }

    #[test]
    fn an_error_of_the_database_is_an_error_or_a_kept_secret_and_never_absence() {
        let stored = Secret::new("stored");
        assert_eq!(survives(&answered("stored"), &stored), Ok(true));
        assert_eq!(survives(&Err(Error::Unavailable("down".into())), &stored), Ok(false));
        breaks(survives(&Err(Error::Absent), &stored), "answered as absence");
        breaks(survives(&answered("other"), &stored), "does not hold");
    }

    #[test]
    fn an_issue_is_sent_and_returned_and_served_by_nobody_before() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let sent = [Statement::Select, Statement::Issue { answered_early: false }];
        assert_eq!(issues(&Ok(new.clone()), Some(&new), &sent), Ok(()));
        breaks(issues(&Ok(old.clone()), Some(&old), &[Statement::Select]), "never sent");
        breaks(issues(&Ok(old), Some(&new), &sent), "did not return the secret");
        breaks(issues(&Ok(new.clone()), None, &sent), "did not return the secret");
        breaks(issues(&Err(Error::Overloaded), Some(&new), &sent), "although the database is well");
        let early = [Statement::Issue { answered_early: true }];
        breaks(issues(&Ok(new.clone()), Some(&new), &early), "before the database had it");
        assert_eq!(fails::<()>(&Err(Error::UnknownWorkspace)), Ok(()));
        breaks(fails(&Ok(new)), "the database did not do it");
    }
}

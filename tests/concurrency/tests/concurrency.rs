//! Each scenario under a scheduler that chooses its interleavings. The scenarios state what must hold.
//!
//! Nothing is decided here but how a scenario is explored: at random, or to exhaustion where it is small.

use leasehold_concurrency::{exhaust, explore, is_deterministic, scenarios};

/// Makes one test for each scenario, and one for all of them that a failure could be replayed.
macro_rules! explored {
    ($($group:ident { $($scenario:ident)* })*) => {
        $(
            mod $group {
                $(
                    #[test]
                    fn $scenario() {
                        super::explore(super::scenarios::$group::$scenario);
                    }
                )*
            }
        )*

        #[test]
        fn every_scenario_runs_the_same_way_when_it_is_replayed() {
            for scenario in [$($(scenarios::$group::$scenario as fn(),)*)*] {
                is_deterministic(scenario);
            }
        }
    };
}

explored! {
    fills {
        a_fill_beside_an_issue_stores_and_shares_nothing_older_than_the_issue
        a_refresh_beside_an_issue_stores_nothing_older_than_the_issue
        a_renewal_beside_an_issue_stores_nothing_older_than_the_issue
        a_fill_past_a_policy_that_fails_stores_nothing_beside_an_issue
        two_issues_and_a_fill_leave_what_the_database_holds
        heals_mint_once_and_return_nothing_older_than_an_issue
    }
    removals {
        a_fill_beside_a_removal_stores_and_shares_nothing_that_was_removed
        a_renewal_beside_a_removal_stores_and_shares_nothing_that_was_removed
        a_renewal_beside_a_reset_stores_and_shares_nothing_that_was_dropped
        a_fill_beside_a_reset_stores_and_shares_nothing_that_was_dropped
        nothing_older_follows_what_a_voided_fill_delivers
        nothing_older_that_is_stored_follows_what_a_voided_fill_delivers
        an_issue_beside_a_removal_stores_nothing_that_was_removed
    }
    swaps {
        after_a_swap_no_hit_and_no_flight_is_of_an_older_policy
        after_a_swap_a_renewed_entry_is_of_the_new_policy
        an_issue_of_an_older_policy_is_not_served_under_the_new_one
    }
    callers {
        whoever_waits_for_a_flight_that_is_dropped_gets_an_error
        a_caller_that_is_dropped_takes_nothing_from_those_who_wait
        everyone_who_misses_at_once_is_served_by_one_select
    }
    writers {
        an_issue_that_gives_up_its_turn_blocks_nobody
        after_an_issue_that_is_answered_late_the_cache_holds_what_the_database_does
        after_an_issue_that_is_lost_the_cache_holds_what_the_database_does
        after_a_late_answer_nothing_is_hit_that_is_older_than_what_the_database_holds
        after_a_lost_connection_nothing_is_hit_that_is_older_than_what_the_database_holds
        an_issue_that_is_refused_changes_nothing
    }
    entries {
        a_borrowed_secret_stays_whole_whatever_becomes_of_its_entry
        a_sweep_drops_no_entry_that_replaced_an_ended_one
        an_eviction_drops_no_entry_that_replaced_the_one_with_the_least_time_left
        evictions_at_once_drop_no_more_than_one_would
        a_refresh_is_claimed_by_one_of_the_hits_that_find_it_due
    }
    active {
        whoever_sees_a_generation_finds_its_value_or_a_newer_one
    }
}

mod every_interleaving {
    use super::{exhaust, scenarios};

    #[test]
    fn of_a_fill_during_which_an_issue_begins() {
        exhaust(scenarios::register::an_issue_begins_during_a_fill);
    }

    #[test]
    fn of_an_issue_during_which_a_fill_begins() {
        exhaust(scenarios::register::a_fill_begins_during_an_issue);
    }

    #[test]
    fn of_a_fill_and_a_removal() {
        exhaust(scenarios::register::a_removal_during_a_fill);
    }

    #[test]
    fn of_one_replacement_of_the_active_policy_and_one_reader() {
        exhaust(scenarios::active::one_replacement_and_one_reader);
    }
}

//! What every store must do, as checks that any store can be put through.
//!
//! A contract in prose is read differently by everybody who implements it. So it is written down as code, beside the
//! trait, and the stores of this crate are held to it by the same functions that a store of yours can call:
//!
//! ```
//! use std::sync::Arc;
//! use ergane_journal::{Memory, conformance};
//!
//! conformance::run(|| Arc::new(Memory::new()));
//! ```
//!
//! Each check asks for a fresh, empty store and panics, with a message, when the contract is broken. What only some
//! stores promise (that events survive the process, that a damaged row is noticed) is not checked here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test suite that lives in a library: a broken contract must panic"
)]

mod facts;
mod reading;
mod writing;

use std::sync::Arc;

pub use facts::one_of_each;
pub use reading::*;
pub use writing::*;

use crate::store::Journal;

/// A check: takes a source of fresh, empty stores.
pub type Check = fn(&dyn Fn() -> Arc<dyn Journal>);

/// All checks, each with its name.
pub const CHECKS: &[(&str, Check)] = &[
    ("appends_are_numbered_without_gaps", appends_are_numbered_without_gaps),
    ("misnumbered_events_are_not_written", misnumbered_events_are_not_written),
    ("a_newer_epoch_fences_off_the_older", a_newer_epoch_fences_off_the_older),
    ("a_refused_append_leaves_the_others", a_refused_append_leaves_the_others),
    (
        "appends_of_one_session_keep_their_order_in_a_batch",
        appends_of_one_session_keep_their_order_in_a_batch,
    ),
    ("several_are_opened_at_once", several_are_opened_at_once),
    ("a_deleted_session_is_gone_and_its_ghost_is_fenced", a_deleted_session_is_gone_and_its_ghost_is_fenced),
    ("a_session_is_deleted_only_where_it_stands", a_session_is_deleted_only_where_it_stands),
    ("a_released_session_can_be_opened_again", a_released_session_can_be_opened_again),
    ("many_writers_do_not_disturb_each_other", many_writers_do_not_disturb_each_other),
    ("of_racing_writers_exactly_one_wins_a_place", of_racing_writers_exactly_one_wins_a_place),
    ("a_load_keeps_its_bounds", a_load_keeps_its_bounds),
    ("every_kind_of_event_comes_back_as_it_was", every_kind_of_event_comes_back_as_it_was),
    ("any_text_comes_back_as_it_was", any_text_comes_back_as_it_was),
    ("what_is_nested_deep_comes_back_or_is_not_written", what_is_nested_deep_comes_back_or_is_not_written),
    ("a_send_is_found_by_its_id", a_send_is_found_by_its_id),
    ("a_summary_follows_the_events", a_summary_follows_the_events),
    ("open_turns_and_waiting_sends_are_found", open_turns_and_waiting_sends_are_found),
    ("a_turn_that_waits_for_a_decision_is_told", a_turn_that_waits_for_a_decision_is_told),
    ("a_list_has_pages_by_name", a_list_has_pages_by_name),
    ("a_snapshot_changes_nothing_that_is_read", a_snapshot_changes_nothing_that_is_read),
];

/// Runs every check. `make` must give a fresh, empty store each time.
///
/// # Panics
/// When the store breaks the contract; the place of the panic is the check.
pub fn run(make: impl Fn() -> Arc<dyn Journal>) {
    for (_, check) in CHECKS {
        check(&make);
    }
}

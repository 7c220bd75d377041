//! Tests across crates: see the files beside this one.

//! See `ergane_provider::wire::check`: the property test of the crate runs the same function.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    assert_eq!(ergane_provider::wire::check::dialect(input), Ok(()));
});

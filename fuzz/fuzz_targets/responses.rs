//! See `ergane_provider::wire::check`: the property test of the crate runs the same function.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let held = ergane_provider::wire::check::decoder(ergane_provider::wire::responses::Decoder::new, input);
    assert_eq!(held, Ok(()));
});

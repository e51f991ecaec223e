#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oncebox::properties::output::check(bytes));

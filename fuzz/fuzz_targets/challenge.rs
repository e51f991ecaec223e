#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oncebox::properties::challenge::check(bytes));

//! What proves that a webhook is ours.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::execution::request::Invalid;

/// In front of the secret's base64.
const PREFIX: &str = "whsec_";

/// A signing secret, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The signature of what is sent under this id at this time (seconds since 1970).
    pub(super) fn sign(&self, id: &str, time: u64, body: &[u8]) -> String {
        // HMAC takes a key of any length.
        let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        hmac.update(format!("{id}.{time}.").as_bytes());
        hmac.update(body);
        format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
    }
}

impl FromStr for Secret {
    type Err = Invalid;

    /// The rule does not repeat the secret.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let secret = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        secret.filter(|secret| (24..=64).contains(&secret.len())).map(Self).ok_or_else(|| {
            Invalid("it must hold whsec_ and, in base64, 24 to 64 random bytes".into())
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_standards_own_example() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_secret_is_long_enough_and_says_what_it_is() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for bytes in [24, 64] {
            assert!(of(bytes).parse::<Secret>().is_ok(), "{bytes}");
        }
        for wrong in [of(23), of(65), of(32)[6..].to_owned(), "whsec_#".to_owned()] {
            let why = wrong.parse::<Secret>().unwrap_err().to_string();
            assert!(!why.contains(&wrong), "{why}");
        }
    }
}

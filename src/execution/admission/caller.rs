//! Who asks for permits, and what he is allowed.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::execution::request::{AskedLimits, Invalid};

/// One caller among others: what the queue is fair between.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// The service itself, and whoever has no address.
    Service,
    /// Whoever has no key, by the network that one is given.
    Address(IpAddr),
    /// The name of an API key.
    Key(Arc<str>),
}

/// Who asks, what he may have, and whether he waits for the answer.
#[derive(Debug, Clone)]
pub struct Caller {
    pub who: Who,
    /// `None`: nothing beyond what everyone is held to.
    pub allowance: Option<Arc<Allowance>>,
    pub lane: Lane,
}

/// What one caller may have, within what everyone may.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allowance {
    /// Executions of his at once.
    pub concurrency: Option<usize>,
    /// The most of each limit that his requests may ask for; `None` is the operator's ceiling.
    pub most: AskedLimits,
}

/// How somebody waits for a permit. A caller's own interactive executions go before those in the
/// background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// With a client at the other end: for so long, and only while the queue has a place.
    Interactive,
    /// As long as it takes. How many may wait like this is bounded by whoever accepts them.
    Background,
}

impl Who {
    /// Whoever calls from this address. An IPv6 network of 64 bits is one caller: that is the least
    /// anyone is given, and its addresses cost nothing.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
            v4 => v4,
        })
    }
}

/// A text that stays the same, for what outlives the service.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("service"),
            Self::Address(address) => write!(f, "address:{address}"),
            Self::Key(name) => write!(f, "key:{name}"),
        }
    }
}

impl FromStr for Who {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unknown = || Invalid("it is the name of nobody".into());
        match text.split_once(':') {
            None if text == "service" => Ok(Self::Service),
            Some(("address", address)) => address.parse().map(Self::Address).map_err(|_| unknown()),
            Some(("key", name)) => Ok(Self::Key(name.into())),
            _ => Err(unknown()),
        }
    }
}

impl Caller {
    /// The service itself.
    pub const SERVICE: Self = Self { who: Who::Service, allowance: None, lane: Lane::Interactive };

    /// Whoever calls from this address, without a key.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self { who: Who::at(address), ..Self::SERVICE }
    }

    /// The holder of the key with this name.
    #[must_use]
    pub fn with_key(name: Arc<str>, allowance: Arc<Allowance>) -> Self {
        Self { who: Who::Key(name), allowance: Some(allowance), ..Self::SERVICE }
    }

    /// The same caller, who does not wait for the answer.
    #[must_use]
    pub fn in_background(self) -> Self {
        Self { lane: Lane::Background, ..self }
    }

    /// How many executions he may have at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        let own = self.allowance.as_ref().and_then(|allowance| allowance.concurrency);
        own.unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Who {
        Who::at(text.parse().unwrap())
    }

    #[test]
    fn callers_are_told_apart_by_what_one_is_given() {
        assert_eq!(at("192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("0.0.0.0"), Who::Service);
    }

    #[test]
    fn a_caller_is_known_again_by_its_text() {
        for text in ["service", "address:192.0.2.1", "address:2001:db8::", "key:a:b", "key:"] {
            assert_eq!(text.parse::<Who>().unwrap().to_string(), text);
        }
        for text in ["", "key", "address:x", "Service", "service:"] {
            assert!(text.parse::<Who>().is_err(), "{text}");
        }
    }
}

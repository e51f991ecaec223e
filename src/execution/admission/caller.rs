//! Who asks for permits.

use std::net::{IpAddr, Ipv6Addr};

/// One caller among others: what the queue is fair between. Until callers have keys they are told
/// apart by their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller(Option<IpAddr>);

impl Caller {
    /// The service itself, and whoever has no address.
    pub const SERVICE: Self = Self(None);

    /// Whoever calls from this address. An IPv6 network of 64 bits is one caller: that is the least
    /// anyone is given, and its addresses cost nothing.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
            v4 => v4,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Caller {
        Caller::at(text.parse().unwrap())
    }

    #[test]
    fn callers_are_told_apart_by_what_one_is_given() {
        assert_eq!(at("192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("0.0.0.0"), Caller::SERVICE);
    }
}

//! Which addresses a stranger's word may lead to: those of the public internet.

use std::net::IpAddr;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_public;

/// An address is refused: it is this machine's, a private network's, or a cloud's own.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the name leads to no public address")]
pub(crate) struct NotPublic;

/// Resolves names to their public addresses alone. What is filtered is what is connected to, so a
/// name that answers differently the second time gains nothing.
pub(crate) struct PublicOnly {
    /// Hosts of the environment's proxies, which are mostly in the private network.
    pub(crate) proxies: Vec<String>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let any = self.proxies.iter().any(|proxy| proxy == name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<_> = found.filter(|found| any || is_public(found.ip())).collect();
            if found.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The address that a URL itself names, which is never resolved.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    // Whatever the notation (0x7f.1, 2130706433), the host is an address in its usual form now.
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// It is this machine that a URL names, whatever names mean here.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str() == Some("localhost") || literal(url).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1")]
    #[case("127.255.255.254")]
    #[case("0.0.0.0")]
    #[case("0.1.2.3")]
    #[case("10.0.0.1")]
    #[case("172.16.0.1")]
    #[case("172.31.255.255")]
    #[case("192.168.1.1")]
    #[case("169.254.169.254")]
    #[case("168.63.129.16")]
    #[case("100.64.0.1")]
    #[case("100.100.100.200")]
    #[case("192.0.0.192")]
    #[case("192.0.2.1")]
    #[case("198.18.0.1")]
    #[case("198.19.255.255")]
    #[case("224.0.0.1")]
    #[case("240.0.0.1")]
    #[case("255.255.255.255")]
    #[case("::")]
    #[case("::1")]
    #[case("::127.0.0.1")]
    #[case("::ffff:127.0.0.1")]
    #[case("::ffff:8.8.8.8")]
    #[case("fe80::1")]
    #[case("fec0::1")]
    #[case("fc00::1")]
    #[case("fd00:ec2::254")]
    #[case("ff02::1")]
    #[case("2001::1")]
    #[case("2001:db8::1")]
    #[case("2002:7f00:1::")]
    #[case("3fff::1")]
    #[case("64:ff9b::7f00:1")]
    #[case("64:ff9b::a9fe:a9fe")]
    #[case("64:ff9b:1::808:808")]
    fn is_refused(#[case] address: IpAddr) {
        assert!(!is_public(address));
    }

    #[rstest]
    #[case("8.8.8.8")]
    #[case("172.15.0.1")]
    #[case("172.32.0.1")]
    #[case("100.63.0.1")]
    #[case("100.128.0.1")]
    #[case("198.17.0.1")]
    #[case("223.255.255.255")]
    #[case("2606:4700::1111")]
    #[case("2a00:1450::1")]
    #[case("64:ff9b::808:808")]
    fn is_allowed(#[case] address: IpAddr) {
        assert!(is_public(address));
    }

    #[rstest]
    #[case("https://127.1/", "127.0.0.1")]
    #[case("https://0x7f.0.0.1/", "127.0.0.1")]
    #[case("https://2130706433/", "127.0.0.1")]
    #[case("https://0251.0376.0251.0376/", "169.254.169.254")]
    #[case("https://[::FFFF:7f00:1]:5000/", "::ffff:127.0.0.1")]
    fn every_notation_of_an_address_is_one(#[case] url: &str, #[case] address: IpAddr) {
        assert_eq!(literal(&url.parse().unwrap()), Some(address));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_resolved() {
        let resolve = |proxies| PublicOnly { proxies }.resolve("localhost".parse().unwrap());
        let refused = resolve(vec![]).await.err().unwrap();
        assert!(refused.is::<NotPublic>(), "{refused}");
        assert!(resolve(vec!["localhost".into()]).await.is_ok());
    }

    proptest! {
        #[test]
        fn no_ipv4_address_is_public_in_a_disguise_alone(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert!(!is_public(v4.to_ipv6_mapped().into()));
            prop_assert!(!is_public(v4.to_ipv6_compatible().into()));
            let [a, b, c, d] = v4.octets().map(u16::from);
            let six = Ipv6Addr::new(0x2002, a << 8 | b, c << 8 | d, 0, 0, 0, 0, 1);
            prop_assert!(!is_public(six.into()));
            let nat = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d);
            prop_assert_eq!(is_public(nat.into()), is_public(v4.into()));
        }
    }
}

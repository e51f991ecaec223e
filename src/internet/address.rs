//! Which addresses belong to the internet, and which to this machine's own surroundings, where a
//! stranger's request has nothing to look for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Endings of names that no public name server knows.
const PRIVATE_DOMAINS: &[&str] =
    &["localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "arpa"];

/// Whether a registry (`host[:port]`) is, as far as its name tells, somewhere else than on the
/// internet: a literal address that is not public, an address in an odd spelling, or a name that
/// only a private network can know.
pub(crate) fn is_private(registry: &str) -> bool {
    if let Some(address) = registry.strip_prefix('[') {
        let address = address.split_once(']').map_or(address, |(address, _)| address);
        return address.parse::<Ipv6Addr>().map_or(true, |address| !is_public(address.into()));
    }
    let host = registry.split_once(':').map_or(registry, |(host, _)| host).to_ascii_lowercase();
    let (parent, last) = host.rsplit_once('.').map_or((None, &*host), |(p, last)| (Some(p), last));
    // `127.1`, `0x7f.1` and `2130706433` are addresses to much software. Names end in a letter.
    if is_number(last) {
        return host.parse::<Ipv4Addr>().map_or(true, |address| !is_public(address.into()));
    }
    parent.is_none() || PRIVATE_DOMAINS.contains(&last)
}

/// As address parsers since the first have it: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    label.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether an address is one of the internet's (IANA special-purpose address registries), and no
/// cloud's metadata service.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, private, loopback, link-local; multicast and what is reserved.
        [0 | 10 | 127 | 224..=255, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            // Shared by carriers; protocol assignments, documentation, benchmarks.
            | [100, 64..=127, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            // Azure's own services, told to machines there.
            | [168, 63, 129, 16]
    )
}

/// Only what is given out to the world, without the parts of it that carry other addresses or are
/// for documentation. An IPv4 address in IPv6 clothes is none of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // On networks without IPv4 everything is there (NAT64), and what is behind it counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments with Teredo; documentation, both; 6to4.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1")]
    #[case("127.0.0.1:5000")]
    #[case("127.255.0.3:80")]
    #[case("10.0.0.1")]
    #[case("172.16.0.1")]
    #[case("172.31.255.255")]
    #[case("192.168.1.1:443")]
    #[case("169.254.169.254")]
    #[case("100.100.100.200")]
    #[case("192.0.0.192")]
    #[case("168.63.129.16")]
    #[case("0.0.0.0:5000")]
    #[case("255.255.255.255")]
    #[case("224.0.0.1")]
    #[case("198.18.0.1")]
    #[case("192.0.2.1")]
    // Spellings that some resolvers take for addresses; even a public one is refused in these.
    #[case("2130706433:5000")]
    #[case("127.1")]
    #[case("0x7f.1")]
    #[case("0X7F.0.0.1")]
    #[case("0x7f000001:80")]
    #[case("0177.0.0.1")]
    #[case("017700000001:80")]
    #[case("127.0.0.1.1")]
    #[case("1.2.3.256")]
    #[case("8.8.2056")]
    #[case("reg.example.1")]
    #[case("0x:80")]
    #[case("[::1]")]
    #[case("[::1]:5000")]
    #[case("[0:0:0:0:0:0:0:1]:80")]
    #[case("[::]:80")]
    #[case("[::ffff:7f00:1]:80")]
    #[case("[::7f00:1]")]
    #[case("[64:ff9b::7f00:1]")]
    #[case("[2002:7f00:1::]")]
    #[case("[2001::1]")]
    #[case("[fe80::1]")]
    #[case("[fec0::1]")]
    #[case("[fc00::1]")]
    #[case("[fd00:ec2::254]:80")]
    #[case("[ff02::1]")]
    #[case("[2001:db8::1]")]
    #[case("[3fff::1]")]
    #[case("localhost")]
    #[case("localhost:5000")]
    #[case("LOCALHOST:5000")]
    #[case("a.localhost")]
    #[case("printer.local:80")]
    #[case("metadata.google.internal")]
    #[case("registry:5000")]
    #[case("Registry")]
    #[case("box.home.arpa")]
    #[case("1.0.0.127.in-addr.arpa")]
    fn surroundings(#[case] registry: &str) {
        assert!(is_private(registry));
    }

    #[rstest]
    #[case("docker.io")]
    #[case("ghcr.io")]
    #[case("reg.example:5000")]
    #[case("8.8.8.8")]
    #[case("8.8.8.8:443")]
    #[case("172.32.0.1")]
    #[case("172.15.0.1")]
    #[case("100.128.0.1")]
    #[case("11.0.0.1")]
    #[case("223.255.255.255")]
    #[case("[2606:4700::1]:5000")]
    #[case("[2a00::1]")]
    #[case("[64:ff9b::808:808]")]
    #[case("internal.example")]
    #[case("localhost.example")]
    #[case("0x7f.1.example")]
    #[case("127.0.0.1.nip.io")]
    fn the_internet(#[case] registry: &str) {
        assert!(!is_private(registry));
    }
}

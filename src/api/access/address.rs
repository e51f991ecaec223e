//! From which address a request came, through proxies or not.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// Proxies whose word is taken for where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// The address of a request that came from `peer`. Each proxy writes behind what it was sent
    /// whom it has it from, so the last that is none of our proxies is the client; what stands
    /// before it is the client's own word, and counts for nothing.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut address = peer.to_canonical();
        for hop in forwarded.rev().flat_map(|line| line.rsplit(',')) {
            if !self.trusts(address) {
                break;
            }
            match read(hop.trim()) {
                Some(before) => address = before,
                None => break,
            }
        }
        address
    }

    /// Whether this is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address; some proxies write its port as well.
fn read(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().or_else(|_| hop.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

impl FromStr for Proxies {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "write the addresses of proxies, or their networks such as 10.1.0.0/16, behind \
                    commas";
        let one = |entry: &str| {
            let entry = entry.trim();
            let address =
                entry.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            let network = address.or_else(|_| entry.parse::<IpNet>()).map_err(|_| rule)?;
            match network.prefix_len() {
                0 => Err("anyone could say then who he is; name the proxies' own addresses"),
                _ => Ok(network.trunc()),
            }
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    // Whoever is no proxy is taken for himself, whatever he says.
    #[case("203.0.113.9", &["198.51.100.1"], "203.0.113.9")]
    #[case("203.0.113.9", &[], "203.0.113.9")]
    #[case("10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    // What the client has written himself stands in front.
    #[case("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1")]
    #[case("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1")]
    // Through two proxies.
    #[case("10.0.0.1", &["1.1.1.1,198.51.100.1 , 10.9.9.9"], "198.51.100.1")]
    #[case("2001:db8::1", &["198.51.100.1, 10.9.9.9"], "198.51.100.1")]
    #[case("10.0.0.1", &["10.9.9.9"], "10.9.9.9")]
    // Words of a proxy that nobody understands.
    #[case("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1")]
    #[case("10.0.0.1", &[""], "10.0.0.1")]
    #[case("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1")]
    #[case("10.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::5")]
    #[case("10.0.0.1", &["2001:db8::5"], "2001:db8::5")]
    fn only_proxies_are_believed(
        #[case] peer: &str,
        #[case] forwarded: &[&str],
        #[case] client: &str,
    ) {
        let proxies: Proxies = "10.0.0.1/8, 2001:db8::1".parse().expect("proxies");
        let found = proxies.client(peer.parse().expect("an address"), forwarded.iter().copied());
        assert_eq!(found, client.parse::<IpAddr>().expect("an address"));
    }

    #[rstest]
    fn anything_else_is_refused(
        #[values("", "proxy.example", "10.0.0.0/33", "10.0.0.1,", "0.0.0.0/0", "::/0")] text: &str,
    ) {
        assert!(text.parse::<Proxies>().is_err());
    }
}

//! Networks in CIDR form, as `src` limits name them.

use std::net::IpAddr;

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        (bits <= max).then_some(Self { address, bits })
    }

    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Network;

    #[test]
    fn addresses_are_in_their_network() {
        let within = |network: &str, address: &str| {
            Network::parse(network).unwrap().contains(address.parse().unwrap())
        };
        assert!(within("127.0.0.0/8", "127.1.2.3") && !within("127.0.0.0/8", "128.0.0.1"));
        assert!(within("0.0.0.0/0", "1.2.3.4") && within("10.0.0.1/32", "10.0.0.1"));
        assert!(within("fe80::/16", "fe80::1") && !within("fe80::/16", "10.0.0.1"));
        assert!(within("127.0.0.1/32", "::ffff:127.0.0.1"));
        for bad in ["", "10.0.0.1", "10.0.0.1/33", "x/8", "10.0.0.1/-1"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}

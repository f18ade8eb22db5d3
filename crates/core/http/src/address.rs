//! Classes of addresses, and the rule for the classes that a URL from a server may lead to
//! (robustness, section L).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of network that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reachable by everyone.
    Public,
    /// A site's own network.
    Private,
    /// This machine.
    Loopback,
    /// The addresses of one link, and the metadata services of clouds.
    LinkLocal,
    /// Addresses that no server can have: unspecified, multicast, broadcast, reserved.
    Unusable,
}

impl Class {
    /// Returns the class of an address; an IPv4 address inside an IPv6 address has its own class.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    /// Returns the class of a host that is an address; an IPv6 address is in brackets.
    pub(crate) fn of_host(host: &str) -> Option<Self> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().ok().map(Self::of)
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            // RFC 1918, and the shared space of RFC 6598.
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            // RFC 6890: this network, protocol assignments, 6to4 relays, benchmarks, multicast,
            // reserved and broadcast; documentation.
            [0, ..]
            | [192, 0, 0, _]
            | [192, 88, 99, _]
            | [198, 18..=19, ..]
            | [192, 0, 2, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..] => Self::Unusable,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let segments = address.segments();
        let low = |high: u16, low: u16| {
            let bits = u32::from(high) << 16 | u32::from(low);
            Self::of_v4(Ipv4Addr::from_bits(bits))
        };
        match segments {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // Mapped, translated (RFC 6052, RFC 8215) and the old compatible form, which includes
            // `::`.
            [0, 0, 0, 0, 0, 0xffff | 0, a, b] => low(a, b),
            [0x64, 0xff9b, 0 | 1, _, _, _, a, b] => low(a, b),
            // 6to4 (RFC 3056).
            [0x2002, a, b, ..] => low(a, b),
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            // Unique local, and the site-local addresses before them.
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Self::Private,
            // Teredo hides an address in its tail; documentation; multicast; discard.
            [0x2001, 0 | 0xdb8, ..] | [0xff00..=0xffff, ..] | [0x100, 0, 0, 0, ..] => {
                Self::Unusable
            }
            _ => Self::Public,
        }
    }
}

/// Returns true if a host is this machine by its name alone: `localhost`, `*.localhost` (RFC 6761)
/// or a loopback address. The host has no port; an IPv6 address is in brackets.
pub fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .is_ok_and(|address| Class::of(address) == Class::Loopback)
}

/// The addresses that a connection may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Any address: the user named the host.
    Named,
    /// Public addresses, and addresses of the classes that the host named by the user belongs to.
    Remote {
        /// Private addresses too.
        private: bool,
        /// This machine too.
        loopback: bool,
        /// Link-local addresses too.
        link_local: bool,
    },
}

impl Rule {
    /// Public addresses only.
    pub(crate) const PUBLIC: Self = Self::Remote {
        private: false,
        loopback: false,
        link_local: false,
    };

    /// Allows one more class.
    pub(crate) fn with(self, class: Class) -> Self {
        let Self::Remote {
            private,
            loopback,
            link_local,
        } = self
        else {
            return self;
        };
        Self::Remote {
            private: private || class == Class::Private,
            loopback: loopback || class == Class::Loopback,
            link_local: link_local || class == Class::LinkLocal,
        }
    }

    /// Returns true if a connection may lead to an address.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Named => true,
            Self::Remote {
                private,
                loopback,
                link_local,
            } => match Class::of(address) {
                Class::Public => true,
                Class::Private => private,
                Class::Loopback => loopback,
                Class::LinkLocal => link_local,
                Class::Unusable => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_class() {
        for (text, class) in [
            ("8.8.8.8", Class::Public),
            ("2606:4700::1111", Class::Public),
            ("10.1.2.3", Class::Private),
            ("172.31.0.1", Class::Private),
            ("172.32.0.1", Class::Public),
            ("192.168.1.1", Class::Private),
            ("100.64.0.1", Class::Private),
            ("fd00::1", Class::Private),
            ("127.0.0.1", Class::Loopback),
            ("127.255.0.1", Class::Loopback),
            ("::1", Class::Loopback),
            ("::ffff:127.0.0.1", Class::Loopback),
            ("::ffff:169.254.169.254", Class::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Class::LinkLocal),
            ("2002:7f00:1::", Class::Loopback),
            ("169.254.169.254", Class::LinkLocal),
            ("fe80::1", Class::LinkLocal),
            ("0.0.0.0", Class::Unusable),
            ("::", Class::Unusable),
            ("255.255.255.255", Class::Unusable),
            ("224.0.0.1", Class::Unusable),
            ("ff02::1", Class::Unusable),
        ] {
            assert_eq!(Class::of(text.parse().unwrap()), class, "{text}");
        }
    }

    #[test]
    fn a_rule_widens_by_the_class_of_the_named_host_only() {
        let loopback = Rule::PUBLIC.with(Class::Loopback);
        let allows = |rule: Rule, text: &str| rule.allows(text.parse().unwrap());
        assert!(allows(loopback, "127.0.0.1") && allows(loopback, "1.1.1.1"));
        assert!(!allows(loopback, "10.0.0.1") && !allows(loopback, "169.254.169.254"));
        assert!(!allows(Rule::PUBLIC, "127.0.0.1"));
        assert!(allows(Rule::Named, "169.254.169.254"));
    }

    // robustness L12c
    #[test]
    fn l12c_only_this_machine_is_loopback() {
        for host in [
            "localhost",
            "LOCALHOST",
            "x.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.evil.example",
            "host.local",
            "notlocalhost",
            "10.0.0.1",
            "[::2]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

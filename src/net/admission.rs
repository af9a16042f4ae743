//! Who may connect, by where it comes from.

use std::net::IpAddr;

use ipnet::IpNet;

use super::credentials::Credentials;
use super::listener::Accepted;

/// Who may connect to an endpoint. Lists that are empty keep nobody out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Networks whose addresses may connect; others may not.
    pub allow: Vec<IpNet>,
    /// Networks whose addresses may not connect, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// Users whose processes may connect to a Unix socket.
    pub users: Vec<u32>,
    /// Groups whose processes may, by their primary group.
    pub groups: Vec<u32>,
}

impl Admission {
    /// Whether somebody who has just connected may stay.
    pub fn admits(&self, accepted: &Accepted) -> bool {
        match accepted {
            Accepted::Tcp(_, peer) => self.admits_address(peer.ip()),
            Accepted::Unix(_, credentials) => self.admits_process(*credentials),
        }
    }

    /// Whether it keeps some addresses out.
    pub fn has_networks(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    fn admits_address(&self, address: IpAddr) -> bool {
        // A socket for both families shows IPv4 addresses as `::ffff:192.0.2.1`.
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    fn admits_process(&self, credentials: Option<Credentials>) -> bool {
        let is_named = |found: Credentials| {
            self.users.contains(&found.uid) || self.groups.contains(&found.gid)
        };
        let names_nobody = self.users.is_empty() && self.groups.is_empty();
        names_nobody || credentials.is_some_and(is_named)
    }
}

/// A network such as `192.0.2.0/24`, or a single address.
pub fn network(text: &str) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| single()).ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| network(text).unwrap()).collect()
    }

    #[test]
    fn deny_is_stronger_than_allow_and_an_empty_list_keeps_nobody_out() {
        let admission = |allow: &[&str], deny: &[&str]| Admission {
            allow: networks(allow),
            deny: networks(deny),
            ..Admission::default()
        };
        let admits = |admission: &Admission, address: &str| {
            admission.admits_address(address.parse::<IpAddr>().unwrap())
        };
        assert!(admits(&admission(&[], &[]), "2001:db8::1"));
        let home = admission(&["192.168.1.77/24", "::1"], &["192.168.1.66"]);
        for (address, expected) in [
            ("192.168.1.5", true),
            ("::ffff:192.168.1.5", true),
            ("192.168.1.66", false),
            ("::ffff:192.168.1.66", false),
            ("192.168.2.5", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(admits(&home, address), expected, "{address}");
        }
        assert!(!admits(&admission(&[], &["0.0.0.0/0"]), "10.0.0.1"));
        assert!(admits(&admission(&[], &["0.0.0.0/0"]), "::1"));
        assert_eq!(network("10.0.0.0/33"), None);
        assert_eq!(network("example.com"), None);
    }

    #[test]
    fn process_is_admitted_by_its_user_or_by_its_group() {
        let process = |uid, gid| Some(Credentials { pid: None, uid, gid });
        let admission = Admission { users: vec![1000], groups: vec![20], ..Admission::default() };
        assert!(admission.admits_process(process(1000, 1)));
        assert!(admission.admits_process(process(1, 20)));
        assert!(!admission.admits_process(process(20, 1000)));
        assert!(!admission.admits_process(None));
        assert!(Admission::default().admits_process(None));
    }
}

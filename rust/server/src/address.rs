//! What a server may listen on.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// A checked `HOST:PORT` of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(SocketAddr);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    #[error("{0:?} is no address\nhint: write HOST:PORT, \"127.0.0.1:7233\" for instance; port 0 takes a free one")]
    Form(String),
    #[error(
        "{0} can be reached from other machines, and nothing here asks who calls\n\
         hint: listen on 127.0.0.1, [::1] or localhost, and let a proxy that authenticates stand before it"
    )]
    NotLoopback(String),
}

impl Address {
    /// Reads `HOST:PORT`, where the host is an address of the loopback interface or `localhost`. No name is looked up: what a name
    /// means is somebody else's to change.
    pub fn parse(text: &str) -> Result<Address, BadAddress> {
        let form = || BadAddress::Form(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        let port = port.parse::<u16>().map_err(|_| form())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip = match (host, bare) {
            ("localhost", _) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (_, Some(bare)) => IpAddr::V6(bare.parse().map_err(|_| form())?),
            ("", _) => return Err(BadAddress::NotLoopback(format!("every address of this machine ({text})"))),
            _ => match host.parse::<Ipv4Addr>() {
                Ok(ip) => IpAddr::V4(ip),
                Err(_) if host.contains([':', '/', ' ', '@']) => return Err(form()),
                Err(_) => return Err(BadAddress::NotLoopback(text.to_owned())),
            },
        };
        if !ip.is_loopback() {
            return Err(BadAddress::NotLoopback(text.to_owned()));
        }
        Ok(Address(SocketAddr::new(ip, port)))
    }

    pub fn socket(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_call() {
        for (text, socket) in
            [("127.0.0.1:7233", "127.0.0.1:7233"), ("localhost:0", "127.0.0.1:0"), ("[::1]:1", "[::1]:1"), ("127.9.9.9:1", "127.9.9.9:1")]
        {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(socket.to_owned()));
        }
        for text in ["0.0.0.0:7233", ":7233", "[::]:7233", "10.0.0.1:1", "example.org:7233", "[2001:db8::1]:1"] {
            let error = Address::parse(text).expect_err(text);
            assert!(matches!(error, BadAddress::NotLoopback(_)) && error.to_string().contains("hint:"), "{error}");
        }
        for text in ["", "7233", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "::1:7233", "http://127.0.0.1:1", "[::1:1"] {
            assert!(matches!(Address::parse(text), Err(BadAddress::Form(_))), "{text}");
        }
    }
}

//! Addresses of a test's own on the loopback interface.
//!
//! Some servers must know their address before they listen, and tell it to each other. A port that was free
//! a moment ago may be taken by then; one of the sixteen million addresses beside 127.0.0.1 is not.

use std::net::{IpAddr, Ipv4Addr};

/// A small network: a machine of a test is a number in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loopback {
    second: u8,
    third: u8,
}

// === impl Loopback ===

impl Loopback {
    /// One that no other test has.
    pub(crate) fn new() -> Self {
        Self { second: rand::random_range(1..=254), third: rand::random_range(1..=254) }
    }

    /// The address of a machine, from 1 on.
    pub(crate) fn host(self, number: usize) -> IpAddr {
        let number = u8::try_from(number).expect("a test has few machines");
        Ipv4Addr::new(127, self.second, self.third, number).into()
    }
}

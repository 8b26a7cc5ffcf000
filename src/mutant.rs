//! Ways to break the coherence protocol on purpose, so that tests can show that its
//! checker would notice. A build without debug assertions has none of them: it reads no
//! environment variable, and every question is answered `false` at compile time.
//!
//! Each is one line of the protocol left out. That the view is judged after the lease is
//! looked at has no switch: the two are nanoseconds apart, and the model of the protocol
//! (`tests/model`) shows what the other order would do.

/// What is left out. `TOKENWARD_MUTANT` names one, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A fill replaces a tombstone.
    PutGuard,
    /// A change that Redis could not be told is called complete without a wait.
    Barrier,
    /// The stamp of a fact is read by a second statement, some time after its row.
    StampOrder,
    /// A cached fact is judged without a lease.
    Lease,
    /// Missing triggers are not noticed.
    Trigger,
}

/// Whether this part of the protocol is left out.
#[cfg(debug_assertions)]
pub(crate) fn is(mutant: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let chosen = || std::env::var("TOKENWARD_MUTANT").ok().map(|name| Mutant::named(&name));
    *CHOSEN.get_or_init(chosen) == Some(mutant)
}

/// Whether this part of the protocol is left out: it never is.
#[cfg(not(debug_assertions))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

// === impl Mutant ===

#[cfg(debug_assertions)]
impl Mutant {
    const ALL: [Self; 5] = [Self::PutGuard, Self::Barrier, Self::StampOrder, Self::Lease, Self::Trigger];

    /// A test that misspells a mutant must not find a protocol that holds.
    fn named(name: &str) -> Self {
        let named = Self::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name);
        named.unwrap_or_else(|| panic!("TOKENWARD_MUTANT names no mutant: {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Mutant; 5] = [Mutant::PutGuard, Mutant::Barrier, Mutant::StampOrder, Mutant::Lease, Mutant::Trigger];

    /// Does not compile in a release build unless the answer is known at compile time.
    #[cfg(not(debug_assertions))]
    const _: () = assert!(!is(Mutant::PutGuard));

    #[test]
    fn nothing_is_left_out_unless_a_debug_build_is_told_to() {
        assert!(!ALL.into_iter().any(is));
    }

    #[cfg(debug_assertions)]
    #[test]
    fn each_mutant_has_its_name_and_no_other_name_is_taken() {
        for mutant in ALL {
            assert_eq!(Mutant::named(&format!("{mutant:?}")), mutant);
        }
        std::panic::catch_unwind(|| Mutant::named("putguard")).expect_err("it is no mutant");
    }
}

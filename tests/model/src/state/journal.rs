//! The journal in the database, and the part of it that a replica knows.

/// A journal position: the stamp of a fact, the number of a record.
pub type Position = u8;

/// `tokenward_clock` and `tokenward_journal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Journal {
    /// The position that a fact read now is stamped with.
    pub seq: Position,
    /// The next auto-increment id (only `Stamp::InsertOrder` uses it).
    pub next_id: Position,
    /// The records about this token or its user: at most two in a run.
    pub records: [Record; 2],
    /// Facts stamped below it are proved again.
    pub floor: Position,
}

/// One journal record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Record {
    /// Not committed yet, or purged.
    #[default]
    Absent,
    /// Committed with `seq = NULL`.
    Unnumbered,
    /// Numbered.
    At(Position),
}

/// What a replica knows about this token: the highest number of its records, "a
/// NULL seq counts as +infinity", or the floor if that is higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View(Position);

// === impl Journal ===

impl Journal {
    /// What a poll reads.
    #[must_use]
    pub fn read(&self) -> View {
        let highest = self.records.iter().map(|record| record.number()).max();
        View(highest.unwrap_or(0).max(self.floor))
    }
}

// === impl Record ===

impl Record {
    /// Its number: below every stamp if there is no record, above every stamp if
    /// it has none.
    fn number(self) -> Position {
        match self {
            Self::Absent => 0,
            Self::Unnumbered => Position::MAX,
            Self::At(seq) => seq,
        }
    }
}

// === impl View ===

impl View {
    /// Whether a fact with this stamp may be outdated.
    #[must_use]
    pub fn refutes(self, stamp: Position) -> bool {
        stamp < self.0
    }

    /// Whether a fact with this stamp was proved after a record known here.
    #[must_use]
    pub fn recovered(self, stamp: Position) -> bool {
        self.0 > 0 && !self.refutes(stamp)
    }
}

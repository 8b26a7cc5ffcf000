//! The protocol's parts as switches. [`Protocol::ours`] has every part in place;
//! a mutant changes one of them.

mod parts;

pub use self::parts::{
    Ack, Barrier, Fallback, Flights, Hit, LeaseStart, Mark, Memory, Publication, Purge, Put, Retry, Stamp,
};

/// A span of time or an age, in ticks of the model.
pub type Ticks = u8;

/// One protocol: ours, a mutant of it, or the usual cache.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// `L`: how long after a poll was sent its view may be relied on. 0 goes
    /// with [`Hit::Strict`].
    pub lease: Ticks,
    /// `G`: how much longer while the database cannot be reached.
    pub grace: Ticks,
    /// What a fact is stamped with.
    pub stamp: Stamp,
    /// How a hit is tested.
    pub hit: Hit,
    /// In which order a poll publishes.
    pub publication: Publication,
    /// From when a lease counts.
    pub lease_start: LeaseStart,
    /// What a revocation leaves in Redis.
    pub mark: Mark,
    /// What a fill does when it meets a tombstone.
    pub put: Put,
    /// What COMPLETE waits for when Redis has acknowledged.
    pub ack: Ack,
    /// What COMPLETE waits for when Redis has not.
    pub barrier: Barrier,
    /// What a revocation does that finds nothing left to revoke.
    pub retry: Retry,
    /// What is tried when the tombstone was not acknowledged.
    pub fallback: Fallback,
    /// Whether a replica also keeps facts in its own memory.
    pub memory: Memory,
    /// How calls of one replica share a read of the database.
    pub flights: Flights,
    /// What a purge of the journal leaves behind.
    pub purge: Purge,
}

// === impl Protocol ===

impl Protocol {
    /// Every part in place: L of two ticks, no grace, `revoke_ack = cache`.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            lease: 2,
            grace: 0,
            stamp: Stamp::CommitOrder,
            hit: Hit::LeaseThenView,
            publication: Publication::AtOnce,
            lease_start: LeaseStart::BeforeSending,
            mark: Mark::Tombstone(2),
            put: Put::KeepsTombstone,
            ack: Ack::Cache,
            barrier: Barrier::Waits,
            retry: Retry::Repeats,
            fallback: Fallback::DeleteFact,
            memory: Memory::Empty,
            flights: Flights::Alone,
            purge: Purge::RaisesFloor,
        }
    }

    /// With an outage grace, and tombstones that outlive it.
    #[must_use]
    pub fn with_grace(grace: Ticks) -> Self {
        let ours = Self::ours();
        Self { grace, mark: Mark::Tombstone(ours.lease + grace), ..ours }
    }

    /// `max_staleness` = 0.
    #[must_use]
    pub fn strict() -> Self {
        Self { lease: 0, hit: Hit::Strict, ..Self::ours() }
    }

    /// GET, SET and DEL: what is usually built.
    #[must_use]
    pub fn naive() -> Self {
        Self {
            stamp: Stamp::Absent,
            hit: Hit::ViewOnly,
            mark: Mark::Delete,
            put: Put::Overwrites,
            barrier: Barrier::Skipped,
            ..Self::ours()
        }
    }

    /// The same with another number of ticks to `L`; a tombstone's life keeps its
    /// distance to `L`.
    #[must_use]
    pub fn with_lease(self, lease: Ticks) -> Self {
        if self.is_strict() {
            return self;
        }
        let mark = match self.mark {
            Mark::Tombstone(life) => Mark::Tombstone(life + lease - self.lease),
            Mark::Delete => Mark::Delete,
        };
        Self { lease, mark, ..self }
    }

    /// `L + G`: the age beyond which nothing distinguishes ages.
    #[must_use]
    pub fn horizon(&self) -> Ticks {
        self.lease + self.grace
    }

    /// Whether a hit waits for a poll of its own.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        matches!(self.hit, Hit::Strict | Hit::StrictJoinsPoll)
    }
}

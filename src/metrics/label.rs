//! The words that labels may have.

/// One label: an enum whose variants are its words.
pub trait Label: Copy + Send + Sync + 'static {
    /// All of them, in the order of [`Self::index`].
    const ALL: &'static [Self];

    /// As a scrape shows it.
    fn word(self) -> &'static str;

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$of])* $variant),+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// How a token that was presented was judged.
    AuthResult {
        /// It is good.
        Active = "active",
        /// Not a token that this service could have issued.
        Malformed = "malformed",
        /// No such token.
        Unknown = "unknown",
        /// Past its expiry.
        Expired = "expired",
        /// Revoked.
        Revoked = "revoked",
        /// Its user is disabled or gone.
        UserDisabled = "user_disabled",
        /// It lacks a required scope.
        ScopeMissing = "scope_missing",
        /// There was no trustworthy answer, the caller was refused one, or did not wait for it.
        Unanswered = "unanswered",
    }

    /// Where that was known from.
    AuthSource {
        /// The token's shape alone, or nowhere.
        None = "none",
        /// This process's memory.
        LocalCache = "local_cache",
        /// Redis.
        SharedCache = "shared_cache",
        /// The database.
        Database = "database",
    }

    /// A tier of the cache.
    Tier {
        /// The memo of tokens that are unknown or revoked.
        Memo = "memo",
        /// This process's memory.
        Memory = "memory",
        /// Redis.
        Redis = "redis",
    }

    /// What a tier said.
    RequestResult {
        /// A fact that may be answered from.
        Hit = "hit",
        /// That the token is not active.
        NegativeHit = "negative_hit",
        /// Nothing that may be answered from.
        Miss = "miss",
        /// It was not asked: a tombstone is owed, or the breaker is open.
        Bypass = "bypass",
        /// It did not answer.
        Unavailable = "unavailable",
    }

    /// Why a fact was not cached.
    FillRejection {
        /// A revocation stands in its place.
        Tombstone = "tombstone",
        /// A change came while it was read.
        Outdated = "outdated",
        /// It is too large.
        TooLarge = "too_large",
        /// The breaker is open.
        Bypass = "bypass",
        /// Redis did not take it.
        Unavailable = "unavailable",
    }

    /// What the database is asked.
    Query {
        /// A token by its digest, with its user.
        Find = "find",
        /// Those of a batch.
        FindAll = "find_all",
        /// A new token.
        Issue = "issue",
        /// A later expiry.
        Extend = "extend",
        /// The end of one token.
        Revoke = "revoke",
        /// The end of all of a user's.
        RevokeAll = "revoke_all",
        /// A token, for an administrator.
        Get = "get",
        /// Another label or expiry.
        Update = "update",
        /// A successor for a token.
        Rotate = "rotate",
        /// Tokens of a user.
        List = "list",
        /// A user.
        User = "user",
        /// All users, page by page.
        Users = "users",
        /// When tokens were last used.
        NoteUsed = "note_used",
        /// A user's creation or change.
        UpsertUser = "upsert_user",
        /// A user's end.
        DeleteUser = "delete_user",
        /// A look into the journal.
        Poll = "poll",
        /// A sign of life.
        Ping = "ping",
    }

    /// What a connection of the pool is doing.
    PoolState {
        /// Waiting for work.
        Idle = "idle",
        /// At work.
        Used = "used",
    }

    /// What was asked to be ended.
    Scope {
        /// One token.
        Token = "token",
        /// All of a user's, or all but one.
        UserTokens = "user_tokens",
        /// A user, who was disabled.
        UserDisabled = "user_disabled",
        /// A user, who was deleted.
        UserDeleted = "user_deleted",
        /// A token that got a successor, or whose update ended it.
        Replaced = "replaced",
    }

    /// Why a call was not let through.
    CallerRejection {
        /// Nobody has this credential, or there was none.
        Unauthenticated = "unauthenticated",
        /// This caller may not use the method.
        NotAllowed = "not_allowed",
        /// There was no place for its call.
        Overloaded = "overloaded",
    }

    /// How far a change had come when it was answered.
    Reach {
        /// To every replica.
        Complete = "complete",
        /// To those that are not cut off: the answer said for how long.
        Pending = "pending",
    }

    /// What state the breaker came into.
    Transition {
        /// Redis is used.
        Closed = "closed",
        /// Redis is left alone.
        Open = "open",
        /// One command is trying.
        HalfOpen = "half_open",
    }
}

//! The scripts: one that reads many keys; the others decide and change one key in one step.
//!
//! `pcall`, because whatever else stands under the key, a value of another type above
//! all, is not a tombstone.

/// Lua that Redis runs, and the SHA-1 of it by which Redis knows it; a test compares the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) sha: &'static str,
}

/// Stores a fact unless a tombstone stands there.
pub(super) const PUT: Script = Script {
    text: r"if redis.pcall('GETRANGE', KEYS[1], 0, 0) == '\0' then return 0 end
return redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])",
    sha: "4513be8590d80346069556207b40939746c0c757",
};

/// Stores facts at many keys, each unless a tombstone stands there; the arguments are a fact and its life for each.
/// Gives 1 for each that was stored, and what goes wrong with one keeps those after it out.
pub(super) const PUT_ALL: Script = Script {
    text: r"local stored = {}
for index, key in ipairs(KEYS) do
  if redis.pcall('GETRANGE', key, 0, 0) == '\0' then
    stored[index] = 0
  else
    local done = redis.pcall('SET', key, ARGV[2 * index - 1], 'PX', ARGV[2 * index])
    if done.err then return done end
    stored[index] = 1
  end
end
return stored",
    sha: "b9ef4e37455f96deca3a82bb95ba8391224683e9",
};

/// Deletes whatever stands there unless it is a tombstone: a delete can arrive late, and
/// the tombstone may be another replica's, which has answered COMPLETE because of it.
pub(super) const DROP: Script = Script {
    text: r"if redis.pcall('GETRANGE', KEYS[1], 0, 0) == '\0' then return 0 end
return redis.pcall('DEL', KEYS[1])",
    sha: "66fc97166a54057115764b6242ed122789cca088",
};

/// The first bytes of many values, as many as the last argument says and one more; 0 for one of another type.
pub(super) const GET_ALL: Script = Script {
    text: r"local values = {}
for index, key in ipairs(KEYS) do
  local value = redis.pcall('GETRANGE', key, 0, ARGV[1])
  values[index] = type(value) == 'string' and value or 0
end
return values",
    sha: "f70712e10e570c4e9268b6ce1f931f0714c73903",
};

/// What only [`crate::mutant::Mutant::PutGuard`] sends.
pub(super) const UNGUARDED_PUT: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";

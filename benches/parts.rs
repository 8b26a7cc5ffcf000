//! What the parts of a hit cost that do no I/O. See README.md beside this file.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tokenward::{
    cache::internals::{Entry, Permits},
    domain::{Digest, Hashing, Token},
    journal::internals::Judge,
};

const TOKEN: &str = "282508af5831a1a3ecd843e01e0e41614105d9482a78ca67009d231bb9b2a0c5";
/// Records that a replica's view retains.
const RETAINED: u64 = 65_536;

fn token() -> Token {
    Token::parse(TOKEN.to_owned()).expect("a token")
}

fn digest() -> Digest {
    Hashing::default().digests(&token()).current
}

fn hash(c: &mut Criterion) {
    let token = token();
    let mut group = c.benchmark_group("digest");
    group.bench_function("sha512", |b| b.iter(|| Hashing::default().digests(black_box(&token))));
    group.finish();
}

fn entry(c: &mut Criterion) {
    let entry = Entry::new(digest());
    assert!(entry.decode() && entry.verify(), "the entry is right");
    let mut group = c.benchmark_group(format!("entry, {} bytes", entry.size()));
    group.bench_function("encode", |b| b.iter(|| black_box(&entry).encode()));
    group.bench_function("decode", |b| b.iter(|| black_box(&entry).decode()));
    group.bench_function("the MAC's share", |b| b.iter(|| black_box(&entry).verify()));
    group.finish();
}

fn breaker(c: &mut Criterion) {
    let permits = Permits::new();
    c.bench_function("breaker/permit", |b| b.iter(|| black_box(&permits).pass()));
}

fn journal(c: &mut Criterion) {
    let digest = digest();
    let mut group = c.benchmark_group("journal/confirm");
    for ended in [0, RETAINED] {
        let judge = Judge::new(ended);
        assert!(judge.confirm(digest), "the fact is current");
        group.bench_function(format!("{ended} records"), |b| b.iter(|| black_box(&judge).confirm(black_box(digest))));
    }
    group.finish();
}

criterion_group!(benches, hash, entry, breaker, journal);
criterion_main!(benches);

use super::*;
use crate::cache::tests::redis::Redis;

#[test]
fn debug_shows_no_secret() {
    let config = config::Redis {
        url: crate::config::SecretText::new("redis://user:hunter2@127.0.0.1:1"),
        ..config::Redis::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let shown = runtime.block_on(async { format!("{:?}", SharedCache::start(&config, &config::Breaker::default())) });
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_life_of_less_than_a_millisecond_is_one() {
    assert_eq!(millis(Duration::from_micros(1)), 1);
    assert_eq!(millis(Duration::MAX), i64::MAX);
}

#[tokio::test]
async fn the_hash_of_the_script_is_the_one_that_redis_computes() {
    assert_eq!(Redis::start().await.run(&["SCRIPT", "LOAD", PUT]).await, PUT_SHA);
}

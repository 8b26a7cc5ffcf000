use super::{
    script::{GET_ALL, PUT_ALL},
    *,
};
use crate::cache::tests::{fixture::mac_keys, redis::Redis};

#[test]
fn debug_shows_no_secret() {
    let config = config::Redis {
        url: crate::config::SecretText::new("redis://user:hunter2@127.0.0.1:1"),
        ..config::Redis::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let start = || {
        SharedCache::start(
            &config,
            &config::Breaker::default(),
            mac_keys("hunter2"),
            &Threads::here(),
            &crate::reload::Counters::default(),
        )
    };
    let shown = runtime.block_on(async { format!("{:?}", start()) });
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_life_of_less_than_a_millisecond_is_one() {
    assert_eq!(millis(Duration::from_micros(1)), 1);
    assert_eq!(millis(Duration::MAX), i64::MAX);
}

#[tokio::test]
async fn the_hash_of_a_script_is_the_one_that_redis_computes() {
    let redis = Redis::start().await;
    for script in [PUT, PUT_ALL, DROP, GET_ALL] {
        assert_eq!(redis.run(&["SCRIPT", "LOAD", script.text]).await, script.sha);
    }
}

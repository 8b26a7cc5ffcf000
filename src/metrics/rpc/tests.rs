use super::*;

fn value(families: &[MetricFamily], name: &str, words: &[&str]) -> String {
    let family = families.iter().find(|family| family.name() == name).expect("the family is there");
    let has = |metric: &Metric, word| metric.get_label().iter().any(|label| label.value() == word);
    let of = |metric: &&Metric| words.iter().all(|word| has(metric, *word));
    let metric = family.get_metric().iter().find(of).expect("the method is there");
    let value = match family.get_field_type() {
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM => number(metric.get_histogram().get_sample_count()),
        _ => metric.get_counter().get_value(),
    };
    value.to_string()
}

#[test]
fn a_call_counts_once_and_one_that_is_dropped_was_cancelled() {
    let rpcs = Rpcs::start();
    let ended = rpcs.begin("/tokenward.v1.TokenService/Authenticate");
    let dropped = rpcs.begin("/tokenward.v1.TokenService/Authenticate");
    let unknown = rpcs.begin("/made.up/by-a-client");
    assert_eq!(value(&rpcs.collect(), "grpc_server_in_flight", &["Authenticate"]), "2");
    ended.end(0);
    drop(dropped);
    unknown.end(12);
    let families = rpcs.collect();
    assert_eq!(value(&families, "grpc_server_in_flight", &["Authenticate"]), "0");
    assert_eq!(value(&families, "grpc_server_started_total", &["Authenticate"]), "2");
    assert_eq!(value(&families, "grpc_server_handling_seconds", &["Authenticate"]), "2");
    assert_eq!(value(&families, "grpc_server_handled_total", &["Authenticate", "OK"]), "1");
    assert_eq!(value(&families, "grpc_server_handled_total", &["Authenticate", "Canceled"]), "1");
    assert_eq!(value(&families, "grpc_server_handled_total", &["unknown", "Unimplemented"]), "1");
    assert_eq!(value(&families, "grpc_server_started_total", &["unknown"]), "1");
    assert_eq!(rpcs.latencies().iter().sum::<u64>(), 2);
}

#[test]
fn every_failure_of_every_method_has_a_count_before_it_happens() {
    let families = Rpcs::start().collect();
    for method in METHODS {
        for code in CODES {
            let (service, name) = method.names();
            assert_eq!(value(&families, "grpc_server_handled_total", &[service, name, code]), "0", "{method:?}");
        }
    }
}

#[test]
fn a_time_is_in_the_first_bucket_whose_bound_is_not_below_it() {
    for (bound, nanos) in BUCKETS.iter().zip(NANOS) {
        assert!((bound * 1e9 - number(nanos)).abs() < 0.5, "{bound}");
    }
    assert_eq!((bucket(0), bucket(10_000), bucket(10_001)), (0, 0, 1));
    assert_eq!(bucket(u64::MAX), BUCKETS.len());
}

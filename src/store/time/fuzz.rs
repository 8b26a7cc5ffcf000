//! Any text in a column of times, which any program may have written.

use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[+-]?[0-9]{1,7}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:?[0-9]{2})?",
        // The first and the last day that chrono has.
        "[+-]26214[23]-(01-01|12-31) (00:00:00|23:59:59)( ?[+-]1[0-9]:00)?",
        // The hours around a change of the clocks.
        "2025-(03-09|11-02) 0[0-3]:[0-5][0-9]:00",
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_time_or_none(text in text()) {
        for zone in [Tz::UTC, Tz::America__New_York, Tz::Pacific__Kiritimati] {
            let times = Times::of(Dialect::Sqlite, zone);
            if let Some(at) = times.parse(&text) {
                let _ = times.keeps(at);
            }
        }
    }
}

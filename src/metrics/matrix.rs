//! A counter with two labels, for what every check counts.

use std::{marker::PhantomData, sync::Arc};

use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::{
    Cells, Label, PREFIX,
    family::{counter, family, labelled, number},
};

/// Counts under two labels. A clone counts on the same.
#[derive(Debug)]
pub struct Matrix<A, B> {
    desc: Desc,
    labels: [&'static str; 2],
    cells: Arc<Cells>,
    words: PhantomData<(A, B)>,
}

// === impl Matrix ===

impl<A: Label, B: Label> Matrix<A, B> {
    pub(super) fn new(name: &str, help: &str, labels: [&'static str; 2]) -> Self {
        let (name, variable) = (format!("{PREFIX}_{name}"), labels.map(str::to_owned).into());
        let desc = Desc::new(name, help.to_owned(), variable, [].into()).expect("the name is well-formed");
        Self { desc, labels, cells: Arc::new(Cells::new(A::ALL.len() * B::ALL.len())), words: PhantomData }
    }

    /// Counts one: one addition that no other thread contends for.
    pub fn inc(&self, one: A, other: B) {
        self.cells.add(place(one, other), 1);
    }

    /// How many were counted.
    #[must_use]
    pub fn get(&self, one: A, other: B) -> u64 {
        self.cells.get(place(one, other))
    }

    /// How many were counted, whatever the first label.
    #[must_use]
    pub fn of(&self, other: B) -> u64 {
        A::ALL.iter().map(|one| self.get(*one, other)).sum()
    }
}

fn place<A: Label, B: Label>(one: A, other: B) -> usize {
    one.index() * B::ALL.len() + other.index()
}

impl<A, B> Clone for Matrix<A, B> {
    fn clone(&self) -> Self {
        Self { desc: self.desc.clone(), labels: self.labels, cells: Arc::clone(&self.cells), words: PhantomData }
    }
}

impl<A: Label, B: Label> Collector for Matrix<A, B> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let pairs = A::ALL.iter().flat_map(|one| B::ALL.iter().map(move |other| (*one, *other)));
        let metrics = pairs.map(|(one, other)| {
            let labels = [(self.labels[0], one.word()), (self.labels[1], other.word())];
            counter(labelled(labels), number(self.get(one, other)))
        });
        vec![family(&self.desc.fq_name, &self.desc.help, MetricType::COUNTER, metrics.collect())]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    #[test]
    fn each_pair_of_words_has_a_count_of_its_own() {
        let requests = cache_requests();
        for tier in Tier::ALL {
            for result in RequestResult::ALL {
                requests.inc(*tier, *result);
            }
        }
        requests.inc(Tier::Redis, RequestResult::Hit);
        let families = requests.collect();
        let values: Vec<_> = families[0].get_metric().iter().map(|metric| metric.get_counter().get_value()).collect();
        assert_eq!(values.len(), 15);
        assert_eq!(values.iter().filter(|value| **value < 1.5).count(), 14);
        assert_eq!(requests.get(Tier::Redis, RequestResult::Hit), 2);
        assert_eq!(requests.of(RequestResult::Hit), 4);
    }
}

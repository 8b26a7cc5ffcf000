//! Numbers that are looked up when they are asked for.

use std::fmt;

use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::{
    PREFIX,
    family::{counter, family, gauge, labelled},
};

/// A gauge that is read at each scrape.
pub struct Observed<F> {
    desc: Desc,
    read: F,
}

/// The words of its labels, in their order, and its value.
#[derive(Clone, Debug)]
pub struct Reading {
    /// One for each label.
    pub words: Vec<String>,
    /// The value.
    pub value: f64,
}

// === impl Reading ===

impl Reading {
    /// A value of these words.
    pub fn new<const N: usize>(words: [&str; N], value: f64) -> Self {
        Self { words: words.map(str::to_owned).into(), value }
    }
}

// === impl Observed ===

impl<F> Observed<F>
where
    F: Fn() -> Vec<Reading> + Send + Sync + 'static,
{
    /// `tokenward_{name}`. A name that ends with `_total` is a counter's.
    pub fn new(name: &str, help: &str, labels: &[&str], read: F) -> Self {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(format!("{PREFIX}_{name}"), help.to_owned(), labels, [].into());
        Self { desc: desc.expect("the name is well-formed"), read }
    }
}

impl<F> Collector for Observed<F>
where
    F: Fn() -> Vec<Reading> + Send + Sync + 'static,
{
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.desc.fq_name.ends_with("_total");
        let metrics = (self.read)().into_iter().map(|reading| {
            let labels = self.desc.variable_labels.iter().map(String::as_str);
            let metric = labelled(labels.zip(reading.words.iter().map(String::as_str)));
            if counts { counter(metric, reading.value) } else { gauge(metric, reading.value) }
        });
        let kind = if counts { MetricType::COUNTER } else { MetricType::GAUGE };
        vec![family(&self.desc.fq_name, &self.desc.help, kind, metrics.collect())]
    }
}

impl<F> fmt::Debug for Observed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.desc.fq_name).finish()
    }
}

//! Latency by percentile as an SVG picture.

use plotters::prelude::*;

use super::{Error, Report};

const SIZE: (u32, u32) = (900, 520);
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(127, 63, 191)];
/// The percentiles of so many nines.
const LABELS: [&str; 6] = ["0", "90", "99", "99.9", "99.99", "99.999"];

/// Draws the latencies of each contender: percentiles to the right, on a scale of nines, milliseconds up.
///
/// # Errors
/// [`Error::Plot`] when nothing was measured.
pub fn plot(report: &Report) -> Result<String, Error> {
    let mut svg = String::new();
    draw(report, &mut svg).map_err(|error| Error::Plot(error.to_string()))?;
    Ok(svg)
}

fn draw(report: &Report, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let curves: Vec<_> = report.curves().collect();
    let points = || curves.iter().flat_map(|(_, points)| points.iter());
    let slowest = points().map(|(_, millis)| *millis).fold(0.0, f64::max);
    let furthest = points().map(|(percentile, _)| nines(*percentile)).fold(1.0, f64::max);
    if slowest == 0.0 {
        return Err("nothing was measured".into());
    }
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{}: latency by percentile", report.scenario()), ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..furthest, 0.0..slowest * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("milliseconds")
        .x_labels(12)
        .x_label_formatter(&|at| label(*at))
        .draw()?;
    for ((name, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
        let line = points.iter().map(|(percentile, millis)| (nines(*percentile), *millis));
        let color = *color;
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label((*name).to_owned())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}

/// Orders of magnitude between all calls and those that took longer.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

/// Nothing between whole numbers of nines.
fn label(nines: f64) -> String {
    let found = (0_u32..).zip(LABELS).find(|(count, _)| (f64::from(*count) - nines).abs() < 0.01);
    found.map(|(_, text)| text.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_on_a_scale_of_nines() {
        assert!((nines(99.0) - 2.0).abs() < 1e-9);
        assert_eq!((label(0.0).as_str(), label(3.0).as_str(), label(1.5).as_str()), ("0", "99.9", ""));
    }
}

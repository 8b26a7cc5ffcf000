//! A bar on standard error for long work; nothing where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Steps of a bar.
const STEPS: u64 = 1_000;

/// A bar that [`show`] moves.
pub(super) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} [{elapsed}]");
    ProgressBar::new(STEPS).with_style(style.expect("the template is well-formed"))
}

/// Moves a bar to a share of 0 to 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 to 1000")]
pub(super) fn show(bar: &ProgressBar, share: f64, message: String) {
    bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    bar.set_message(message);
}

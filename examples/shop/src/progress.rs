use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

/// How far the run has come, for people and for the chaos.
pub(crate) struct Progress {
    bar: ProgressBar,
    answered: watch::Sender<usize>,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        Self {
            bar,
            answered: watch::Sender::new(0),
            quiet,
        }
    }

    /// Says what is done now.
    pub(crate) fn say(&self, what: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{what}"));
        }
    }

    pub(crate) fn begin(&self, what: &'static str, of: usize) {
        let style =
            ProgressStyle::with_template("{msg:>9} [{bar:40}] {pos}/{len}  {per_sec}  {elapsed}");
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.reset();
        self.bar.set_message(what);
        self.bar.set_length(of as u64);
    }

    pub(crate) fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// One more order has its answer.
    pub(crate) fn answered(&self) {
        self.answered.send_modify(|answered| *answered += 1);
        self.bar.inc(1);
    }

    pub(crate) fn watch_answered(&self) -> watch::Receiver<usize> {
        self.answered.subscribe()
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

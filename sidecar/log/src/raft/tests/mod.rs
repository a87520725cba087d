mod checkpoints;
mod early;
mod fake;
mod restart;
mod sharing;
mod suite;
mod voters;

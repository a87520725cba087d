mod checkpoints;
mod early;
mod fake;
mod handing_over;
mod restart;
mod sharing;
mod suite;
mod voters;

mod checkpoints;
mod early;
mod fake;
mod restart;
mod suite;
mod voters;

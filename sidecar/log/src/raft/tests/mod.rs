mod checkpoints;
mod fake;
mod restart;
mod suite;
mod voters;

mod fake;
mod restart;
mod suite;

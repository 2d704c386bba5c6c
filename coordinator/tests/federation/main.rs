//! Whole runs over real TLS and gRPC.

#![allow(unreachable_pub, missing_docs)]

mod evidence;
mod masked;
mod refusals;
mod rules;
mod story;
mod world;

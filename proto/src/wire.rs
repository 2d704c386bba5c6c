//! The messages and services generated from `proto/chancery/v1/*.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("chancery.v1");

/// The compiled `.proto` files, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chancery.bin"));

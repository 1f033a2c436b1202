//! The integration tests: one binary, one module for each part of the product.

mod service;
mod support;
mod wire;

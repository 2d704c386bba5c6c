# Recipes for people; .ci/run is what a machine runs.

# The main job.
demo *arguments:
    cargo run --release -- demo {{arguments}}

# Every test, with the tools they judge with.
test *arguments:
    ./test {{arguments}}

# Formatting and lints.
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets --locked -- -D warnings

# Licences, advisories, bans (needs cargo-deny).
deny:
    cargo deny check

# Codec and training benchmarks.
bench:
    cargo bench --workspace

# The examples' data and base model, from their seeds.
examples:
    cargo run --release --example pretrain -- data
    cargo run --release --example pretrain -- base

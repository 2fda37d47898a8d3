# The commands of this project. Each installs what is missing first (bin/setup does nothing where nothing is).

.PHONY: demo test bench sim verify setup clean
MIX := mix
# Optional packages stay out of the way, also where Hex is installed.
export FOUNDATION_NO_HEX ?= 1

setup:
	@bin/setup

demo: setup
	@MIX_ENV=dev $(MIX) foundation.demo

test: setup
	@cargo test --profile checked --workspace
	@MIX_ENV=test $(MIX) test --include slow --include soak --cover

bench: setup
	@set -e; for file in bench/*_bench.exs; do MIX_ENV=test STEADY_MINUTES=$${STEADY_MINUTES:-1} $(MIX) run $$file; done

sim: setup
	@cargo run --quiet --release -p foundation_sim --bin foundation-sim -- all --table guides/simulated_figures.md
	@CRDT_RUNS=$${CRDT_RUNS:-1000} cargo test --profile checked -p foundation_crdt --test simulation

verify: setup
	@$(MIX) format --check-formatted
	@cargo fmt --all --check
	@cargo clippy --profile checked --workspace --all-targets -- -D warnings
	@MIX_ENV=test $(MIX) compile --warnings-as-errors
	@MIX_ENV=test $(MIX) validate_architecture

clean:
	@rm -rf _build target priv/native cover

# The commands of this project. Each installs what is missing first (bin/setup does nothing where nothing is).

.PHONY: demo test bench sim verify setup clean
MIX := mix
# Runs a command with what time the others leave.
ASIDE := $(shell command -v chrt >/dev/null && echo chrt --idle 0 || echo nice -n 19)
# Optional packages stay out of the way, also where Hex is installed.
export FOUNDATION_NO_HEX ?= 1

setup:
	@bin/setup

demo: setup
	@MIX_ENV=dev $(MIX) foundation.demo

# The tests of Elixir wait for other nodes most of their time: meanwhile those of Rust are compiled.
test: setup
	@$(ASIDE) cargo test --quiet --profile checked --workspace --no-run & \
	MIX_ENV=test $(MIX) test --include slow --include soak --cover; elixir=$$?; wait; \
	cargo test --profile checked --workspace && exit $$elixir

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

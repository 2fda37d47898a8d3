//! Glue for the `market` domain: auctions, markets, games, votes, assignment, search, negotiation.
//!
//! Amounts are integers, in millionths. What takes long takes `{max_steps, timeout_ms}` and runs on a dirty scheduler;
//! only an order book's calls run on a normal one. States that a cluster may want to replicate are binaries.

mod answer;
mod assign;
mod auctions;
mod book;
mod games;
mod machines;
mod markets;
mod negotiate;
mod optimise;
mod read;
mod votes;

use crate::handle;
use rustler::Env;

pub(crate) mod names {
    rustler::atoms! {
        accept, adjusted_winner, agreement, allow, alternating_offers, amount, answer, approval, arms,
        asking, asks, auction, bandit, best, bid, bidder, bids, borda, bound, budget, buy, buy_price,
        buyers, cancel_both, cancel_incoming, cancel_resting, choice, cleared, close, cma_es, collected,
        cols, column, columns, complete, condorcet, correlated, cost, counts, deal, degenerate, demand,
        denominator, dirty, discriminatory, divide_and_choose, done, dutch, eliminated, english, estimate,
        exact, exhausted, exp3, fails, fictitious_play, fills, first, first_price, fok, from_first,
        from_second, frontier, full, gap, halving, high, hungarian, id, imbalance, improve, instant_runoff,
        integer, invalid, ioc, lemke_howson, limit, lmsr, log, loss, low, lowest, majority, malformed,
        market, max_loss, moving_knife, nash, nodes, none, not_found, not_your_turn, offer, offered, open,
        optimal, or, order, orders, over, overflow, partner, passes, path, payments, payoffs, plurality,
        post_only, preferences, price, prices, probabilities, probability, profiles, proposals, quote,
        ranking, real, regret, reject, replicator, report, residual, revenue, round, round_robin, rounds,
        row, rows, rubinstein, schulze, scores, sealed, seed, sell, sell_price, sellers, shapley, share,
        shared, shares, sold, status, steps, stopped, strengths, surplus, thompson, tick, told, too_large,
        too_low, total, tpe, trade, turn, ucb1, unanimity, undominated, unfillable, uniform, unit_price,
        units, unsold, value, values, vcg, verdict, vickrey, volume, winner, winners, wins, worth,
        would_trade, xor, zeuthen,
    }
}

/// Registers the handles; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<book::OrderBook>(env) && handle::open::<optimise::Search>(env)
}

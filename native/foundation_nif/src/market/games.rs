//! Games, shares, matchings, fair division.

use super::answer::{all, answer, map, maybe, moneys};
use super::{names, read};
use crate::term;
use foundation_market::game::{self, Bimatrix, Cake, Learned, Matching, Piece, Profile, Proposals};
use foundation_market::{Limits, Result};
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};

fn profile<'a>(env: Env<'a>, profile: &Profile) -> Term<'a> {
    (&profile.row, &profile.column).encode(env)
}

/// `question, {rows, cols, row_payoffs, column_payoffs}, limits`: `{:ok, result}`. Questions: `:nash`, `:undominated`,
/// `{:lemke_howson, label}`, `{:correlated, row_weight, column_weight}`, `{:fictitious_play, rounds, tolerance}`,
/// `{:replicator, {row_mix, column_mix}, step, rounds, tolerance}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_game<'a>(
    env: Env<'a>,
    question: Term<'a>,
    game: Term<'a>,
    limits: Term<'a>,
) -> NifResult<Term<'a>> {
    let (rows, cols, row, column): (usize, usize, Term<'a>, Term<'a>) = game.decode()?;
    let game = match Bimatrix::new(rows, cols, read::numbers(row)?, read::numbers(column)?) {
        Ok(game) => game,
        Err(refused) => return super::answer::failure(env, refused),
    };
    let ask = Ask { env, game, limits };
    if let Ok(word) = question.decode::<Atom>() {
        return if word == names::nash() {
            ask.nash()
        } else if word == names::undominated() {
            ask.undominated()
        } else {
            Err(Error::BadArg)
        };
    }
    let parts: Vec<Term<'a>> = term::elements(question)?.take(8).collect();
    let (name, args) = parts.split_first().ok_or(Error::BadArg)?;
    let name: Atom = name.decode()?;
    match args {
        [label] if name == names::lemke_howson() => ask.lemke_howson(label.decode()?),
        [row, column] if name == names::correlated() => {
            ask.correlated((term::number(*row)?, term::number(*column)?))
        }
        [rounds, tolerance] if name == names::fictitious_play() => {
            let (rounds, tolerance) = (rounds.decode()?, term::number(*tolerance)?);
            ask.learned(|game, limits| game::fictitious_play(game, rounds, tolerance, limits))
        }
        [start, step, rounds, tolerance] if name == names::replicator() => {
            let (row, column): (Term<'a>, Term<'a>) = start.decode()?;
            let start = Profile {
                row: read::numbers(row)?,
                column: read::numbers(column)?,
            };
            let (step, rounds, tolerance) =
                (term::number(*step)?, rounds.decode()?, term::number(*tolerance)?);
            ask.learned(|game, limits| game::replicator(game, &start, step, rounds, tolerance, limits))
        }
        _ => Err(Error::BadArg),
    }
}

/// A question about a game.
struct Ask<'a> {
    env: Env<'a>,
    game: Bimatrix,
    limits: Term<'a>,
}

impl<'a> Ask<'a> {
    fn nash(&self) -> NifResult<Term<'a>> {
        let env = self.env;
        let found = read::limited(self.limits, |limits| game::equilibria(&self.game, limits))?;
        answer(env, found, |found| {
            let profiles = all(env, &found.profiles, |each| Ok(profile(env, each)))?;
            map(
                env,
                &[
                    (names::profiles(), profiles),
                    (names::complete(), found.complete.encode(env)),
                    (names::degenerate(), found.degenerate.encode(env)),
                ],
            )
        })
    }

    fn undominated(&self) -> NifResult<Term<'a>> {
        let env = self.env;
        let left = read::limited(self.limits, |limits| game::undominated(&self.game, limits))?;
        answer(env, left, |left| {
            map(
                env,
                &[
                    (names::rows(), left.rows.encode(env)),
                    (names::cols(), left.cols.encode(env)),
                    (names::rounds(), left.rounds.encode(env)),
                ],
            )
        })
    }

    fn lemke_howson(&self, label: usize) -> NifResult<Term<'a>> {
        let found = read::limited(self.limits, |limits| {
            game::lemke_howson(&self.game, label, limits)
        })?;
        answer(self.env, found, |found| Ok(profile(self.env, &found)))
    }

    fn correlated(&self, weights: (f64, f64)) -> NifResult<Term<'a>> {
        let env = self.env;
        let plan = read::limited(self.limits, |limits| {
            game::correlated(&self.game, weights, limits)
        })?;
        answer(env, plan, |plan| {
            map(
                env,
                &[
                    (names::probabilities(), plan.probabilities.encode(env)),
                    (names::payoffs(), plan.payoffs.encode(env)),
                ],
            )
        })
    }

    fn learned(&self, learn: impl FnOnce(&Bimatrix, &Limits<'_>) -> Result<Learned>) -> NifResult<Term<'a>> {
        let env = self.env;
        let learned = read::limited(self.limits, |limits| learn(&self.game, limits))?;
        answer(env, learned, |learned| {
            map(
                env,
                &[
                    (names::row(), learned.profile.row.encode(env)),
                    (names::column(), learned.profile.column.encode(env)),
                    (names::regret(), learned.regret.encode(env)),
                    (names::rounds(), learned.rounds.encode(env)),
                ],
            )
        })
    }
}

/// `rows, cols, payoffs, limits`: `{:ok, %{value:, row:, column:}}` of the zero-sum game.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_minimax<'a>(
    env: Env<'a>,
    rows: usize,
    cols: usize,
    payoffs: Term<'a>,
    limits: Term<'a>,
) -> NifResult<Term<'a>> {
    let payoffs = read::numbers(payoffs)?;
    let value = read::limited(limits, |limits| game::minimax(rows, cols, &payoffs, limits))?;
    answer(env, value, |value| {
        map(
            env,
            &[
                (names::value(), value.value.encode(env)),
                (names::row(), value.row.encode(env)),
                (names::column(), value.column.encode(env)),
            ],
        )
    })
}

/// `worth, limits`: `{:ok, shares}`; `worth` has 2^players amounts, by the players' bits.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_shapley<'a>(env: Env<'a>, worth: Term<'a>, limits: Term<'a>) -> NifResult<Term<'a>> {
    let worth = term::list(worth, 1 << 20)?
        .into_iter()
        .map(read::money)
        .collect::<NifResult<Vec<_>>>()?;
    let shares = read::limited(limits, |limits| game::shapley(&worth, limits))?;
    answer(env, shares, |shares| Ok(moneys(env, &shares)))
}

/// `first, second, places, :from_first | :from_second`: `{:ok, %{partner:, proposals:}}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_matching<'a>(
    env: Env<'a>,
    first: Term<'a>,
    second: Term<'a>,
    places: Term<'a>,
    proposing: Term<'a>,
) -> NifResult<Term<'a>> {
    let words = [
        (names::from_first(), Proposals::FromFirst),
        (names::from_second(), Proposals::FromSecond),
    ];
    let proposing = read::word(proposing, &words)?;
    let (first, second) = (
        read::table(first, read::indices)?,
        read::table(second, read::indices)?,
    );
    let matched = game::stable_matching(&first, &second, &read::indices(places)?, proposing);
    answer(env, matched, |Matching { partner, proposals }| {
        let partner = all(env, partner, |partner| Ok(maybe(env, partner)))?;
        map(
            env,
            &[
                (names::partner(), partner),
                (names::proposals(), proposals.encode(env)),
            ],
        )
    })
}

fn pieces<'a>(env: Env<'a>, pieces: &[Piece]) -> Term<'a> {
    let tuples: Vec<(u32, f64, f64, f64)> = pieces
        .iter()
        .map(|piece| (piece.player, piece.from, piece.to, piece.share))
        .collect();
    tuples.encode(env)
}

/// `rule, values`: `{:ok, result}`. Rules: `:adjusted_winner` of two lists of points, `:round_robin` of lists of amounts,
/// `:divide_and_choose` and `:moving_knife` of lists of numbers, a list for each player.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_fair<'a>(env: Env<'a>, rule: Atom, values: Term<'a>) -> NifResult<Term<'a>> {
    if rule == names::adjusted_winner() {
        let points = read::table(values, |row| read::list(row, |item| item.decode()))?;
        let [first, second] = points.as_slice() else {
            return Err(Error::BadArg);
        };
        return answer(env, game::adjusted_winner(first, second), |result| {
            map(
                env,
                &[
                    (names::first(), result.first.encode(env)),
                    (names::shared(), maybe(env, result.shared)),
                ],
            )
        });
    }
    if rule == names::round_robin() {
        let values = read::table(values, read::moneys)?;
        return answer(env, game::round_robin(&values), |bundles| Ok(bundles.encode(env)));
    }
    let cake = Cake::new(&read::table(values, read::numbers)?);
    if rule == names::divide_and_choose() {
        let halves = cake.and_then(|cake| game::divide_and_choose(&cake));
        return answer(env, halves, |halves| Ok(pieces(env, &halves)));
    }
    if rule == names::moving_knife() {
        return answer(env, cake, |cake| Ok(pieces(env, &game::moving_knife(&cake))));
    }
    Err(Error::BadArg)
}

//! Votes and samples.

use super::answer::{all, answer, map, maybe};
use super::{names, read};
use foundation_market::vote::{self, Ballot, Choice, RunOff, Schulze, Tally, TieBreak, Verdict};
use foundation_market::{Error as Refused, Result};
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};

fn tie_break(term: Term<'_>) -> NifResult<TieBreak> {
    if let Ok((tag, seed)) = term.decode::<(Atom, u64)>() {
        return if tag == names::seed() {
            Ok(TieBreak::Seed(seed))
        } else {
            Err(Error::BadArg)
        };
    }
    read::word(
        term,
        &[
            (names::none(), TieBreak::None),
            (names::lowest(), TieBreak::Lowest),
        ],
    )
}

fn choices(term: Term<'_>) -> NifResult<Vec<Choice>> {
    read::list(term, |item| {
        let (option, weight) = item.decode()?;
        Ok(Choice { option, weight })
    })
}

fn ballots(term: Term<'_>) -> NifResult<Vec<Ballot>> {
    read::list(term, |item| {
        let (ranking, weight): (Term<'_>, u64) = item.decode()?;
        Ok(Ballot {
            ranking: read::indices(ranking)?,
            weight,
        })
    })
}

/// A rule of one choice each, with its electorate.
type Threshold = fn(u32, &[Choice], u64) -> Result<Tally>;
/// A rule of ballots that counts.
type Count = fn(u32, &[Ballot], TieBreak) -> Result<Tally>;

/// `rule, options, votes, tie`: `{:ok, result}` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_vote<'a>(
    env: Env<'a>,
    rule: Term<'a>,
    options: u32,
    votes: Term<'a>,
    tie: Term<'a>,
) -> NifResult<Term<'a>> {
    let tie = tie_break(tie)?;
    if let Ok((tag, electorate)) = rule.decode::<(Atom, u64)>() {
        let words = [
            (names::majority(), vote::majority as Threshold),
            (names::unanimity(), vote::unanimity),
        ];
        let rule = read::word(tag.to_term(env), &words)?;
        return answer(env, rule(options, &choices(votes)?, electorate), |tally| {
            encode(env, &tally)
        });
    }
    let rule: Atom = rule.decode()?;
    if rule == names::plurality() {
        return answer(env, vote::plurality(options, &choices(votes)?, tie), |tally| {
            encode(env, &tally)
        });
    }
    let ballots = ballots(votes)?;
    if rule == names::schulze() {
        return answer(env, vote::schulze(options, &ballots, tie), |result| {
            schulze(env, &result)
        });
    }
    if rule == names::instant_runoff() {
        return answer(env, vote::instant_runoff(options, &ballots, tie), |result| {
            run_off(env, &result)
        });
    }
    let words = [
        (names::approval(), vote::approval as Count),
        (names::borda(), vote::borda),
    ];
    let rule = read::word(rule.to_term(env), &words)?;
    answer(env, rule(options, &ballots, tie), |tally| encode(env, &tally))
}

fn encode<'a>(env: Env<'a>, tally: &Tally) -> NifResult<Term<'a>> {
    map(
        env,
        &[
            (names::winner(), maybe(env, tally.winner)),
            (names::winners(), tally.winners.encode(env)),
            (names::scores(), tally.scores.encode(env)),
            (names::denominator(), tally.denominator.encode(env)),
            (names::total(), tally.total.encode(env)),
        ],
    )
}

fn schulze<'a>(env: Env<'a>, result: &Schulze) -> NifResult<Term<'a>> {
    map(
        env,
        &[
            (names::winner(), maybe(env, result.winner)),
            (names::winners(), result.winners.encode(env)),
            (names::condorcet(), maybe(env, result.condorcet)),
            (names::ranking(), result.ranking.encode(env)),
            (names::preferences(), result.preferences.encode(env)),
            (names::strengths(), result.strengths.encode(env)),
        ],
    )
}

fn run_off<'a>(env: Env<'a>, result: &RunOff) -> NifResult<Term<'a>> {
    let rounds = all(env, &result.rounds, |round| {
        map(
            env,
            &[
                (names::counts(), round.counts.encode(env)),
                (names::exhausted(), round.exhausted.encode(env)),
                (names::eliminated(), maybe(env, round.eliminated)),
            ],
        )
    })?;
    map(
        env,
        &[
            (names::winner(), maybe(env, result.winner)),
            (names::winners(), result.winners.encode(env)),
            (names::rounds(), rounds),
        ],
    )
}

/// `population, epsilon, delta`: `{:ok, count}`.
#[rustler::nif(schedule = "Normal")]
fn market_sample_size<'a>(
    env: Env<'a>,
    population: u64,
    epsilon: Term<'a>,
    delta: Term<'a>,
) -> NifResult<Term<'a>> {
    let (epsilon, delta) = (crate::term::number(epsilon)?, crate::term::number(delta)?);
    answer(env, vote::sample_size(population, epsilon, delta), |count| {
        Ok(count.encode(env))
    })
}

/// `population, count, seed`: `{:ok, indices}`, at most a million.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_sample_choose(env: Env<'_>, population: u64, count: u64, seed: u64) -> NifResult<Term<'_>> {
    let chosen = if count.min(population) > read::MAX_LIST as u64 {
        Err(Refused::TooLarge("count"))
    } else {
        Ok(vote::choose(population, count, seed))
    };
    answer(env, chosen, |chosen| Ok(chosen.encode(env)))
}

/// `{yes, asked, population}, threshold, delta`: `{:ok, estimate}`.
#[rustler::nif(schedule = "Normal")]
fn market_sample_decide<'a>(
    env: Env<'a>,
    counts: (u64, u64, u64),
    threshold: Term<'a>,
    delta: Term<'a>,
) -> NifResult<Term<'a>> {
    let (yes, asked, population) = counts;
    let (threshold, delta) = (crate::term::number(threshold)?, crate::term::number(delta)?);
    answer(
        env,
        vote::decide(yes, asked, population, threshold, delta),
        |estimate| {
            let verdict = match estimate.verdict {
                Verdict::Passes => names::passes(),
                Verdict::Fails => names::fails(),
                Verdict::Open => names::open(),
            };
            map(
                env,
                &[
                    (names::share(), estimate.share.encode(env)),
                    (names::low(), estimate.low.encode(env)),
                    (names::high(), estimate.high.encode(env)),
                    (names::verdict(), verdict.to_term(env)),
                ],
            )
        },
    )
}

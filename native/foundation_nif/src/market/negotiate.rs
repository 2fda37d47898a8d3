//! Negotiation that is worked out rather than played.

use super::answer::{all, answer, failure, map, maybe};
use super::{names, read};
use crate::term;
use foundation_market::negotiation::{self, Issues};
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};

/// `question, limits`: `{:ok, result}`. Questions: `{:rubinstein, first, second}`, `{:rubinstein, first, second, rounds}`,
/// `{:zeuthen, first, second, {conflict, conflict}}`, `{:improve, points, deal}`, `{:frontier, points}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_negotiate<'a>(env: Env<'a>, question: Term<'a>, limits: Term<'a>) -> NifResult<Term<'a>> {
    let parts: Vec<Term<'a>> = term::elements(question)?.take(8).collect();
    let (name, args) = parts.split_first().ok_or(Error::BadArg)?;
    let name: Atom = name.decode()?;
    match args {
        [first, second] if name == names::rubinstein() => {
            let share = negotiation::rubinstein(term::number(*first)?, term::number(*second)?);
            answer(env, share, |share| Ok(share.encode(env)))
        }
        [first, second, rounds] if name == names::rubinstein() => {
            let (first, second) = (term::number(*first)?, term::number(*second)?);
            let share = negotiation::rubinstein_finite(first, second, rounds.decode()?);
            answer(env, share, |share| Ok(share.encode(env)))
        }
        [first, second, conflict] if name == names::zeuthen() => {
            let (one, other): (Term<'a>, Term<'a>) = conflict.decode()?;
            let conflict = (term::number(one)?, term::number(other)?);
            let went = negotiation::zeuthen(&read::numbers(*first)?, &read::numbers(*second)?, conflict);
            answer(env, went, |went| {
                map(
                    env,
                    &[
                        (names::deal(), maybe(env, went.deal)),
                        (names::path(), went.path.encode(env)),
                    ],
                )
            })
        }
        [points, deal] if name == names::improve() => improve(env, *points, *deal, limits),
        [points] if name == names::frontier() => frontier(env, *points, limits),
        _ => Err(Error::BadArg),
    }
}

/// Points of each party, of each issue, of each option.
fn issues(points: Term<'_>) -> NifResult<foundation_market::Result<Issues>> {
    let issue = |row| read::list(row, |item: Term<'_>| item.decode::<i64>());
    let points = read::list(points, |party| read::list(party, issue))?;
    Ok(Issues::new(points))
}

fn improve<'a>(env: Env<'a>, points: Term<'a>, deal: Term<'a>, limits: Term<'a>) -> NifResult<Term<'a>> {
    let deal = read::indices(deal)?;
    let issues = match issues(points)? {
        Ok(issues) => issues,
        Err(refused) => return failure(env, refused),
    };
    let found = read::limited(limits, |limits| issues.improve(&deal, limits))?;
    answer(env, found, |found| {
        map(
            env,
            &[
                (names::deal(), found.deal.encode(env)),
                (names::worth(), found.worth.encode(env)),
                (names::steps(), found.steps.encode(env)),
                (names::complete(), found.complete.encode(env)),
            ],
        )
    })
}

fn frontier<'a>(env: Env<'a>, points: Term<'a>, limits: Term<'a>) -> NifResult<Term<'a>> {
    let issues = match issues(points)? {
        Ok(issues) => issues,
        Err(refused) => return failure(env, refused),
    };
    let deals = read::limited(limits, |limits| issues.frontier(limits))?;
    answer(env, deals, |deals| {
        all(env, deals, |(deal, worth)| Ok((deal, worth).encode(env)))
    })
}

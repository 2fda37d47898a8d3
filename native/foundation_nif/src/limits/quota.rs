//! Dimensions that are leased from a budget shared with other nodes. Amounts are `{units, billionths}`, both at least 0.

use super::timer::LimitsRef;
use super::{answers, atoms};
use crate::key;
use foundation_limits::{Grant, LimitError, Usage, amount};
use rustler::{Encoder, Env, Error, NifResult, Term};

type Parts = (u64, u64);

fn whole((units, billionths): Parts) -> NifResult<i128> {
    let whole = i128::from(units) * amount::UNIT + i128::from(billionths);
    if whole <= amount::MAX {
        Ok(whole)
    } else {
        Err(Error::BadArg)
    }
}

fn parts(whole: i128) -> Parts {
    let part = |n: i128| u64::try_from(n).unwrap_or(0);
    (part(whole / amount::UNIT), part(whole % amount::UNIT))
}

/// Answers `{:ok, {spent, returned, left, short}}`; what is left above `keep` is given back, nothing when that is nil.
#[rustler::nif]
fn limits_quota_report<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    name: Term<'a>,
    keep: Option<Parts>,
) -> NifResult<Term<'a>> {
    let (bytes, name) = (key::key(key)?, key::atom_word(name)?);
    let keep = keep.map(whole).transpose()?;
    let core = &handle.core;
    told(env, core.limits.report_quota(&bytes, name, keep, core.now()))
}

/// As [`limits_quota_report`] would answer, without a report.
#[rustler::nif]
fn limits_quota_look<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    name: Term<'a>,
) -> NifResult<Term<'a>> {
    let (bytes, name) = (key::key(key)?, key::atom_word(name)?);
    let core = &handle.core;
    told(env, core.limits.look_quota(&bytes, name, core.now()))
}

fn told(env: Env<'_>, usage: Result<Usage, LimitError>) -> NifResult<Term<'_>> {
    match usage {
        Ok(usage) => {
            let told = (
                parts(usage.spent),
                parts(usage.returned),
                parts(usage.left),
                parts(usage.short),
            );
            Ok((atoms::ok(), told).encode(env))
        }
        Err(error) => answers::failure(env, &error),
    }
}

/// Adds `amount`. All that is left may be spent for `lease_us` (nil: as long as before); there will be no more for
/// `retry_us`.
#[rustler::nif]
fn limits_quota_grant<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    name: Term<'a>,
    amount: Parts,
    times: (Option<u64>, u64),
) -> NifResult<Term<'a>> {
    let (bytes, name) = (key::key(key)?, key::atom_word(name)?);
    let grant = Grant {
        amount: whole(amount)?,
        lease_us: times.0,
        retry_us: times.1,
    };
    let core = &handle.core;
    answers::done(env, core.limits.grant_quota(&bytes, name, grant, core.now()))
}

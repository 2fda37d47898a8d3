//! Answers as terms.

use super::{atoms, costs};
use crate::key;
use foundation_limits::{Algorithm, LimitError, PAUSED, Peek, QUEUED};
use rustler::{Atom, Encoder, Env, NifResult, Term};

pub(super) fn peeked<'a>(env: Env<'a>, peek: &Peek) -> NifResult<Term<'a>> {
    let mut dimensions = Term::map_new(env);
    for (d, used, full_in) in &peek.dimensions {
        let algorithm = match d.algorithm {
            Algorithm::Bucket => atoms::bucket(),
            Algorithm::Sliding(_) => atoms::sliding_window(),
            Algorithm::Gate => atoms::concurrency(),
            Algorithm::Quota => atoms::leased(),
        };
        let map = Term::map_from_pairs(
            env,
            &[
                (atoms::algorithm(), algorithm.to_term(env)),
                (atoms::limit(), costs::encode(env, d.limit)),
                (atoms::per(), (d.per / 1000).encode(env)),
                (atoms::capacity(), costs::encode(env, d.capacity)),
                (atoms::used(), costs::encode(env, *used)),
                (atoms::remaining(), costs::encode(env, d.capacity - used)),
                (atoms::full_in_ms(), full_in.div_ceil(1000).encode(env)),
            ],
        )?;
        dimensions = dimensions.map_put(key::atom_from_word(env, d.name)?, map)?;
    }
    let parent = match &peek.parent {
        Some(parent) => key::to_term(env, parent)?,
        None => atoms::nil().to_term(env),
    };
    Term::map_from_pairs(
        env,
        &[
            (atoms::dimensions(), dimensions),
            (atoms::parent(), parent),
            (atoms::waiting(), peek.waiting.encode(env)),
            (atoms::reservations(), peek.reservations.encode(env)),
            (atoms::paused_ms(), peek.paused_us.div_ceil(1000).encode(env)),
        ],
    )
}

pub(super) fn done<'a>(env: Env<'a>, result: Result<(), LimitError>) -> NifResult<Term<'a>> {
    match result {
        Ok(()) => Ok(atoms::ok().to_term(env)),
        Err(error) => failure(env, &error),
    }
}

pub(super) fn failure<'a>(env: Env<'a>, error: &LimitError) -> NifResult<Term<'a>> {
    let named = |tag: Atom, name: u64| Ok((tag, key::atom_from_word(env, name)?).encode(env));
    let reason: NifResult<Term<'a>> = match error {
        LimitError::Limited(limited) => {
            let dimension = match limited.dimension {
                PAUSED => atoms::paused().to_term(env),
                QUEUED => atoms::queue().to_term(env),
                name => key::atom_from_word(env, name)?,
            };
            let wait = limited.wait_us.div_ceil(1000);
            let details = Term::map_from_pairs(
                env,
                &[
                    (atoms::dimension(), dimension),
                    (atoms::key(), key::to_term(env, &limited.key)?),
                    (atoms::retry_after_ms(), wait.encode(env)),
                ],
            )?;
            Ok((atoms::limited(), details).encode(env))
        }
        LimitError::Never(name) => named(atoms::never(), *name),
        LimitError::UnknownDimension(name) => named(atoms::unknown_dimension(), *name),
        LimitError::InvalidCost(name) => named(atoms::invalid_cost(), *name),
        LimitError::ReserveOnly(name) => named(atoms::reserve_only(), *name),
        LimitError::InvalidLimit(name, what) => {
            let name = key::atom_from_word(env, *name)?;
            Ok((atoms::invalid_limit(), (name, Atom::from_str(env, what)?)).encode(env))
        }
        LimitError::UnknownKey => Ok(atoms::unknown_key().to_term(env)),
        LimitError::UnknownParent => Ok(atoms::unknown_parent().to_term(env)),
        LimitError::ParentCycle => Ok(atoms::parent_cycle().to_term(env)),
        LimitError::TooManyAncestors => Ok(atoms::too_many_ancestors().to_term(env)),
        LimitError::TooManyKeys => Ok(atoms::too_many_keys().to_term(env)),
        LimitError::Settled => Ok(atoms::settled().to_term(env)),
        LimitError::QueueFull => Ok(atoms::queue_full().to_term(env)),
        LimitError::InUse => Ok(atoms::in_use().to_term(env)),
    };
    Ok(env.error_tuple(reason?))
}

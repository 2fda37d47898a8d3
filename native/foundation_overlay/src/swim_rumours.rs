//! What travels with SWIM's messages beside its own claims: who left politely, and who accuses whom.
use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::swim_id::SwimId;
use crate::swim_tap::Ear;

/// At most this many good-byes are remembered for telling news from old.
const MAX_GOODBYES: usize = 1024;
/// At most this many suspects are kept at a time.
const MAX_CASES: usize = 4096;
/// Of each suspect, this many accusers; what comes later is not told on.
const MAX_ACCUSERS: usize = 8;

/// One node suspects another. Both are named by [`SwimId::digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accusation {
    pub(crate) suspect: u64,
    pub(crate) incarnation: u16,
    pub(crate) accuser: u64,
}

/// As it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rumour {
    /// Leaving is told from dying.
    Goodbye(SwimId),
    Accusation(Accusation),
}

impl Rumour {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Serialising plain data into a growing vector cannot fail.
        postcard::to_stdvec(self).expect("plain data into a vector")
    }
}

/// Who accuses whom, as far as it was heard here.
#[derive(Debug, Default)]
pub(crate) struct Cases {
    cases: BTreeMap<u64, (u16, SmallVec<[u64; 4]>)>,
}

impl Cases {
    /// Takes an accusation; false when it is old or one too many.
    pub(crate) fn add(&mut self, accusation: Accusation) -> bool {
        let Accusation {
            suspect,
            incarnation,
            accuser,
        } = accusation;
        if self.cases.len() >= MAX_CASES && !self.cases.contains_key(&suspect) {
            self.cases.pop_first();
        }
        let (current, accusers) = self
            .cases
            .entry(suspect)
            .or_insert_with(|| (incarnation, SmallVec::new()));
        if incarnation > *current {
            *current = incarnation;
            accusers.clear();
        }
        let fresh = incarnation == *current && accusers.len() < MAX_ACCUSERS && !accusers.contains(&accuser);
        if fresh {
            accusers.push(accuser);
        }
        fresh
    }

    /// How many nodes other than `me` accuse this incarnation.
    pub(crate) fn others(&self, suspect: u64, incarnation: u16, me: u64) -> usize {
        let case = self
            .cases
            .get(&suspect)
            .filter(|(current, _)| *current == incarnation);
        case.map_or(0, |(_, accusers)| {
            accusers.iter().filter(|accuser| **accuser != me).count()
        })
    }
}

/// Foca's handler of broadcasts that are not its own.
#[derive(Debug)]
pub(crate) struct Rumours {
    ear: Ear,
    known: Vec<SwimId>,
}

impl Rumours {
    pub(crate) fn new(ear: Ear) -> Self {
        Self {
            ear,
            known: Vec::new(),
        }
    }

    fn is_news(&mut self, rumour: &Rumour) -> bool {
        match rumour {
            Rumour::Goodbye(id) => {
                if self.known.contains(id) {
                    return false;
                }
                if self.known.len() >= MAX_GOODBYES {
                    self.known.remove(0);
                }
                self.known.push(id.clone());
                self.ear.with(|heard| heard.goodbyes.push(id.clone()));
                true
            }
            Rumour::Accusation(accusation) => self.ear.with(|heard| {
                let fresh = heard.cases.add(*accusation);
                heard.accused |= fresh;
                fresh
            }),
        }
    }
}

/// What decides whether one rumour replaces another.
#[derive(Clone, Debug)]
pub(crate) struct RumourKey(Rumour);

impl foca::Invalidates for RumourKey {
    fn invalidates(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Rumour::Goodbye(new), Rumour::Goodbye(old)) => new.name() == old.name(),
            (Rumour::Accusation(new), Rumour::Accusation(old)) => {
                new.suspect == old.suspect
                    && (new.accuser == old.accuser || new.incarnation > old.incarnation)
            }
            _ => false,
        }
    }
}

impl foca::BroadcastHandler<SwimId> for Rumours {
    type Key = RumourKey;
    type Error = Infallible;

    fn receive_item(&mut self, data: &[u8], _from: Option<&SwimId>) -> Result<Option<RumourKey>, Infallible> {
        // What is not understood is not told on.
        let Ok((rumour, [])) = postcard::take_from_bytes::<Rumour>(data) else {
            return Ok(None);
        };
        Ok(self.is_news(&rumour).then_some(RumourKey(rumour)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against every accusation kept as it came.
        #[test]
        fn accusers_of_the_latest_incarnation_are_counted_once(
            all in prop::collection::vec((0_u64..4, 0_u16..4, 0_u64..12), 0..80),
        ) {
            let mut cases = Cases::default();
            for (suspect, incarnation, accuser) in &all {
                cases.add(Accusation { suspect: *suspect, incarnation: *incarnation, accuser: *accuser });
            }
            for suspect in 0..4 {
                let of = || all.iter().filter(move |each| each.0 == suspect);
                let Some(latest) = of().map(|each| each.1).max() else { continue };
                let accusers: BTreeSet<u64> = of().filter(|each| each.1 == latest).map(|each| each.2).collect();
                let most = accusers.len().min(MAX_ACCUSERS);
                prop_assert_eq!(cases.others(suspect, latest, 99), most);
                prop_assert_eq!(cases.others(suspect, latest + 1, 99), 0);
                if accusers.len() <= MAX_ACCUSERS {
                    let me = *accusers.first().expect("the latest incarnation has an accuser");
                    prop_assert_eq!(cases.others(suspect, latest, me), most - 1);
                }
            }
        }
    }

    #[test]
    fn the_number_of_cases_is_bounded() {
        let mut cases = Cases::default();
        for suspect in 0..2 * MAX_CASES as u64 {
            assert!(cases.add(Accusation {
                suspect,
                incarnation: 0,
                accuser: 1
            }));
        }
        assert_eq!(cases.cases.len(), MAX_CASES);
    }
}
